//! The newest value to every receiver: for settings and states, of which only the last one counts.
//!
//! A receiver has a value from the start. It may miss values in between, never the last one.
//!
//! ```
//! use procession::prelude::*;
//! use procession::watch;
//!
//! #[task]
//! async fn waits(mut level: watch::Receiver<u32>, at: u32) -> procession::Result<u32> {
//!     while *level.borrow()? < at {
//!         level.changed().await?;
//!     }
//!     Ok(*level.borrow()?)
//! }
//!
//! # #[procession::main]
//! # async fn main() -> procession::Result<()> {
//! let (sender, receiver) = watch::channel(1)?;
//! let process = Process::spawn(waits, (receiver.clone(), 3)).await?;
//! sender.send(2)?;
//! sender.send(3)?;
//! assert_eq!(process.join().await?, 3);
//! assert_eq!(*receiver.borrow()?, 3);
//! # Ok(())
//! # }
//! ```

use crate::error::{Error, ErrorKind, Result, SendError};
use crate::wire::attach::Payload;
use crate::wire::value::Wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::task::coop::consume_budget;

use super::fan::{self, Fan};
use super::item::{self, Packet};
use super::line::Line;

/// How many values may be on their way to a receiver that does not look.
const CAPACITY: usize = 16;

/// Sends values to all receivers. There is one; it moves when it is sent to another process.
pub struct Sender<T> {
    fan: Fan,
    item: PhantomData<fn(T)>,
}

/// Sees the newest value. It can be cloned, and sent to any number of processes.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of the value that [`changed`](Receiver::changed) told of.
    seen: u64,
}

/// What all clones in one process share.
struct Shared<T> {
    line: Arc<Line>,
    newest: Mutex<Newest<T>>,
}

struct Newest<T> {
    number: u64,
    value: Payload,
    /// It, decoded when it was looked at.
    decoded: Option<Arc<T>>,
    /// Why there will be no other.
    end: Option<Error>,
}

/// A new channel, which begins with a value.
///
/// # Errors
///
/// [`ErrorKind::Codec`] if the value cannot be sent, [`ErrorKind::Io`] if the process can have no more descriptors.
pub fn channel<T: Wire>(initial: T) -> Result<(Sender<T>, Receiver<T>)> {
    let fan = Fan::new(1, CAPACITY);
    fan.begin_with(item::encode(&initial)?);
    let sender = Sender {
        fan,
        item: PhantomData,
    };
    let receiver = sender.subscribe()?;
    Ok((sender, receiver))
}

impl<T> Sender<T> {
    /// Another receiver, which has seen the newest value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the process can have no more descriptors.
    pub fn subscribe(&self) -> Result<Receiver<T>> {
        let (line, _) = self.fan.subscribe()?;
        let newest = self.fan.newest();
        let (number, value) = newest.ok_or_else(|| Error::msg("this end was sent to another process"))?;
        Ok(Receiver::new(line, number, value))
    }
}

impl<T: Wire> Sender<T> {
    /// Sends a value, in place of the one before. It never waits, and does not mind if there are no receivers.
    ///
    /// # Errors
    ///
    /// [`SendError::Other`] if the value cannot be sent, or outside a tokio runtime.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match item::encode(&value) {
            Ok(item) => self.fan.send(item).map(drop).map_err(|unsent| unsent.of(value)),
            Err(error) => Err(SendError::Other(value, error)),
        }
    }
}

impl<T> Receiver<T> {
    fn new(line: Arc<Line>, number: u64, value: Payload) -> Self {
        let newest = Newest {
            number,
            value,
            decoded: None,
            end: None,
        };
        Receiver {
            shared: Arc::new(Shared {
                line,
                newest: Mutex::new(newest),
            }),
            seen: number,
        }
    }

    /// Waits for a value that this receiver was not told of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the sender was dropped, [`ErrorKind::Died`] if its process died: there will be none.
    pub async fn changed(&mut self) -> Result<()> {
        consume_budget().await;
        self.seen = poll_fn(|cx| self.shared.poll_changed(self.seen, cx)).await?;
        Ok(())
    }
}

impl<T: Wire> Receiver<T> {
    /// The newest value that has arrived.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if it cannot be read.
    pub fn borrow(&self) -> Result<Arc<T>> {
        // What has arrived counts; an end does not.
        let _ = self
            .shared
            .poll_changed(u64::MAX, &mut Context::from_waker(Waker::noop()));
        let newest = self.shared.newest();
        if let Some(decoded) = &newest.decoded {
            return Ok(decoded.clone());
        }
        let (number, value) = (newest.number, newest.value.clone());
        drop(newest);
        let decoded: Arc<T> = Arc::new(item::decode(value)?);
        let mut newest = self.shared.newest();
        if newest.number == number {
            newest.decoded = Some(decoded.clone());
        }
        Ok(decoded)
    }
}

impl<T> Shared<T> {
    /// Takes in what has arrived; ready with the number of the newest value, if that is after `seen`.
    fn poll_changed(&self, seen: u64, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        loop {
            match self.line.poll_recv(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(item))) => self.newest().take(item)?,
                Poll::Ready(Ok(None)) => break self.newest().end(closed()),
                Poll::Ready(Err(error)) => break self.newest().end(error),
            }
        }
        let newest = self.newest();
        match &newest.end {
            _ if newest.number > seen => Poll::Ready(Ok(newest.number)),
            Some(end) => Poll::Ready(Err(end.clone())),
            None => Poll::Pending,
        }
    }

    fn newest(&self) -> MutexGuard<'_, Newest<T>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Newest<T> {
    fn take(&mut self, item: Payload) -> Result<()> {
        let (number, value) = fan::split(item)?;
        if number > self.number {
            (self.number, self.value, self.decoded) = (number, value, None);
        }
        Ok(())
    }

    /// The first word of the end is the one that counts.
    fn end(&mut self, error: Error) {
        self.end.get_or_insert(error);
    }
}

fn closed() -> Error {
    Error::with_kind(ErrorKind::Closed, "the sender of a watch channel was dropped")
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver {
            shared: self.shared.clone(),
            seen: self.seen,
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
    /// A line of its own goes along: those that stay here keep theirs.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let newest = self.shared.newest();
        let (number, value) = (newest.number, newest.value.clone());
        drop(newest);
        let line = fan::another(&self.shared.line, number, CAPACITY).map_err(ser::Error::custom)?;
        let packet = item::pack([&line].into_iter(), &[]).map_err(ser::Error::custom)?;
        (self.seen, number, value, packet).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seen, number, value, packet) = <(_, _, _, Packet)>::deserialize(deserializer)?;
        let line = item::only(packet).map_err(de::Error::custom)?;
        Ok(Receiver {
            seen,
            ..Receiver::new(line, number, value)
        })
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Receiver")
    }
}
