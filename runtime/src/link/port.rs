//! The transports behind two enums: the [`Port`] that a driver reads from and waits on, and the [`Sink`] that frames
//! are written to.
//!
//! Readiness is tokio's, edge-triggered: it is cleared when the kernel said would-block, and after a read that brought
//! less than it had room for, since that one has emptied the transport. On a socket this does not hold for a read
//! that brought descriptors: the kernel ends a read behind them.
//!
//! A socket is watched for reading only. Watched for writing too, it wakes its task once more for every message: when
//! the peer has read it. So a full socket is watched by a duplicate, which is let go when the socket has not been full
//! for a while.

use super::outbox::Flushed;
use super::side::{self, Lots};
use super::{Transport, memory, ring};
use crate::os::fifo;
use crate::os::reactor::register;
use crate::os::socket::{self, Received};
use crate::wire::attach::Descriptors;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// After so many flushes that found room a socket is no longer watched for writing.
const CALM: u32 = 16;

/// The reading half of a transport, and the readiness of both.
#[derive(Debug)]
pub(super) enum Port {
    Ring(Box<ring::Inflow>),
    Socket {
        fd: AsyncFd<Arc<OwnedFd>>,
        /// Watches for room to write, and counts the flushes since there was none.
        write: Option<(AsyncFd<OwnedFd>, u32)>,
    },
    Pipe {
        read: AsyncFd<OwnedFd>,
        /// `None` once this side has ended its writing.
        write: Option<AsyncFd<Arc<OwnedFd>>>,
        lots: Box<Lots>,
    },
    Memory(memory::End),
}

/// The writing half of a transport.
#[derive(Debug)]
pub(super) enum Sink {
    Ring(ring::Outflow),
    Socket(Arc<OwnedFd>),
    Pipe { fd: Arc<OwnedFd>, side: Arc<OwnedFd> },
    Memory(Arc<memory::Channel>),
}

/// Registers the transport with the current runtime.
pub(super) fn open(transport: Transport) -> io::Result<(Port, Sink)> {
    Ok(match transport {
        Transport::Ring(end) => {
            let (inflow, outflow) = ring::open(end)?;
            (Port::Ring(Box::new(inflow)), Sink::Ring(outflow))
        }
        Transport::Socket(fd) => {
            let fd = Arc::new(fd);
            let port = Port::Socket {
                fd: register(fd.clone(), Interest::READABLE)?,
                write: None,
            };
            (port, Sink::Socket(fd))
        }
        Transport::Pipe(pipe) => {
            let (write, side) = (Arc::new(pipe.write), Arc::new(pipe.side));
            let port = Port::Pipe {
                read: register(pipe.read, Interest::READABLE)?,
                write: Some(register(write.clone(), Interest::WRITABLE)?),
                lots: Box::new(Lots::new(side.clone())),
            };
            (port, Sink::Pipe { fd: write, side })
        }
        Transport::Memory(end) => {
            let sink = Sink::Memory(end.outgoing());
            (Port::Memory(end), sink)
        }
    })
}

