//! A link: frames both ways between two processes, over an interchangeable transport.
//!
//! [`open`] turns a [`Transport`] into two halves. The [`Sender`] is shared by all who have something to say; the
//! [`Driver`] belongs to the one task that listens, and it also does the writing.
//!
//! **Order.** Frames arrive in the order in which they were given to [`Sender::send`], each once, whole, with its
//! descriptors. `Ok` from `send` means queued, or with a ring and nothing queued, in the memory that both sides
//! share; [`Sender::drained`] means that the transport has it, not that
//! the peer has read it.
//!
//! **System calls.** Over a ring, [`Sender::send`] puts the frame into the memory that the peer reads, unless something
//! is queued before it; the peer is woken where it sleeps, and else nobody calls the kernel. Over the other
//! transports a frame is queued, and written when the driver next finds nothing buffered to parse, so that whatever is
//! said in answer to one read goes out in one write; only a queue of more than 64 KiB is written at once. A read that did
//! not fill the buffer has emptied the transport and is not repeated. One call at a time thus costs each side one write,
//! one wait and one read for each message.
//!
//! **Memory.** The queue is not bounded here: whoever sends much awaits [`Sender::room`] between messages, or holds
//! [`credit`]. A body is copied once to the transport and once from it.
//!
//! **Ends.** The end of file says that the peer will send no more, not that it is dead: a descendant of it may hold the
//! other end open, so deaths are learned elsewhere and followed by [`Driver::drain`]. A frame that the end of file cut
//! short is dropped: whoever wrote it died while writing. A frame that is malformed, or whose descriptors are not the
//! ones it states, is a [`LinkError`], after which the link yields nothing more. A frame whose descriptors the kernel
//! dropped, since this process can have no more, comes with none of them, and the link goes on. So does a large one for which
//! there is no memory, without its body.

pub(crate) mod credit;
mod driver;
mod help;
mod idle;
mod inbox;
pub(crate) mod memory;
mod outbox;
pub(crate) mod pipe;
mod port;
mod rest;
pub(crate) mod ring;
mod sender;
mod side;
#[cfg(test)]
mod suite;

pub use crate::wire::kind::LinkKind;
pub(crate) use driver::Driver;
pub(crate) use rest::{Rest, reopen};
pub(crate) use sender::{Closed, Sender};

use crate::local;
use crate::os::socket;
use crate::wire::attach::Payload;
use crate::wire::control::LinkId;
use crate::wire::encoded::Encoded;
use crate::wire::frame::{Flags, FrameCodec, FrameError, Head};
use crate::{Error, ErrorKind};
use bytes::Bytes;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use credit::Credit;

/// One end of a connection, not yet in use.
#[derive(Debug)]
pub(crate) enum Transport {
    Ring(ring::End),
    Socket(OwnedFd),
    Pipe(pipe::Pipe),
    Memory(memory::End),
}

/// A frame that arrived, with its descriptors.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) head: Head,
    pub(crate) body: Encoded,
    /// The end of the body, where it was read into memory of its own.
    pub(crate) block: Option<Bytes>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Incoming {
    /// What it takes of the receiver's credit.
    pub(crate) fn cost(&self) -> Credit {
        let block = self.block.as_ref().map_or(0, Bytes::len);
        let len = match self.is_unheld() {
            false => self.body.len() + block,
            true => self.size(),
        };
        Credit::of(len, self.head.fds.into())
    }

    /// Whether there was no memory for the body, which was thrown away.
    #[inline]
    pub(crate) fn is_unheld(&self) -> bool {
        self.head.flags.contains(Flags::UNHELD)
    }

    /// How many bytes it had then.
    #[cold]
    pub(crate) fn size(&self) -> usize {
        self.head.block as usize
    }

    pub(crate) fn into_item(self) -> Item {
        match self.is_unheld() {
            false => Item::Held(self.into_payload()),
            true => Item::Unheld(self.cost()),
        }
    }

    pub(crate) fn into_payload(self) -> Payload {
        let payload = Payload::received(self.body, self.fds);
        match self.block {
            None => payload,
            Some(block) => Payload {
                behind: Some([block.into()].into()),
                ..payload
            },
        }
    }
}

/// What came of a frame, kept until it is taken.
#[derive(Debug)]
pub(crate) enum Item {
    Held(Payload),
    /// There was no memory for it, and it would have taken that of the receiver's credit.
    Unheld(Credit),
}

impl Item {
    pub(crate) fn cost(&self) -> Credit {
        match self {
            Item::Held(item) => Credit::of_payload(item),
            Item::Unheld(cost) => *cost,
        }
    }

