//! Channels with many senders, in many processes, and one receiver.
//!
//! ```
//! use procession::mpsc;
//! use procession::prelude::*;
//!
//! #[task]
//! async fn count(upto: u64, to: mpsc::Sender<u64>) -> procession::Result<()> {
//!     for n in 0..upto {
//!         to.send(n).await?;
//!     }
//!     Ok(())
//! }
//!
//! # #[procession::main]
//! # async fn main() -> procession::Result<()> {
//! let (sender, mut receiver) = procession::channel(16)?;
//! for upto in [10, 20] {
//!     Process::spawn(count, (upto, sender.clone())).await?;
//! }
//! drop(sender); // so that those in the other processes are the last
//! let mut sum = 0;
//! while let Some(n) = receiver.recv().await? {
//!     sum += n;
//! }
//! assert_eq!(sum, 45 + 190);
//! # Ok(())
//! # }
//! ```

use crate::error::{Error, ErrorKind, Result, SendError};
use crate::wire::attach::{Attached, Payload};
use crate::wire::value::Wire;
use futures::Stream;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::task::coop::{consume_budget, poll_proceed};

use super::door::{self, Door, Hall};
use super::item::{self, Packet};
use super::line::Line;

/// Sends values to the [`Receiver`]; it can be cloned, and sent to any number of processes any number of times.
///
/// Clones in one process share what room there is. A sender in the arguments of an actor's `init` works for each of its
/// incarnations.
pub struct Sender<T> {
    door: Arc<Door>,
    item: PhantomData<fn(T)>,
}

/// Receives the values of all [`Sender`]s: those of each in order, and of several in turns.
///
/// It is a [`Stream`] of what [`recv`](Receiver::recv) gives, and moves with all that it has not received when it is sent to another process.
#[must_use = "nothing can be sent once the receiver is dropped"]
pub struct Receiver<T> {
    hall: Mutex<Hall>,
    item: PhantomData<fn() -> T>,
}

/// A new channel, in which each process that sends may have so many values under way, and 4 MiB.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for a capacity of 0, [`ErrorKind::Io`] if the process can have no more descriptors.
pub fn channel<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>)> {
    let capacity = match u32::try_from(capacity) {
        Ok(0) => {
            let what = "a channel has room for at least one value: give a capacity of 1 or more";
            return Err(Error::with_kind(ErrorKind::Invalid, what));
        }
        Ok(capacity) => capacity,
        Err(_) => u32::MAX,
    };
    let (door, hall) = door::door(capacity)?;
    Ok((Sender::new(door), Receiver::new(hall)))
}

impl<T> Sender<T> {
    fn new(door: Door) -> Self {
        Sender {
            door: Arc::new(door),
            item: PhantomData,
        }
    }

    /// The line of this process, made at once.
    pub(super) fn line(&self) -> Result<Arc<Line>> {
        self.door.try_line().map_err(|unsent| unsent.of(()).into())
    }

    /// Waits until the receiver is gone.
    pub async fn closed(&self) {
        if let Ok(line) = self.door.line().await {
            line.closed().await;
        }
    }
}

impl<T: Wire> Sender<T> {
    /// Sends a value, once there is room for it.
    ///
    /// `Ok` means that the value is out of this process: it arrives even if this one is killed. It does not mean that it
    /// was received.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the receiver is gone, [`SendError::Other`] if the value cannot be sent.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.door.line().await {
            Ok(line) => item::send(&line, value).await,
            Err(unsent) => Err(unsent.of(value)),
        }
    }

    /// Sends a value if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if there is not, and those of [`send`](Self::send).
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        match self.door.try_line() {
            Ok(line) => item::try_send(&line, value),
            Err(unsent) => Err(unsent.of(value)),
        }
    }
}

impl<T> Receiver<T> {
    fn new(hall: Hall) -> Self {
        Receiver {
            hall: Mutex::new(hall),
            item: PhantomData,
        }
    }

    /// The next value as it came.
    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Payload>>> {
        self.hall().poll_recv(cx)
    }

    fn hall(&mut self) -> &mut Hall {
        self.hall.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Wire> Receiver<T> {
    /// The next value; `None` once every sender was dropped, in whatever process or message it was, and all is received.
    ///
    /// A future that is dropped has received nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Died`], once for each process that died with a sender it had used: all that was sent there was received before. The
    /// values of others follow. [`ErrorKind::Codec`] for a value that cannot be read.
    pub async fn recv(&mut self) -> Result<Option<T>> {
        consume_budget().await;
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next value as a step of a stream, as [`recv`](Self::recv) gives it.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>>> {
        Poll::Ready(ready!(self.hall().poll_recv(cx))?.map(item::decode).transpose())
    }
}

impl<T: Wire> Stream for Receiver<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let budget = ready!(poll_proceed(cx));
        let next = ready!(self.poll_recv(cx));
        budget.made_progress();
        Poll::Ready(next.transpose())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender {
            door: self.door.clone(),
            item: PhantomData,
        }
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Attached(self.door.fd.clone()), self.door.capacity).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (fd, capacity) = <(Attached, u32)>::deserialize(deserializer)?;
        Ok(Sender::new(Door::new(fd.0, capacity)))
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut hall = self.hall.lock().unwrap_or_else(PoisonError::into_inner);
        let packet = hall.pack().map_err(ser::Error::custom)?;
        hall.leave();
        (hall.capacity, packet).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (capacity, packet) = <(u32, Packet)>::deserialize(deserializer)?;
        let (lines, mut beside) = item::unpack(packet).map_err(de::Error::custom)?;
        Ok(Receiver::new(Hall::new(beside.pop_front(), capacity, lines)))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
