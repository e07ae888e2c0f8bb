//! One instance of a function: the world as its process sees it, and its end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use fastrand::Rng;
use relay_platform::world::{self, Network, World};

use crate::destinations::Destinations;
use crate::heap::Heap;
use crate::scenario::Place;
use crate::services;
use crate::state::Simulation;

/// What a process sees.
pub struct Process {
    pub name: String,
    place: Place,
    simulation: Arc<Simulation>,
    /// Chance of its own: what a function draws changes nothing of what happens to it.
    rng: Cell<Rng>,
    /// By how much its clock is ahead, in milliseconds.
    skew: Cell<i64>,
    heap: Cell<Heap>,
    network: Arc<Destinations>,
}

impl Process {
    pub fn new(simulation: &Arc<Simulation>, place: Place, name: String) -> Rc<Self> {
        let (skew, rng) = {
            let mut state = simulation.lock();
            let most = state.scenario.skew as i64;
            (state.rng.i64(-most..=most), Rng::with_seed(state.rng.u64(..)))
        };
        Rc::new(Process {
            network: Arc::new(Destinations::new(simulation)),
            simulation: Arc::clone(simulation),
            name,
            place,
            rng: Cell::new(rng),
            skew: Cell::new(skew),
            heap: Cell::default(),
        })
    }

    /// Now and then its clock is set.
    pub fn set_clock(&self) {
        let mut state = self.simulation.lock();
        let most = state.scenario.skew as i64;
        if state.rng.usize(..10) == 0 {
            self.skew.set(state.rng.i64(-most..=most));
        }
    }

    /// Runs something in this process. `None`: the process ended at the given step of it.
    pub fn run<F: Future>(self: &Rc<Self>, future: F, dies_at: Option<u32>) -> Run<F> {
        let (world, process) = (Rc::clone(self) as Rc<dyn World>, Rc::clone(self));
        Run { world, process, future: Some(Box::pin(future)), steps_left: dies_at }
    }

    /// Its work is done: what it holds now it holds until the next invocation.
    pub fn rest(&self) {
        self.simulation.lock().rests(self.place, &self.name, self.heap.get().held);
    }

    /// A step of what it does; none if it panics.
    fn step<T>(&self, step: impl FnOnce() -> Poll<T>) -> Option<Poll<T>> {
        let mut heap = self.heap.get();
        let most = heap.most;
        // A panic would leave the count where it is.
        let result = heap.count(|| catch_unwind(AssertUnwindSafe(step)));
        self.heap.set(heap);
        let mut state = self.simulation.lock();
        if heap.most > most {
            state.grew(self.place, &self.name, heap.most);
        }
        if result.is_err() {
            let now = state.now;
            state.ledger.violation(now, format!("{} panics", self.name));
        }
        result.ok()
    }
}

impl World for Process {
    fn now(&self) -> SystemTime {
        let wall = self.simulation.lock().wall();
        let ahead = Duration::from_millis(self.skew.get().unsigned_abs());
        if self.skew.get() < 0 { wall - ahead } else { wall + ahead }
    }

    fn random(&self) -> u64 {
        let mut rng = self.rng.take();
        let random = rng.u64(..);
        self.rng.set(rng);
        random
    }

    fn aws(&self) -> SharedHttpClient {
        services::client(&self.simulation, self.place)
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::clone(&self.network) as Arc<dyn Network>
    }
}

/// Something that runs in a process, and ends with it.
pub struct Run<F> {
    world: Rc<dyn World>,
    process: Rc<Process>,
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
        let step = || world::within(&this.world, || future.as_mut().poll(context));
        match this.process.step(step) {
            Some(step) => step.map(Some),
            None => {
                this.future = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<F> Drop for Run<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        world::within(&self.world, || drop(future));
    }
}
