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
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::error::Elapsed;

use super::contract::Marker;
use super::current;
use super::handle::{ActorRef, Handle};
use super::ledger::Letter;
use super::peer::CallContext;

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
pub struct Call<T, E = Never> {
    handle: Arc<Handle>,
    method: u32,
    name: &'static str,
    arguments: Result<Payload>,
    decode: Decoders<T, E>,
    timeout: Option<Duration>,
    retries: u32,
    kill_after: Option<Duration>,
}

/// How the output of a method is read.
#[doc(hidden)]
pub struct Decoders<T, E> {
    pub value: fn(&mut &[u8]) -> Result<T>,
    pub error: fn(&mut &[u8]) -> Result<E>,
}

/// The future of a [`Call`].
#[must_use = "a call is sent when it is awaited"]
pub struct CallFuture<T, E>(BoxFuture<'static, Result<T, CallError<E>>>);

/// The future of a one-way message.
#[must_use = "a message is sent when it is awaited"]
pub struct Tell(BoxFuture<'static, Result<(), CallError>>);

/// What the methods of a ref make.
#[doc(hidden)]
pub fn call<M: Marker, T, E>(
    actor: &ActorRef<M>,
    method: u32,
    name: &'static str,
    arguments: Result<Payload>,
    decode: Decoders<T, E>,
) -> Call<T, E> {
    let limit = control::client().settings().frame_limit;
    let arguments = arguments.and_then(|payload| match payload.len() {
        size if size > limit => Err(Error::too_large(size, limit)),
        _ => Ok(payload),
    });
    Call {
        handle: actor.handle().clone(),
        method,
        name,
        arguments,
        decode,
        timeout: None,
        retries: 0,
        kill_after: None,
    }
}

impl<T, E> Call<T, E> {
    /// It may run again, so often, if a process dies in the middle of it.
    #[doc(hidden)]
    pub fn idempotent(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Ends it with [`CallError::Timeout`] if there is no answer after this long, waiting for a restart included. The
    /// method is then cancelled at its next await, and not run at all if it has not begun.
    ///
    /// A call that a method of an actor makes and awaits ends at the latest with the deadline of the call that is
    /// handled there.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// If the deadline passes and the method has not come to its end this long after it, because it does not yield: kills
    /// its process, with [`KillCause::Deadline`](crate::KillCause::Deadline). What had not begun there goes to the
    /// actor's next incarnation. The call itself ends at its deadline.
    pub fn kill_after(mut self, grace: Duration) -> Self {
        self.kill_after = Some(grace);
        self
    }

    /// Sends it one-way: the future is ready when the message was accepted, which is when the actor's mailbox has room
    /// for it. An accepted message is handled: if the actor dies before it has begun, its next incarnation gets it, in
    /// its order. It is lost only where the process dies in the middle of it, or the actor ends for good: then it is a
    /// [dead letter](ActorRef::dead_letters).
    pub fn tell(self) -> Tell {
        let (handle, timeout) = (self.handle.clone(), self.timeout);
        let letter = self.letter(false).map(|(letter, _)| letter);
        Tell(Box::pin(async move {
            let letter = letter.map_err(CallError::Other)?;
            control::within_runtime("a call").map_err(CallError::Other)?;
            let peer = handle.peer().map_err(CallError::from_fault)?;
            in_time(tokio::time::timeout(limit(timeout), peer.tell(letter)).await)
        }))
    }

    /// Sends it one-way if the actor is up and its mailbox has room at once.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`] where it has not; nothing is sent then.
    pub fn try_tell(self) -> Result<(), CallError> {
        let handle = self.handle.clone();
        let (letter, _) = self.letter(false)?;
        handle.peer().map_err(CallError::from_fault)?.try_tell(letter)
    }

    /// The message, and how its answer is read.
    fn letter(self, answered: bool) -> Result<(Letter, Decoders<T, E>)> {
        let letter = Letter {
            method: self.method,
            body: self.arguments?,
            nested: false,
            deadline: 0,
            answered,
            retries: self.retries,
            keep: true,
        };
        Ok((letter, self.decode))
    }
}

impl<T: 'static, E: 'static> IntoFuture for Call<T, E> {
    type Output = Result<T, CallError<E>>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> Self::IntoFuture {
        CallFuture(Box::pin(async move {
            let handle = self.handle.clone();
            let Prepared {
                letter,
                decode,
                context,
                after,
            } = self.prepare().map_err(CallError::Other)?;
            control::within_runtime("a call").map_err(CallError::Other)?;
            let peer = handle.peer().map_err(CallError::from_fault)?;
            match in_time(tokio::time::timeout(after, peer.call(letter, context)).await)? {
                Some(answer) => answer.reply.decode(decode.value, decode.error),
                None => Err(CallError::Other(Error::with_kind(
                    ErrorKind::Shutdown,
                    "the runtime in which the call was made is going down",
                ))),
            }
        }))
    }
}

/// A call as it is made.
pub(super) struct Prepared<T, E> {
    pub(super) letter: Letter,
    pub(super) decode: Decoders<T, E>,
    pub(super) context: CallContext,
    /// When it ends at the latest.
    pub(super) after: Duration,
}

impl<T, E> Call<T, E> {
    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// What it inherits from the message that is handled here is added.
    pub(super) fn prepare(self) -> Result<Prepared<T, E>> {
        let (now, after) = (clock::monotonic(), limit(self.timeout));
        let mut context = CallContext {
            grace: self.kill_after,
            holds: None,
        };
        let (mut letter, decode) = self.letter(true)?;
        letter.deadline = now.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        if let Some(current) = current::get() {
            letter.deadline = current.cap(letter.deadline);
            context.holds = Some(current.exclusive);
            if let Some(body) = current.announce(&letter.body)? {
                (letter.body, letter.nested) = (body, true);
            }
        }
        Ok(Prepared {
            after: Duration::from_nanos(letter.deadline.saturating_sub(now)),
            letter,
            decode,
            context,
        })
    }
}

fn limit(given: Option<Duration>) -> Duration {
    given.unwrap_or_else(|| control::client().settings().call_timeout)
}

/// The work, or [`CallError::Timeout`].
pub(super) async fn within<T, E>(
    given: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T, CallError<E>> {
    control::within_runtime("a call").map_err(CallError::Other)?;
    in_time(tokio::time::timeout(limit(given), work).await)
}

/// What was done, or [`CallError::Timeout`].
fn in_time<T, E>(done: std::result::Result<Result<T>, Elapsed>) -> Result<T, CallError<E>> {
    match done {
        Ok(done) => done.map_err(CallError::from_fault),
        Err(_) => Err(CallError::Timeout),
    }
}

impl<T, E> Future for CallFuture<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl Future for Tell {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("to", &self.handle)
            .field("method", &self.name)
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for Decoders<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoders")
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
