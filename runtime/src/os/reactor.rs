//! Descriptors registered with the current tokio runtime, to be told when they are ready.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

/// What owns a descriptor for as long as it lives, always the same one.
pub(crate) trait Owned: AsRawFd + sealed::Sealed {}

impl Owned for OwnedFd {}
impl Owned for Arc<OwnedFd> {}
impl Owned for super::pidfd::PidFd {}

mod sealed {
    pub(crate) trait Sealed {}
    impl Sealed for std::os::fd::OwnedFd {}
    impl Sealed for std::sync::Arc<std::os::fd::OwnedFd> {}
    impl Sealed for crate::os::pidfd::PidFd {}
}

/// Registers `fd`; an error, and no panic, outside a runtime.
pub(crate) fn register<T: Owned>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    Handle::try_current().map_err(io::Error::other)?;
    // SAFETY: an `Owned` keeps its one descriptor open until it is dropped; nobody in this crate takes it out through
    // `AsyncFd::get_mut`.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}
