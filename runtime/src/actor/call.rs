//! [`Call`]: a message that is ready to be sent, as a request with a reply or one-way.

use crate::error::{CallError, Error, ErrorKind, Never, Result};
use crate::os::clock;
use crate::process::control;
use crate::wire::attach::Payload;
use futures::future::BoxFuture;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::conn::Answer;
use super::contract::Marker;
use super::current;
use super::feed::Feeds;
use super::handle::{ActorRef, Handle};
use super::ledger::Letter;
use super::peer::Asked;

/// A call of a method of an actor. It is sent when it is awaited.
///
/// Awaited, it is a request, and gives the method's value. With [`tell`](Call::tell) it is one-way.
///
/// A call ends: with the method's value or error, with the actor's death, or with its deadline, which is a minute where
/// nothing else was said. While the actor restarts it waits. Dropped, it is cancelled in the other process too, at the
/// next await of the method.
///
/// ```
/// use procession::prelude::*;
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Counter(u64);
///
/// #[actor]
/// impl Counter {
///     fn add(&mut self, n: u64) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let counter = Counter::spawn().await?;
/// assert_eq!(counter.add(1).await?, 1);
/// assert_eq!(counter.add(1).timeout(Duration::from_secs(5)).await?, 2);
/// counter.add(1).tell().await?; // accepted, not done
/// assert_eq!(counter.add(0).await?, 3); // from one sender, in order
/// # Ok(())
/// # }
/// ```
#[must_use = "a call is sent when it is awaited"]
pub struct Call<T: 'static, E: 'static = Never> {
    handle: Arc<Handle>,
    signature: &'static Signature<T, E>,
    /// `None`: it was sent, or there is a fault.
    letter: Option<Letter>,
    aside: Option<Box<Aside>>,
}

/// What few calls have: what every call moves about stays small.
#[derive(Default)]
pub(super) struct Aside {
    /// Why there is nothing to send.
    fault: Option<Error>,
    /// Of the streams among its arguments.
    feeds: Option<Feeds>,
}

/// A method, as its callers know it: its number among those of the actor, its name, and how its output is read.
#[doc(hidden)]
pub struct Signature<T, E> {
    pub idx: u32,
    pub name: &'static str,
    pub value: fn(&mut &[u8]) -> Result<T>,
    pub error: fn(&mut &[u8]) -> Result<E>,
}

/// The future of a [`Call`].
#[must_use = "a call is sent when it is awaited"]
pub struct CallFuture<T: 'static, E: 'static> {
    /// Holds the ref, and so the connection, to the end.
    call: Call<T, E>,
    stage: Stage<Result<T, CallError<E>>>,
}

/// The future of a one-way message.
#[must_use = "a message is sent when it is awaited"]
pub struct Tell {
    handle: Arc<Handle>,
    letter: Option<Letter>,
    aside: Option<Box<Aside>>,
    /// It has to wait before it can be sent.
    waits: Option<BoxFuture<'static, Result<(), CallError>>>,
}

/// How far a message has come.
enum Stage<T> {
    Made,
    /// It was sent at once, and has allocated nothing.
    Sent(Asked),
    /// It has to wait before it can be sent, or is made within another.
    Waits(BoxFuture<'static, T>),
    Over,
}

/// What the methods of a ref make.
#[doc(hidden)]
#[inline]
pub fn call<M: Marker, T, E>(
    actor: &ActorRef<M>,
    signature: &'static Signature<T, E>,
    arguments: Result<Payload>,
) -> Call<T, E> {
    let limit = control::client().settings().frame_limit;
    let (letter, aside) = match arguments {
        Ok(body) if body.len() <= limit => (Some(Letter::request(signature.idx, body)), None),
        Ok(body) => (None, Some(Aside::of_fault(Error::too_large(body.len(), limit)))),
        Err(fault) => (None, Some(Aside::of_fault(fault))),
    };
    Call {
        handle: actor.handle().clone(),
        signature,
        letter,
        aside,
    }
}

impl<T, E> Call<T, E> {
    /// They feed the streams among its arguments.
    #[doc(hidden)]
    pub fn feeding(mut self, feeds: Feeds) -> Self {
        self.aside.get_or_insert_default().feeds = Some(feeds);
        self
    }

    /// It may run again, so often, if a process dies in the middle of it.
    #[doc(hidden)]
    pub fn idempotent(mut self, retries: u32) -> Self {
        if let Some(letter) = &mut self.letter {
            letter.retries = retries;
        }
        self
    }

    /// Ends it with [`CallError::Timeout`] if there is no answer after this long, waiting for a restart included. The
    /// method is then cancelled at its next await, and not run at all if it has not begun.
    ///
    /// A call that a method of an actor makes and awaits ends at the latest with the deadline of the call that is
    /// handled there.
    pub fn timeout(mut self, after: Duration) -> Self {
        if let Some(letter) = &mut self.letter {
            letter.timeout = Some(after);
        }
        self
    }

