//! What was read and is not yet parsed: the buffer, and the descriptors that came with it.
//!
//! Frames are views into the buffer. It is used again when the last view is gone, and replaced if one lives on. For a
//! frame that is larger than the buffer there is one of the frame's size, filled by the kernel directly; behind it the
//! usual size returns.

use super::{Incoming, LinkError};
use crate::wire::frame::{FrameCodec, HEADER};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// The usual size of the buffer.
const BUFFER: usize = 64 << 10;

/// With less room than this behind a partial frame, the buffer is replaced before the next read.
const LEAST_ROOM: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Inbox {
    codec: FrameCodec,
    pub(super) buf: BytesMut,
    pub(super) fds: VecDeque<OwnedFd>,
    /// How many bytes the frame has whose header was seen; 0 if none was.
    frame: usize,
}

impl Inbox {
    pub(super) fn new(codec: FrameCodec) -> Self {
        Inbox {
            codec,
            buf: BytesMut::new(),
            fds: VecDeque::new(),
            frame: 0,
        }
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, LinkError> {
        if self.buf.len() < self.frame.max(HEADER) {
            return self.check_idle();
        }
        let Some((head, len)) = self.codec.peek(&self.buf)? else {
            return Ok(None);
        };
        let n_fds = usize::from(head.fds);
        self.frame = HEADER + len;
        if self.fds.len() < n_fds {
            // They come with the frame's first byte, so no more will.
            return Err(self.wrong_descriptors(n_fds));
        }
        if self.buf.len() < self.frame {
            return match self.fds.len() == n_fds {
                true => Ok(None),
                false => Err(self.wrong_descriptors(n_fds)),
            };
        }
        self.frame = 0;
        self.buf.advance(HEADER);
        Ok(Some(Incoming {
            head,
            body: self.buf.split_to(len).freeze(),
            fds: self.fds.drain(..n_fds).collect(),
        }))
    }

    /// Makes room for the next read.
    pub(super) fn make_room(&mut self) {
        let room = self.buf.capacity() - self.buf.len();
        if self.frame > BUFFER {
            if room < self.frame - self.buf.len() {
                self.replace(self.frame);
            }
        } else if self.buf.is_empty() {
            let usual = self.buf.try_reclaim(BUFFER) && self.buf.capacity() < 2 * BUFFER;
            if !usual {
                self.buf = BytesMut::with_capacity(BUFFER);
            }
        } else if room < LEAST_ROOM || room < self.frame.saturating_sub(self.buf.len()) {
            self.replace(BUFFER);
        }
    }

    fn replace(&mut self, capacity: usize) {
        let mut buf = BytesMut::with_capacity(capacity);
        buf.extend_from_slice(&self.buf);
        self.buf = buf;
    }

    /// Descriptors without a single byte of the frame that they belong to.
    fn check_idle(&self) -> Result<Option<Incoming>, LinkError> {
        match self.buf.is_empty() && !self.fds.is_empty() {
            true => Err(self.wrong_descriptors(0)),
            false => Ok(None),
        }
    }

    fn wrong_descriptors(&self, stated: usize) -> LinkError {
        LinkError::Descriptors {
            stated,
            came: self.fds.len(),
        }
    }
}
