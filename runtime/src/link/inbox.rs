//! What was read and is not yet parsed: the buffer, and the descriptors that came with it.
//!
//! Frames are views into the buffer, but for those of a few bytes, which are copied; a small one can be lent instead, where it
//! is, until it has been handled. The buffer is
//! used again when the last view is gone; while one lives on the rest of it is
//! used, and then another, since most views are gone by the time that this one is full too. For a
//! frame that is larger than the buffer there is one of the frame's size, filled by the kernel directly; behind it the
//! usual size returns. One large buffer is kept for the next large frame, since fresh memory costs more than the copy
//! into it; some smaller reads later it is let go.
//!
//! Where a frame says that it ends with a block, that is read into memory of its own, which goes to whoever decodes it:
//! a `Vec<u8>` then is that memory. The rest of the frame waits for it in the buffer.
//!
//! A large buffer that is new is memory that nobody has touched: large pages are asked for, since to have them made one by
//! one costs more than to read into them.
//!
//! Where there is no memory for a large frame, that frame alone is lost: the rest of it is read and thrown away, and it is
//! delivered with its head, which says how large it was, and its descriptors.
//!
//! The first reads, and those after a rest, go into a small buffer: most links carry little, and each is memory of a process
//! of its own.
//!
//! Descriptors that the kernel drops on their way, since this process can have no more, are those of one frame: a read
//! ends behind the write that brought them, and they came with that write's first frame. That frame is delivered
//! without its descriptors, whoever decodes it finds them missing, and the link goes on.

use super::side::Lots;
use super::{Incoming, LinkError};
use crate::os::memory;
use crate::wire::behind::BLOCK;
use crate::wire::encoded::Encoded;
use crate::wire::frame::{Flags, FrameCodec, HEADER, Head};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// The usual size of the buffer.
const BUFFER: usize = 64 << 10;

/// The size for the first reads, and how many those are.
const FIRST: usize = 3 << 10;
const FIRST_READS: u32 = 16;

/// With less room than this behind a partial frame, the buffer is replaced before the next read.
const LEAST_ROOM: usize = 16 << 10;

/// The largest buffer that is kept for the next large frame: of 4 MiB and what may be before them.
const KEPT: usize = (4 << 20) + (64 << 10);

/// After so many smaller reads it is let go.
const KEPT_FOR: u32 = 64;

#[derive(Debug)]
pub(super) struct Inbox {
    codec: FrameCodec,
    pub(super) buf: BytesMut,
    pub(super) fds: VecDeque<OwnedFd>,
    /// How many of these came before each lot that the kernel dropped.
    lost: VecDeque<usize>,
    /// How many bytes the frame has whose header was seen; 0 if none was.
    frame: usize,
    /// How many of these at its end are a block, and what was read of it apart.
    block: usize,
    apart: BytesMut,
    /// A frame for which there is no memory.
    unheld: Option<Box<Unheld>>,
    /// The buffer is for one large frame.
    is_large: bool,
    /// The usual one before this, of which views may live on.
    spare: BytesMut,
    /// One that was, for the next, and how many smaller reads there were since.
    large: Option<BytesMut>,
    small_reads: u32,
    /// How many reads there are yet into a small buffer.
    first_reads: u32,
}

/// A frame that is thrown away as it comes.
#[derive(Debug)]
struct Unheld {
    head: Head,
    /// Of its body.
    len: usize,
    /// How many bytes of it are still to come.
    left: usize,
}

/// The size of a frame that is thrown away: more than is ever here of it.
const ENDLESS: usize = usize::MAX;

impl Inbox {
    pub(super) fn new(codec: FrameCodec) -> Self {
        Inbox {
            codec,
            buf: BytesMut::new(),
            fds: VecDeque::new(),
            lost: VecDeque::new(),
            frame: 0,
            block: 0,
            apart: BytesMut::new(),
            unheld: None,
            is_large: false,
            spare: BytesMut::new(),
            large: None,
            small_reads: 0,
            first_reads: FIRST_READS,
        }
    }

    /// The next whole frame. Its descriptors came with its bytes, or are in `lots`.
    pub(super) fn next(&mut self, lots: Option<&mut Lots>) -> Result<Option<Incoming>, LinkError> {
        if self.n_unparsed() < self.frame.max(HEADER) {
            return match self.unheld {
                None => self.check_idle(),
                Some(_) => Ok(self.throw_away()),
            };
        }
        let Some((head, len)) = self.codec.peek(&self.buf)? else {
            return Ok(None);
        };
        let n_fds = usize::from(head.fds);
        self.frame = HEADER + len;
        self.block = match head.block as usize {
            small if small < BLOCK => 0,
            block => block,
        };
        let mut is_lost = n_fds > 0 && self.lost.front() == Some(&0);
        if let Some(lots) = lots
            && n_fds > 0
            && !is_lost
            && self.fds.is_empty()
            && !lots.claim(n_fds, &mut self.fds)?
        {
            self.lost.push_back(0);
            is_lost = true;
        }
        let n_here = if is_lost { 0 } else { n_fds };
        if self.lost.front().copied().unwrap_or(self.fds.len()) < n_here {
            // They come with the frame's first byte, so no more will.
            return Err(self.wrong_descriptors(n_fds));
        }
        if self.n_unparsed() < self.frame {
            return match self.fds.len() == n_here {
                true => Ok(None),
                false => Err(self.wrong_descriptors(n_fds)),
            };
        }
        let block = self.take_block();
        (self.frame, self.block) = (0, 0);
        self.buf.advance(HEADER);
        let n_apart = block.as_ref().map_or(0, Bytes::len);
        Ok(Some(Incoming {
            head,
            body: self.take_bytes(len - n_apart),
            block,
            fds: self.take_fds(is_lost, n_here),
        }))
    }

