//! Signals that ask a program to end, one after another, to be awaited.
//!
//! The handler writes the signal's number into a pipe. Handlers that others install for the same signals, before or
//! after, are called too where they go through `signal-hook-registry`, as tokio's and most others do.
//!
//! In the handler only: `write`, which leaves `errno` as it was.

use super::reactor;
use nix::fcntl::OFlag;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The numbers of the signals that came.
#[derive(Debug)]
pub(crate) struct Interrupts(AsyncFd<OwnedFd>);

impl Interrupts {
    /// Handles these signals from now on, until the process ends. Must be called inside a runtime.
    pub(crate) fn listen(signals: &[libc::c_int]) -> io::Result<Self> {
        let (heard, told) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let interrupts = Interrupts(reactor::register(heard, Interest::READABLE)?);
        // Open as long as there is a handler: for ever.
        let told = told.into_raw_fd();
        for signal in signals.iter().copied() {
            let tell = move || {
                let byte = signal as u8;
                // SAFETY: the place of this thread's `errno`, which what was interrupted may be about to read.
                let errno = unsafe { *libc::__errno_location() };
                // SAFETY: one byte that outlives the call. A pipe that is full holds signals enough.
                unsafe { libc::write(told, (&raw const byte).cast(), 1) };
                // SAFETY: as above.
                unsafe { *libc::__errno_location() = errno };
            };
            // SAFETY: the handler does only what a handler may, as the head of this module says.
            unsafe { signal_hook_registry::register(signal, tell) }?;
        }
        Ok(interrupts)
    }

    /// The next one.
    pub(crate) async fn next(&self) -> libc::c_int {
        loop {
            let mut byte = [0];
            let Ok(mut ready) = self.0.readable().await else {
                // The runtime ends, and whoever waits here with it.
                return std::future::pending().await;
            };
            let read = ready.try_io(|pipe| {
                // SAFETY: the buffer is valid for its length.
                match unsafe { libc::read(pipe.as_raw_fd(), byte.as_mut_ptr().cast(), 1) } {
                    1 => Ok(libc::c_int::from(byte[0])),
                    _ => Err(io::Error::last_os_error()),
                }
            });
            if let Ok(Ok(signal)) = read {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};

    #[tokio::test]
    async fn signals_are_heard_in_their_order_and_none_is_lost() {
        let interrupts = Interrupts::listen(&[libc::SIGUSR1, libc::SIGUSR2]).unwrap();
        for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGUSR1] {
            raise(signal).unwrap();
        }
        for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGUSR1] {
            assert_eq!(interrupts.next().await, signal);
        }
    }
}
