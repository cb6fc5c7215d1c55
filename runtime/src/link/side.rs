//! The socket beside a transport that carries no descriptors itself.
//!
//! The descriptors of a frame, its *lot*, go over the socket before the first byte of the frame goes over the
//! transport. So they are there when that byte is: the frame's header states their number, and the lot at the
//! head of the socket is the frame's. One byte goes with each lot, since descriptors cannot go alone; anything else that
//! comes over the socket is a fault.
//!
//! No more than one lot is taken off the socket before a frame claims it. A lot that no frame claims is closed with the
//! link.

use super::LinkError;
use crate::os::socket;
use crate::wire::attach::Descriptors;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The byte that goes with a lot.
const BYTE: u8 = b'D';

/// The receiving side: lots, in the order of their frames.
#[derive(Debug)]
pub(super) struct Lots {
    socket: Arc<OwnedFd>,
    /// One lot that no frame has claimed so far.
    next: Option<Lot>,
}

#[derive(Debug)]
enum Lot {
    Came(VecDeque<OwnedFd>),
    /// The kernel dropped it: this process can have no more descriptors.
    Lost,
}

/// Sends a lot, which stays the caller's too.
pub(super) fn send(socket: &OwnedFd, fds: &Descriptors) -> io::Result<()> {
    match socket::send(socket.as_fd(), &[IoSlice::new(&[BYTE])], fds) {
        Ok(_) => Ok(()),
        // The transport would be waited for, which has room: this is to be tried again in a while.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::from_raw_os_error(nix::errno::Errno::ENOBUFS as i32))
        }
        Err(error) => Err(error),
    }
}

impl Lots {
    pub(super) fn new(socket: Arc<OwnedFd>) -> Self {
        Lots { socket, next: None }
    }

    /// The lot of a frame that states `n` descriptors, or `false` if it was lost on its way.
    pub(super) fn claim(&mut self, n: usize, fds: &mut VecDeque<OwnedFd>) -> Result<bool, LinkError> {
        self.fetch()?;
        match self.next.take() {
            Some(Lot::Lost) => Ok(false),
            Some(Lot::Came(lot)) if lot.len() == n => {
                fds.extend(lot);
                Ok(true)
            }
            other => Err(LinkError::Descriptors {
                stated: n,
                came: other.map_or(0, |lot| lot.len()),
            }),
        }
    }

    /// Takes the next lot off the socket, if none is waiting to be claimed; whether it took one.
    pub(super) fn fetch(&mut self) -> Result<bool, LinkError> {
        if self.next.is_some() {
            return Ok(false);
        }
        let (mut byte, mut lot) = (BytesMut::with_capacity(1), VecDeque::new());
        let received = loop {
            match socket::recv(self.socket.as_fd(), &mut byte, &mut lot) {
                Ok(received) => break received,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset => return Ok(false),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        };
        self.next = match received.len {
            0 => return Ok(false),
            _ if received.truncated => Some(Lot::Lost),
            _ if byte[..] == [BYTE] && !lot.is_empty() => Some(Lot::Came(lot)),
            _ => return Err(LinkError::Side),
        };
        Ok(true)
    }
}

impl Lot {
    fn len(&self) -> usize {
        match self {
            Lot::Came(lot) => lot.len(),
            Lot::Lost => 0,
        }
    }
}
