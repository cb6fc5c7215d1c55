//! Pools: worker processes that map a task over many inputs.
//!
//! The host's control plane keeps the workers alive; this module hands out chunks. A [`Pool`] is used from many tasks at
//! once: each map drives itself, in the future or stream that its user polls, and takes a [`Turn`](workers::Turn) for
//! each chunk. Nothing runs in the background, inputs are pulled when a worker can take them, and a map that is dropped
//! takes its chunks back.

mod chunk;
mod items;
mod map;
mod progress;
mod sizing;
pub(crate) mod worker;
mod workers;

pub use items::{Items, Keep, Ordered, Unordered, WithInput, Without};
pub use map::{Map, MapFuture};

use crate::actor::contract::Task;
use crate::error::{Error, ErrorKind, Result, TaskError};
use crate::process::control;
use std::sync::Arc;
use std::time::Duration;

use workers::Workers;

/// Worker processes that map a task over inputs.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn cube(x: u64) -> u64 {
///     x.pow(3)
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let pool = Pool::new(6).await?;
/// assert_eq!(pool.map(cube, 1..=6).await?, [1, 8, 27, 64, 125, 216]);
/// # Ok(())
/// # }
/// ```
///
/// A worker that dies costs the item that it was on, and no other: that item ends as [`TaskError::Died`] with the exact
/// reason, or runs again where [`Map::retries`] says so. The worker is replaced. Results that it had computed and not
/// sent are not lost, and their items do not run twice.
///
/// A pool belongs to the runtime in which it was built. Dropping it kills its workers.
#[derive(Debug)]
pub struct Pool {
    workers: Arc<Workers>,
}

/// How to build a pool, from [`Pool::builder`].
///
/// | setting | default |
/// | --- | --- |
/// | workers | one for each core that this process may use |
/// | name | `pool`, with a number |
/// | task timeout | none |
///
/// ```
/// use procession::prelude::*;
/// use std::time::Duration;
///
/// #[task]
/// fn work(forever: bool) {
///     while forever {}
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let pool = Pool::builder().workers(2).task_timeout(Duration::from_millis(100)).build().await?;
/// let results: Vec<_> = pool.map(work, [false, true]).stream().collect().await;
/// assert!(results[0].is_ok());
/// assert!(matches!(results[1], Err(TaskError::Timeout(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder starts nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    name: Option<String>,
    task_timeout: Option<Duration>,
}

impl Pool {
    /// A pool of that many workers; returns when all are up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for none, [`ErrorKind::Spawn`] if there could be no process,
    /// [`ErrorKind::NoRuntime`] outside a tokio runtime.
    pub async fn new(workers: usize) -> Result<Pool> {
        Pool::builder().workers(workers).build().await
    }

    /// Settings first.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How many workers it has.
    pub fn n_workers(&self) -> usize {
        self.workers.count()
    }

    /// The process ids of the workers that are up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Shutdown`] if the host is going down.
    pub async fn pids(&self) -> Result<Vec<u32>> {
        self.workers.pids().await
    }

    /// Runs a task once, on whichever worker is free.
    ///
    /// # Errors
    ///
    /// [`TaskError::Failed`] with the task's own error, [`TaskError::Died`] with the exact reason, or
    /// [`TaskError::Timeout`].
    pub async fn run<T: Task>(&self, task: T, input: T::Input) -> Result<T::Output, TaskError<T::Error>> {
        let mut outputs = self.map(task, [input]).unordered();
        let only =
            std::future::poll_fn(|cx| futures::Stream::poll_next(std::pin::Pin::new(&mut outputs), cx)).await;
        only.unwrap_or_else(|| {
            Err(TaskError::Other(Error::msg(
                "the pool gave no result for an item",
            )))
        })
    }

    /// Maps a task over inputs, lazily: awaited, it gives all outputs in order; as a stream it pulls inputs no faster
    /// than they are worked on, so an endless iterator is fine.
    pub fn map<T, I>(&self, task: T, inputs: I) -> Map<'_, T, I::IntoIter>
    where
        T: Task,
        I: IntoIterator<Item = T::Input>,
    {
        let _ = task;
        Map::new(&self.workers, inputs.into_iter())
    }
}

impl Builder {
    /// How many workers.
    pub fn workers(mut self, n_workers: usize) -> Self {
        self.workers = Some(n_workers);
        self
    }

    /// What its workers are called, with a number each.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long one item may take. One that takes longer ends as [`TaskError::Timeout`]: its worker is killed and
    /// replaced.
    pub fn task_timeout(mut self, after: Duration) -> Self {
        self.task_timeout = Some(after);
        self
    }

    /// Starts the workers; returns when all are up.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub async fn build(self) -> Result<Pool> {
        control::within_runtime("a pool was built")?;
        let n_workers = self.workers.unwrap_or_else(cores);
        if n_workers == 0 {
            return Err(Error::with_kind(
                ErrorKind::Invalid,
                "a pool of no workers can do no work: give it one or more",
            ));
        }
        let workers = Workers::start(n_workers, self.name, self.task_timeout).await?;
        Ok(Pool {
            workers: Arc::new(workers),
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.workers.kill();
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
