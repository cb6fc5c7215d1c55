//! The status page: shared memory of a child and the host, in which the child says what it is doing.
//!
//! It needs no message, so it is exact even when the child is killed in the next instruction: what was stored, stays.
//! The child is the one writer; it stores with Release what it means to have done before, and the host loads with
//! Acquire. The host believes nothing that it reads: lengths are checked against the page, phases against the list.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 to 512 | the [`Cell`]s, and from 192 the messages that have begun and not ended |
//! | 512 to 64 KiB | for each link slot, how many of its messages have begun |
//! | 64 to 112 KiB | the last words: the report of a panic |
//! | 112 to 368 KiB | more messages that have begun and not ended |
//! | from 368 KiB | the outbox: results that are finished and not yet sent |
//!
//! It is sparse: an idle child touches one page of it.

use crate::crash::{self, Point};
use crate::os::clock;
use crate::os::map::Map;
use crate::os::memfd;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

const MAGIC: u64 = u64::from_le_bytes(*b"procesn1");
/// The words that name what has begun and not ended, each with the word behind it; few are used, as few run at once.
const RUNNING: [std::ops::Range<usize>; 2] = [24..FIRST_SLOT, WORDS_END / 8..OUTBOX_AT / 8];
/// Where a running message's number begins to be its link's slot.
const SLOT_BITS: u32 = 48;
/// Nobody answers for that message: neither its sender's call nor another run of it.
const ONE_WAY: u64 = 1 << 63;
const FIRST_SLOT: usize = 64;
const SLOTS: usize = 8192 - FIRST_SLOT;
const WORDS_AT: usize = 64 * 1024;
/// The room for the last words.
pub(crate) const WORDS_ROOM: usize = 48 * 1024;
const WORDS_END: usize = WORDS_AT + WORDS_ROOM;
const OUTBOX_AT: usize = 368 * 1024;
/// The largest outbox that is believed.
const MOST_OUTBOX: usize = 1 << 30;

/// No process may enter with this page any more.
const REVOKED: u64 = u64::MAX;

/// A word of the page, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Cell {
    Magic = 0,
    Phase = 2,
    /// Whose page it is: the pid of the process that has entered with it, [`REVOKED`], or 0.
    Owner = 3,
    /// The number of the message that holds the chunk of a pool that is worked on.
    Job = 8,
    /// The slot of the link that it came over.
    JobSlot = 14,
    /// The item that has begun, plus one.
    ItemBegun = 9,
    /// When it began: nanoseconds of the monotonic clock.
    ItemStarted = 10,
    OutboxLength = 12,
    /// The number of the first item in the outbox.
    OutboxBase = 13,
    WordsLength = 16,
    /// 1: it ran out of stack.
    Overflowed = 17,
    /// 1: the last words are those of the panic that ends it.
    Final = 18,
    /// How many messages have begun and not ended that found no word for it.
    Unnamed = 19,
    /// How many of the words for those that did were ever used: the others lie in pages that nobody has touched.
    Named = 20,
}

/// How far a child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum Phase {
    #[cfg(test)]
    Born = 0,
    Entered = 1,
    Initialising = 2,
    Ready = 3,
    Ending = 4,
}

/// A handle on a mapped page; clones share the mapping.
#[derive(Debug, Clone)]
pub(crate) struct Page(Arc<Map>);

/// A message, as it is named while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) slot: u32,
    pub(crate) seq: u64,
    pub(crate) method: u32,
    /// If the process dies, nobody else says that this message is lost.
    pub(crate) one_way: bool,
}

/// A message that has begun. Dropped, it has ended.
#[derive(Debug)]
pub(crate) struct Running {
    page: Rc<Page>,
    at: Option<usize>,
}

impl Name {
    fn to_word(self) -> u64 {
        let one_way = if self.one_way { ONE_WAY } else { 0 };
        one_way | (u64::from(self.slot) << SLOT_BITS) | self.seq
    }

