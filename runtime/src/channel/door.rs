//! How a receiver and the processes that send to it find each other.
//!
//! A sender is a door: one end of a packet socket, of which any number of duplicates may lie in messages, specs and
//! processes. The receiver has the other end. Whoever first sends makes a [`Line`] and puts its far end through the door; from then on its
//! items travel on a line of its own, with its own credit, and a death costs no other sender anything.
//!
//! That is why a sender can be cloned, sent any number of times and used by each incarnation of an actor: a duplicate
//! has no state. It is also how the end is known: the kernel counts the duplicates, so the door is shut when there is no
//! sender left anywhere that could come yet. A line for each sender made when the sender is *serialised* would be used twice by a message
//! that is received twice, and one socket for all senders would mix their items and could not say who died.

use crate::error::{Error, ErrorKind, Result};
use crate::link::{self, LinkKind, Transport};
use crate::os::passing::{self, Kind, Wait};
use crate::os::reactor::register;
use crate::process::control;
use crate::wire::attach::Payload;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime;

use super::item::{self, Packet};
use super::line::{Line, Unsent};

/// How long to wait where the kernel has too many descriptors on their way, and will not say when it has not.
const STALL: Duration = Duration::from_millis(1);

/// A sender's side.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) capacity: u32,
    line: Mutex<Option<Arc<Line>>>,
    /// Who makes the line.
    turn: tokio::sync::Mutex<()>,
}

/// The receiver's side.
#[derive(Debug)]
pub(super) struct Hall {
    at: At,
    pub(super) capacity: u32,
    pub(super) lines: Vec<Arc<Line>>,
    /// Whose turn it is.
    next: usize,
}

#[derive(Debug)]
enum At {
    Rest(OwnedFd),
    Open(runtime::Id, AsyncFd<Arc<OwnedFd>>),
    /// No sender is left that could come.
    Shut,
    /// It was sent to another process.
    Left,
}

/// Both sides of a new one.
pub(super) fn door(capacity: u32) -> Result<(Door, Hall)> {
    let (here, there) = passing::pair(Kind::Packets)?;
    Ok((
        Door::new(Arc::new(there), capacity),
        Hall::new(Some(here), capacity, Vec::new()),
    ))
}

