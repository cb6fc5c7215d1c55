//! [`SharedBytes`]: a [`SharedSlice`] of bytes.

use crate::error::{Error, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

use super::slice::SharedSlice;

/// Immutable bytes in memory that processes share: a [`SharedSlice`] of bytes, which also becomes a [`Bytes`].
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn ends(bytes: SharedBytes) -> (u8, u8) {
///     (bytes[0], bytes[bytes.len() - 1])
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let image = SharedBytes::with(64 << 20, |room| room[0] = 7)?;
/// let process = Process::spawn(ends, image.clone()).await?;
/// assert_eq!(process.join().await?, (7, 0));
///
/// let tail: bytes::Bytes = bytes::Bytes::from(image).slice(1..); // the same memory
/// assert_eq!(tail[0], 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedBytes(SharedSlice<u8>);

impl SharedBytes {
    /// A copy of `bytes`.
    ///
    /// # Errors
    ///
    /// As of a [`SharedSlice`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        SharedSlice::from_slice(bytes).map(SharedBytes)
    }

    /// `len` bytes that `fill` writes, where they will be read. Before that they are zero.
    ///
    /// # Errors
    ///
    /// As of a [`SharedSlice`].
    pub fn with(len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self> {
        SharedSlice::with(len, fill).map(SharedBytes)
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The same memory.
impl From<SharedSlice<u8>> for SharedBytes {
    fn from(bytes: SharedSlice<u8>) -> Self {
        SharedBytes(bytes)
    }
}

/// The same memory.
impl From<SharedBytes> for SharedSlice<u8> {
    fn from(bytes: SharedBytes) -> Self {
        bytes.0
    }
}

/// The same memory.
impl From<SharedBytes> for Bytes {
    fn from(bytes: SharedBytes) -> Self {
        Bytes::from_owner(bytes)
    }
}

impl TryFrom<&[u8]> for SharedBytes {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        Self::from_slice(bytes)
    }
}

impl TryFrom<Vec<u8>> for SharedBytes {
    type Error = Error;

    fn try_from(bytes: Vec<u8>) -> Result<Self> {
        Self::from_slice(&bytes)
    }
}

impl TryFrom<Bytes> for SharedBytes {
    type Error = Error;

    fn try_from(bytes: Bytes) -> Result<Self> {
        Self::from_slice(&bytes)
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
