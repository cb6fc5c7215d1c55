//! What became of every message, written down by those who send and those who handle it, in memory that outlives them.
//!
//! A *flow* is what one sender has for one receiver: its messages are numbered from 1, and each has a byte of its own in
//! a window that the numbers go round in. The sender writes there before it sends, and what it heard; the handler with
//! its first and its last instruction. A byte is counted when its place is taken by a later message, or at the end; a
//! flow that is so far ahead of its receiver that a place is not free yet waits.
//!
//! Nothing here is told by the library that is judged.

use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, AtomicU64};

/// How many messages of a flow have a place.
const WINDOW: u64 = 1024;
/// How many flows there can be.
const FLOWS: u64 = 400_000;
const CELLS: usize = 32;
const FLOW: usize = CELLS * 8 + WINDOW as usize;
const HEAD: usize = 4096;

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Tell = 0,
    Call = 1,
    IdempotentTell = 2,
    IdempotentCall = 3,
}

impl Mode {
    /// All of them, by their numbers.
    pub const ALL: [Mode; 4] = [Mode::Tell, Mode::Call, Mode::IdempotentTell, Mode::IdempotentCall];

    /// Whether it may run again.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Mode::IdempotentTell | Mode::IdempotentCall)
    }
}

const SENT: u8 = 4;
const EXCUSED: u8 = 8;
const BEGUN: u8 = 16;
const ENDED: u8 = 32;

/// The words of a flow.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
enum Word {
    Sender,
    /// Which life of the sender it is; 0 for one that does not die.
    Life,
    Receiver,
    /// The number of the last message that the sender was about to send.
    Sent,
    /// The highest number that was begun.
    Last,
    Handled,
    Again,
    Twice,
    OutOfOrder,
    /// The number of the last one that was, and of one that was begun before it.
    Overtaken,
    Overtaker,
    /// The sender heard what is not so.
    Wrong,
    /// Calls that ended by their deadline.
    Late,
    /// Calls whose sender heard that they died after they had begun.
    Died,
    /// Those whose sender heard that they were not to be.
    Refused,
    /// Not handled to the end, and their senders did not hear of it, by their modes: four words.
    Lost,
}

/// The memory.
#[derive(Debug, Clone, Copy)]
pub struct Oracle(&'static [AtomicU64]);

/// What one sender has for one receiver.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    words: &'static [AtomicU64],
    window: &'static [AtomicU8],
    pub number: u64,
}

/// A message that is about to be sent. Dropped without an end being told, it was taken back.
#[derive(Debug)]
pub struct Sending {
    flow: Flow,
    pub seq: u64,
    told: bool,
}

/// What a sender heard of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Accepted,
    Answered,
    Died { begun: bool },
    Refused,
    Late,
}

/// A flow, added up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub sender: u64,
    pub life: u64,
    pub receiver: u64,
    pub sent: u64,
    pub handled: u64,
    pub again: u64,
    pub twice: u64,
    pub out_of_order: u64,
    /// The last one that was, and one that was begun before it.
    pub overtaken: (u64, u64),
    pub wrong: u64,
    pub late: u64,
    pub died: u64,
    pub refused: u64,
    /// By modes.
    pub lost: [u64; 4],
    /// The sender was killed before these were handled.
    pub gone_with_sender: u64,
}

impl Oracle {
    /// A new one, and the path by which the children of this process open it. It has no name of its own, so nothing is
    /// left of it.
    pub fn create() -> io::Result<(Oracle, PathBuf)> {
        let file = tempfile::tempfile_in(match Path::new("/dev/shm").is_dir() {
            true => PathBuf::from("/dev/shm"),
            false => std::env::temp_dir(),
        })?;
        file.set_len(HEAD as u64 + FLOWS * FLOW as u64)?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let oracle = Oracle::map(&file)?;
        std::mem::forget(file);
        Ok((oracle, path))
    }

    /// That of another process.
    pub fn open(path: &Path) -> io::Result<Oracle> {
        Oracle::map(&OpenOptions::new().read(true).write(true).open(path)?)
    }