impl Door {
    pub(super) fn new(fd: Arc<OwnedFd>, capacity: u32) -> Door {
        Door {
            fd,
            capacity,
            line: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The line of this process, made if there is none.
    pub(super) async fn line(&self) -> Result<Arc<Line>, Unsent> {
        if let Some(line) = self.made() {
            return Ok(line);
        }
        let _turn = self.turn.lock().await;
        if let Some(line) = self.made() {
            return Ok(line);
        }
        let (line, far) = self.new_line()?;
        while let Err(why) = self.pass(&far) {
            match why {
                Unsent::Full => self.room().await?,
                why => return Err(why),
            }
        }
        *self.slot() = Some(line.clone());
        Ok(line)
    }

    /// The same at once, or not at all.
    pub(super) fn try_line(&self) -> Result<Arc<Line>, Unsent> {
        if let Some(line) = self.made() {
            return Ok(line);
        }
        let _turn = self.turn.try_lock().map_err(|_| Unsent::Full)?;
        let (line, far) = self.new_line()?;
        self.pass(&far)?;
        *self.slot() = Some(line.clone());
        Ok(line)
    }

    fn new_line(&self) -> Result<(Arc<Line>, Transport), Unsent> {
        let (near, far) = link::pair(LinkKind::Socket).map_err(|error| Unsent::Other(error.into()))?;
        Ok((Arc::new(Line::new(near, self.capacity as usize)), far))
    }

    /// Puts the far end of a line through.
    fn pass(&self, far: &Transport) -> Result<(), Unsent> {
        match passing::send(self.fd.as_fd(), b"x", far.socket().as_slice(), Wait::No) {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOMEM | Errno::ENOBUFS) => Unsent::Full,
                Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Unsent::Closed,
                _ => Unsent::Other(error.into()),
            }),
        }
    }

    /// Waits until more may go through: the receiver takes in nobody until it is polled.
    async fn room(&self) -> Result<(), Unsent> {
        let other = |error: io::Error| Unsent::Other(error.into());
        control::within_runtime("a channel").map_err(Unsent::Other)?;
        let fd = register(self.fd.clone(), Interest::WRITABLE).map_err(other)?;
        drop(fd.writable().await.map_err(other)?);
        tokio::time::sleep(STALL).await;
        Ok(())
    }

    fn made(&self) -> Option<Arc<Line>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hall {
    /// `None`: no sender is left that could come.
    pub(super) fn new(fd: Option<OwnedFd>, capacity: u32, lines: Vec<Arc<Line>>) -> Hall {
        Hall {
            at: fd.map_or(At::Shut, At::Rest),
            capacity,
            lines,
            next: 0,
        }
    }

    /// The next item of any line, in turns; `None` once no sender is left. The death of a sender is told once.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Payload>>> {
        self.take_in(cx)?;
        let mut n_left = self.lines.len();
        while n_left > 0 {
            n_left -= 1;
            if self.next >= self.lines.len() {
                self.next = 0;
            }
            match self.lines[self.next].poll_recv(cx) {
                Poll::Pending => self.next += 1,
                Poll::Ready(Ok(None)) => drop(self.lines.remove(self.next)),
                Poll::Ready(item) => {
                    self.next += 1;
                    return Poll::Ready(item);
                }
            }
        }
        match self.at {
            At::Shut if self.lines.is_empty() => Poll::Ready(Ok(None)),
            _ => Poll::Pending,
        }
    }

    /// Takes in the lines of new senders.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<()> {
        self.open()?;
        while let At::Open(_, fd) = &self.at {
            let Poll::Ready(ready) = fd.poll_read_ready(cx) else {
                break;
            };
            let (mut ready, mut fds) = (ready?, Vec::new());
            match passing::receive(fd.as_fd(), &mut [0], &mut fds, Wait::No) {
                Ok(received) if received.bytes == 0 => self.at = At::Shut,
                Ok(_) => {
                    let transport = Transport::from_descriptors(fds).map_err(|_| lost())?;
                    let line = Line::new(transport, self.capacity as usize);
                    self.lines.push(Arc::new(line));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sees to it that the door is registered with the current runtime.
    fn open(&mut self) -> Result<()> {
        let runtime = control::within_runtime("a channel")?.id();
        let fd = match &self.at {
            At::Open(at, _) if *at == runtime => return Ok(()),
            At::Open(_, fd) => fd.as_fd().try_clone_to_owned()?,
            At::Rest(fd) => fd.as_fd().try_clone_to_owned()?,
            At::Shut => return Ok(()),
            At::Left => return Err(left()),
        };
        self.at = At::Open(runtime, register(Arc::new(fd), Interest::READABLE)?);
        Ok(())
    }

    /// All of it, to be sent to another process: the door, unless it is shut, beside the lines.
    pub(super) fn pack(&self) -> Result<Packet> {
        let door = match &self.at {
            At::Rest(fd) => Some(fd.as_fd()),
            At::Open(_, fd) => Some(fd.as_fd()),
            At::Shut => None,
            At::Left => return Err(left()),
        };
        item::pack(self.lines.iter().map(|line| &**line), door.as_slice())
    }

    /// It was sent to another process.
    pub(super) fn leave(&mut self) {
        self.at = At::Left;
        self.lines.clear();
    }
}

fn left() -> Error {
    Error::with_kind(ErrorKind::Invalid, "this end was sent to another process")
}

fn lost() -> Error {
    Error::with_kind(
        ErrorKind::Io,
        "a sender could not be taken in: raise the limit of open files",
    )
}
