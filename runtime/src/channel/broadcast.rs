//! Every value to every receiver: one sender, and receivers in many processes.
//!
//! Nobody waits for a slow receiver. It may be at least the channel's capacity behind; past that it misses the oldest values,
//! and is told how many.
//!
//! ```
//! use procession::broadcast;
//! use procession::prelude::*;
//!
//! #[task]
//! async fn hears(mut news: broadcast::Receiver<String>) -> procession::Result<String> {
//!     Ok(news.recv().await?)
//! }
//!
//! # #[procession::main]
//! # async fn main() -> procession::Result<()> {
//! let sender = broadcast::channel(16)?;
//! let (first, second) = (sender.subscribe()?, sender.subscribe()?);
//! let first = Process::spawn(hears, first).await?;
//! let second = Process::spawn(hears, second).await?;
//! sender.send("news".to_owned())?;
//! assert_eq!(first.join().await?, "news");
//! assert_eq!(second.join().await?, "news");
//! # Ok(())
//! # }
//! ```

use crate::error::{Error, ErrorKind, Result, SendError};
use crate::wire::value::Wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::coop::consume_budget;

use super::fan::{self, Fan};
use super::item::{self, Packet};
use super::line::Line;

/// Sends values to all receivers. There is one; it moves when it is sent to another process.
pub struct Sender<T> {
    fan: Fan,
    item: PhantomData<fn(T)>,
}

/// Receives all that is sent after it was made; it moves when it is sent to another process, with what it has not received.
pub struct Receiver<T> {
    line: Arc<Line>,
    /// The number of the last value that it has.
    at: u64,
    /// A value behind a gap that was told.
    held: Option<crate::wire::attach::Payload>,
    capacity: u32,
    item: PhantomData<fn() -> T>,
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The sender was dropped, and all that it sent was received.
    #[error("the sender of a broadcast channel was dropped")]
    Closed,
    /// The receiver was too slow, and missed so many values. The next ones follow.
    #[error("a receiver was too slow: it missed {0} values")]
    Lagged(u64),
    /// The sender's process died, or the value cannot be read.
    #[error("{0}")]
    Other(Error),
}

/// A new channel, without receivers: they come from [`Sender::subscribe`].
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for a capacity of 0.
pub fn channel<T>(capacity: usize) -> Result<Sender<T>> {
    if capacity == 0 {
        let what = "a channel has room for at least one value: give a capacity of 1 or more";
        return Err(Error::with_kind(ErrorKind::Invalid, what));
    }
    Ok(Sender {
        fan: Fan::new(capacity, capacity),
        item: PhantomData,
    })
}

impl<T> Sender<T> {
    /// A receiver of what is sent from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the process can have no more descriptors.
    pub fn subscribe(&self) -> Result<Receiver<T>> {
        let (line, at) = self.fan.subscribe()?;
        let capacity = u32::try_from(line.capacity()).unwrap_or(u32::MAX);
        Ok(Receiver::new(line, at, capacity))
    }

    /// How many receivers there are, as far as is known here.
    pub fn receiver_count(&self) -> usize {
        self.fan.count()
    }
}

impl<T: Wire> Sender<T> {
    /// Sends a value to all receivers, and says how many there are. It never waits.
    ///
    /// # Errors
    ///
    /// [`SendError::Other`] if the value cannot be sent, or outside a tokio runtime.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        match item::encode(&value) {
            Ok(item) => self.fan.send(item).map_err(|unsent| unsent.of(value)),
            Err(error) => Err(SendError::Other(value, error)),
        }
    }
}

impl<T> Receiver<T> {
    fn new(line: Arc<Line>, at: u64, capacity: u32) -> Self {
        Receiver {
            line,
            at,
            held: None,
            capacity,
            item: PhantomData,
        }
    }

    /// Another receiver, of all that this one has not received.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the process can have no more descriptors, [`ErrorKind::Full`] if the sender has not yet come to earlier ones.
    pub fn resubscribe(&self) -> Result<Receiver<T>> {
        let line = fan::another(&self.line, self.at, self.capacity as usize)?;
        Ok(Receiver::new(line.into(), self.at, self.capacity))
    }
}

impl<T: Wire> Receiver<T> {
    /// The next value.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] at the end, [`RecvError::Lagged`] where values were missed, [`RecvError::Other`] if the
    /// sender's process died.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        consume_budget().await;
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(item::decode(held).map_err(RecvError::Other));
        }
        let item = match ready!(self.line.poll_recv(cx)) {
            Ok(Some(item)) => item,
            Ok(None) => return Poll::Ready(Err(RecvError::Closed)),
            Err(error) => return Poll::Ready(Err(RecvError::Other(error))),
        };
        let (number, value) = fan::split(item).map_err(RecvError::Other)?;
        let missed = number.saturating_sub(self.at + 1);
        self.at = number;
        if missed > 0 {
            self.held = Some(value);
            return Poll::Ready(Err(RecvError::Lagged(missed)));
        }
        Poll::Ready(item::decode(value).map_err(RecvError::Other))
    }
}

impl From<RecvError> for Error {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Error::with_kind(ErrorKind::Closed, error),
            RecvError::Lagged(_) => Error::with_kind(ErrorKind::Full, error),
            RecvError::Other(error) => error,
        }
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fan.pack().map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = Deserialize::deserialize(deserializer)?;
        Ok(Sender {
            fan: Fan::unpack(packed).map_err(de::Error::custom)?,
            item: PhantomData,
        })
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let packet = item::pack([&*self.line].into_iter(), &[]).map_err(ser::Error::custom)?;
        (self.at, self.capacity, &self.held, packet).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, capacity, held, packet) = <(_, _, _, Packet)>::deserialize(deserializer)?;
        let line = item::only(packet).map_err(de::Error::custom)?;
        Ok(Receiver {
            held,
            ..Receiver::new(line, at, capacity)
        })
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broadcast::Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broadcast::Receiver")
    }
}
