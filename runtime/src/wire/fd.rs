//! [`Fd`]: an open file, or a socket, as a value that travels.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::attach::Attached;

/// Something with a descriptor (a `File`, a `TcpListener`, a `UnixStream`, an `OwnedFd`), so that it travels in messages.
///
/// What arrives is a duplicate: both processes then have it open, and share what the kernel keeps with an open file, such
/// as the position in it and whether it blocks. The sender's own is closed when it is dropped, and the message's when the
/// other process has taken it in. It derefs to what it holds.
///
/// A message carries at most 253 of them, and a sender waits while 512 wait at one receiver. They travel over every kind of
/// link. Where the sender or the receiver is at its limit of open files, that message fails, with an error that says so.
///
/// ```
/// use procession::Fd;
/// use procession::prelude::*;
/// use std::fs::File;
/// use std::io::{Read, Write};
///
/// #[task]
/// fn shout(mut to: Fd<File>, what: String) -> std::result::Result<(), String> {
///     write!(to, "{}", what.to_uppercase()).map_err(|error| error.to_string())
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let (mut read, write) = std::io::pipe()?;
/// let write = File::from(std::os::fd::OwnedFd::from(write));
/// Process::spawn(shout, (Fd::from(write), "hello".to_owned())).await?.join().await?;
/// let mut text = String::new();
/// read.read_to_string(&mut text)?; // to the end: nobody holds the other end open any more
/// assert_eq!(text, "HELLO");
/// # Ok(())
/// # }
/// ```
///
/// Nothing else can carry one away:
///
/// ```
/// # use procession::Fd;
/// let file = Fd::from(std::fs::File::open("/dev/null")?);
/// let error = serde_json::to_string(&file).unwrap_err();
/// assert_eq!(error.to_string(), "a descriptor travels only inside a message of procession");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fd<T>(T);

impl<T> Fd<T> {
    /// Takes what is to travel.
    pub fn new(inner: T) -> Self {
        Fd(inner)
    }

    /// Gives back what it holds.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Fd<T> {
    fn from(inner: T) -> Self {
        Fd(inner)
    }
}

impl<T: Into<OwnedFd>> From<Fd<T>> for OwnedFd {
    fn from(fd: Fd<T>) -> Self {
        fd.0.into()
    }
}

impl<T> Deref for Fd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Fd<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: AsFd> AsFd for Fd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsRawFd> AsRawFd for Fd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl<T: AsFd> Serialize for Fd<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fd = self.0.as_fd().try_clone_to_owned().map_err(|error| {
            let why = crate::os::limits::explain(&error);
            ser::Error::custom(format_args!(
                "a descriptor cannot be duplicated to be sent: {why}"
            ))
        })?;
        Attached(Arc::new(fd)).serialize(serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Fd<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = Attached::deserialize(deserializer)?.into_owned();
        fd.map(|fd| Fd(fd.into())).map_err(de::Error::custom)
    }
}
