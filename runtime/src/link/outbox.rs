//! What waits to be written: the queue that senders append to, and the batch that is being written.
//!
//! They are two so that a sender never waits for a write: whoever writes takes the whole queue and leaves an empty
//! one. Small frames are glued together in one buffer; a large body stays where it is and gets a segment of its own.
//! A frame with descriptors begins a new segment, since descriptors travel with the first byte of a write.

use super::port::Sink;
use super::sender::Body;
use crate::wire::attach::Descriptors;
use crate::wire::behind::Block;
use crate::wire::frame::{HEADER, Head};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::task::Waker;

/// An owned body of at least this size is not copied.
pub(super) const LARGE: usize = 16 << 10;

/// A buffer that grew larger than this is not kept for the next batch.
const KEPT: usize = 64 << 10;

/// How many segments one write takes.
const SEGMENTS: usize = 32;

/// How a flush went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All that was queued is written.
    All,
    /// That, and no more can be queued: the end of file is to be written.
    Closed,
    /// The transport is full and will say when it is not.
    Blocked,
    /// The kernel is short of memory, or has too many descriptors in flight; it will not say when that is over.
    Stalled,
    /// Nobody reads any more.
    Gone,
}

/// What senders append to.
#[derive(Debug, Default)]
pub(super) struct Queue {
    segments: VecDeque<Segment>,
    spare: Option<Vec<u8>>,
    /// No more may be queued.
    pub(super) closed: bool,
    /// The driver, if it is to be woken when something is queued.
    pub(super) driver: Option<Waker>,
}

/// What is being written, and where to.
#[derive(Debug)]
pub(super) struct Batch {
    /// `None` when this side has ended its writing, or nobody reads any more.
    pub(super) sink: Option<Sink>,
    segments: VecDeque<Segment>,
    /// How much of the first segment is written.
    offset: usize,
    spare: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Segment {
    bytes: Chunk,
    /// They travel with the segment's first byte.
    fds: Descriptors,
}

#[derive(Debug)]
enum Chunk {
    Glued(Vec<u8>),
    Large(Block),
}

impl Queue {
    /// Appends a frame whose head states the descriptors.
    pub(super) fn push(&mut self, head: Head, body: Body<'_>, fds: Descriptors) {
        let header = head.to_bytes(body.len());
        let glued = self.glue(fds);
        glued.extend_from_slice(&header);
        match body {
            Body::Slice(bytes) => glued.extend_from_slice(bytes),
            Body::Owned(bytes) => self.push_part(bytes.into()),
            Body::Parts(first, others) => {
                self.push_part(first.into());
                others.into_iter().for_each(|part| self.push_part(part));
            }
        }
    }

    fn push_part(&mut self, part: Block) {
        match part.len() >= LARGE {
            true => self.segments.push_back(Segment {
                bytes: Chunk::Large(part),
                fds: Descriptors::new(),
            }),
            false => self.glue(Descriptors::new()).extend_from_slice(&part),
        }
    }

    /// Lets go of what is kept for the next frames.
    pub(super) fn release(&mut self) {
        self.spare = None;
        self.segments.shrink_to_fit();
    }

    /// Appends bytes that begin or go on with a frame, as they were taken out of another link.
    pub(super) fn push_unwritten(&mut self, bytes: Bytes, fds: Descriptors) {
        let bytes = Chunk::Large(bytes.into());
        self.segments.push_back(Segment { bytes, fds });
    }

    /// Takes out what is queued.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Bytes, Descriptors)> + use<> {
        mem::take(&mut self.segments).into_iter().map(Segment::into_parts)
    }

    /// Refuses more, and gives back what was queued.
    pub(super) fn clear(&mut self) -> Unsent {
        self.closed = true;
        Unsent(mem::take(&mut self.segments), None)
    }

    /// The buffer to append a frame to: the last one, or a new one that begins with `fds`.
    fn glue(&mut self, fds: Descriptors) -> &mut Vec<u8> {
        let last = self.segments.back();
        if !fds.is_empty()
            || !matches!(
                last,
                Some(Segment {
                    bytes: Chunk::Glued(_),
                    ..
                })
            )
        {
            let bytes = Chunk::Glued(self.spare.take().unwrap_or_default());
            self.segments.push_back(Segment { bytes, fds });
        }
        match self.segments.back_mut() {
            Some(Segment {
                bytes: Chunk::Glued(bytes),
                ..
            }) => bytes,
            _ => unreachable!("the last segment was seen or made to be glued"),
        }
    }
}

/// What will not be written, to be dropped where no lock is held: a body's owner may be the user's.
#[derive(Debug)]
pub(super) struct Unsent(
    #[allow(dead_code)] VecDeque<Segment>,
    #[allow(dead_code)] Option<Sink>,
);

