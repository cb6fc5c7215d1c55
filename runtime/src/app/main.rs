//! `#[procession::main]`: the program's runtime, and the order of its end.

use crate::actor::peer;
use crate::observe;
use crate::process::control;
use crate::process::entry;
use crate::wire::control::Request;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

use super::signals;

/// The options of `#[procession::main]` and `#[procession::test]`.
#[derive(Debug)]
pub struct Main {
    /// The name of the annotated function.
    pub name: &'static str,
    /// The kind of runtime.
    pub flavor: Flavor,
    /// How many worker threads a multi-thread runtime has; by default one for each core.
    pub worker_threads: Option<usize>,
    /// Whether Ctrl-C and SIGTERM stop everything in order.
    pub signals: bool,
}

/// The kind of a runtime, as with `#[tokio::main]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Worker threads.
    MultiThread,
    /// One thread.
    CurrentThread,
}

/// Runs a program. In an image that was started to be a child it never returns.
///
/// When the body is done, everything that it started and that still runs is stopped in order, newest first.
///
/// # Panics
///
/// If there can be no runtime.
pub fn main<F: Future>(config: Main, body: impl FnOnce() -> F) -> F::Output {
    entry::at_main();
    observe::setup::init();
    if config.signals {
        signals::handle();
    }
    let runtime = config.runtime(observe::setup::adopt_thread);
    // A signal stops what the body waits for, so that it returns or panics over that: the signal's end is the program's.
    let output = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body())));
    signals::yield_to_end();
    let output = output.unwrap_or_else(|panic| resume_unwind(panic));
    if control::existing().is_some() {
        runtime.block_on(finish());
        signals::yield_to_end();
    }
    output
}

/// Sends what was accepted and not sent yet, then stops everything in this thread's context.
pub(super) async fn finish() {
    // Whoever does not read is stopped all the same.
    let _ = tokio::time::timeout(FLUSH, peer::flush()).await;
    end().await;
}

/// How long what was accepted may take to be on its way when a program ends.
const FLUSH: Duration = Duration::from_secs(1);

/// Stops everything in this thread's context.
pub(super) async fn end() {
    // A host that is gone has nothing left to stop.
    let _ = control::client().ask(Request::End).await;
}

impl Main {
    /// The runtime, whose threads each begin with `begin`.
    pub(super) fn runtime(&self, begin: impl Fn() + Send + Sync + 'static) -> Runtime {
        let mut builder = match self.flavor {
            Flavor::MultiThread => Builder::new_multi_thread(),
            Flavor::CurrentThread => Builder::new_current_thread(),
        };
        if let Some(n_threads) = self.worker_threads {
            builder.worker_threads(n_threads);
        }
        builder
            .enable_all()
            .on_thread_start(begin)
            .on_thread_park(observe::setup::step_aside);
        builder
            .build()
            .unwrap_or_else(|error| panic!("`{}` has no runtime: {error}", self.name))
    }
}