    /// What there is to decode.
    pub(crate) fn payload(self) -> Result<Payload, Error> {
        match self {
            Item::Held(item) => Ok(item),
            Item::Unheld(cost) => Err(Error::unheld_here(cost.bytes as usize)),
        }
    }
}

/// Why a link cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer sent what is no frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The peer sent other descriptors than its frame states.
    #[error("a frame states {stated} descriptors and {came} came")]
    Descriptors { stated: usize, came: usize },
    /// The peer sent what is no lot of descriptors over the socket beside the transport.
    #[error("something else than descriptors came over the socket for them")]
    Side,
    /// The peer left memory that both share in a state that the protocol does not know.
    #[error("{0}")]
    State(String),
    /// The transport failed.
    #[error("cannot read from a link: {0}")]
    Io(#[from] io::Error),
}

/// Opens one end of a connection for frames with bodies of at most `limit` bytes.
///
/// It must be called within the tokio runtime that will poll the driver, with I/O and time enabled: the transport is
/// registered there.
pub(crate) fn open(transport: impl Into<Transport>, limit: usize) -> io::Result<(Sender, Driver)> {
    let (port, sink) = port::open(transport.into())?;
    let codec = FrameCodec::new(limit);
    let sender = Sender::new(sink, codec);
    let driver = Driver::new(port, sender.clone(), codec);
    Ok((sender, driver))
}

/// A new connection: its two ends.
pub(crate) fn pair(kind: LinkKind) -> io::Result<(Transport, Transport)> {
    Ok(match kind {
        LinkKind::Ring => {
            let (a, b) = ring::pair()?;
            (a.into(), b.into())
        }
        LinkKind::Socket => {
            let (a, b) = socket::pair()?;
            (a.into(), b.into())
        }
        LinkKind::Pipe => {
            let (a, b) = pipe::pair()?;
            (a.into(), b.into())
        }
        LinkKind::Memory => {
            let (a, b) = memory::pair();
            (a.into(), b.into())
        }
    })
}

impl Transport {
    /// The most that one end is made up of.
    pub(crate) const MOST_DESCRIPTORS: usize = 4;

    /// Holds back some room for the last words of this end: see [`Driver::end`].
    pub(crate) fn reserve(&self) {
        if let Transport::Socket(fd) = self {
            socket::reserve(fd.as_fd());
        }
    }

    /// The socket that this end is; nothing for the other kinds, whose ends are not lent.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Transport::Socket(fd) => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// The descriptors that make up this end, to be sent to the process that will use it; none for memory.
    pub(crate) fn into_descriptors(self) -> Vec<OwnedFd> {
        match self {
            Transport::Ring(end) => vec![end.memory, end.bell, end.peer, end.side],
            Transport::Socket(fd) => vec![fd],
            Transport::Pipe(pipe) => vec![pipe.read, pipe.write, pipe.side],
            Transport::Memory(_) => Vec::new(),
        }
    }

    /// An end of that link, as it was handed out.
    pub(crate) fn introduced(link: LinkId, fds: Vec<OwnedFd>) -> Result<Self, LinkError> {
        match local::came_with(link.0) {
            Some(end) => Ok(Transport::Memory(end)),
            None => Self::from_descriptors(fds),
        }
    }

    /// The end that [`into_descriptors`](Self::into_descriptors) took apart: their number says what it is.
    pub(crate) fn from_descriptors(fds: Vec<OwnedFd>) -> Result<Self, LinkError> {
        let came = fds.len();
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(LinkError::Descriptors { stated: 1, came });
        match came {
            1 => Ok(Transport::Socket(next()?)),
            3 => Ok(Transport::Pipe(pipe::Pipe {
                read: next()?,
                write: next()?,
                side: next()?,
            })),
            4 => Ok(Transport::Ring(ring::End {
                memory: next()?,
                bell: next()?,
                peer: next()?,
                side: next()?,
            })),
            _ => Err(LinkError::Descriptors { stated: 1, came }),
        }
    }
}

impl From<OwnedFd> for Transport {
    fn from(socket: OwnedFd) -> Self {
        Transport::Socket(socket)
    }
}

impl From<ring::End> for Transport {
    fn from(end: ring::End) -> Self {
        Transport::Ring(end)
    }
}

impl From<pipe::Pipe> for Transport {
    fn from(pipe: pipe::Pipe) -> Self {
        Transport::Pipe(pipe)
    }
}

impl From<memory::End> for Transport {
    fn from(end: memory::End) -> Self {
        Transport::Memory(end)
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Io(error) => error.into(),
            error => Error::with_kind(ErrorKind::Protocol, error),
        }
    }
}
