//! One instance of a function: the world as its process sees it, and its end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use relay_platform::world::{self, Network, World};

use crate::destinations::Destinations;
use crate::services;
use crate::state::Simulation;

/// What a process sees.
pub struct Process {
    pub name: String,
    simulation: Arc<Simulation>,
    /// By how much its clock is ahead, in milliseconds.
    skew: i64,
    network: Arc<Destinations>,
}

impl Process {
    pub fn new(simulation: &Arc<Simulation>, name: String) -> Rc<Self> {
        let skew = {
            let mut state = simulation.lock();
            let most = state.scenario.skew as i64;
            state.rng.i64(-most..=most)
        };
        Rc::new(Process {
            network: Arc::new(Destinations::new(simulation)),
            simulation: Arc::clone(simulation),
            name,
            skew,
        })
    }

    /// Runs something in this process. `None`: the process ended at the given step of it.
    pub fn run<F: Future>(self: &Rc<Self>, future: F, dies_at: Option<u32>) -> Run<F> {
        Run { world: Rc::clone(self) as Rc<dyn World>, future: Some(Box::pin(future)), steps_left: dies_at }
    }
}

impl World for Process {
    fn now(&self) -> SystemTime {
        let wall = self.simulation.lock().wall();
        let ahead = Duration::from_millis(self.skew.unsigned_abs());
        if self.skew < 0 { wall - ahead } else { wall + ahead }
    }

    fn random(&self) -> u64 {
        self.simulation.lock().rng.u64(..)
    }

    fn aws(&self) -> SharedHttpClient {
        services::client(&self.simulation)
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::clone(&self.network) as Arc<dyn Network>
    }
}

/// Something that runs in a process, and ends with it.
pub struct Run<F> {
    world: Rc<dyn World>,
    future: Option<Pin<Box<F>>>,
    steps_left: Option<u32>,
}

impl<F: Future> Future for Run<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(left) = &mut this.steps_left {
            if *left == 0 {
                let (world, future) = (Rc::clone(&this.world), this.future.take());
                world::within(&world, || drop(future));
                return Poll::Ready(None);
            }
            *left -= 1;
        }
        let Some(future) = &mut this.future else { return Poll::Ready(None) };
        world::within(&this.world, || future.as_mut().poll(context)).map(Some)
    }
}

impl<F> Drop for Run<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        world::within(&self.world, || drop(future));
    }
}