impl Batch {
    pub(super) fn new(sink: Sink) -> Self {
        Batch {
            sink: Some(sink),
            segments: VecDeque::new(),
            offset: 0,
            spare: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes over all that is queued; the batch must be empty. What there is to say if it still is.
    pub(super) fn refill(&mut self, queue: &mut Queue) -> Option<Flushed> {
        mem::swap(&mut self.segments, &mut queue.segments);
        if queue.spare.is_none() {
            queue.spare = self.spare.take();
        }
        match (self.is_empty(), queue.closed) {
            (false, _) => None,
            (true, true) => Some(Flushed::Closed),
            (true, false) => Some(Flushed::All),
        }
    }

    /// Writes a frame at once, of which what did not fit is left to be written; the batch must be empty. How many bytes
    /// went, or `None` if none did and nothing is left here.
    pub(super) fn write_through(&mut self, header: &[u8; HEADER], body: &Body<'_>) -> Option<usize> {
        let sink = self.sink.as_mut()?;
        let n = match body.others() {
            [] => {
                let slices = [IoSlice::new(header), IoSlice::new(body.first())];
                sink.write(&slices, &mut Descriptors::new()).ok()?
            }
            others => {
                let front = [&header[..], body.first()].into_iter();
                let slices: Vec<_> = front
                    .chain(others.iter().map(|part| &part[..]))
                    .map(IoSlice::new)
                    .collect();
                sink.write(&slices, &mut Descriptors::new()).ok()?
            }
        };
        if n < header.len() + body.len() {
            self.keep_rest(header, body, n);
        }
        Some(n)
    }

    fn keep_rest(&mut self, header: &[u8], body: &Body<'_>, n: usize) {
        let mut keep = |bytes| {
            self.segments.push_back(Segment {
                bytes,
                fds: Descriptors::new(),
            })
        };
        if n < header.len() {
            keep(Chunk::Glued(header[n..].to_vec()));
        }
        let mut n = n.saturating_sub(header.len());
        let mut keep_part = |len: usize, rest: &dyn Fn(usize) -> Block| {
            let from = n.min(len);
            n -= from;
            if from < len {
                keep(Chunk::Large(rest(from)));
            }
        };
        match body {
            Body::Slice(bytes) => keep(Chunk::Glued(bytes[n..].to_vec())),
            Body::Owned(first) => keep_part(first.len(), &|from| first.slice(from..).into()),
            Body::Parts(first, others) => {
                keep_part(first.len(), &|from| first.slice(from..).into());
                for part in others {
                    keep_part(part.len(), &|from| part.slice_from(from));
                }
            }
        }
    }

    /// One write: how many bytes went.
    pub(super) fn write(&mut self) -> io::Result<usize> {
        let Some(sink) = &mut self.sink else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let n = match self.segments.len() {
            0 => 0,
            1 => self.segments[0].write_from(self.offset, sink)?,
            _ => write_many(&mut self.segments, self.offset, sink)?,
        };
        self.advance(n);
        Ok(n)
    }

    /// Has the peer told at once of what is written next.
    pub(super) fn be_eager(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.be_eager();
        }
    }

    /// Whether the peer is to be told of what was written, or woken for it.
    pub(super) fn is_due(&self) -> bool {
        self.sink.as_ref().is_some_and(Sink::is_due)
    }

    /// Tells the peer of what was written, and wakes it, if that is due.
    pub(super) fn ring(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.ring();
        }
    }

    /// Lets go of what is of use only while messages go; what is being written stays.
    pub(super) fn release(&mut self) {
        self.spare = None;
        self.segments.shrink_to_fit();
        if let Some(sink) = &mut self.sink {
            sink.release();
        }
    }

    /// Takes out what was not written.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Bytes, Descriptors)> + use<> {
        let offset = mem::take(&mut self.offset);
        let segments = mem::take(&mut self.segments).into_iter();
        segments.enumerate().map(move |(idx, segment)| {
            let (mut bytes, fds) = segment.into_parts();
            bytes.advance(if idx == 0 { offset } else { 0 });
            (bytes, fds)
        })
    }

    /// Ends the writing: what was not written is given back, to be dropped.
    pub(super) fn clear(&mut self) -> Unsent {
        self.offset = 0;
        Unsent(mem::take(&mut self.segments), self.sink.take())
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.segments.front() {
            let left = first.bytes().len() - self.offset;
            if n < left {
                self.offset += n;
                return;
            }
            n -= left;
            self.offset = 0;
            if let Some(segment) = self.segments.pop_front() {
                self.recycle(segment);
            }
        }
    }

    fn recycle(&mut self, segment: Segment) {
        if let Chunk::Glued(mut bytes) = segment.bytes
            && bytes.capacity() <= KEPT
        {
            bytes.clear();
            self.spare = Some(bytes);
        }
    }
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Chunk::Glued(bytes) => bytes,
            Chunk::Large(bytes) => bytes,
        }
    }

    fn into_parts(self) -> (Bytes, Descriptors) {
        let bytes = match self.bytes {
            Chunk::Glued(bytes) => bytes.into(),
            Chunk::Large(block) => block.into_bytes(),
        };
        (bytes, self.fds)
    }

    fn write_from(&mut self, offset: usize, sink: &mut Sink) -> io::Result<usize> {
        let bytes = match &self.bytes {
            Chunk::Glued(bytes) => &bytes[offset..],
            Chunk::Large(bytes) => &bytes[offset..],
        };
        sink.write(&[IoSlice::new(bytes)], &mut self.fds)
    }
}

/// Writes the first segment from `offset` on and those behind it, up to the next one with descriptors.
fn write_many(segments: &mut VecDeque<Segment>, offset: usize, sink: &mut Sink) -> io::Result<usize> {
    let mut fds = mem::take(&mut segments[0].fds);
    let mut slices = [IoSlice::new(&[]); SEGMENTS];
    let mut n = 0;
    for (slice, segment) in slices.iter_mut().zip(&*segments) {
        if !segment.fds.is_empty() {
            break;
        }
        *slice = IoSlice::new(segment.bytes());
        n += 1;
    }
    slices[0] = IoSlice::new(&segments[0].bytes()[offset..]);
    let written = sink.write(&slices[..n], &mut fds);
    segments[0].fds = fds;
    written
}