    /// Those of the frame that is delivered.
    #[inline]
    fn take_fds(&mut self, is_lost: bool, n_here: usize) -> Vec<OwnedFd> {
        if is_lost {
            self.lost.pop_front();
        }
        self.lost.iter_mut().for_each(|before| *before -= n_here);
        match n_here {
            0 => Vec::new(),
            _ => self.fds.drain(..n_here).collect(),
        }
    }

    /// There is no memory for the frame that has begun: what is here of it goes.
    #[cold]
    fn give_up(&mut self) {
        // It was seen before, when it was found to be large.
        let Ok(Some((head, len))) = self.codec.peek(&self.buf) else {
            return;
        };
        let left = self.frame - self.n_unparsed();
        self.unheld = Some(Box::new(Unheld { head, len, left }));
        (self.frame, self.block) = (ENDLESS, 0);
        self.buf.clear();
        self.apart = BytesMut::new();
    }

    /// Throws away what has come of the frame for which there is no memory; delivers what is left of it at its end.
    #[cold]
    fn throw_away(&mut self) -> Option<Incoming> {
        let unheld = self.unheld.as_mut()?;
        let n = unheld.left.min(self.buf.len());
        unheld.left -= n;
        self.buf.advance(n);
        if unheld.left > 0 {
            return None;
        }
        let Unheld { mut head, len, .. } = *self.unheld.take()?;
        head.flags = head.flags.with(Flags::UNHELD);
        // No body has more than its length can say.
        head.block = len as u32;
        self.frame = 0;
        let n_fds = usize::from(head.fds);
        let is_lost = n_fds > 0 && self.lost.front() == Some(&0);
        Some(Incoming {
            head,
            body: Encoded::new(),
            block: None,
            fds: self.take_fds(is_lost, if is_lost { 0 } else { n_fds }),
        })
    }

    /// The next frame where it is, if it is small, all here, and nothing goes with it. What is wrong with one is for
    /// [`next`](Self::next) to say.
    #[inline]
    pub(super) fn lend(&self) -> Option<(Head, &[u8])> {
        if self.frame > 0 || !self.fds.is_empty() || !self.lost.is_empty() {
            return None;
        }
        let (head, len) = self.codec.peek(&self.buf).ok()??;
        let body = self.buf.get(HEADER..HEADER + len)?;
        (len < BLOCK && head.fds == 0).then_some((head, body))
    }

    /// What was lent goes.
    #[inline]
    pub(super) fn pass(&mut self, len: usize) {
        self.buf.advance(HEADER + len);
    }

    /// The body of what was lent.
    pub(super) fn take_lent(&mut self, len: usize) -> Encoded {
        self.buf.advance(HEADER);
        self.take_bytes(len)
    }

    /// The next bytes of the buffer.
    #[inline]
    fn take_bytes(&mut self, len: usize) -> Encoded {
        match Encoded::few(&self.buf[..len]) {
            Some(few) => {
                self.buf.advance(len);
                few
            }
            None => self.buf.split_to(len).freeze().into(),
        }
    }

    /// The kernel dropped descriptors that came with the last read, before which `n_before` were here. They were those of
    /// one frame: it is delivered without any.
    pub(super) fn lose(&mut self, n_before: usize) {
        self.fds.truncate(n_before);
        self.lost.push_back(n_before);
    }

    /// Takes out what was read and not parsed; `None` where descriptors of it were lost, or a part of it was thrown away.
    pub(super) fn take(&mut self) -> Option<(BytesMut, VecDeque<OwnedFd>)> {
        let whole = self.lost.is_empty() && self.unheld.is_none();
        self.buf.extend_from_slice(&std::mem::take(&mut self.apart));
        whole.then(|| (std::mem::take(&mut self.buf), std::mem::take(&mut self.fds)))
    }

    /// Whether a frame was begun and not finished.
    pub(super) fn is_cut(&self) -> bool {
        !self.buf.is_empty() || self.unheld.is_some()
    }

