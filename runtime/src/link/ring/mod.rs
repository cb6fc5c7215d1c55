//! The transport of shared memory: a ring of bytes for each direction, and a bell at each end.
//!
//! One end is four descriptors: a memfd, sealed so that its size stays, which is mapped and then closed; an eventfd to
//! be woken by; the peer's; and a socket for what memory cannot carry (see [`side`](super::side)). The memfd has a page
//! of words and two areas of [`CAPACITY`] bytes, of which pages come to be when they are first written and are given
//! back when the link has been idle. Zeros are a new ring, and the first process to open it takes lane 0 to write.
//!
//! # Words
//!
//! Each lane has seven, on five pairs of cache lines (two, since processors fetch them in pairs), so that neither side
//! writes a line that the other polls, but to tell it something:
//!
//! | word | written by | what |
//! | --- | --- | --- |
//! | `Written` | writer | bytes ever written; only grows |
//! | `Told` | writer | how much of that the reader was told of; only grows, and lags behind |
//! | `Closed` | writer | 1: no more will be |
//! | `Read` | reader | bytes ever read; only grows |
//! | `Reader` | both | 0: the reader is awake; 1: it sleeps until bytes come; 2: it is gone |
//! | `Writer` | both | 0: the writer is awake; 1: it sleeps until there is room |
//! | `Place` | writer | on which processor it last rang a bell, counted from 1; a hint, see [`place`] |
//!
//! `Read <= Written <= Read + CAPACITY`, and `Told <= Written`. The bytes between the cursors belong to the reader, all others
//! to the writer. Each side keeps its own cursor in private memory, and never reads back what it stored.
//!
//! The reader polls `Told` and not `Written`: each store to a line that another processor polls costs a transfer of that line
//! there and back, so the writer makes one for many frames that come together. Nothing hangs on that word: a frame that is
//! written is there. Whoever has polled for a while, is about to sleep, or hears that the writer is gone, looks at `Written`.
//!
//! # Orderings
//!
//! 1. The writer copies bytes in, then stores `Written` with Release; the reader loads it with Acquire, then copies
//!    them out. `Told` is stored after that with Release, and what it says has been written. `Closed` is stored after the last
//!    `Written` with Release: who sees it and then loads `Written` again sees all of it.
//! 2. The reader copies bytes out, then stores `Read` with Release; the writer loads it with Acquire, then overwrites
//!    them.
//! 3. The reader that finds nothing stores `Reader = 1`, fences (SeqCst), and looks at `Written` again before it waits for
//!    its bell. The writer stores `Written`, later `Told` (or `Closed`), fences (SeqCst), and looks at `Reader`; its process does
//!    so before it waits for anything itself. Of two fences one is first: either the reader sees the bytes, or the
//!    writer sees the sleeper, takes the 1 away and rings. So one bell is rung for each sleep, however many frames come.
//! 4. The same the other way round with `Read` and `Writer`, but that the reader fences and looks only where it goes over
//!    the middle or the end of the area, and not after each read. A writer sleeps only when the ring is full, so the
//!    reader has two such lines ahead of it.
//!
//! # Large frames
//!
//! They go in parts of at most [`PART`] bytes, each with its cursors on both sides, and a reader that sleeps is rung for with
//! the first. Who has seen it read all before the bell was rung out shares a processor with it: then each bell is a turn of
//! both, and the next waits until the ring is full. Where both run, the writer waits a moment for each part of a full ring to
//! be read, up to 2 MiB of a frame, before the rest is left to the driver. A large part is written past the writer's caches (see [`copy`](crate::os::copy)), which changes nothing for
//! the orderings: it is fenced before it is published.
//!
//! # Deaths
//!
//! What is not published was never sent: a writer that dies while it copies leaves `Written` as it was. One that dies
//! after it has published and before it tells or rings leaves bytes that nobody was told of: so a death notice makes its
//! peer read whatever there is. A frame that is published in part is cut short by the end of file. A reader that dies
//! after it has copied bytes out and before it stores `Read` leaves the ring fuller than it is, and nobody to care.
//! The memory lives as long as either side maps it. That a process is gone shows at the socket, whose other end
//! the kernel has closed; what that process wrote is read first.
//!
//! # Distrust
//!
//! The peer may write anything anywhere, at any time. Every word is loaded once for each decision and checked: a cursor
//! that moves backward, or further than the ring allows, or a word that holds what it cannot, is a [`Fault`], which
//! ends the link. Bytes are copied out once and judged in private memory. A sleeper's word that holds rubbish
//! only rings a bell too often, and a `Place` that does moves a thread in vain, at most every 10 ms.

mod end;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod lane;
#[cfg(test)]
mod model;
mod place;
mod reader;
mod spin;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzz::play;

pub(crate) use end::{End, pair, usable};
pub(super) use end::{Inflow, Outflow, open};

/// How many bytes one direction holds.
pub(crate) const CAPACITY: usize = 256 << 10;

/// So much is copied at once. The other side takes it up while the next is copied: of what is large, both copy at the same
/// time.
pub(super) const PART: usize = CAPACITY / 4;

/// The peer broke the protocol of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0:?} of a ring went from {1} to {2}")]
    Cursor(lane::Name, u64, u64),
    #[error("{0:?} of a ring is {1}")]
    Word(lane::Name, u64),
}
