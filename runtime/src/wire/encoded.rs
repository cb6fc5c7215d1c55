//! The bytes of an encoded message.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Deref;

/// So many take no more room than what says where shared ones are, but for what tells one from the other.
const FEW: usize = size_of::<Bytes>() - size_of::<usize>() - 1;

/// Bytes that are moved about and not changed. A few lie in the value itself: to share them costs more than to copy them.
#[derive(Clone)]
pub(crate) struct Encoded(Where);

#[derive(Clone)]
enum Where {
    Here { len: u8, bytes: [u8; FEW] },
    Shared(Bytes),
}

impl Encoded {
    pub(crate) const fn new() -> Encoded {
        Encoded(Where::Here {
            len: 0,
            bytes: [0; FEW],
        })
    }

    /// A copy, where they are few.
    #[inline]
    pub(crate) fn few(from: &[u8]) -> Option<Encoded> {
        let mut bytes = [0; FEW];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        let len = from.len() as u8;
        Some(Encoded(Where::Here { len, bytes }))
    }

    /// The same from the `n`th on, of which there are as many.
    pub(crate) fn skip(self, n: usize) -> Encoded {
        match self.0 {
            Where::Here { .. } => Encoded::few(&self[n..]).unwrap_or_default(),
            Where::Shared(bytes) => bytes.slice(n..).into(),
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self.0 {
            Where::Here { len, bytes } => Bytes::copy_from_slice(&bytes[..usize::from(len)]),
            Where::Shared(bytes) => bytes,
        }
    }
}

impl Default for Encoded {
    fn default() -> Self {
        Encoded::new()
    }
}

impl Deref for Encoded {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Where::Here { len, bytes } => &bytes[..usize::from(*len)],
            Where::Shared(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Encoded {
    fn from(bytes: Bytes) -> Self {
        Encoded(Where::Shared(bytes))
    }
}

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Encoded {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_it_was_made_of_wherever_that_is() {
        for len in 0..100 {
            let bytes: Vec<u8> = (0..len).collect();
            let few = Encoded::few(&bytes);
            assert_eq!(few.is_some(), bytes.len() <= FEW);
            for encoded in few.into_iter().chain([bytes.clone().into()]) {
                assert_eq!(encoded, bytes);
                assert_eq!(encoded.clone().into_bytes(), bytes);
                let n = bytes.len() / 3;
                assert_eq!(encoded.skip(n), bytes[n..]);
            }
        }
        assert_eq!(Encoded::new(), *b"");
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn it_is_as_small_as_what_is_shared() {
        assert_eq!(size_of::<Encoded>(), size_of::<Bytes>());
    }

    #[test]
    fn what_is_shared_is_not_copied() {
        let bytes = Bytes::from(vec![7; FEW]);
        let encoded = Encoded::from(bytes.clone());
        assert_eq!(encoded.as_ptr(), bytes.as_ptr());
        assert_eq!(encoded.into_bytes().as_ptr(), bytes.as_ptr());
    }
}