    /// Where the next read goes, with room for it: bytes, and descriptors.
    pub(super) fn room(&mut self) -> (&mut BytesMut, &mut VecDeque<OwnedFd>) {
        if self.is_at_block() {
            match self.set_apart() {
                Some(()) => return (&mut self.apart, &mut self.fds),
                None => self.give_up(),
            }
        }
        if self.make_room().is_none() {
            self.give_up();
            self.make_usual_room();
        }
        (&mut self.buf, &mut self.fds)
    }

    /// All that is here of what was read.
    fn n_unparsed(&self) -> usize {
        self.buf.len() + self.apart.len()
    }

    /// What is still to come of a frame is of its block.
    fn is_at_block(&self) -> bool {
        self.block > 0 && self.buf.len() >= self.front()
    }

    /// How many bytes of the frame go into the buffer.
    fn front(&self) -> usize {
        self.frame - self.block
    }

    /// What comes of the block goes into memory of its own, and before that what came with the front. `None`: there is no
    /// memory.
    fn set_apart(&mut self) -> Option<()> {
        if self.apart.capacity() == 0 {
            let front = self.front();
            self.apart = large(self.block)?;
            self.apart.extend_from_slice(&self.buf[front..]);
            self.buf.truncate(front);
        }
        Some(())
    }

    fn take_block(&mut self) -> Option<Bytes> {
        let mut block = std::mem::take(&mut self.apart);
        // It may have had more room than it was to have.
        if block.len() > self.block {
            self.buf.extend_from_slice(&block.split_off(self.block));
        }
        (!block.is_empty()).then(|| block.freeze())
    }

    /// `None`: there is no memory for the frame that has begun.
    fn make_room(&mut self) -> Option<()> {
        let room = self.buf.capacity() - self.buf.len();
        let front = self.front();
        if front > BUFFER {
            if self.unheld.is_some() {
                self.make_usual_room();
            } else if room < front - self.buf.len() {
                self.replace_by_large()?;
            }
        } else if self.buf.is_empty() {
            self.put_large_by();
            self.first_reads = self.first_reads.saturating_sub(1);
            let size = if self.first_reads > 0 { FIRST } else { BUFFER };
            let is_free = self.buf.try_reclaim(size) || self.buf.capacity() >= LEAST_ROOM;
            if !is_free || self.buf.capacity() >= 2 * BUFFER {
                self.change(size);
            }
        } else if room < LEAST_ROOM || room < front.saturating_sub(self.buf.len()) {
            self.replace(BytesMut::with_capacity(BUFFER));
        }
        Some(())
    }

    /// For what is thrown away.
    #[cold]
    fn make_usual_room(&mut self) {
        if !self.buf.try_reclaim(LEAST_ROOM) {
            self.change(BUFFER);
        }
    }

    /// Takes the other buffer, if that is free, or a new one.
    fn change(&mut self, size: usize) {
        let is_free = self.spare.try_reclaim(size) && self.spare.capacity() < 2 * BUFFER;
        let next = match is_free {
            true => std::mem::take(&mut self.spare),
            false => BytesMut::with_capacity(size),
        };
        self.spare = std::mem::replace(&mut self.buf, next);
        if self.spare.capacity() >= 2 * BUFFER {
            self.spare = BytesMut::new();
        }
    }

    /// Lets go of the buffers, if there is nothing in them, and begins again with a small one. Whether there was one of the
    /// usual size or more.
    pub(super) fn release(&mut self) -> bool {
        let is_usual = |buffer: &BytesMut| buffer.capacity() >= LEAST_ROOM;
        let had_usual = self.large.is_some() || is_usual(&self.buf) || is_usual(&self.spare);
        self.large = None;
        self.spare = BytesMut::new();
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
        }
        self.first_reads = FIRST_READS;
        had_usual
    }

    fn replace_by_large(&mut self) -> Option<()> {
        let front = self.front();
        let reclaimed = |mut kept: BytesMut| kept.try_reclaim(front).then_some(kept);
        // Its last frame may live on.
        let next = match self.large.take().and_then(reclaimed) {
            Some(kept) => kept,
            None => large(front)?,
        };
        self.replace(next);
        self.is_large = front <= KEPT;
        Some(())
    }

    fn put_large_by(&mut self) {
        if std::mem::take(&mut self.is_large) {
            self.large = Some(std::mem::take(&mut self.buf));
            self.small_reads = 0;
        } else if self.large.is_some() {
            self.small_reads += 1;
            if self.small_reads == KEPT_FOR {
                self.large = None;
            }
        }
    }

    fn replace(&mut self, mut buf: BytesMut) {
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

/// Memory for a large frame, or a block; `None`: there is not that much.
fn large(capacity: usize) -> Option<BytesMut> {
    let mut room = memory::try_vec(capacity).ok()?;
    memory::prefer_large_pages(room.spare_capacity_mut());
    // Nothing is copied: the vector is its only holder's.
    Some(BytesMut::from(Bytes::from(room)))
}
