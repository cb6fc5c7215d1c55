//! The transport of two named pipes, one for each direction, and a socket for descriptors (see [`side`](super::side)).

use crate::os::fifo::{Fifo, fifo};
use crate::os::socket;
use std::io;
use std::os::fd::OwnedFd;

/// One end: what is read here was written by the other end, and the other way round.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    pub(crate) side: OwnedFd,
}

/// Two connected ends.
pub(crate) fn pair() -> io::Result<(Pipe, Pipe)> {
    let Fifo { read, write } = fifo()?;
    let back = fifo()?;
    let (side, other_side) = socket::pair()?;
    let here = Pipe {
        read,
        write: back.write,
        side,
    };
    let there = Pipe {
        read: back.read,
        write,
        side: other_side,
    };
    Ok((here, there))
}
