//! [`Map`]: one combinator for every way to map.

use crate::actor::contract::Task;
use crate::error::{Error, ErrorKind, Result, TaskError};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::items::{Batch, Items, Keep, Ordered, Settings, Unordered, WithInput, Without};
use super::workers::Workers;

/// For how many bytes of outputs there is room from the start, where inputs say that there will be so many.
const MOST_RESERVED: usize = 16 << 20;

/// A map that has not begun: settings, and how its outcomes are to come.
///
/// | written | gives |
/// | --- | --- |
/// | `.await` | a `Vec` of the outputs in order, or the first error |
/// | [`.stream()`](Map::stream) | a stream of the outcomes in order |
/// | [`.unordered()`](Map::unordered) | a stream of the outcomes as they come |
///
/// Inputs are pulled when a worker can take them, so an iterator without end is fine with a stream. Dropped, it takes
/// back what has not begun; an item that runs is cancelled at its next await.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn half(n: u64) -> Result<u64, String> {
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let pool = Pool::new(2).await?;
/// let mut halves = pool.map(half, 1..).with_input().stream();
/// assert_eq!(halves.next().await, Some((1, Err(TaskError::Failed("1 is odd".to_owned())))));
/// assert_eq!(halves.next().await, Some((2, Ok(1))));
/// drop(halves); // takes back what has not begun
///
/// // Awaited, the first error ends it.
/// let error = pool.map(half, [2, 3, 4]).await.unwrap_err();
/// assert_eq!(error, TaskError::Failed("3 is odd".to_owned()));
/// # Ok(())
/// # }
/// ```
#[must_use = "a map does nothing until it is awaited or streamed"]
pub struct Map<'p, T, I, K = Without> {
    workers: &'p Arc<Workers>,
    inputs: I,
    settings: Settings,
    kind: PhantomData<fn() -> (T, K)>,
}

/// The future of a [`Map`].
#[must_use = "a future does nothing until it is awaited"]
pub struct MapFuture<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> {
    items: Items<T, I, K>,
    outputs: Vec<K::Item<T::Output>>,
    /// Outputs that come later, by the numbers of the first.
    early: BTreeMap<u64, Vec<K::Item<T::Output>>>,
    pool: PhantomData<&'p ()>,
}

impl<'p, T: Task, I: Iterator<Item = T::Input>> Map<'p, T, I> {
    pub(super) fn new(workers: &'p Arc<Workers>, inputs: I) -> Self {
        Map {
            workers,
            inputs,
            settings: Settings::default(),
            kind: PhantomData,
        }
    }

    /// Gives each input back beside its outcome.
    pub fn with_input(self) -> Map<'p, T, I, WithInput> {
        let Map {
            workers,
            inputs,
            settings,
            ..
        } = self;
        Map {
            workers,
            inputs,
            settings,
            kind: PhantomData,
        }
    }
}

impl<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Map<'p, T, I, K> {
    /// How many items go to a worker at once. By default that follows what they take: about 2 ms in a chunk, and 20 ms where the
    /// map is awaited.
    ///
    /// A worker has a second chunk waiting while it runs one. Of chunks that take much less than 0.2 ms it has about as
    /// many as take that long, at most 256, and they travel together.
    pub fn chunk_size(mut self, n_items: usize) -> Self {
        self.settings.chunk_size = Some(n_items.max(1));
        self
    }

    /// How often an item whose worker *died* runs again, alone, on another worker: 0 by default. One that failed or
    /// timed out does not.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// A progress bar on standard error, where that is a terminal.
    #[cfg(feature = "progress")]
    pub fn progress(mut self, label: impl Into<String>) -> Self {
        self.settings.progress = Some(label.into());
        self
    }

    /// The outcomes in the order of their inputs.
    pub fn stream(self) -> Ordered<'p, T, I, K> {
        Ordered::new(self.start())
    }

    /// The outcomes as they come.
    pub fn unordered(self) -> Unordered<'p, T, I, K> {
        Unordered::new(self.start())
    }

    fn start(self) -> Items<T, I, K> {
        Items::new(self.workers.clone(), self.inputs, self.settings)
    }
}

impl<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> IntoFuture for Map<'p, T, I, K> {
    type Output = Result<Vec<K::Item<T::Output>>, TaskError<T::Error>>;
    type IntoFuture = MapFuture<'p, T, I, K>;

    fn into_future(self) -> Self::IntoFuture {
        let most = MOST_RESERVED / size_of::<K::Item<T::Output>>().max(1);
        let at_least = self.inputs.size_hint().0.min(most);
        MapFuture {
            outputs: Vec::with_capacity(at_least),
            items: self.start().seen_at_the_end(),
            early: BTreeMap::new(),
            pool: PhantomData,
        }
    }
}

// Nothing in it is pinned: see `Items`.
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for MapFuture<'_, T, I, K> {}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Future for MapFuture<'_, T, I, K> {
    type Output = Result<Vec<K::Item<T::Output>>, TaskError<T::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(batch) = ready!(this.items.poll_done(cx)) {
            if let Err(error) = this.take(batch) {
                return Poll::Ready(Err(error));
            }
        }
        match this.items.is_cut() {
            true => Poll::Ready(Err(TaskError::Other(cut()))),
            false => Poll::Ready(Ok(std::mem::take(&mut this.outputs))),
        }
    }
}

/// It is polled again after a panic of its inputs.
fn cut() -> Error {
    Error::with_kind(ErrorKind::Invalid, "a panic ended the inputs of a map")
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> MapFuture<'_, T, I, K> {
    /// Takes the outputs of a batch, or the first error in it.
    fn take(&mut self, Batch { first, outcomes }: Batch<T, K>) -> Result<(), TaskError<T::Error>> {
        let is_next = |outputs: &Vec<_>, first| outputs.len() as u64 == first;
        let mut later = Vec::new();
        let outputs = match is_next(&self.outputs, first) {
            true => &mut self.outputs,
            false => &mut later,
        };
        outputs.reserve(outcomes.len());
        for (kept, outcome) in outcomes {
            outputs.push(K::give(kept, outcome.map_err(|error| *error)?));
        }
        if !later.is_empty() {
            self.early.insert(first, later);
        }
        while let Some(next) = self
            .early
            .first_entry()
            .filter(|next| is_next(&self.outputs, *next.key()))
        {
            self.outputs.append(&mut next.remove());
        }
        Ok(())
    }
}

impl<T, I, K> fmt::Debug for Map<'_, T, I, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> fmt::Debug for MapFuture<'_, T, I, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}