    fn from_words(word: u64, method: u64) -> Name {
        Name {
            slot: ((word & !ONE_WAY) >> SLOT_BITS) as u32,
            seq: word & ((1 << SLOT_BITS) - 1),
            method: method as u32,
            one_way: word & ONE_WAY > 0,
        }
    }
}

/// Where the pairs of words are that name what runs.
fn pairs() -> impl Iterator<Item = usize> {
    RUNNING.into_iter().flat_map(|words| words.step_by(2))
}

impl Drop for Running {
    fn drop(&mut self) {
        match self.at {
            Some(at) => self.page.0.cell(at).store(0, Release),
            None => {
                let unnamed = self.page.get(Cell::Unnamed);
                self.page.set(Cell::Unnamed, unnamed.saturating_sub(1));
            }
        }
        crash::at(Point::Finished);
    }
}

impl Page {
    /// How many links a process can serve, its own body counted as one.
    pub(crate) const LINKS: u32 = SLOTS as u32;

    /// The host's: a fresh page, and the descriptor by which the child maps it.
    pub(crate) fn create(outbox: usize) -> io::Result<(Self, OwnedFd)> {
        let size = OUTBOX_AT + outbox.min(MOST_OUTBOX).next_multiple_of(4096);
        let fd = memfd::create_somehow(c"procession-page", size)?;
        let page = Page(Arc::new(Map::shared(fd.as_fd(), size)?));
        page.set(Cell::Magic, MAGIC);
        Ok((page, fd))
    }

    /// One that no other process sees.
    #[cfg(test)]
    pub(crate) fn private() -> io::Result<Self> {
        let page = Page(Arc::new(Map::private(OUTBOX_AT)?));
        page.set(Cell::Magic, MAGIC);
        Ok(page)
    }

