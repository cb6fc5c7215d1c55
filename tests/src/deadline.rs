//! Deadlines: whatever a test waits for, it waits for here.

use std::future::{Future, IntoFuture};
use std::time::{Duration, Instant};

/// How long anything may take that should be quick: generous, since machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The output of a future that must not hang.
///
/// # Panics
///
/// If it takes longer than [`PATIENCE`].
#[track_caller]
pub fn within<F: IntoFuture>(what: impl AsRef<str>, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future.into_future()).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: {} took longer than {PATIENCE:?}", what.as_ref()),
        }
    }
}

/// Waits until a condition holds that no event announces.
///
/// # Panics
///
/// If it does not within [`PATIENCE`].
#[track_caller]
pub fn until(what: impl AsRef<str>, holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let what = what.as_ref().to_owned();
    async move {
        if !holds_within(PATIENCE, holds).await {
            panic!("{place}: not within {PATIENCE:?}: {what}");
        }
    }
}

/// Whether a condition comes to hold before the deadline. It is looked at once more at the end.
pub async fn holds_within(deadline: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > deadline {
            return holds();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

/// The same for a thread that is not in a runtime.
pub fn blocks_until(deadline: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > deadline {
            return holds();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