impl Port {
    /// Appends to `buf` what is there, up to its spare capacity, and the descriptors to `fds`.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        fds: &mut VecDeque<OwnedFd>,
    ) -> Poll<io::Result<Received>> {
        match self {
            Port::Ring(inflow) => inflow.poll_read(cx, buf),
            Port::Socket { fd, .. } => poll_read(fd, cx, buf, |buf| socket::recv(fd.as_fd(), buf, fds)),
            Port::Pipe { read, .. } => poll_read(read, cx, buf, |buf| read_pipe(read, buf)),
            Port::Memory(end) => end.poll_read(cx, buf, fds),
        }
    }

    /// The same at once, whatever the readiness.
    pub(super) fn read(&mut self, buf: &mut BytesMut, fds: &mut VecDeque<OwnedFd>) -> io::Result<Received> {
        match self {
            Port::Ring(inflow) => inflow.read(buf),
            Port::Socket { fd, .. } => socket::recv(fd.as_fd(), buf, fds),
            Port::Pipe { read, .. } => read_pipe(read, buf),
            Port::Memory(end) => end.read(buf, fds),
        }
    }

    /// Where descriptors come from that do not come with the bytes.
    pub(super) fn lots(&mut self) -> Option<&mut Lots> {
        match self {
            Port::Ring(inflow) => Some(&mut inflow.lots),
            Port::Pipe { lots, .. } => Some(lots),
            Port::Socket { .. } | Port::Memory(_) => None,
        }
    }

    /// The ring, if it is one: what a task can look at that is not the driver's.
    pub(super) fn ring(&mut self) -> Option<&mut ring::Inflow> {
        match self {
            Port::Ring(inflow) => Some(inflow),
            _ => None,
        }
    }

    /// Whether it keeps memory that is of use only while messages go.
    pub(super) fn has_spare_memory(&self) -> bool {
        matches!(self, Port::Ring(_))
    }

    /// Repeats `flush` as the transport becomes writable. What it last returned is the answer; if that is
    /// [`Flushed::Blocked`], the task will be woken.
    pub(super) fn flush_when_writable(
        &mut self,
        cx: &mut Context<'_>,
        flush: impl FnMut() -> Flushed,
    ) -> Flushed {
        match self {
            Port::Ring(inflow) => inflow.flush_when_writable(cx, flush),
            Port::Socket { fd, write } => match watch_writes(fd, write) {
                Ok(write) => flush_when_writable(write, cx, flush),
                // Out of descriptors or of memory: look again in a while.
                Err(_) => Flushed::Stalled,
            },
            Port::Pipe { write: Some(fd), .. } => flush_when_writable(fd, cx, flush),
            Port::Pipe { write: None, .. } => Flushed::Gone,
            Port::Memory(end) => flush_memory_when_writable(end, cx, flush),
        }
    }

    /// Another hold of the same socket, which goes on where this one was; other transports are not taken apart.
    pub(super) fn again(&self) -> io::Result<Transport> {
        match self {
            Port::Socket { fd, .. } => Ok(Transport::Socket(fd.as_fd().try_clone_to_owned()?)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes note of a flush that found room.
    pub(super) fn had_room(&mut self) {
        if let Port::Socket { write, .. } = self
            && let Some((_, calm)) = write
        {
            *calm += 1;
            if *calm > CALM {
                *write = None;
            }
        }
    }

    /// Lets go of the writing half.
    pub(super) fn finish(&mut self) {
        match self {
            Port::Socket { write, .. } => *write = None,
            Port::Pipe { write, .. } => *write = None,
            Port::Ring(_) | Port::Memory(_) => {}
        }
    }
}

impl Sink {
    /// Whether a write costs no system call, so that nothing is won by gathering frames for one.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Sink::Ring(_))
    }

    /// Writes what fits; `fds` go with its first byte, or before it, and are then gone from here.
    pub(super) fn write(&mut self, bytes: &[IoSlice<'_>], fds: &mut Descriptors) -> io::Result<usize> {
        match self {
            Sink::Ring(outflow) => outflow.write(bytes, fds),
            Sink::Socket(fd) => socket::send(fd.as_fd(), bytes, fds).inspect(|_| fds.clear()),
            Sink::Pipe { fd, side } => {
                if !fds.is_empty() {
                    side::send(side, fds)?;
                    fds.clear();
                }
                fifo::write(fd.as_fd(), bytes)
            }
            Sink::Memory(channel) => channel.write(bytes, fds),
        }
    }

    /// Has the peer told at once of what is written next.
    pub(super) fn be_eager(&mut self) {
        if let Sink::Ring(outflow) = self {
            outflow.be_eager();
        }
    }

    /// Whether the peer is to be told of what was written, or woken for it.
    pub(super) fn is_due(&self) -> bool {
        matches!(self, Sink::Ring(outflow) if outflow.is_due())
    }

    /// Tells the peer of what was written, and wakes it, if that is due.
    pub(super) fn ring(&mut self) {
        if let Sink::Ring(outflow) = self {
            outflow.ring();
        }
    }

    /// Gives back memory that is of use only while messages go.
    pub(super) fn release(&mut self) {
        if let Sink::Ring(outflow) = self {
            outflow.release();
        }
    }

    /// Gives way to a few bytes more where the transport is full.
    pub(super) fn make_room(&self) {
        if let Sink::Socket(fd) = self {
            socket::use_reserve(fd.as_fd());
        }
    }

    /// Ends the writing: the peer reads what was written, then the end of file.
    pub(super) fn finish(self) {
        match self {
            // Fails only if the peer is gone, who then has no use for it.
            Sink::Socket(fd) => drop(socket::shutdown_write(fd.as_fd())),
            Sink::Pipe { fd, .. } => drop(fd),
            Sink::Ring(outflow) => outflow.finish(),
            Sink::Memory(channel) => channel.finish(),
        }
    }
}

fn read_pipe(fd: &AsyncFd<OwnedFd>, buf: &mut BytesMut) -> io::Result<Received> {
    Ok(Received {
        len: fifo::read(fd.as_fd(), buf)?,
        control: false,
        truncated: false,
    })
}

fn poll_read<T: AsRawFd>(
    fd: &AsyncFd<T>,
    cx: &mut Context<'_>,
    buf: &mut BytesMut,
    mut read: impl FnMut(&mut BytesMut) -> io::Result<Received>,
) -> Poll<io::Result<Received>> {
    loop {
        let mut ready = ready!(fd.poll_read_ready(cx))?;
        let room = buf.capacity() - buf.len();
        match read(buf) {
            Ok(received) => {
                if (1..room).contains(&received.len) && !received.control {
                    ready.clear_ready();
                }
                return Poll::Ready(Ok(received));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => ready.clear_ready(),
                io::ErrorKind::Interrupted => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
    }
}

fn watch_writes<'w>(
    fd: &AsyncFd<Arc<OwnedFd>>,
    write: &'w mut Option<(AsyncFd<OwnedFd>, u32)>,
) -> io::Result<&'w AsyncFd<OwnedFd>> {
    let write = match write {
        Some(write) => write,
        none => none.insert((register(fd.as_fd().try_clone_to_owned()?, Interest::WRITABLE)?, 0)),
    };
    write.1 = 0;
    Ok(&write.0)
}

fn flush_when_writable<T: AsRawFd>(
    fd: &AsyncFd<T>,
    cx: &mut Context<'_>,
    mut flush: impl FnMut() -> Flushed,
) -> Flushed {
    loop {
        let mut ready = match fd.poll_write_ready(cx) {
            Poll::Pending => return Flushed::Blocked,
            Poll::Ready(Err(_)) => return Flushed::Gone,
            Poll::Ready(Ok(ready)) => ready,
        };
        match flush() {
            Flushed::Blocked => ready.clear_ready(),
            other => return other,
        }
    }
}

fn flush_memory_when_writable(
    end: &memory::End,
    cx: &mut Context<'_>,
    mut flush: impl FnMut() -> Flushed,
) -> Flushed {
    loop {
        if end.poll_writable(cx).is_pending() {
            return Flushed::Blocked;
        }
        match flush() {
            Flushed::Blocked => {}
            other => return other,
        }
    }
}