    fn map(file: &File) -> io::Result<Oracle> {
        let len = file.metadata()?.len() as usize;
        let size = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidData)?;
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping, which is never undone, of a file that keeps its length; it is only used as atomics.
        let words = unsafe {
            let at = mmap(None, size, rights, MapFlags::MAP_SHARED, file, 0)?;
            std::slice::from_raw_parts(at.as_ptr().cast(), len / 8)
        };
        Ok(Oracle(words))
    }

    /// Words for whoever writes and reads them, from 0.
    pub fn word(&self, at: usize) -> &'static AtomicU64 {
        &self.0[1 + at]
    }

    /// A new flow; `None`: there are too many.
    pub fn flow(&self, sender: u64, life: u64, receiver: u64) -> Option<Flow> {
        let number = self.0[0].fetch_add(1, SeqCst);
        let flow = (number < FLOWS).then(|| self.get(number))?;
        flow.word(Word::Sender).store(sender, SeqCst);
        flow.word(Word::Life).store(life, SeqCst);
        flow.word(Word::Receiver).store(receiver, SeqCst);
        Some(flow)
    }

    /// The flow of that number.
    pub fn get(&self, number: u64) -> Flow {
        let at = (HEAD + number as usize * FLOW) / 8;
        let window = &self.0[at + CELLS..at + FLOW / 8];
        // SAFETY: atomics of eight bytes as eight of one each: no alignment is lost, and every access is atomic. The
        // words of the window are accessed in no other way.
        let window = unsafe { std::slice::from_raw_parts(window.as_ptr().cast(), WINDOW as usize) };
        Flow {
            words: &self.0[at..at + CELLS],
            window,
            number,
        }
    }

    /// All of them.
    pub fn flows(&self) -> impl Iterator<Item = Flow> + use<> {
        let oracle = *self;
        (0..self.0[0].load(SeqCst).min(FLOWS)).map(move |number| oracle.get(number))
    }
}

