//! An end of a ring in a process: what is read and waited for, and what is written.

use super::lane::{AWAKE, Lane, Mapped, Name, SIZE, fall_asleep};
use super::place::move_over;
use super::reader::Reader;
use super::spin::{Go, Spin};
use super::writer::{Refused, Writer, close};
use super::{CAPACITY, PART};
use crate::crash::{self, Point};
use crate::link::outbox::Flushed;
use crate::link::side::{self, Lots};
use crate::os::cpus;
use crate::os::map::Map;
use crate::os::reactor::register;
use crate::os::socket::Received;
use crate::os::{eventfd, memfd, socket};
use crate::wire::attach::Descriptors;
use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One end, not yet in use.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) memory: OwnedFd,
    /// What this end is woken by.
    pub(crate) bell: OwnedFd,
    /// What the other end is woken by.
    pub(crate) peer: OwnedFd,
    pub(crate) side: OwnedFd,
}

/// What both halves of an end know.
#[derive(Debug)]
struct Shared {
    peer: OwnedFd,
    /// The lane that this process writes.
    outgoing: Mapped,
    /// The kernel says that the other end is gone.
    hung_up: AtomicBool,
    /// The peer broke the protocol in what the writer reads of it; the reader is to say so.
    broken: AtomicBool,
}

/// The half that the driver reads from and waits on.
#[derive(Debug)]
pub(in crate::link) struct Inflow {
    reader: Reader<Mapped>,
    bell: AsyncFd<OwnedFd>,
    socket: AsyncFd<Arc<OwnedFd>>,
    pub(in crate::link) lots: Lots,
    shared: Arc<Shared>,
    for_bytes: Spin,
    for_room: Spin,
    for_answer: Spin,
    /// It was looked for long enough for what it would be told of: now also for the rest.
    closely: bool,
    /// When this end was last woken, both were on one processor.
    beside: bool,
    /// When they had parted, it was spun again.
    parted: Option<Instant>,
    /// Somebody else wants to read: this is no time to spin.
    wanted: Arc<AtomicBool>,
}

/// The half that frames are written to.
#[derive(Debug)]
pub(in crate::link) struct Outflow {
    writer: Writer<Mapped>,
    side: Arc<OwnedFd>,
    shared: Arc<Shared>,
    /// The reader is told at once of what is written next.
    eager: bool,
    /// The bell that is to be rung, for what was written since then, and how much that is.
    due: Option<(Instant, usize)>,
    /// Reader and writer run in turn, as one processor has to do for both.
    in_turn: bool,
    /// There is no other.
    is_narrow: bool,
    for_room: Box<Spin>,
}

/// So much may be written before the reader is told. It costs both sides a cache line that moves between them, so a
/// frame alone is told of at once, and of many those that come together. The rest waits for the driver, as a bell does,
/// and a reader that is awake looks for it before long.
const TELL_AT: u64 = 1 << 10;

/// For so long, and so much, a bell may wait for more to be written. It is rung before where the driver has nothing left
/// to read, so these bound what a sleeper waits for while others are served.
const BELL_AFTER: Duration = Duration::from_micros(50);
const BELL_AT: usize = 32 << 10;

/// So much of a frame is written at once if its reader keeps up. So long is waited for each part that it reads, and as
/// often as there are parts.
pub(super) const KEPT_UP: usize = 2 << 20;
const HELD: Duration = Duration::from_micros(20);

/// Two that were on one processor and are no more spin again; once in so long, as they may be moved about.
const PARTING: Duration = Duration::from_millis(10);

/// Two connected ends.
pub(crate) fn pair() -> io::Result<(End, End)> {
    let memory = memfd::create(c"procession-ring", SIZE)?;
    let (here, there) = (eventfd::create()?, eventfd::create()?);
    let (side, other_side) = socket::pair()?;
    let first = End {
        memory: memory.try_clone()?,
        bell: here.try_clone()?,
        peer: there.try_clone()?,
        side,
    };
    let second = End {
        memory,
        bell: there,
        peer: here,
        side: other_side,
    };
    Ok((first, second))
}

/// Whether this system has what rings are made of.
pub(crate) fn usable() -> io::Result<()> {
    let (end, _) = pair()?;
    map(&end.memory).map(drop)
}

