//! Event descriptors: bells between processes.
//!
//! A bell is rung by a write and never read. Whoever waits for it is told of each write, edge by edge, as epoll does
//! of every wake-up on the descriptor whatever its count: that saves the read, a system call for each wake-up.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A bell, close-on-exec; ringing it never waits.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Wakes who waits for it.
pub(crate) fn ring(bell: BorrowedFd<'_>) -> io::Result<()> {
    let one = 1_u64;
    // SAFETY: the pointer is that of eight live bytes.
    let n = unsafe { libc::write(bell.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    match n {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::reactor::register;
    use std::os::fd::AsFd;
    use std::time::Duration;
    use tokio::io::Interest;

    #[tokio::test]
    async fn each_ring_is_heard_though_nobody_reads() {
        let bell = create().unwrap();
        let rings = bell.try_clone().unwrap();
        let heard = register(bell, Interest::READABLE).unwrap();
        for _ in 0..3 {
            ring(rings.as_fd()).unwrap();
            let ready = tokio::time::timeout(Duration::from_secs(60), heard.readable());
            ready.await.expect("it was rung").unwrap().clear_ready();
        }
        let quiet = std::future::poll_fn(|cx| std::task::Poll::Ready(heard.poll_read_ready(cx).is_pending()));
        assert!(quiet.await);
    }
}
