//! `#[procession::test]`: a test with a context of its own.

use crate::process::control;
use crate::wire::control::Context;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::main::{Main, finish};

/// Runs a test. Names are its own, and what it started is stopped when it ends, however it ends.
///
/// # Panics
///
/// As the body does, or if there can be no runtime.
pub fn test<F: Future>(config: Main, body: impl FnOnce() -> F) -> F::Output {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let context = Context(NEXT.fetch_add(1, Ordering::Relaxed));
    let before = control::context();
    control::enter(context);
    let runtime = config.runtime(move || control::enter(context));
    let output = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body())));
    if control::existing().is_some() {
        runtime.block_on(finish());
    }
    control::enter(before);
    output.unwrap_or_else(|panic| resume_unwind(panic))
}
