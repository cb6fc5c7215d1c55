//! A map that runs: inputs in, outcomes out, driven by whoever polls it.

use crate::actor::conn::Answer;
use crate::actor::contract::Task;
use crate::error::{Error, Result, TaskError};
use crate::process::control;
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::TryAcquireError;
use tokio::task::JoinHandle;

use super::chunk::{Again, Chunk, Done, Item, Outcome, Sorted, sort};
use super::parts::{Place, Writer};
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
    again: VecDeque<Again<Kept<T, K>>>,
    alone: VecDeque<Again<Kept<T, K>>>,
    done: Lot<T, K>,
}

/// Outcomes as they come.
pub struct Unordered<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> {
    items: Items<T, I, K>,
    pool: PhantomData<&'p ()>,
}

/// An outcome with what is kept of its input.
type Early<T, K> = (Kept<T, K>, Outcome<T>);

/// Some outcomes.
pub(super) type Lot<T, K> = VecDeque<Done<T, Kept<T, K>>>;

/// Outcomes in the order of their inputs.
pub struct Ordered<'p, T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> {
    items: Items<T, I, K>,
    /// Outcomes whose turn has not come; the first is that of number `next`.
    early: VecDeque<Option<Early<T, K>>>,
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
            alone: VecDeque::new(),
            done: VecDeque::new(),
        }
    }

    /// Some outcomes; never an empty lot.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Option<&mut Lot<T, K>>> {
        while self.done.is_empty() {
            self.send(cx);
            match Pin::new(&mut self.sent).poll_next(cx) {
                Poll::Ready(Some((chunk, answer))) => {
                    self.came(chunk, answer);
                    // The worker is idle: its next chunk goes before anybody looks at this one's results.
                    self.send(cx);
                }
                Poll::Ready(None) if self.done.is_empty() && !self.has_work() => {
                    self.progress.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(None) | Poll::Pending if self.done.is_empty() => return Poll::Pending,
                _ => {}
            }
        }
        Poll::Ready(Some(&mut self.done))
    }

    fn came(&mut self, chunk: Chunk<Kept<T, K>>, answer: Result<Answer>) {
        let n_items = chunk.items.len();
        let Sorted {
            done,
            again,
            alone,
            nanos,
        } = sort::<T, _>(chunk, answer, self.workers.task_timeout);
        if let Some(nanos) = nanos {
            self.sizing.took(n_items, nanos);
        }
        self.progress.advance(done.len());
        match self.done.is_empty() {
            true => self.done = done.into(),
            false => self.done.extend(done),
        }
        self.again.extend(again);
        self.alone.extend(alone);
    }

    fn has_work(&self) -> bool {
        self.inputs.is_some() || !self.again.is_empty() || !self.alone.is_empty()
    }

    /// How many inputs are left, where that is known.
    fn left(&self) -> Option<usize> {
        let inputs = match &self.inputs {
            Some(inputs) => inputs.size_hint().1?,
            None => 0,
        };
        inputs.checked_add(self.again.len() + self.alone.len())
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
            let chunk = self.chunk();
            if chunk.items.is_empty() {
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

    /// The next chunk: an item that must go alone, or those to be sent again, or inputs.
    fn chunk(&mut self) -> Chunk<Kept<T, K>> {
        let mut body = Writer::default();
        let mut items = Vec::new();
        if let Some(alone) = self.alone.pop_front() {
            resend(alone, &mut items, &mut body);
            return Chunk {
                items,
                body: body.into_payload(),
            };
        }
        let size = self.sizing.next(self.left());
        items.reserve(size.min(MOST_RESERVED));
        while items.len() < size && body.len() < MOST_BYTES && self.done.len() < MOST_REFUSED {
            let is_too_much = |again: &Again<_>| !items.is_empty() && !body.fits(&again.body, self.limit);
            if self.again.front().is_some_and(is_too_much) {
                break;
            }
            if let Some(again) = self.again.pop_front() {
                resend(again, &mut items, &mut body);
                continue;
            }
            let Some(input) = self.inputs.as_mut().and_then(Iterator::next) else {
                self.inputs = None;
                break;
            };
            let idx = self.next;
            self.next += 1;
            match self.encode(&input, &mut body) {
                // It does not fit with those before it, and is the first of the next chunk.
                Ok(place) if !items.is_empty() && body.is_too_much(self.limit) => {
                    self.again.push_front(Again {
                        idx,
                        input: K::keep(input),
                        retries: self.retries,
                        body: body.split_off(&place),
                    });
                    break;
                }
                Ok(place) => items.push(Item {
                    idx,
                    input: K::keep(input),
                    retries: self.retries,
                    place,
                }),
                Err(error) => self.refuse(idx, K::keep(input), error),
            }
        }
        Chunk {
            items,
            body: body.into_payload(),
        }
    }

    fn encode(&self, input: &T::Input, body: &mut Writer) -> Result<Place> {
        T::row().registered()?;
        // A chunk of one item has to fit into a frame.
        body.push(0, self.limit, |out| T::encode_input(input, out))
    }

    fn refuse(&mut self, idx: u64, input: Kept<T, K>, error: Error) {
        self.progress.advance(1);
        self.done.push_back(Done {
            idx,
            input,
            outcome: Err(Box::new(TaskError::Other(error))),
        });
    }

    fn refuse_all(&mut self, chunk: Chunk<Kept<T, K>>, error: &Error) {
        for Item { idx, input, .. } in chunk.items {
            self.refuse(idx, input, error.clone());
        }
    }

    /// The pool is gone: what was not sent never will be.
    fn give_up(&mut self, error: &Error) {
        self.inputs = None;
        for Again { idx, input, .. } in std::mem::take(&mut self.again)
            .into_iter()
            .chain(std::mem::take(&mut self.alone))
        {
            self.refuse(idx, input, error.clone());
        }
    }
}

fn resend<K>(again: Again<K>, items: &mut Vec<Item<K>>, body: &mut Writer) {
    let Again {
        idx,
        input,
        retries,
        body: part,
    } = again;
    items.push(Item {
        idx,
        input,
        retries,
        place: body.repeat(part),
    });
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unordered<'_, T, I, K> {
    pub(super) fn new(items: Items<T, I, K>) -> Self {
        Unordered {
            items,
            pool: PhantomData,
        }
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Ordered<'_, T, I, K> {
    pub(super) fn new(items: Items<T, I, K>) -> Self {
        Ordered {
            items,
            early: VecDeque::new(),
            next: 0,
            pool: PhantomData,
        }
    }
}

// Nothing in them is pinned: futures are boxed, and inputs are only ever asked for the next.
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for Items<T, I, K> {}
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for Unordered<'_, T, I, K> {}
impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Unpin for Ordered<'_, T, I, K> {}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Stream for Unordered<'_, T, I, K> {
    type Item = Yielded<T, K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let done = ready!(self.items.poll_done(cx));
        let first = done.and_then(VecDeque::pop_front);
        Poll::Ready(first.map(|Done { input, outcome, .. }| K::give(input, outcome.map_err(|error| *error))))
    }
}

impl<T: Task, I: Iterator<Item = T::Input>, K: Keep<T::Input>> Stream for Ordered<'_, T, I, K> {
    type Item = Yielded<T, K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some((input, outcome)) = this.early.front_mut().and_then(Option::take) {
                this.early.pop_front();
                this.next += 1;
                return Poll::Ready(Some(K::give(input, outcome.map_err(|error| *error))));
            }
            this.items.held = this.early.len();
            let Some(done) = ready!(this.items.poll_done(cx)) else {
                return Poll::Ready(None);
            };
            for Done { idx, input, outcome } in done.drain(..) {
                let place = (idx - this.next) as usize;
                if this.early.len() <= place {
                    this.early.resize_with(place + 1, || None);
                }
                this.early[place] = Some((input, outcome));
            }
        }
    }
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
