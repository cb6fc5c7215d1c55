//! A map that runs: inputs in, outcomes out, driven by whoever polls it.

use crate::actor::conn::Answer;
use crate::actor::contract::Task;
use crate::error::{Error, Result, TaskError};
use crate::process::control;
use crate::wire::items::Writer;
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::TryAcquireError;
use tokio::task::JoinHandle;

use super::chunk::{Chunk, Outcome, Outcomes, Sorted, sort};
use super::progress::Progress;
use super::sizing::{DEPTH, MOST_BYTES, Sizing};
use super::workers::{Turn, Workers, closed};

/// For how many items of a chunk there is room from the start: a chunk may be said to be larger than memory.
const MOST_RESERVED: usize = 1 << 10;

/// Whether inputs are given back with their outcomes.
pub trait Keep<I>: 'static {
    /// What is kept of an input.
    #[doc(hidden)]
    type Kept: Send;
    /// What a result becomes.
    type Item<R>;
    #[doc(hidden)]
    fn keep(input: I) -> Self::Kept;
    #[doc(hidden)]
    fn give<R>(kept: Self::Kept, result: R) -> Self::Item<R>;
}

/// Outcomes alone.
#[derive(Debug)]
pub enum Without {}

/// Each input beside its outcome.
#[derive(Debug)]
pub enum WithInput {}

impl<I> Keep<I> for Without {
    type Kept = ();
    type Item<R> = R;

    fn keep(_: I) {}

    fn give<R>((): (), result: R) -> R {
        result
    }
}

impl<I: Send + 'static> Keep<I> for WithInput {
    type Kept = I;
    type Item<R> = (I, R);

    fn keep(input: I) -> I {
        input
    }

    fn give<R>(kept: I, result: R) -> (I, R) {
        (kept, result)
    }
}

/// What a map keeps of an input.
pub(super) type Kept<T, K> = <K as Keep<<T as Task>::Input>>::Kept;

/// What a stream of a map yields.
type Yielded<T, K> =
    <K as Keep<<T as Task>::Input>>::Item<Result<<T as Task>::Output, TaskError<<T as Task>::Error>>>;

/// A chunk on its way. Its task gives the turn back when the answer is there, whether or not anybody polls for it.
struct Sent<K> {
    chunk: Option<Chunk<K>>,
    answer: JoinHandle<Result<Answer>>,
}

/// The settings of a map.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) chunk_size: Option<usize>,
    pub(super) retries: u32,
    pub(super) progress: Option<String>,
}

/// How many chunks for each worker an ordered stream may be ahead of a slow item.
const HELD: usize = 16;

/// With so many outcomes to be taken, no more inputs are pulled that might not be sendable either.
const MOST_REFUSED: usize = 4096;

/// The machine behind a map's future and its streams.
pub struct Items<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> {
    workers: Arc<Workers>,
    inputs: Option<I>,
    /// The number of the next input.
    next: u64,
    retries: u32,
    sizing: Sizing,
    progress: Progress,
    limit: usize,
    sent: FuturesUnordered<Sent<Kept<T, K>>>,
    turn: Option<Turn>,
    /// Hears that a turn was given back. It holds none itself: whoever does not poll keeps nobody from working.
    freed: Option<BoxFuture<'static, ()>>,
    /// Outcomes that wait for their turn in an ordered stream.
    held: usize,
    /// Chunks that did not run, or not to their end.
    again: VecDeque<Chunk<Kept<T, K>>>,
    done: VecDeque<Batch<T, K>>,
    /// What ended the inputs, and has yet to be passed on.
    panic: Option<Box<dyn Any + Send>>,
    is_cut: bool,
}

/// A chunk that is being made.
struct New<K> {
    first: u64,
    kept: Vec<K>,
    body: Writer,
}

/// Outcomes of inputs that follow one another, and the number of the first.
pub(super) struct Batch<T: Task, K: Keep<T::Input>> {
    pub(super) first: u64,
    pub(super) outcomes: Outcomes<T, Kept<T, K>>,
}

