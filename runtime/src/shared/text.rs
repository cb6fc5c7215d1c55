//! [`SharedStr`]: a `str` that several processes read in place.

use crate::error::{Error, Result};
use crate::os::sealed::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::Utf8Error;
use std::sync::Arc;

use super::bytes::SharedBytes;
use super::slice::{Memory, SharedSlice};

/// An immutable `str` in memory that processes share: [`SharedBytes`] that are text, which a receiver checks once.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn count(text: SharedStr, word: &str) -> usize {
///     text.split_whitespace().filter(|other| *other == word).count()
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let text = SharedStr::new(&"to be or not to be ".repeat(100_000))?;
/// let process = Process::spawn(count, (text, "be".to_owned())).await?;
/// assert_eq!(process.join().await?, 200_000);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedStr(Checked);

#[derive(Clone)]
enum Checked {
    Inline(Arc<str>),
    Sealed(Text),
}

impl SharedStr {
    /// A copy of `text`.
    ///
    /// # Errors
    ///
    /// As of a [`SharedSlice`].
    pub fn new(text: &str) -> Result<Self> {
        let bytes = SharedBytes::from_slice(text.as_bytes())?;
        checked(bytes).map_err(Error::new)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Checked::Inline(text) => text,
            Checked::Sealed(text) => text.as_str(),
        }
    }
}

fn checked(bytes: SharedBytes) -> Result<SharedStr, Utf8Error> {
    Ok(SharedStr(match SharedSlice::from(bytes).memory() {
        Memory::Inline(bytes) => Checked::Inline(std::str::from_utf8(bytes)?.into()),
        Memory::Sealed(memory) => Checked::Sealed(Text::new(memory.clone())?),
    }))
}

/// The same memory. It fails where the bytes are no text.
impl TryFrom<SharedBytes> for SharedStr {
    type Error = Error;

    fn try_from(bytes: SharedBytes) -> Result<Self> {
        checked(bytes).map_err(Error::new)
    }
}

/// The same memory.
impl From<SharedStr> for SharedBytes {
    fn from(text: SharedStr) -> Self {
        let memory = match text.0 {
            Checked::Inline(text) => Memory::Inline(text.into()),
            Checked::Sealed(text) => Memory::Sealed(text.memory().clone()),
        };
        SharedSlice::of(memory).into()
    }
}

impl Serialize for SharedStr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SharedBytes::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedStr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked(SharedBytes::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl TryFrom<&str> for SharedStr {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for SharedStr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(&text)
    }
}

impl Deref for SharedStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for SharedStr {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Debug for SharedStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for SharedStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for SharedStr {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedStr {}

impl PartialOrd for SharedStr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedStr {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for SharedStr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}