    /// If the deadline passes and the method has not come to its end this long after it, because it does not yield: kills
    /// its process, with [`KillCause::Deadline`](crate::KillCause::Deadline). What had not begun there goes to the
    /// actor's next incarnation. The call itself ends at its deadline.
    pub fn kill_after(mut self, grace: Duration) -> Self {
        if let Some(letter) = &mut self.letter {
            letter.kill_after = Some(grace);
        }
        self
    }

    /// Sends it one-way: the future is ready when the message was accepted, which is when the actor's mailbox has room
    /// for it. An accepted message is handled: if the actor dies before it has begun, its next incarnation gets it, in
    /// its order. It is lost only where the process dies in the middle of it, or the actor ends for good: then it is a
    /// [dead letter](ActorRef::dead_letters).
    #[inline]
    pub fn tell(mut self) -> Tell {
        if let Some(letter) = &mut self.letter {
            letter.answered = false;
        }
        Tell {
            handle: self.handle,
            letter: self.letter,
            aside: self.aside,
            waits: None,
        }
    }

    /// Sends it one-way if the actor is up and its mailbox has room at once.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`] where it has not; nothing is sent then.
    pub fn try_tell(self) -> Result<(), CallError> {
        let Tell {
            handle,
            letter,
            mut aside,
            ..
        } = self.tell();
        let letter = letter.ok_or_else(|| lost(&mut aside))?;
        let peer = handle.peer().map_err(CallError::from_fault)?;
        start(&mut aside);
        peer.try_tell(letter)?;
        let_go(&mut aside);
        Ok(())
    }
}

impl<T: 'static, E: 'static> IntoFuture for Call<T, E> {
    type Output = Result<T, CallError<E>>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> Self::IntoFuture {
        CallFuture {
            call: self,
            stage: Stage::Made,
        }
    }
}

impl<T: 'static, E: 'static> Call<T, E> {
    /// It came to that.
    fn over<O>(&mut self, end: Result<O, CallError<E>>) -> Result<O, CallError<E>> {
        if end.is_ok() {
            let_go(&mut self.aside);
        }
        end
    }
}

/// Why there is no letter.
fn lost(aside: &mut Option<Box<Aside>>) -> Error {
    let fault = aside.as_mut().and_then(|aside| aside.fault.take());
    fault.unwrap_or_else(going_down)
}

/// What a call came to.
#[inline]
fn read<T, E>(end: Result<Option<&mut Answer>>, signature: &Signature<T, E>) -> Result<T, CallError<E>> {
    match end.map_err(CallError::from_fault)? {
        Some(answer) => answer.reply.decode(signature.value, signature.error),
        None => Err(CallError::Other(going_down())),
    }
}

pub(super) fn going_down() -> Error {
    Error::with_kind(
        ErrorKind::Shutdown,
        "the runtime in which the call was made is going down",
    )
}

/// What goes with a call as it is made.
pub(super) struct Prepared {
    /// Whether the message that it is made within runs alone; `None`: it is not made within one.
    pub(super) holds: Option<bool>,
    /// When it ends at the latest.
    pub(super) after: Duration,
}

impl Aside {
    #[cold]
    fn of_fault(fault: Error) -> Box<Aside> {
        Box::new(Aside {
            fault: Some(fault),
            feeds: None,
        })
    }
}

/// A call is sent.
pub(super) fn start(aside: &mut Option<Box<Aside>>) {
    if let Some(feeds) = aside.as_mut().and_then(|aside| aside.feeds.as_mut()) {
        feeds.start();
    }
}

/// The same where nobody has looked yet whether there is a runtime.
fn start_within(handle: &Arc<Handle>, aside: &mut Option<Box<Aside>>) -> Result<()> {
    if aside.is_some() {
        // It looks.
        handle.peer()?;
        start(aside);
    }
    Ok(())
}

/// A call has succeeded.
pub(super) fn let_go(aside: &mut Option<Box<Aside>>) {
    if let Some(feeds) = aside.take().and_then(|aside| aside.feeds) {
        feeds.let_go();
    }
}

/// What there is of a call.
pub(super) struct Apart<T: 'static, E: 'static> {
    pub(super) handle: Arc<Handle>,
    pub(super) letter: Option<Letter>,
    pub(super) signature: &'static Signature<T, E>,
    pub(super) aside: Option<Box<Aside>>,
}

impl<T, E> Call<T, E> {
    pub(super) fn take_apart(self) -> Apart<T, E> {
        Apart {
            handle: self.handle,
            letter: self.letter,
            signature: self.signature,
            aside: self.aside,
        }
    }