/// Outcomes as they come.
pub struct Unordered<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> {
    items: Items<T, I, K>,
    present: Option<Batch<T, K>>,
    pool: PhantomData<&'p ()>,
}

/// Outcomes in the order of their inputs.
pub struct Ordered<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> {
    items: Items<T, I, K>,
    present: Option<Batch<T, K>>,
    /// Outcomes whose turn has not come, by the numbers of the first.
    early: BTreeMap<u64, Batch<T, K>>,
    /// The number of the input whose outcome comes behind those in `present`.
    next: u64,
    pool: PhantomData<&'p ()>,
}

impl<K> Future for Sent<K> {
    type Output = (Chunk<K>, Result<Answer>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        // It is polled once to its end, so the chunk is there.
        let chunk = self.chunk.take().unwrap_or_default();
        Poll::Ready((chunk, answer.unwrap_or_else(|error| Err(Error::new(error)))))
    }
}

// Nothing in it is pinned: the task is on the heap.
impl<K> Unpin for Sent<K> {}

impl<K> Drop for Sent<K> {
    /// A map that is dropped takes its chunks back.
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Items<T, I, K> {
    pub(super) fn new(workers: Arc<Workers>, inputs: I, settings: Settings) -> Self {
        Items {
            sizing: Sizing::new(settings.chunk_size, workers.count()),
            progress: Progress::new(settings.progress, inputs.size_hint().1),
            limit: control::client().settings().frame_limit,
            workers,
            inputs: Some(inputs),
            next: 0,
            retries: settings.retries,
            sent: FuturesUnordered::new(),
            turn: None,
            freed: None,
            held: 0,
            again: VecDeque::new(),
            done: VecDeque::new(),
            panic: None,
            is_cut: false,
        }
    }

    /// Nobody sees an outcome before all are there.
    pub(super) fn seen_at_the_end(self) -> Self {
        let sizing = self.sizing.of_all();
        Items { sizing, ..self }
    }

    /// Some outcomes.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch<T, K>>> {
        while self.done.is_empty() {
            self.send(cx);
            self.pass_panic_on();
            match Pin::new(&mut self.sent).poll_next(cx) {
                Poll::Ready(Some((chunk, answer))) => {
                    self.came(chunk, answer);
                    // The worker is idle: its next chunk goes before anybody looks at this one's results.
                    self.send(cx);
                    self.pass_panic_on();
                }
                Poll::Ready(None) if self.done.is_empty() && !self.has_work() => {
                    self.progress.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(None) | Poll::Pending if self.done.is_empty() => return Poll::Pending,
                _ => {}
            }
        }
        Poll::Ready(self.done.pop_front())
    }

    fn came(&mut self, chunk: Chunk<Kept<T, K>>, answer: Result<Answer>) {
        let (first, n_items) = (chunk.first, chunk.kept.len());
        let Sorted {
            done,
            alone,
            rest,
            nanos,
        } = sort::<T, _>(chunk, answer, self.workers.task_timeout);
        if let Some(nanos) = nanos {
            self.sizing.took(n_items, nanos);
        }
        self.again.extend(alone);
        self.again.extend(rest);
        if done.len() > 0 {
            self.give(first, done);
        }
    }

    fn give(&mut self, first: u64, outcomes: Outcomes<T, Kept<T, K>>) {
        self.progress.advance(outcomes.len());
        self.done.push_back(Batch { first, outcomes });
    }

    fn has_work(&self) -> bool {
        self.inputs.is_some() || !self.again.is_empty()
    }

    /// How many inputs are left, where that is known.
    fn left(&self) -> Option<usize> {
        let inputs = match &self.inputs {
            Some(inputs) => inputs.size_hint().1?,
            None => 0,
        };
        let again: usize = self.again.iter().map(|chunk| chunk.kept.len()).sum();
        inputs.checked_add(again)
    }

    /// Gives chunks to workers, as long as there are both.
    fn send(&mut self, cx: &mut Context<'_>) {
        while self.has_work() {
            let depth = self.sizing.depth(self.left());
            let enough = self.sent.len() >= depth * self.workers.count();
            if enough && self.workers.least_load() > 0 {
                return;
            }
            // An ordered stream waits for a slow item: the others go no further ahead of it than this.
            let ahead = self.sizing.largest().saturating_mul(HELD * self.workers.count());
            if self.held > ahead && !self.sent.is_empty() {
                return;
            }
            let turn = match self.turn.take() {
                Some(turn) => Poll::Ready(Ok(turn)),
                None if depth > DEPTH => Poll::Ready(Ok(self.workers.extra_turn())),
                None => self.poll_turn(cx),
            };
            let turn = match turn {
                Poll::Ready(Ok(turn)) => turn,
                Poll::Ready(Err(error)) => return self.give_up(&error),
                Poll::Pending => return,
            };
            let chunk = self.again.pop_front().unwrap_or_else(|| self.chunk());
            if chunk.kept.is_empty() {
                // No input was left, or none could be sent.
                if !self.done.is_empty() {
                    return;
                }
                self.turn = self.has_work().then_some(turn);
                continue;
            }
            let runtime = match control::within_runtime("a map") {
                Ok(runtime) => runtime,
                Err(error) => return self.refuse_all(chunk, &error),
            };
            let (row, body) = (T::row().position(), chunk.body.clone());
            self.sent.push(Sent {
                chunk: Some(chunk),
                answer: runtime.spawn(async move { turn.send(row, body).await }),
            });
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Turn>> {
        loop {
            let freed = self
                .freed
                .get_or_insert_with(|| Box::pin(self.workers.clone().freed()));
            let was_freed = freed.as_mut().poll(cx).is_ready();
            if was_freed {
                self.freed = None;
            }
            match self.workers.try_turn() {
                Err(TryAcquireError::NoPermits) if was_freed => {}
                Err(TryAcquireError::NoPermits) => return Poll::Pending,
                Err(TryAcquireError::Closed) => return Poll::Ready(Err(closed())),
                Ok(turn) => return Poll::Ready(Ok(turn)),
            }
        }
    }

    /// The next inputs.
    fn chunk(&mut self) -> Chunk<Kept<T, K>> {
        let size = self.sizing.next(self.left());
        let mut new = New {
            first: self.next,
            kept: Vec::with_capacity(size.min(MOST_RESERVED)),
            body: Writer::with_capacity(self.sizing.bytes(size)),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.fill(&mut new, size))) {
            // What it was about is told by it; those before go on, and there are no more.
            if self.next > new.first + new.kept.len() as u64 {
                self.next -= 1;
                drop(new.body.split_off_last());
            }
            self.inputs = None;
            self.panic = Some(panic);
        }
        self.sizing.took_bytes(new.kept.len(), new.body.len());
        Chunk {
            first: new.first,
            retries: self.retries,
            kept: new.kept,
            body: new.body.into_payload(),
        }
    }

    fn fill(&mut self, new: &mut New<Kept<T, K>>, size: usize) {
        let registered = T::row().registered().map(drop);
        while new.kept.len() < size && new.body.len() < MOST_BYTES && self.done.len() < MOST_REFUSED {
            let Some(input) = self.pull() else { break };
            let encode = |out: &mut Vec<u8>| registered.clone().and_then(|()| T::encode_input(&input, out));
            // A chunk of one item has to fit into a frame.
            match new.body.push(0, self.limit, encode) {
                // It does not fit with those before it, and goes behind them.
                Ok(()) if !new.kept.is_empty() && new.body.is_too_much(self.limit) => {
                    let (kept, body) = (K::keep(input), new.body.split_off_last());
                    self.again
                        .push_back(Chunk::of_one(self.next - 1, self.retries, kept, body));
                    break;
                }
                Ok(()) => new.kept.push(K::keep(input)),
                Err(error) => {
                    self.refuse(self.next - 1, K::keep(input), error);
                    // The numbers of a chunk follow one another.
                    if !new.kept.is_empty() {
                        break;
                    }
                    new.first = self.next;
                }
            }
        }
    }

    /// A panic of the inputs is that of whoever polls, once what came before it is on its way.
    fn pass_panic_on(&mut self) {
        if let Some(panic) = self.panic.take() {
            self.is_cut = true;
            resume_unwind(panic);
        }
    }

    /// Whether a panic ended the inputs before their end.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn pull(&mut self) -> Option<T::Input> {
        let input = self.inputs.as_mut()?.next();
        match input {
            Some(_) => self.next += 1,
            None => self.inputs = None,
        }
        input
    }

    fn refuse(&mut self, idx: u64, kept: Kept<T, K>, error: Error) {
        self.give(idx, Outcomes::failed(vec![kept], error));
    }

    fn refuse_all(&mut self, chunk: Chunk<Kept<T, K>>, error: &Error) {
        self.give(chunk.first, Outcomes::failed(chunk.kept, error.clone()));
    }

    /// The pool is gone: what was not sent never will be.
    fn give_up(&mut self, error: &Error) {
        self.inputs = None;
        for chunk in std::mem::take(&mut self.again) {
            self.refuse_all(chunk, error);
        }
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unordered<'_, T, I, K> {
    pub(super) fn new(items: Items<T, I, K>) -> Self {
        Unordered {
            items,
            present: None,
            pool: PhantomData,
        }
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Ordered<'_, T, I, K> {
    pub(super) fn new(items: Items<T, I, K>) -> Self {
        Ordered {
            items,
            present: None,
            early: BTreeMap::new(),
            next: 0,
            pool: PhantomData,
        }
    }
}

// Nothing in them is pinned: futures are boxed, and inputs are only ever asked for the next.
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for Items<T, I, K> {}
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for Unordered<'_, T, I, K> {}
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for Ordered<'_, T, I, K> {}

impl<T: Task, K: Keep<T::Input>> Batch<T, K> {
    /// The number of the input behind the last.
    fn end(&self) -> u64 {
        self.first + self.outcomes.len() as u64
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Stream for Unordered<'_, T, I, K> {
    type Item = Yielded<T, K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(done) = this.present.as_mut().and_then(|batch| batch.outcomes.next()) {
                return Poll::Ready(Some(yielded::<T, K>(done)));
            }
            match ready!(this.items.poll_done(cx)) {
                Some(batch) => this.present = Some(batch),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Stream for Ordered<'_, T, I, K> {
    type Item = Yielded<T, K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(done) = this.present.as_mut().and_then(|batch| batch.outcomes.next()) {
                return Poll::Ready(Some(yielded::<T, K>(done)));
            }
            if let Some(batch) = this.early.remove(&this.next) {
                this.next = batch.end();
                this.present = Some(batch);
                continue;
            }
            let last = this.early.last_key_value();
            this.items.held = last.map_or(0, |(_, batch)| batch.end() - this.next) as usize;
            let Some(batch) = ready!(this.items.poll_done(cx)) else {
                return Poll::Ready(None);
            };
            this.early.insert(batch.first, batch);
        }
    }
}

fn yielded<T: Task, K: Keep<T::Input>>((kept, outcome): (Kept<T, K>, Outcome<T>)) -> Yielded<T, K> {
    K::give(kept, outcome.map_err(|error| *error))
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> std::fmt::Debug for Items<T, I, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items")
            .field("taken", &self.next)
            .field("in_flight", &self.sent.len())
            .finish_non_exhaustive()
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> std::fmt::Debug for Unordered<'_, T, I, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.items.fmt(f)
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> std::fmt::Debug for Ordered<'_, T, I, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.items.fmt(f)
    }
}
