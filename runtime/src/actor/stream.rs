//! Streams of actors, from the reader's side: a call that is answered by a stream, and the stream.
//!
//! [`source`](super::source) has the other side, and what is said between the two.

use crate::error::{CallError, Error, Never, Result};
use crate::link::credit::{Credit, CreditFault, Granter, Window};
use crate::link::{Incoming, Item};
use crate::wire::attach::Payload;
use futures::Stream;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::task::coop::poll_proceed;

use super::call::{Apart, Call, Prepared, Signature, call, going_down, let_go, start};
use super::conn::Reply;
use super::contract::Marker;
use super::feed::Feeds;
use super::handle::ActorRef;
use super::peer::Peer;

/// Marks the word that a stream is there.
pub(super) const BEGUN: u64 = 1;

/// How much of a stream may be on its way to the reader.
const WINDOW: Credit = Credit {
    messages: 64,
    bytes: 1 << 20,
    fds: 512,
};

/// The producer's side of a window of which nothing was given yet.
pub(super) fn window() -> Window {
    Window::resumed(WINDOW, WINDOW)
}

/// A call of a method that returns a stream. It is sent when it is awaited, and gives the stream.
///
/// The call ends like any other: with the method's error, the actor's death or its deadline. The stream has no deadline. It
/// yields no faster than it is read, and nothing before that: at most 64 items, or 1 MiB, are on their way. Dropped, its
/// producer is dropped in the other process too.
///
/// Methods take streams, too, and then are given any. Where its maker dies, the method has an error as the last item:
///
/// ```
/// use futures::{Stream, TryStreamExt, stream};
/// use procession::prelude::*;
///
/// #[derive(Default)]
/// struct Adder;
///
/// #[actor]
/// impl Adder {
///     async fn sum(&self, numbers: impl Stream<Item = procession::Result<u64>>) -> procession::Result<u64> {
///         numbers.try_fold(0, |sum, n| async move { Ok(sum + n) }).await
///     }
///     fn doubled(&self, numbers: impl Stream<Item = u64>) -> impl Stream<Item = u64> + use<> {
///         numbers.map(|n| 2 * n) // ends with an error where `numbers` does
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let adder = Adder::spawn().await?;
/// assert_eq!(adder.sum(stream::iter(1..=100)).await?, 5050);
/// let doubled = adder.doubled(stream::iter(1..=3)).await?;
/// assert_eq!(doubled.try_collect::<Vec<_>>().await?, [2, 4, 6]);
/// # Ok(())
/// # }
/// ```
///
/// ```
/// use futures::Stream;
/// use procession::prelude::*;
///
/// #[derive(Default)]
/// struct Ticker;
///
/// #[actor]
/// impl Ticker {
///     fn ticks(&self) -> impl Stream<Item = u64> + use<> {
///         futures::stream::iter(0..)
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let ticker = Ticker::spawn().await?;
/// let mut ticks = ticker.ticks().await?;
/// assert_eq!(ticks.next().await, Some(Ok(0)));
/// ticker.kill().await?;
/// let died = loop {
///     match ticks.next().await {
///         Some(Ok(_)) => {} // was on its way
///         last => break last,
///     }
/// };
/// assert!(matches!(died, Some(Err(CallError::Died { begun: true, .. }))));
/// assert_eq!(ticks.next().await, None);
/// # Ok(())
/// # }
/// ```
#[must_use = "a call is sent when it is awaited"]
pub struct StreamCall<T: 'static, E: 'static = Never>(Call<T, E>);

