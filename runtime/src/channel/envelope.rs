//! Descriptors that one process can have, once.
//!
//! A message may be there several times: its sender keeps it until it has begun, a spec keeps the arguments of `init` for
//! every restart, a pool the item that a dead worker had. An end that travels must not be there twice: two processes would
//! read the same bytes, and a copy that is kept somewhere would hide the death of whoever has the end. So its descriptors lie in the
//! queue of a socket, and the socket travels: whoever takes them out has them, and they are nowhere else.
//!
//! **Promised.** Of all who open an envelope one gets what is in it. An envelope that nobody opens closes what is in it.

use crate::error::{Error, ErrorKind, Result};
use crate::os::passing::{self, Kind, MAX_FDS, Wait};
use crate::wire::attach::Attached;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Puts duplicates of these descriptors into an envelope.
pub(super) fn seal(fds: &[BorrowedFd<'_>]) -> io::Result<Attached> {
    let (envelope, hand) = passing::pair(Kind::Packets)?;
    for lot in fds.chunks(MAX_FDS) {
        passing::send(hand.as_fd(), b"x", lot, Wait::No)?;
    }
    Ok(Attached(Arc::new(envelope)))
}

/// Takes out the descriptors, which are so many.
pub(super) fn open(envelope: Attached, count: usize) -> Result<VecDeque<OwnedFd>> {
    let mut fds = Vec::new();
    while fds.len() < count {
        match passing::receive(envelope.0.as_fd(), &mut [0], &mut fds, Wait::No) {
            Ok(received) if received.bytes > 0 => {}
            Ok(_) => break,
            // The other side may still be open for a moment: in a process that was forked and has yet to exec.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    match fds.len() {
        n if n == count => Ok(fds.into()),
        0 => Err(Error::with_kind(
            ErrorKind::Invalid,
            "an end of a channel can be had once, and whoever had this message before took it: send a new one",
        )),
        n => Err(Error::with_kind(
            ErrorKind::Io,
            format_args!("{n} of the {count} descriptors of an end arrived: raise the limit of open files"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_who_open_an_envelope_one_gets_what_is_in_it() {
        let ends: Vec<_> = (0..300)
            .map(|_| nix::unistd::dup(std::io::stdin()).unwrap())
            .collect();
        let lent: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
        let envelope = seal(&lent).unwrap();
        let copy = Attached(Arc::new(envelope.0.try_clone().unwrap()));
        assert_eq!(open(envelope, 300).unwrap().len(), 300);
        let error = open(copy, 300).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn an_envelope_that_nobody_opens_closes_what_is_in_it() {
        let (here, there) = passing::pair(Kind::Packets).unwrap();
        let envelope = seal(&[there.as_fd()]).unwrap();
        drop(there);
        let peek = |wait| passing::receive(here.as_fd(), &mut [0], &mut Vec::new(), wait).map(|r| r.bytes);
        assert_eq!(peek(Wait::No).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(envelope);
        assert_eq!(peek(Wait::Yes).unwrap(), 0);
    }
}
