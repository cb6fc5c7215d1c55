//! Pipes: two ends, each of which sends to the other and receives from it.

use crate::error::{Result, SendError};
use crate::wire::value::Wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::item;
use super::line::{self, Line};

/// How many items may be under way in each direction.
const CAPACITY: usize = 256;

/// One end of a [`pipe`]: it sends `S` and receives `R`.
///
/// It is a value: as an argument, a result, a part of a struct or an item of another channel it moves to the process that
/// receives it, also after it was used. What had arrived and was not received goes along.
///
/// An end that is dropped is the end of the stream for the other one. If the process that holds an end dies, the other one
/// first receives all that was sent, then one [`ErrorKind::Died`](crate::ErrorKind::Died), then the end of the stream.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// async fn doubler(mut end: Connection<u64, u64>) -> procession::Result<()> {
///     while let Some(n) = end.recv().await? {
///         end.send(2 * n).await?;
///     }
///     Ok(())
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let (mut here, there) = procession::pipe()?;
/// let process = Process::spawn(doubler, there).await?;
/// here.send(21).await?;
/// assert_eq!(here.recv().await?, Some(42));
/// drop(here);
/// process.join().await?;
/// # Ok(())
/// # }
/// ```
pub struct Connection<S, R> {
    line: Arc<Line>,
    items: PhantomData<fn(S) -> R>,
}

/// A new pipe: its two ends.
///
/// Up to 256 items, or 4 MiB, may be under way in each direction. It can be made anywhere; an end is registered with the
/// tokio runtime that first uses it.
///
/// # Errors
///
/// [`ErrorKind::Io`](crate::ErrorKind::Io) if the process can have no more descriptors.
pub fn pipe<S, R>() -> Result<(Connection<S, R>, Connection<R, S>)> {
    let (a, b) = line::pair(CAPACITY)?;
    Ok((Connection::new(a), Connection::new(b)))
}

impl<S, R> Connection<S, R> {
    fn new(line: Arc<Line>) -> Self {
        Connection {
            line,
            items: PhantomData,
        }
    }

    /// Waits until the other end is gone.
    pub async fn closed(&self) {
        self.line.closed().await
    }
}

impl<S: Wire, R> Connection<S, R> {
    /// Sends a value; waits while the other end has as much as it may have and has not received it.
    ///
    /// `Ok` means that the value is out of this process: it arrives even if this one is killed. It does not mean that it
    /// was received.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the other end is gone, [`SendError::Other`] if the value cannot be sent.
    pub async fn send(&self, value: S) -> Result<(), SendError<S>> {
        item::send(&self.line, value).await
    }

    /// Sends a value if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if there is not, and those of [`send`](Self::send).
    pub fn try_send(&self, value: S) -> Result<(), SendError<S>> {
        item::try_send(&self.line, value)
    }
}

impl<S, R: Wire> Connection<S, R> {
    /// The next value; `None` at the end of the stream: the other end was dropped.
    ///
    /// A future that is dropped has received nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Died`](crate::ErrorKind::Died), once, if the other end is gone without having been dropped;
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a value that cannot be read, behind which others may follow.
    pub async fn recv(&mut self) -> Result<Option<R>> {
        self.line.recv().await?.map(item::decode).transpose()
    }

    /// The next value as a step of a stream, as [`recv`](Self::recv) gives it.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<R>>> {
        Poll::Ready(ready!(self.line.poll_recv(cx))?.map(item::decode).transpose())
    }
}

impl<S, R> Serialize for Connection<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        item::serialize(&self.line, serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        item::deserialize(deserializer).map(Connection::new)
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
