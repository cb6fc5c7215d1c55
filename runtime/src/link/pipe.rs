//! The transport of two named pipes, one for each direction. No descriptors can travel: the sender refuses them.

use crate::os::fifo::{Fifo, fifo};
use std::io;
use std::os::fd::OwnedFd;

/// One end: what is read here was written by the other end, and the other way round.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// Two connected ends.
pub(crate) fn pair() -> io::Result<(Pipe, Pipe)> {
    let Fifo { read, write } = fifo()?;
    let back = fifo()?;
    let here = Pipe {
        read,
        write: back.write,
    };
    let there = Pipe {
        read: back.read,
        write,
    };
    Ok((here, there))
}
