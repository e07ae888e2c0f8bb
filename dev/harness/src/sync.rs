//! What several tasks share, and how one waits for another.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

/// A panic elsewhere while the lock was held is that test's failure, not ours.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the condition holds; an error when it does not in time.
pub async fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    ensure!(tokio::time::timeout(limit, poll).await.is_ok(), "not within {limit:?}");
    Ok(())
}
