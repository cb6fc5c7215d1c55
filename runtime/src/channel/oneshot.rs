//! A channel for one value: for an answer that comes from somewhere else, or later.
//!
//! ```
//! use procession::prelude::*;
//! use procession::oneshot;
//!
//! #[task]
//! async fn answer(to: oneshot::Sender<u64>) -> procession::Result<()> {
//!     to.send(42).await?;
//!     Ok(())
//! }
//!
//! # #[procession::main]
//! # async fn main() -> procession::Result<()> {
//! let (sender, receiver) = oneshot::channel()?;
//! Process::spawn(answer, sender).await?;
//! assert_eq!(receiver.await?, 42);
//! # Ok(())
//! # }
//! ```

use crate::error::{Error, ErrorKind, Result, SendError};
use crate::wire::value::Wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::item;
use super::line::{self, Line};

/// Sends the one value.
pub struct Sender<T> {
    line: Arc<Line>,
    item: PhantomData<fn(T)>,
}

/// Receives the one value: a future of it.
///
/// # Errors
///
/// [`ErrorKind::Closed`] if the sender was dropped without sending, [`ErrorKind::Died`] if its process died.
#[must_use = "a receiver gives its value when it is awaited"]
pub struct Receiver<T> {
    line: Arc<Line>,
    item: PhantomData<fn() -> T>,
}

/// A new channel for one value.
///
/// # Errors
///
/// [`ErrorKind::Io`] if the process can have no more descriptors.
pub fn channel<T>() -> Result<(Sender<T>, Receiver<T>)> {
    let (a, b) = line::pair(1)?;
    Ok((Sender::new(a), Receiver::new(b)))
}

impl<T> Sender<T> {
    fn new(line: Arc<Line>) -> Self {
        Sender {
            line,
            item: PhantomData,
        }
    }

    /// Waits until nobody waits for the value any more.
    pub async fn closed(&mut self) {
        self.line.closed().await
    }

    /// Whether nobody waits for the value any more, as far as is known here; outside a tokio runtime that is not known.
    pub fn is_closed(&self) -> bool {
        self.line.is_closed()
    }
}

impl<T: Wire> Sender<T> {
    /// Sends the value. `Ok` means that it is out of this process, not that it was received.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if nobody waits for it any more, [`SendError::Other`] if it cannot be sent.
    pub async fn send(self, value: T) -> Result<(), SendError<T>> {
        item::send(&self.line, value).await
    }
}

impl<T> Receiver<T> {
    fn new(line: Arc<Line>) -> Self {
        Receiver {
            line,
            item: PhantomData,
        }
    }
}

impl<T: Wire> Future for Receiver<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        Poll::Ready(match ready!(self.line.poll_recv(cx))? {
            Some(item) => item::decode(item),
            None => Err(Error::with_kind(
                ErrorKind::Closed,
                "the sender of a oneshot channel was dropped without sending",
            )),
        })
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        item::serialize(&self.line, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        item::deserialize(deserializer).map(Sender::new)
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        item::serialize(&self.line, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        item::deserialize(deserializer).map(Receiver::new)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("oneshot::Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("oneshot::Receiver")
    }
}