/// Maps the memory, and registers the rest with the current runtime.
pub(in crate::link) fn open(end: End) -> io::Result<(Inflow, Outflow)> {
    let End {
        memory,
        bell,
        peer,
        side,
    } = end;
    let side = Arc::new(side);
    let bell = register(bell, Interest::READABLE)?;
    let socket = register(side.clone(), Interest::READABLE)?;
    let (outgoing, incoming) = Mapped::claim(map(&memory)?)
        .ok_or_else(|| invalid("a ring that two processes have opened already"))?;
    let shared = Arc::new(Shared {
        peer,
        outgoing: outgoing.clone(),
        hung_up: AtomicBool::new(false),
        broken: AtomicBool::new(false),
    });
    let is_narrow = cpus::allowed() == 1;
    let outflow = Outflow {
        writer: Writer::new(outgoing.clone()),
        side: side.clone(),
        shared: shared.clone(),
        eager: true,
        due: None,
        in_turn: is_narrow,
        is_narrow,
        for_room: Box::new(Spin::new()),
    };
    let inflow = Inflow {
        reader: Reader::new(incoming),
        bell,
        socket,
        lots: Lots::new(side),
        shared,
        // Many links carry the word that the server is up, one answer, and then none.
        for_bytes: Spin::after(3),
        for_room: Spin::new(),
        for_answer: Spin::new(),
        closely: false,
        beside: false,
        parted: None,
        wanted: Arc::default(),
    };
    Ok((inflow, outflow))
}

fn map(memory: &OwnedFd) -> io::Result<Map> {
    match memfd::sealed_size(memory.as_fd())? {
        SIZE => Map::shared(memory.as_fd(), SIZE),
        other => Err(invalid(format!("a ring of {other} bytes instead of {SIZE}"))),
    }
}

/// The processor that this thread is on, if the peer was there as it last rang.
fn common_place(reader: &Reader<Mapped>) -> Option<usize> {
    let there = reader.lane().last_place();
    cpus::current().filter(|here| there == Some(*here))
}

