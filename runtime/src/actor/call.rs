//! [`Call`]: a message that is ready to be sent, as a request with a reply or one-way.

use crate::error::{CallError, Error, Never, Result};
use crate::process::control;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::conn::Conn;
use super::contract::Marker;
use super::handle::{ActorRef, Handle};

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
    arguments: Result<Bytes>,
    decode: Decoders<T, E>,
    timeout: Option<Duration>,
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
    arguments: Result<Vec<u8>>,
    decode: Decoders<T, E>,
) -> Call<T, E> {
    let limit = control::client().settings().frame_limit;
    let arguments = arguments.and_then(|bytes| match bytes.len() {
        size if size > limit => Err(Error::too_large(size, limit)),
        _ => Ok(Bytes::from(bytes)),
    });
    Call {
        handle: actor.handle().clone(),
        method,
        name,
        arguments,
        decode,
        timeout: None,
    }
}

impl<T, E> Call<T, E> {
    /// Ends it with [`CallError::Timeout`] if there is no answer after this long, waiting for a restart included. The
    /// method is then cancelled at its next await.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Sends it one-way: the future is ready when the message was accepted, which is when the actor's mailbox has room
    /// for it. `Ok` does not mean that it was handled: if the actor dies first, the message may be lost with it.
    pub fn tell(self) -> Tell {
        let Call {
            handle,
            method,
            arguments,
            timeout,
            ..
        } = self;
        Tell(Box::pin(async move {
            let body = arguments.map_err(CallError::Other)?;
            within(timeout, async {
                loop {
                    let conn = connect(&handle).await?;
                    if conn.tell(method, body.clone()).await.is_ok() {
                        return Ok(());
                    }
                }
            })
            .await
        }))
    }
}

impl<T: 'static, E: 'static> IntoFuture for Call<T, E> {
    type Output = Result<T, CallError<E>>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> Self::IntoFuture {
        let Call {
            handle,
            method,
            arguments,
            decode,
            timeout,
            ..
        } = self;
        CallFuture(Box::pin(async move {
            let body = arguments.map_err(CallError::Other)?;
            let reply = within(timeout, async {
                loop {
                    let conn = connect(&handle).await?;
                    // Closed before the message was sent: the next incarnation gets it.
                    if let Ok(answer) = conn.call(method, body.clone()).await {
                        return Ok(answer.reply);
                    }
                }
            })
            .await?;
            reply.decode(decode.value, decode.error)
        }))
    }
}

async fn connect<E>(handle: &Handle) -> Result<Arc<Conn>, CallError<E>> {
    let connected = async { handle.peer()?.connect().await };
    connected.await.map_err(CallError::from_fault)
}

/// The work, or [`CallError::Timeout`].
async fn within<T, E>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, CallError<E>>>,
) -> Result<T, CallError<E>> {
    control::within_runtime("a call").map_err(CallError::Other)?;
    let after = timeout.unwrap_or_else(|| control::client().settings().call_timeout);
    tokio::time::timeout(after, work)
        .await
        .unwrap_or(Err(CallError::Timeout))
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