impl Flow {
    fn word(&self, word: Word) -> &'static AtomicU64 {
        &self.words[word as usize]
    }

    fn at(&self, seq: u64) -> &'static AtomicU8 {
        &self.window[(seq % WINDOW) as usize]
    }

    fn count(&self, word: Word) {
        self.word(word).fetch_add(1, SeqCst);
    }

    /// Whether the next message has a place.
    pub fn has_room(&self) -> bool {
        let (sent, last) = (
            self.word(Word::Sent).load(SeqCst),
            self.word(Word::Last).load(SeqCst),
        );
        sent < WINDOW || last > sent - WINDOW + 1 || self.at(sent + 1).load(SeqCst) & EXCUSED > 0
    }

    /// The sender is about to send a message.
    pub fn send(&self, mode: Mode) -> Sending {
        let seq = self.word(Word::Sent).load(SeqCst) + 1;
        if let Some(mode) = seq
            .checked_sub(WINDOW)
            .filter(|gone| *gone > 0)
            .and_then(|gone| self.lost(gone))
        {
            self.words[Word::Lost as usize + mode as usize].fetch_add(1, SeqCst);
        }
        self.at(seq).store(SENT | mode as u8, SeqCst);
        self.word(Word::Sent).store(seq, SeqCst);
        Sending {
            flow: *self,
            seq,
            told: false,
        }
    }

    /// The handler begins.
    pub fn begin(&self, seq: u64) {
        let before = self.at(seq).fetch_or(BEGUN, SeqCst);
        let last = self.word(Word::Last).fetch_max(seq, SeqCst);
        match (before & BEGUN > 0, mode(before).is_idempotent()) {
            (true, true) => self.count(Word::Again),
            (true, false) => self.count(Word::Twice),
            (false, _) if seq < last => {
                self.count(Word::OutOfOrder);
                self.word(Word::Overtaken).store(seq, SeqCst);
                self.word(Word::Overtaker).store(last, SeqCst);
            }
            (false, _) => self.count(Word::Handled),
        }
    }

    /// The handler has done all that it does.
    pub fn end(&self, seq: u64) {
        self.at(seq).fetch_or(ENDED, SeqCst);
    }

    /// Whether all that was sent was begun, or its sender knows better.
    pub fn is_settled(&self) -> bool {
        let (sent, last) = (
            self.word(Word::Sent).load(SeqCst),
            self.word(Word::Last).load(SeqCst),
        );
        (last + 1..=sent).all(|seq| self.at(seq).load(SeqCst) & (BEGUN | EXCUSED) > 0)
    }

    /// The mode of the message of that number, if it was not handled and its sender did not hear of it.
    fn lost(&self, seq: u64) -> Option<Mode> {
        let byte = self.at(seq).load(SeqCst);
        (byte & (ENDED | EXCUSED) == 0).then(|| mode(byte))
    }

    /// How many messages of it were handled, each counted once.
    pub fn handled(&self) -> u64 {
        self.word(Word::Handled).load(SeqCst)
    }

    /// Whose it is.
    pub fn sum_of_sender(&self) -> Sum {
        Sum {
            sender: self.word(Word::Sender).load(SeqCst),
            life: self.word(Word::Life).load(SeqCst),
            ..Sum::default()
        }
    }

    /// Adds it up. `killed`: the sender was, and cannot have heard of all.
    pub fn sum(&self, killed: bool) -> Sum {
        let get = |word: Word| self.word(word).load(SeqCst);
        let (sent, last) = (get(Word::Sent), get(Word::Last));
        let known = if killed { last } else { sent };
        let mut lost = Mode::ALL.map(|mode| self.words[Word::Lost as usize + mode as usize].load(SeqCst));
        let window = (sent + 1).saturating_sub(WINDOW).max(1)..=known;
        // What only its sender could have heard of, or sent again, ended with that.
        let told = |mode: &Mode| !killed || *mode == Mode::Tell;
        for mode in window.filter_map(|seq| self.lost(seq)).filter(told) {
            lost[mode as usize] += 1;
        }
        Sum {
            sender: get(Word::Sender),
            life: get(Word::Life),
            receiver: get(Word::Receiver),
            sent,
            handled: get(Word::Handled),
            again: get(Word::Again),
            twice: get(Word::Twice),
            out_of_order: get(Word::OutOfOrder),
            overtaken: (get(Word::Overtaken), get(Word::Overtaker)),
            wrong: get(Word::Wrong),
            late: get(Word::Late),
            died: get(Word::Died),
            refused: get(Word::Refused),
            lost,
            gone_with_sender: sent - known,
        }
    }
}

fn mode(byte: u8) -> Mode {
    Mode::ALL[usize::from(byte & 3)]
}

impl Sending {
    /// The sender has heard of it.
    pub fn told(mut self, heard: Heard) {
        self.told = true;
        let Sending { flow, seq, .. } = &self;
        let byte = flow.at(*seq).load(SeqCst);
        let is_so = match heard {
            Heard::Accepted | Heard::Refused | Heard::Late | Heard::Died { begun: true } => true,
            Heard::Answered => byte & ENDED > 0,
            Heard::Died { begun: false } => byte & BEGUN == 0,
        };
        if !is_so {
            flow.count(Word::Wrong);
        }
        match heard {
            Heard::Accepted | Heard::Answered => return,
            Heard::Died { .. } => flow.count(Word::Died),
            Heard::Refused => flow.count(Word::Refused),
            Heard::Late => flow.count(Word::Late),
        }
        flow.at(*seq).fetch_or(EXCUSED, SeqCst);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.told {
            self.flow.at(self.seq).fetch_or(EXCUSED, SeqCst);
        }
    }
}

impl Sum {
    /// Messages of which a promise was broken that holds however it ends.
    pub fn n_broken(&self) -> u64 {
        self.twice + self.out_of_order + self.wrong + self.late
    }
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.sent += other.sent;
        self.handled += other.handled;
        self.again += other.again;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.wrong += other.wrong;
        self.late += other.late;
        self.died += other.died;
        self.refused += other.refused;
        self.gone_with_sender += other.gone_with_sender;
        for (sum, lost) in self.lost.iter_mut().zip(other.lost) {
            *sum += lost;
        }
    }
}
