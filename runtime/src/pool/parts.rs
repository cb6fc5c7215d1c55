//! Encoded items, or results, one after another in the body of a message.
//!
//! Each has a header before it: what it is (a byte, for results), how many descriptors go with it (a byte) and how many
//! bytes it has (four, little-endian). The descriptors of a message are those of its parts, in order, so that a part
//! names its own by the same numbers whatever message it travels in.

use crate::error::{Error, Result};
use crate::os::socket::MAX_DESCRIPTORS;
use crate::wire::attach::{Descriptors, Lent, Payload, collect};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const HEADER: usize = 6;

/// Parts that were received, taken one by one. Malformed ones end it.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    bytes: &'a [u8],
    fds: std::vec::IntoIter<Arc<OwnedFd>>,
}

/// Parts that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    fds: Descriptors,
}

/// Where a part is in its message, its header included.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) bytes: Range<usize>,
    pub(super) fds: Range<usize>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(bytes: &'a [u8], fds: Descriptors) -> Self {
        Parts {
            bytes,
            fds: fds.into_iter(),
        }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (u8, Lent<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[kind, n_fds, ref length @ ..], rest) = self.bytes.split_first_chunk::<HEADER>()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if usize::from(n_fds) > self.fds.len() {
            return None;
        }
        self.bytes = rest;
        let fds = self.fds.by_ref().take(n_fds.into()).collect();
        Some((kind, Lent { bytes, fds }))
    }
}

impl Writer {
    pub(super) fn with_capacity(n_bytes: usize) -> Self {
        Writer {
            bytes: Vec::with_capacity(n_bytes),
            fds: Vec::new(),
        }
    }

    /// Appends a part of at most `limit` bytes; on an error it is as it was.
    pub(super) fn push(
        &mut self,
        kind: u8,
        limit: usize,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<Place> {
        let start = self.bytes.len();
        self.bytes.extend([kind, 0, 0, 0, 0, 0]);
        let encoded =
            collect(|| encode(&mut self.bytes)).and_then(|((), fds)| match self.bytes.len() - start {
                size if size > limit => Err(Error::too_large(size, limit)),
                _ => Ok(fds),
            });
        match encoded {
            Ok(fds) => Ok(self.finish(start, fds)),
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    fn finish(&mut self, start: usize, fds: Descriptors) -> Place {
        let length = (self.bytes.len() - start - HEADER) as u32;
        // A message has no more than a byte can count.
        self.bytes[start + 1] = fds.len() as u8;
        self.bytes[start + 2..start + HEADER].copy_from_slice(&length.to_le_bytes());
        self.place(start, fds)
    }

    fn place(&mut self, start: usize, fds: Descriptors) -> Place {
        let first = self.fds.len();
        self.fds.extend(fds);
        Place {
            bytes: start..self.bytes.len(),
            fds: first..self.fds.len(),
        }
    }

    /// Appends a part that was in another message.
    pub(super) fn repeat(&mut self, part: Payload) -> Place {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&part.bytes);
        self.place(start, part.fds)
    }

    /// Whether a message could hold one more part of that many bytes and descriptors, of which it may have `limit` bytes.
    pub(super) fn fits(&self, part: &Payload, limit: usize) -> bool {
        self.bytes.len() + part.bytes.len() <= limit && self.fds.len() + part.fds.len() <= MAX_DESCRIPTORS
    }

    /// Whether it is more than a message may hold.
    pub(super) fn is_too_much(&self, limit: usize) -> bool {
        self.bytes.len() > limit || self.fds.len() > MAX_DESCRIPTORS
    }

    /// Takes the last part off again.
    pub(super) fn split_off(&mut self, last: &Place) -> Payload {
        Payload {
            bytes: self.bytes.split_off(last.bytes.start).into(),
            fds: self.fds.split_off(last.fds.start),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a part.
    pub(super) fn part(&self, place: &Place) -> &[u8] {
        &self.bytes[place.bytes.clone()]
    }

    pub(super) fn into_payload(self) -> Payload {
        Payload {
            bytes: self.bytes.into(),
            fds: self.fds,
        }
    }
}

impl Place {
    /// The part of the message that it was pushed to.
    pub(super) fn of(&self, message: &Payload) -> Payload {
        Payload {
            bytes: message.bytes.slice(self.bytes.clone()),
            fds: message.fds[self.fds.clone()].to_vec(),
        }
    }
}
