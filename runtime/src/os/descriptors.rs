//! The table of descriptors of a process that is just entered: what it keeps, and where.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

const FIRST: RawFd = 3;

/// Keeps the standard three and these, from number 3 in this order, close-on-exec; closes all others.
///
/// Only for a process that owns no other descriptor: one that was just entered, or cloned.
pub(crate) fn keep_only<const N: usize>(fds: [OwnedFd; N]) -> io::Result<[OwnedFd; N]> {
    let mut from = fds.map(IntoRawFd::into_raw_fd);
    let end = FIRST + N as RawFd;
    for i in 0..N {
        let to = FIRST + i as RawFd;
        if from[i] == to {
            continue;
        }
        // One that is still to be moved may stand where this one goes.
        if let Some(later) = from[i + 1..].iter_mut().find(|fd| **fd == to) {
            // SAFETY: no memory is passed.
            *later = check(unsafe { libc::fcntl(to, libc::F_DUPFD_CLOEXEC, end) })?;
        }
        // SAFETY: no memory is passed; whatever was at `to` is owned by nobody, as the caller vouches.
        check(unsafe { libc::dup3(from[i], to, libc::O_CLOEXEC) })?;
    }
    close_from(end);
    // SAFETY: the numbers from 3 are open, and owned by nobody else.
    Ok(std::array::from_fn(|i| unsafe {
        OwnedFd::from_raw_fd(FIRST + i as RawFd)
    }))
}

/// Closes what an image inherited beyond the standard three; only for one that was just entered.
pub(crate) fn close_inherited() {
    close_from(FIRST);
}

/// Takes the standard input away from its number, and leaves the null device there.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let taken = check(unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, FIRST) })?;
    // SAFETY: the kernel has just made it for us.
    let taken = unsafe { OwnedFd::from_raw_fd(taken) };
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: no memory is passed; number 0 is nobody's but the standard library's, which only borrows it.
    check(unsafe { libc::dup2(null.as_raw_fd(), 0) })?;
    Ok(taken)
}

/// Whether a number is an open socket.
pub(crate) fn is_socket(fd: RawFd) -> bool {
    let mut kind: libc::c_int = 0;
    let mut size = size_of_val(&kind) as libc::socklen_t;
    // SAFETY: the option writes one int, which outlives the call.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &mut size,
        )
    };
    got == 0
}

fn close_from(first: RawFd) {
    // SAFETY: no memory is passed; the callers vouch that nobody owns what is closed.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, 0) };
    if closed == -1 {
        close_one_by_one(first);
    }
}

/// Before Linux 5.9.
fn close_one_by_one(first: RawFd) {
    for fd in super::procfs::descriptors().into_iter().filter(|fd| *fd >= first) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}