    /// The child's: maps the page and closes the descriptor.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let size = memfd::size(fd.as_fd())?;
        if !(OUTBOX_AT..=OUTBOX_AT + MOST_OUTBOX).contains(&size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a status page of {size} bytes"),
            ));
        }
        let page = Page(Arc::new(Map::shared(fd.as_fd(), size)?));
        match page.get(Cell::Magic) {
            MAGIC => Ok(page),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a status page")),
        }
    }

    /// Acquire: what the writer did before it stored this is seen.
    pub(crate) fn get(&self, cell: Cell) -> u64 {
        self.0.cell(cell as usize).load(Acquire)
    }

    /// Release: whoever reads this sees what was done before.
    #[inline]
    pub(crate) fn set(&self, cell: Cell, value: u64) {
        self.0.cell(cell as usize).store(value, Release);
    }

    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        match self.get(Cell::Phase) {
            1 => Phase::Entered,
            2 => Phase::Initialising,
            3 => Phase::Ready,
            4 => Phase::Ending,
            _ => Phase::Born,
        }
    }

    /// Whether the process is up, and has not said the last of what it has to say.
    pub(crate) fn is_up(&self) -> bool {
        self.get(Cell::Phase) == Phase::Ready as u64
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.set(Cell::Phase, phase as u64);
    }

    /// This process enters, unless the host has given it up.
    #[must_use]
    pub(crate) fn claim(&self) -> bool {
        self.settle(std::process::id().into()).is_ok()
    }

    /// No process may enter from here on; or the pid of the one that has, as it says.
    pub(crate) fn revoke(&self) -> Result<(), i32> {
        let owner = self.settle(REVOKED);
        owner.map_err(|owner| i32::try_from(owner).unwrap_or_default())
    }

    fn settle(&self, owner: u64) -> Result<(), u64> {
        let cell = self.0.cell(Cell::Owner as usize);
        cell.compare_exchange(0, owner, AcqRel, Acquire).map(drop)
    }

    /// How many messages of the link in this slot have begun; `None`: there is no such slot.
    pub(crate) fn begun(&self, slot: usize) -> Option<u64> {
        (slot < SLOTS).then(|| self.0.cell(FIRST_SLOT + slot).load(Acquire))
    }

    /// Stored before a message's first instruction. `false`: there is no such slot.
    pub(crate) fn set_begun(&self, slot: usize, messages: u64) -> bool {
        let exists = slot < SLOTS;
        if exists {
            self.0.cell(FIRST_SLOT + slot).store(messages, Release);
        }
        exists
    }

    /// Stored before the first instruction of message `seq` of that link; slot 0 is the process's own body.
    pub(crate) fn begin(&self, slot: u32, seq: u64) {
        self.set_begun(slot as usize, seq);
    }

    /// That message begins: stored before its first instruction. What is returned ends it.
    pub(crate) fn run(self: &Rc<Self>, name: Name) -> Running {
        let mut pairs = pairs().enumerate();
        let free = pairs.find(|(_, at)| self.0.cell(*at).load(Relaxed) == 0);
        if let Some((idx, _)) = free
            && idx as u64 >= self.get(Cell::Named)
        {
            self.set(Cell::Named, idx as u64 + 1);
        }
        let free = free.map(|(_, at)| at);
        // Named first: a message that is named and not counted has not begun.
        match free {
            Some(at) => {
                self.0.cell(at + 1).store(name.method.into(), Relaxed);
                self.0.cell(at).store(name.to_word(), Release);
            }
            None => self.set(Cell::Unnamed, self.get(Cell::Unnamed) + 1),
        }
        crash::at(Point::BeginNamed);
        self.begin(name.slot, name.seq);
        crash::at(Point::BeginCounted);
        Running {
            page: self.clone(),
            at: free,
        }
    }

    /// The messages that have begun and not ended, as far as they are named.
    pub(crate) fn running(&self) -> impl Iterator<Item = Name> {
        let n_used = usize::try_from(self.get(Cell::Named)).unwrap_or(usize::MAX);
        let named = pairs().take(n_used).filter_map(|at| {
            let word = self.0.cell(at).load(Acquire);
            (word > 0).then(|| Name::from_words(word, self.0.cell(at + 1).load(Relaxed)))
        });
        named.filter(|name| (1..=self.begun(name.slot as usize).unwrap_or(0)).contains(&name.seq))
    }

    /// The messages of that link that have begun and not ended; `None`: there were too many to be named.
    pub(crate) fn unfinished(&self, slot: u32) -> Option<Vec<u64>> {
        let ours = self.running().filter(|name| name.slot == slot);
        let ours = ours.map(|name| name.seq).collect();
        (self.get(Cell::Unnamed) == 0).then_some(ours)
    }

    /// A slot is given to a new link.
    pub(crate) fn reset(&self, slot: u32) {
        self.set_begun(slot as usize, 0);
    }

    /// A chunk of a pool is taken up. The number is published last: what belongs to it is in order by then.
    pub(crate) fn begin_chunk(&self, slot: u32, seq: u64) {
        self.set(Cell::Job, 0);
        self.set(Cell::ItemBegun, 0);
        self.set(Cell::ItemStarted, 0);
        self.reset_outbox(0);
        self.set(Cell::JobSlot, u64::from(slot));
        self.set(Cell::Job, seq);
    }

    /// The item of that number, from 1, begins.
    #[inline]
    pub(crate) fn begin_item(&self, number: u64, timed: bool) {
        if timed {
            self.set(Cell::ItemStarted, clock::monotonic());
        }
        self.set(Cell::ItemBegun, number);
    }

    /// How long the item that runs has been running, where items are timed. None between chunks.
    pub(crate) fn item_age(&self) -> Option<Duration> {
        let started = self.get(Cell::ItemStarted);
        (started > 0).then(|| Duration::from_nanos(clock::monotonic().saturating_sub(started)))
    }

    /// No item runs.
    pub(crate) fn end_chunk(&self) {
        self.set(Cell::ItemStarted, 0);
    }

    /// Replaces the last words; what does not fit is cut off.
    pub(crate) fn set_last_words(&self, words: &[u8]) {
        let words = &words[..words.len().min(WORDS_ROOM)];
        // A reader between the two stores would see the old length with new bytes; the host reads after the death,
        // and a death between them leaves no words rather than torn ones.
        self.set(Cell::WordsLength, 0);
        self.0.copy_in(WORDS_AT, words);
        self.set(Cell::WordsLength, words.len() as u64);
    }

    /// The last words, empty if there are none or their length cannot be.
    pub(crate) fn last_words(&self) -> Vec<u8> {
        let len = usize::try_from(self.get(Cell::WordsLength)).unwrap_or(usize::MAX);
        if len > WORDS_ROOM {
            return vec![];
        }
        self.0.copy_out(WORDS_AT, len).unwrap_or_default()
    }

    /// How many bytes the outbox has room for.
    #[inline]
    pub(crate) fn outbox_room(&self) -> usize {
        self.0.len() - OUTBOX_AT
    }

    /// Empties the outbox; the next result in it is that of item `base`.
    pub(crate) fn reset_outbox(&self, base: u64) {
        self.set(Cell::OutboxLength, 0);
        self.set(Cell::OutboxBase, base);
    }

    /// Makes the outbox hold what `results` does, which it does already up to `from`; `false`, and nothing added, if
    /// that does not fit.
    #[inline]
    pub(crate) fn extend_outbox(&self, results: &[u8], from: usize) -> bool {
        let fits = self.0.copy_fresh_in(OUTBOX_AT + from, &results[from..]);
        // The length is published after the bytes.
        if fits {
            self.set(Cell::OutboxLength, results.len() as u64);
        }
        fits
    }

    /// The number of the first item in the outbox, and its bytes; `None`: the length cannot be.
    pub(crate) fn outbox(&self) -> Option<(u64, Vec<u8>)> {
        let len = usize::try_from(self.get(Cell::OutboxLength)).ok()?;
        if len > self.outbox_room() {
            return None;
        }
        Some((self.get(Cell::OutboxBase), self.0.copy_out(OUTBOX_AT, len)?))
    }

    /// The cell that the fault handler sets, for the life of this process: the mapping is never undone.
    pub(crate) fn overflow_cell(&self) -> &'static AtomicU64 {
        let forever: &'static Page = Box::leak(Box::new(self.clone()));
        forever.0.cell(Cell::Overflowed as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_stores_the_other_reads() {
        let (host, fd) = Page::create(10_000).unwrap();
        let child = Page::open(fd).unwrap();
        child.set_phase(Phase::Ready);
        assert!(child.set_begun(0, 7) && child.set_begun(SLOTS - 1, 8) && !child.set_begun(SLOTS, 9));
        child.set_last_words(b"farewell");
        child.reset_outbox(40);
        let mut results = b"one".to_vec();
        assert!(child.extend_outbox(&results, 0));
        results.extend(b"three");
        assert!(child.extend_outbox(&results, 3) && results == b"onethree");
        assert_eq!(host.phase(), Phase::Ready);
        assert_eq!(
            (host.begun(0), host.begun(SLOTS - 1), host.begun(SLOTS)),
            (Some(7), Some(8), None)
        );
        assert_eq!(host.last_words(), b"farewell");
        assert_eq!(host.outbox(), Some((40, b"onethree".to_vec())));
    }

    fn name(slot: u32, seq: u64) -> Name {
        Name {
            slot,
            seq,
            method: seq as u32 * 3,
            one_way: seq.is_multiple_of(2),
        }
    }

    #[test]
    fn what_runs_is_named_until_it_ends() {
        let (host, fd) = Page::create(0).unwrap();
        let child = Rc::new(Page::open(fd).unwrap());
        let first = child.run(name(7, 1));
        let second = child.run(name(7, 2));
        let other = child.run(name(8191, 9));
        assert_eq!((host.begun(7), host.unfinished(7)), (Some(2), Some(vec![1, 2])));
        assert!(
            host.running()
                .eq([name(7, 1), name(7, 2), name(8191, 9)].into_iter().take(2))
        );
        drop(first);
        assert_eq!(host.unfinished(7), Some(vec![2]));
        drop((second, other));
        let most = pairs().count() as u64;
        let mut many: Vec<_> = (1..=most + 1).map(|seq| child.run(name(9, seq))).collect();
        assert_eq!(host.unfinished(9), None);
        drop(many.pop());
        assert_eq!(host.unfinished(9), Some((1..=most).collect()));
        assert!(host.outbox().unwrap().1.is_empty() && host.last_words().is_empty());
        drop(many);
        assert_eq!(host.unfinished(9), Some(vec![]));
    }

    /// Has one side store while the other looks.
    fn at_the_same_time(stores: impl FnOnce(Page) + Send + 'static, mut looks: impl FnMut(&Page)) {
        let (host, fd) = Page::create(1 << 20).unwrap();
        let child = Page::open(fd).unwrap();
        let stores = std::thread::spawn(move || stores(child));
        while !stores.is_finished() {
            looks(&host);
        }
        stores.join().unwrap();
    }

    #[test]
    fn a_chunk_is_numbered_when_all_else_that_is_there_is_its_own() {
        let stores = |child: Page| {
            for seq in 1..=500_000 {
                child.begin_chunk(seq as u32, seq);
                child.begin_item(seq, false);
            }
        };
        at_the_same_time(stores, |host| {
            let job = host.get(Cell::Job);
            let (slot, item) = (host.get(Cell::JobSlot), host.get(Cell::ItemBegun));
            // Otherwise it has gone on to the next meanwhile.
            if job > 0 && host.get(Cell::Job) == job {
                assert!(slot == job && [0, job].contains(&item), "{job}: {slot}, {item}");
            }
        });
    }

    #[test]
    fn a_result_is_counted_when_it_is_there() {
        let stores = |child: Page| {
            let mut results = Vec::new();
            while results.len() + 8 <= child.outbox_room() {
                let from = results.len();
                results.extend([1; 8]);
                assert!(child.extend_outbox(&results, from));
            }
        };
        at_the_same_time(stores, |host| {
            let (_, results) = host.outbox().unwrap();
            assert!(results.iter().all(|byte| *byte == 1), "{}", results.len());
        });
    }

    #[test]
    fn a_process_enters_or_is_given_up_and_not_both() {
        let (host, fd) = Page::create(0).unwrap();
        let child = Page::open(fd).unwrap();
        assert!(child.claim());
        assert_eq!(host.revoke(), Err(std::process::id() as i32));
        let (host, fd) = Page::create(0).unwrap();
        assert_eq!(host.revoke(), Ok(()));
        assert!(!Page::open(fd).unwrap().claim());
    }

    #[test]
    fn lengths_that_cannot_be_are_not_believed() {
        let (page, _fd) = Page::create(0).unwrap();
        for length in [WORDS_ROOM as u64 + 1, u64::MAX] {
            page.set(Cell::WordsLength, length);
            page.set(Cell::OutboxLength, length);
            page.set(Cell::Phase, length);
            assert!(page.last_words().is_empty() && page.outbox().is_none() && page.phase() == Phase::Born);
            assert!(!page.extend_outbox(&[1], 0));
        }
    }

    #[test]
    fn a_full_outbox_takes_no_more_and_keeps_what_it_has() {
        let (page, _fd) = Page::create(1).unwrap();
        assert_eq!(page.outbox_room(), 4096);
        let mut results = vec![1; 4090];
        assert!(page.extend_outbox(&results, 0));
        results.extend([2; 7]);
        assert!(!page.extend_outbox(&results, 4090));
        assert_eq!(page.outbox().unwrap().1, [1; 4090]);
        results.truncate(4096);
        assert!(page.extend_outbox(&results, 4090));
        assert_eq!(page.outbox().unwrap().1, results);
    }

    #[test]
    fn a_file_that_is_no_page_is_refused() {
        assert!(Page::open(memfd::create(c"x", 4096).unwrap()).is_err());
        assert!(Page::open(memfd::create(c"x", OUTBOX_AT).unwrap()).is_err());
        assert!(Page::open(memfd::holding(c"x", &[0; 4096]).unwrap()).is_err());
    }
}