    /// What it inherits from the message that is handled here is added.
    pub(super) fn prepare(&mut self) -> Result<Prepared> {
        let Some(letter) = &mut self.letter else {
            return Err(lost(&mut self.aside));
        };
        let after = limit(letter.timeout);
        let now = match after > PRECISE {
            true => clock::coarse(),
            false => clock::monotonic(),
        };
        let mut holds = None;
        letter.deadline = now.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        if let Some(current) = current::get() {
            letter.deadline = current.cap(letter.deadline);
            holds = Some(current.exclusive);
            if let Some(body) = current.announce(&letter.body)? {
                (letter.body, letter.nested) = (body, true);
            }
        }
        Ok(Prepared {
            holds,
            after: Duration::from_nanos(letter.deadline.saturating_sub(now)),
        })
    }
}

/// A deadline that is further away may be a tick of the clock too soon.
const PRECISE: Duration = Duration::from_secs(1);

fn limit(given: Option<Duration>) -> Duration {
    given.unwrap_or_else(|| control::client().settings().call_timeout)
}

impl<T: 'static, E: 'static> CallFuture<T, E> {
    /// Sends it, at once if that can be; its end, if that is there within a moment.
    fn begin(&mut self, waiter: &Waker) -> Result<Option<Result<T, CallError<E>>>> {
        let CallFuture { call, stage } = self;
        let Prepared { holds, after } = call.prepare()?;
        start_within(&call.handle, &mut call.aside)?;
        if holds.is_none() {
            let letter = &mut call.letter;
            let asked = call
                .handle
                .with_peer(|peer, is_other| peer.ask_at_once(letter, waiter, is_other))?;
            if let Some(asked) = asked {
                *stage = Stage::Sent(asked);
            }
        }
        if let Stage::Sent(asked) = stage {
            let end = asked.look_for(&call.handle, |end| read(end, call.signature));
            if end.is_some() {
                *stage = Stage::Over;
            }
            return Ok(end);
        }
        let letter = call.letter.take().ok_or_else(|| lost(&mut None))?;
        let (peer, signature) = (call.handle.peer()?, call.signature);
        *stage = Stage::Waits(Box::pin(async move {
            match tokio::time::timeout(after, peer.call(letter, holds)).await {
                Ok(Ok(mut answer)) => read(Ok(answer.as_mut()), signature),
                Ok(Err(error)) => Err(CallError::from_fault(error)),
                Err(_) => Err(CallError::Timeout),
            }
        }));
        Ok(None)
    }
}

impl<T: 'static, E: 'static> Future for CallFuture<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Made = self.stage {
            self.stage = Stage::Over;
            if let Some(end) = self.begin(cx.waker()).map_err(CallError::from_fault)? {
                return Poll::Ready(self.call.over(end));
            }
            if let Stage::Sent(_) = self.stage {
                // It will be woken.
                return Poll::Pending;
            }
        }
        let CallFuture { call, stage } = &mut *self;
        let end = match stage {
            Stage::Sent(asked) => ready!(asked.poll(&call.handle, cx, |end| read(end, call.signature))),
            Stage::Waits(waits) => ready!(waits.as_mut().poll(cx)),
            Stage::Made | Stage::Over => panic!("a call was polled after its end"),
        };
        *stage = Stage::Over;
        Poll::Ready(call.over(end))
    }
}

impl<T, E> Drop for CallFuture<T, E> {
    fn drop(&mut self) {
        if let Stage::Sent(asked) = &mut self.stage {
            asked.take_back(&self.call.handle);
        }
    }
}

impl Tell {
    /// Sends it at once, if that can be; what is to be waited for otherwise.
    fn begin(&mut self) -> Result<Option<BoxFuture<'static, Result<(), CallError>>>> {
        if self.letter.is_none() {
            return Err(lost(&mut self.aside));
        }
        let letter = &mut self.letter;
        start_within(&self.handle, &mut self.aside)?;
        self.handle.with_peer(|peer, _| peer.tell_at_once(letter))?;
        let Some(letter) = self.letter.take() else {
            return Ok(None);
        };
        let (peer, after) = (self.handle.peer()?, limit(letter.timeout));
        Ok(Some(Box::pin(async move {
            match tokio::time::timeout(after, peer.tell(letter)).await {
                Ok(done) => done.map_err(CallError::from_fault),
                Err(_) => Err(CallError::Timeout),
            }
        })))
    }
}

impl Future for Tell {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waits = match self.waits.take() {
            Some(waits) => waits,
            None => match self.begin()? {
                Some(waits) => waits,
                None => {
                    let_go(&mut self.aside);
                    return Poll::Ready(Ok(()));
                }
            },
        };
        let end = waits.as_mut().poll(cx);
        match end {
            Poll::Pending => self.waits = Some(waits),
            Poll::Ready(Ok(())) => let_go(&mut self.aside),
            Poll::Ready(Err(_)) => {}
        }
        end
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("to", &self.handle)
            .field("method", &self.signature.name)
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for Signature<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<T, E> fmt::Debug for CallFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture")
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

/// An error of the library's own, where a call has none of the user's.
impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::from_fault(error)
    }
}