/// The future of a [`StreamCall`].
#[must_use = "a call is sent when it is awaited"]
pub struct StreamFuture<T, E>(BoxFuture<'static, Result<CallStream<T>, CallError<E>>>);

/// The items of a stream that a method of an actor returned, from [`StreamCall`].
///
/// An error is its last item: [`CallError::Died`] if the actor's process died, [`CallError::Stopped`] if the actor was
/// stopped. A stream is not taken up again by the next incarnation. An item that cannot be decoded, or for which there is no memory
/// here, is an error too, and the only one that others follow.
#[must_use = "a stream does nothing until it is read"]
pub struct CallStream<T> {
    peer: Arc<Peer>,
    /// Keeps the connection open.
    _actor: Arc<super::handle::Handle>,
    number: u64,
    inflow: Arc<Inflow>,
    decode: fn(&mut &[u8]) -> Result<T>,
    /// Whether room was given to it.
    reads: bool,
    ended: bool,
}

/// What has arrived of a stream.
#[derive(Debug)]
pub(crate) struct Inflow(Mutex<State>);

#[derive(Debug)]
struct State {
    granter: Granter,
    items: VecDeque<Item>,
    /// Nothing more will arrive; `None` inside: nobody says why.
    end: Option<Option<Reply>>,
    reader: Option<Waker>,
}

/// What the methods of a ref make.
#[doc(hidden)]
pub fn stream_call<M: Marker, T, E>(
    actor: &ActorRef<M>,
    signature: &'static Signature<T, E>,
    arguments: Result<Payload>,
) -> StreamCall<T, E> {
    StreamCall(call(actor, signature, arguments))
}

impl<T, E> StreamCall<T, E> {
    /// They feed the streams among its arguments.
    #[doc(hidden)]
    pub fn feeding(self, feeds: Feeds) -> Self {
        StreamCall(self.0.feeding(feeds))
    }

    /// Ends the call with [`CallError::Timeout`] if the stream is not there after this long.
    pub fn timeout(self, after: Duration) -> Self {
        StreamCall(self.0.timeout(after))
    }
}

impl<T: 'static, E: 'static> IntoFuture for StreamCall<T, E> {
    type Output = Result<CallStream<T>, CallError<E>>;
    type IntoFuture = StreamFuture<T, E>;

    fn into_future(self) -> Self::IntoFuture {
        StreamFuture(Box::pin(async move {
            let mut call = self.0;
            let Prepared { holds, after } = call.prepare().map_err(CallError::Other)?;
            let Apart {
                handle,
                letter,
                signature,
                mut aside,
            } = call.take_apart();
            let letter = letter.ok_or_else(|| CallError::Other(going_down()))?;
            let inflow = Arc::new(Inflow::new());
            let peer = handle.peer().map_err(CallError::from_fault)?;
            start(&mut aside);
            let begun = tokio::time::timeout(after, peer.stream(letter, holds, inflow.clone())).await;
            let begun = begun
                .map_err(|_| CallError::Timeout)?
                .map_err(CallError::from_fault)?;
            let (number, mut answer) = begun.ok_or_else(|| CallError::Other(going_down()))?;
            let stream = CallStream {
                peer,
                _actor: handle,
                number,
                inflow,
                decode: signature.value,
                reads: false,
                ended: false,
            };
            // Dropped where it is an error: to take back what has ended is nothing.
            answer.reply.decode(|_| Ok(()), signature.error)?;
            let_go(&mut aside);
            Ok(stream)
        }))
    }
}

impl<T> CallStream<T> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, CallError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.reads, true) {
            self.peer.grant(self.number, WINDOW);
        }
        match ready!(self.inflow.poll_take(cx)) {
            Taken::Item(item, due) => {
                if let Some(credit) = due {
                    self.peer.grant(self.number, credit);
                }
                let item = item.payload().and_then(|item| item.decode(self.decode));
                Poll::Ready(Some(item.map_err(CallError::Other)))
            }
            Taken::End(reply) => {
                self.ended = true;
                Poll::Ready(last(reply))
            }
        }
    }
}

/// What a reader hears at the end: an error, unless it is the stream's own.
fn last<T>(reply: Option<Reply>) -> Option<Result<T, CallError>> {
    let ended = match reply {
        None => Err(CallError::Other(going_down())),
        Some(mut reply) => reply.decode(
            |_| Ok(()),
            |_| Err(Error::msg("a stream ended with an error of a method")),
        ),
    };
    ended.err().map(Err)
}

impl<T> Stream for CallStream<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let budget = ready!(poll_proceed(cx));
        let next = ready!(self.next(cx));
        budget.made_progress();
        Poll::Ready(next)
    }
}

impl<T> Drop for CallStream<T> {
    fn drop(&mut self) {
        if !self.ended {
            self.peer.cancel(self.number);
        }
    }
}

/// What there is to read.
enum Taken {
    /// An item, and the credit to give back now.
    Item(Item, Option<Credit>),
    End(Option<Reply>),
}

impl Inflow {
    fn new() -> Self {
        Inflow(Mutex::new(State {
            granter: Granter::new(WINDOW),
            items: VecDeque::new(),
            end: None,
            reader: None,
        }))
    }

    /// An item arrived.
    pub(super) fn hear(&self, item: Incoming) -> Result<(), CreditFault> {
        let mut state = self.state();
        state.granter.arrived(item.cost())?;
        state.items.push_back(item.into_item());
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Ok(())
    }

    /// It has ended, unless it had before; `None`: its runtime is going down.
    pub(super) fn end(&self, reply: Option<Reply>) {
        let mut state = self.state();
        state.end.get_or_insert(reply);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        let mut state = self.state();
        if let Some(item) = state.items.pop_front() {
            let due = state.granter.consumed(item.cost());
            return Poll::Ready(Taken::Item(item, due));
        }
        match state.end.take() {
            Some(reply) => Poll::Ready(Taken::End(reply)),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T, E> Future for StreamFuture<T, E> {
    type Output = Result<CallStream<T>, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for StreamCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T, E> fmt::Debug for StreamFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamFuture")
    }
}

impl<T> fmt::Debug for CallStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallStream")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
