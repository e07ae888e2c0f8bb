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
    /// By how much its clock is ahead, in milliseconds; at most by so much; and when it is set.
    skew: Cell<i64>,
    most_skew: i64,
    clock: Cell<Rng>,
    heap: Cell<Heap>,
    network: Arc<Destinations>,
}

impl Process {
    pub fn new(simulation: &Arc<Simulation>, place: Place, name: String) -> Rc<Self> {
        let (most_skew, seed) = {
            let mut state = simulation.lock();
            (state.scenario.skew as i64, state.rng.u64(..))
        };
        let mut clock = Rng::with_seed(!seed);
        Rc::new(Process {
            network: Arc::new(Destinations::new(simulation)),
            simulation: Arc::clone(simulation),
            name,
            place,
            rng: Cell::new(Rng::with_seed(seed)),
            skew: Cell::new(clock.i64(-most_skew..=most_skew)),
            most_skew,
            clock: Cell::new(clock),
            heap: Cell::default(),
        })
    }

    /// Now and then its clock is set, also in the midst of its work.
    fn set_clock(&self) {
        let mut rng = self.clock.take();
        if rng.usize(..100) == 0 {
            let most = self.most_skew;
            self.skew.set(rng.i64(-most..=most));
        }
        self.clock.set(rng);
    }

    /// Runs something in this process. `None`: the process ended at the given step of it.
    pub fn run<F: Future>(self: &Rc<Self>, future: F, dies_at: Option<u32>) -> Run<F> {
        Run { process: Rc::clone(self), future: Some(Box::pin(future)), steps_left: dies_at }
    }

    /// Its work is done: what it holds now it holds until the next invocation.
    pub fn rest(&self) {
        self.simulation.lock().rests(self.place, &self.name, self.heap.get());
    }

    fn world(self: &Rc<Self>) -> Rc<dyn World> {
        Rc::clone(self) as Rc<dyn World>
    }

    /// A step of what it does; none if it panics.
    fn step<T>(&self, step: impl FnOnce() -> Poll<T>) -> Option<Poll<T>> {
        self.set_clock();
        let mut heap = self.heap.get();
        // The count does not survive a panic, so that a panic is caught within.
        let result = heap.count(|| catch_unwind(AssertUnwindSafe(step)));
        self.heap.set(heap);
        if result.is_err() {
            let mut state = self.simulation.lock();
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
                this.end();
                return Poll::Ready(None);
            }
            *left -= 1;
        }
        let Some(future) = &mut this.future else { return Poll::Ready(None) };
        let world = this.process.world();
        let step = || world::within(&world, || future.as_mut().poll(context));
        match this.process.step(step) {
            Some(step) => step.map(Some),
            None => {
                this.future = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<F> Run<F> {
    fn end(&mut self) {
        let future = self.future.take();
        world::within(&self.process.world(), || drop(future));
    }
}

impl<F> Drop for Run<F> {
    fn drop(&mut self) {
        self.end();
    }
}