fn is_beside(reader: &Reader<Mapped>) -> bool {
    common_place(reader).is_some()
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Inflow {
    /// Appends to `buf` what is there, up to its spare capacity; waits for something, awake for a moment, then asleep.
    pub(in crate::link) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<Received>> {
        let mut closely = std::mem::take(&mut self.closely);
        loop {
            if let Some(received) = self.try_read(buf, closely)? {
                if self.for_bytes.came() {
                    self.look_around(cx)?;
                }
                return Poll::Ready(Ok(received));
            }
            let is_there = || self.reader.has_more() || self.wanted.load(Relaxed);
            match self.for_bytes.go(cx, is_there, || is_beside(&self.reader)) {
                Go::Hit if self.reader.has_more() => continue,
                Go::Hit => {
                    self.for_bytes.came();
                }
                Go::Aside => return Poll::Pending,
                Go::Again => {
                    self.closely = true;
                    return Poll::Pending;
                }
                Go::Over => {}
            }
            if self.reader.sleep() && self.poll_wake(cx)?.is_pending() {
                return Poll::Pending;
            }
            closely = true;
        }
    }

    /// Waits are short and this one was slept for: if the peer woke this end and goes on, one processor should not have to do
    /// for both.
    fn look_around(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Poll::Ready(ready) = self.bell.poll_read_ready(cx) else {
            return Ok(());
        };
        ready?.clear_ready();
        let common = common_place(&self.reader);
        let was_beside = std::mem::replace(&mut self.beside, common.is_some());
        if let Some(here) = common
            && self.shared.outgoing.word(Name::Reader).load(Relaxed) == AWAKE
        {
            move_over(here);
        }
        let is_news = || self.parted.is_none_or(|parted| parted.elapsed() > PARTING);
        if was_beside && !self.beside && is_news() {
            self.parted = Some(Instant::now());
            self.for_bytes.encourage();
            self.for_answer.encourage();
        }
        Ok(())
    }

    /// A flag to set while somebody waits to read in place of the driver's task.
    pub(in crate::link) fn wanted(&self) -> Arc<AtomicBool> {
        self.wanted.clone()
    }

    /// How much the peer has read.
    pub(in crate::link) fn n_taken(&self) -> u64 {
        self.shared.outgoing.word(Name::Read).load(Relaxed)
    }

    /// Whether the peer is about to read much more than `taken`.
    pub(in crate::link) fn is_taking(&self, taken: u64) -> bool {
        let written = self.shared.outgoing.word(Name::Written).load(Relaxed);
        written.wrapping_sub(taken) >= BELL_AT as u64
    }

    /// Whether something to read comes within `most`, or within `elsewhere` where the peer is not known to be on this processor;
    /// or the peer reads on from `taken`. The peer rings no bell meanwhile.
    pub(in crate::link) fn hold(&mut self, most: Duration, elsewhere: Duration, taken: Option<u64>) -> bool {
        self.reader.wake();
        let Inflow {
            reader,
            shared,
            for_answer,
            ..
        } = self;
        let is_taken = |taken| shared.outgoing.word(Name::Read).load(Relaxed) != taken;
        let is_there = || reader.has_more() || taken.is_some_and(is_taken);
        for_answer.hold(most, elsewhere, is_there, || is_beside(reader))
    }

    /// Has the peer ring its bell again; `false` if something is there to be read.
    pub(in crate::link) fn doze(&mut self) -> bool {
        self.reader.sleep()
    }

    /// The same at once: would-block where nothing is there.
    pub(in crate::link) fn read(&mut self, buf: &mut BytesMut) -> io::Result<Received> {
        self.try_read(buf, true)?
            .ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// The same of what it was told of.
    pub(in crate::link) fn read_told(&mut self, buf: &mut BytesMut) -> io::Result<Option<Received>> {
        self.try_read(buf, false)
    }

    fn try_read(&mut self, buf: &mut BytesMut, closely: bool) -> io::Result<Option<Received>> {
        if self.shared.broken.load(Relaxed) {
            return Err(invalid("the peer broke the ring that it reads"));
        }
        let hung_up = self.shared.hung_up.load(Relaxed);
        let got = match closely || hung_up {
            true => self.reader.read_untold(buf),
            false => self.reader.read(buf),
        };
        let got = got.map_err(invalid)?;
        if got.ring {
            self.shared.ring();
        }
        let len = got.len;
        if len == 0 && !hung_up && !self.reader.is_ended().map_err(invalid)? {
            return Ok(None);
        }
        Ok(Some(Received {
            len,
            control: false,
            truncated: false,
        }))
    }

    /// Ready when something may have happened: the bell was rung, or the other end is gone.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut woken = self.poll_socket(cx)?;
        if let Poll::Ready(ready) = self.bell.poll_read_ready(cx) {
            ready?.clear_ready();
            woken = Poll::Ready(());
        }
        woken.map(Ok)
    }

    /// Ready when the other end is gone. A lot that comes before its frame waits; rubbish is an error.
    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.shared.hung_up.load(Relaxed) {
            let mut ready = match self.socket.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            };
            if ready.ready().is_read_closed() {
                self.shared.hung_up.store(true, Release);
                return Poll::Ready(Ok(()));
            }
            if !self.lots.fetch().map_err(invalid)? {
                ready.clear_ready();
            }
        }
        Poll::Pending
    }

    /// Repeats `flush` as the ring has room, for which it waits, awake for a moment, then asleep.
    pub(in crate::link) fn flush_when_writable(
        &mut self,
        cx: &mut Context<'_>,
        mut flush: impl FnMut() -> Flushed,
    ) -> Flushed {
        loop {
            let read = self.shared.outgoing.word(Name::Read).load(Relaxed);
            match flush() {
                Flushed::Blocked => {}
                other => return self.flushed(other),
            }
            let is_there = || self.shared.outgoing.word(Name::Read).load(Relaxed) != read;
            match self.for_room.go(cx, is_there, || is_beside(&self.reader)) {
                Go::Hit => continue,
                Go::Aside | Go::Again => return Flushed::Blocked,
                Go::Over => {}
            }
            fall_asleep(&self.shared.outgoing, Name::Writer);
            match flush() {
                Flushed::Blocked => {}
                other => return self.flushed(other),
            }
            match self.poll_wake(cx) {
                Poll::Pending => return Flushed::Blocked,
                // It is said when the driver reads.
                Poll::Ready(Err(_)) => return Flushed::Gone,
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    fn flushed(&mut self, flushed: Flushed) -> Flushed {
        self.for_room.came();
        flushed
    }
}

impl Drop for Inflow {
    /// Closes both directions. What was written stays to be read.
    fn drop(&mut self) {
        let writer_waits = self.reader.abandon();
        if close(&self.shared.outgoing) || writer_waits {
            self.shared.ring();
        }
    }
}

impl Outflow {
    /// Writes what fits, after the descriptors.
    pub(in crate::link) fn write(
        &mut self,
        bytes: &[IoSlice<'_>],
        fds: &mut Descriptors,
    ) -> io::Result<usize> {
        if self.shared.hung_up.load(Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !fds.is_empty() {
            side::send(&self.side, fds)?;
            fds.clear();
        }
        match self.writer.write(bytes) {
            Ok(len) => {
                self.wrote(len);
                match len == PART {
                    true => Ok(self.write_on(bytes, len)),
                    false => Ok(len),
                }
            }
            Err(refused) => {
                // There will be room when the reader is awake.
                self.ring();
                self.shared.note(refused);
                Err(refused.into())
            }
        }
    }

    /// Writes on with what did not go into the first part, as long as the reader makes room: whoever else would have to be
    /// woken for the rest takes longer to wake than it does. It is not kept up with for ever.
    #[cold]
    fn write_on(&mut self, bytes: &[IoSlice<'_>], mut written: usize) -> usize {
        let mut rest = bytes.to_vec();
        let mut rest = &mut rest[..];
        IoSlice::advance_slices(&mut rest, written);
        let mut n_held = 0;
        while !rest.is_empty() && written < KEPT_UP {
            match self.writer.write(rest) {
                Ok(len) => {
                    self.wrote(len);
                    IoSlice::advance_slices(&mut rest, len);
                    written += len;
                }
                Err(Refused::Full) if n_held < KEPT_UP / PART && self.hold_for_room() => n_held += 1,
                Err(_) => break,
            }
        }
        written
    }

    /// Whether the reader, which has much to read, read some of it just now.
    fn hold_for_room(&mut self) -> bool {
        let unread = self.writer.unread();
        self.ring_for_much();
        let writer = &self.writer;
        let has_read = || writer.unread() != unread;
        has_read() || !self.in_turn && self.for_room.hold(HELD, HELD, has_read, || false)
    }

    fn wrote(&mut self, written: usize) {
        // It is to read this while the next is written. Where it cannot, each bell is a turn of both.
        let much = if self.in_turn { CAPACITY } else { BELL_AT };
        if written >= much {
            self.ring_for_much();
        } else if let Some((since, len)) = &mut self.due {
            *len += written;
            if *len >= much {
                self.ring_for_much();
            } else if since.elapsed() >= BELL_AFTER {
                self.ring();
            }
        } else if std::mem::take(&mut self.eager)
            || self.writer.untold() >= TELL_AT
            || self.writer.is_asleep()
        {
            let ring = self.writer.tell();
            self.due = ring.then(|| (Instant::now(), written));
        }
    }

    /// What is so of this machine, in a test.
    #[cfg(test)]
    pub(super) fn has_one_processor(&mut self, is_narrow: bool) {
        (self.is_narrow, self.in_turn) = (is_narrow, is_narrow);
    }

    /// Tells of what is written next at once.
    pub(in crate::link) fn be_eager(&mut self) {
        self.eager = true;
    }

    /// Whether the reader was not told of all, or sleeps and has not been rung for.
    pub(in crate::link) fn is_due(&self) -> bool {
        self.due.is_some() || self.writer.untold() > 0
    }

    /// Tells the reader of all that was written, and wakes it if it sleeps.
    pub(in crate::link) fn ring(&mut self) {
        let asleep = self.writer.tell();
        if self.due.take().is_some() || asleep {
            crash::at(Point::RingUnrung);
            self.shared.ring();
        }
    }

    /// The same where it may have much to read; whether that was read meanwhile says who runs where.
    #[cold]
    fn ring_for_much(&mut self) {
        let asleep = self.writer.tell();
        if self.due.take().is_some() || asleep {
            let is_much = self.writer.unread() >= BELL_AT as u64;
            self.shared.ring();
            if is_much {
                // Elsewhere it would hardly be awake by now.
                self.in_turn = self.is_narrow || self.writer.unread() == 0;
            }
        }
    }

    /// The peer reads what was written, then the end of file.
    pub(in crate::link) fn finish(self) {
        // Dropped, it rings where that is due.
        if close(self.writer.lane()) {
            self.shared.ring();
        }
    }

    /// Gives back the memory that an idle ring does not need.
    pub(in crate::link) fn release(&mut self) {
        // A ring whose pages are kept works as well.
        let _ = self.writer.release();
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.ring();
    }
}

impl Shared {
    fn ring(&self) {
        self.outgoing.say_place(cpus::current());
        // Nobody else can wake the peer; if this cannot, it is gone, or this process has lost its descriptors.
        let _ = eventfd::ring(self.peer.as_fd());
    }

    fn note(&self, refused: Refused) {
        if let Refused::Fault(_) = refused {
            self.broken.store(true, Relaxed);
        }
    }
}
