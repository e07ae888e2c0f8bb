//! What a simulated process has on its heap. All processes share one heap with the world around them, so each allocation is
//! counted for whoever makes it: a process while it is polled, except for what the world does meanwhile. Nothing changes
//! hands: what goes from one to the other is copied.

use std::pin::Pin;
use std::task::{Context, Poll};

use allocation_counter::{measure, opt_out};

use crate::scenario::Place;

/// Bytes on the heap of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heap {
    /// What it holds now. It is negative if the process freed what others had made.
    pub held: i64,
    /// The most that it ever had.
    pub most: i64,
}

/// What a process of a function may hold between two invocations, and have at all: little more than it needs, whatever
/// the day.
pub fn limits(place: Place) -> Heap {
    let held = match place {
        Place::Ingest => 20 << 10,
        Place::Replay => 64 << 10,
        _ => 256 << 10,
    };
    Heap { held, most: 2 << 20 }
}

impl Heap {
    /// The larger one of both.
    pub fn widen(&mut self, other: &Heap) {
        self.held = self.held.max(other.held);
        self.most = self.most.max(other.most);
    }

    /// Runs one step of the process.
    pub fn count<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let mut result = None;
        let counted = measure(|| result = Some(step()));
        self.most = self.most.max(self.held + counted.bytes_max as i64);
        self.held += counted.bytes_current;
        done(result)
    }
}

/// Does what the world does while a process is polled.
pub fn outside<T>(work: impl FnOnce() -> T) -> T {
    let mut result = None;
    opt_out(|| result = Some(work()));
    done(result)
}

fn done<T>(result: Option<T>) -> T {
    let Some(result) = result else { unreachable!("both run what they are given") };
    result
}

/// A future of the world's, which a process awaits.
pub struct Outside<F>(Option<Pin<Box<F>>>);

impl<F: Future> Outside<F> {
    pub fn of(future: F) -> Self {
        Outside(outside(|| Some(Box::pin(future))))
    }
}

impl<F: Future> Future for Outside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match &mut self.0 {
            Some(future) => outside(|| future.as_mut().poll(context)),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Outside<F> {
    fn drop(&mut self) {
        outside(|| self.0 = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_world_does_in_between_is_not_the_process_s() {
        let mut heap = Heap::default();
        let kept = heap.count(|| {
            drop(vec![0_u8; 5_000]);
            let kept = vec![0_u8; 1_000];
            outside(|| drop(vec![0_u8; 70_000]));
            kept
        });
        assert_eq!((heap.held, heap.most), (1_000, 5_000));
        heap.count(|| drop(kept));
        let waiting = heap.count(|| Outside::of(async { vec![0_u8; 70_000].len() }));
        heap.count(|| drop(waiting));
        assert_eq!((heap.held, heap.most), (0, 5_000));
    }
}
