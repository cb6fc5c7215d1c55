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
use super::handle::{ActorRef, Handle};
use super::ledger::Letter;
use super::peer::{Asked, CallContext};

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
pub struct CallFuture<T, E>(Stage<T, E>);

/// How far a call has come.
enum Stage<T, E> {
    Made(Call<T, E>),
    /// It was sent at once, and allocates nothing. The ref keeps the connection open.
    Sent(Asked, Decoders<T, E>, #[allow(dead_code)] Arc<Handle>),
    /// It has to wait before it can be sent, or is made within another.
    Waits(BoxFuture<'static, Result<T, CallError<E>>>),
    Over,
}

/// The future of a one-way message.
#[must_use = "a message is sent when it is awaited"]
pub struct Tell(Telling);

/// How far a one-way message has come.
enum Telling {
    Made {
        handle: Arc<Handle>,
        letter: Result<Letter>,
        timeout: Option<Duration>,
    },
    /// It has to wait until it is accepted.
    Waits(BoxFuture<'static, Result<(), CallError>>),
    Over,
}

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
        let timeout = self.timeout;
        let (handle, letter) = self.letter(false);
        Tell(Telling::Made {
            handle,
            letter: letter.map(|(letter, _)| letter),
            timeout,
        })
    }

    /// Sends it one-way if the actor is up and its mailbox has room at once.
    ///
    /// # Errors
    ///
    /// [`CallError::Full`] where it has not; nothing is sent then.
    pub fn try_tell(self) -> Result<(), CallError> {
        let (handle, letter) = self.letter(false);
        let (letter, _) = letter?;
        handle.peer().map_err(CallError::from_fault)?.try_tell(letter)
    }

    /// To whom it goes, the message, and how its answer is read.
    #[allow(clippy::type_complexity, reason = "taken apart at once")]
    fn letter(self, answered: bool) -> (Arc<Handle>, Result<(Letter, Decoders<T, E>)>) {
        let letter = self.arguments.map(|body| Letter {
            method: self.method,
            body,
            nested: false,
            deadline: 0,
            answered,
            retries: self.retries,
            keep: true,
        });
        (self.handle, letter.map(|letter| (letter, self.decode)))
    }
}

impl<T: 'static, E: 'static> IntoFuture for Call<T, E> {
    type Output = Result<T, CallError<E>>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> Self::IntoFuture {
        CallFuture(Stage::Made(self))
    }
}

impl<T: 'static, E: 'static> Call<T, E> {
    /// Sends it, at once if that can be.
    fn begin(self, waiter: &Waker) -> Result<Begun<T, E>> {
        let Prepared {
            handle,
            letter,
            decode,
            context,
            after,
        } = self.prepare()?;
        let peer = handle.peer()?;
        let mut letter = Some(letter);
        if context.holds.is_none()
            && let Some(mut asked) = peer.ask_at_once(&mut letter, context.grace, waiter)?
        {
            return Ok(match asked.look_for() {
                Some(end) => Begun::Ended(read(end, &decode)),
                None => Begun::Stage(Stage::Sent(asked, decode, handle)),
            });
        }
        Ok(Begun::Stage(Stage::Waits(Box::pin(async move {
            // A letter that is not left was sent.
            let Some(letter) = letter else {
                return Err(CallError::Other(going_down()));
            };
            let _open = handle;
            match tokio::time::timeout(after, peer.call(letter, context)).await {
                Ok(end) => read(end, &decode),
                Err(_) => Err(CallError::Timeout),
            }
        }))))
    }
}

/// What became of a call at once.
enum Begun<T, E> {
    Ended(Result<T, CallError<E>>),
    Stage(Stage<T, E>),
}

/// What a call came to.
fn read<T, E>(end: Result<Option<Answer>>, decode: &Decoders<T, E>) -> Result<T, CallError<E>> {
    match end.map_err(CallError::from_fault)? {
        Some(answer) => answer.reply.decode(decode.value, decode.error),
        None => Err(CallError::Other(going_down())),
    }
}

pub(super) fn going_down() -> Error {
    Error::with_kind(
        ErrorKind::Shutdown,
        "the runtime in which the call was made is going down",
    )
}

/// A call as it is made.
pub(super) struct Prepared<T, E> {
    pub(super) handle: Arc<Handle>,
    pub(super) letter: Letter,
    pub(super) decode: Decoders<T, E>,
    pub(super) context: CallContext,
    /// When it ends at the latest.
    pub(super) after: Duration,
}

impl<T, E> Call<T, E> {
    /// What it inherits from the message that is handled here is added.
    pub(super) fn prepare(self) -> Result<Prepared<T, E>> {
        let after = limit(self.timeout);
        let now = match after > PRECISE {
            true => clock::coarse(),
            false => clock::monotonic(),
        };
        let mut context = CallContext {
            grace: self.kill_after,
            holds: None,
        };
        let (handle, letter) = self.letter(true);
        let (mut letter, decode) = letter?;
        letter.deadline = now.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        if let Some(current) = current::get() {
            letter.deadline = current.cap(letter.deadline);
            context.holds = Some(current.exclusive);
            if let Some(body) = current.announce(&letter.body)? {
                (letter.body, letter.nested) = (body, true);
            }
        }
        Ok(Prepared {
            handle,
            after: Duration::from_nanos(letter.deadline.saturating_sub(now)),
            letter,
            decode,
            context,
        })
    }
}

/// A deadline that is further away may be a tick of the clock too soon.
const PRECISE: Duration = Duration::from_secs(1);

fn limit(given: Option<Duration>) -> Duration {
    given.unwrap_or_else(|| control::client().settings().call_timeout)
}

impl<T: 'static, E: 'static> Future for CallFuture<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.0, Stage::Made(_))
            && let Stage::Made(call) = std::mem::replace(&mut self.0, Stage::Over)
        {
            match call.begin(cx.waker()).map_err(CallError::from_fault)? {
                Begun::Ended(end) => return Poll::Ready(end),
                Begun::Stage(stage) => self.0 = stage,
            }
            if matches!(self.0, Stage::Sent(..)) {
                // It will be woken.
                return Poll::Pending;
            }
        }
        let end = match &mut self.0 {
            Stage::Sent(asked, decode, _) => {
                let end = ready!(Pin::new(asked).poll(cx));
                read(end, decode)
            }
            Stage::Waits(waits) => ready!(waits.as_mut().poll(cx)),
            Stage::Made(_) | Stage::Over => panic!("a call was polled after its end"),
        };
        self.0 = Stage::Over;
        Poll::Ready(end)
    }
}

impl Future for Tell {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.0, Telling::Made { .. })
            && let Telling::Made {
                handle,
                letter,
                timeout,
            } = std::mem::replace(&mut self.0, Telling::Over)
        {
            let mut letter = Some(letter?);
            handle.with_peer(|peer| peer.tell_at_once(&mut letter))?;
            let Some(letter) = letter else {
                return Poll::Ready(Ok(()));
            };
            let peer = handle.peer()?;
            self.0 = Telling::Waits(Box::pin(async move {
                let _open = handle;
                match tokio::time::timeout(limit(timeout), peer.tell(letter)).await {
                    Ok(done) => done.map_err(CallError::from_fault),
                    Err(_) => Err(CallError::Timeout),
                }
            }));
        }
        let end = match &mut self.0 {
            Telling::Waits(waits) => ready!(waits.as_mut().poll(cx)),
            Telling::Made { .. } | Telling::Over => panic!("a message was polled after its end"),
        };
        self.0 = Telling::Over;
        Poll::Ready(end)
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
