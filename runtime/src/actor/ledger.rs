//! The books of one sender about one actor: what was accepted and is not settled. Pure: no I/O, no clock.
//!
//! Every message gets a number, which it keeps for its life: numbers grow in the order in which messages were accepted,
//! which is the order in which they go out, on one link after another. A message is in the books until it is settled:
//!
//! | message | settled by |
//! | --- | --- |
//! | a tell | the word that it has begun |
//! | a request, and anything idempotent | its answer |
//! | any of them | a cancel, or a verdict at a death |
//!
//! At the death of an incarnation the books say of each message what becomes of it: what had not begun stays, in its
//! order, to be sent to the next incarnation; what had begun is answered for, or stays where it may run again.
//!
//! The recent messages lie in a line indexed by number, so that the common case is a push and a pop. A request that is
//! still open when many behind it are settled moves out of the line, so that the line is as short as what is open.

use crate::error::Error;
use crate::exit::ExitReason;
use crate::wire::attach::Payload;
use crate::wire::control::DeadCause;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::reuse::{self, Kept};

/// A line longer than this puts what is open at its head aside.
const LINE: usize = 256;

/// A message, as it can be sent any number of times.
///
/// It passes through many hands, so what is handed on is small. The memory of one that is settled is used again for the
/// next one of the thread.
#[derive(Debug, Clone)]
pub(crate) struct Letter(Sheet);

/// What a letter is written on.
type Sheet = Box<Contents>;

/// What a letter says, and what became of it so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    pub(crate) method: u32,
    pub(crate) body: Payload,
    /// Its body begins with the calls that wait for it.
    pub(crate) nested: bool,
    /// When it is no longer wanted, in nanoseconds of the monotonic clock; 0: always wanted.
    pub(crate) deadline: u64,
    /// Whether its sender waits for an answer.
    pub(crate) answered: bool,
    /// How often it may run again after it had begun: 0 for what is not idempotent.
    pub(crate) retries: u32,
    /// Whether it goes to the next incarnation by itself if it had not begun.
    pub(crate) keep: bool,
    /// How many incarnations in a row died of it.
    pub(crate) deaths: u32,
    /// Why the last incarnation ended in which it had begun, if one did.
    pub(crate) interrupted: Option<Box<ExitReason>>,
    /// How long it is wanted from when it is sent, where its sender said so.
    pub(crate) timeout: Option<Duration>,
    /// How long after its deadline its process is killed if it still runs there.
    pub(crate) kill_after: Option<Duration>,
}

/// What becomes of a message at the end of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lot {
    /// The next incarnation gets it.
    Stays,
    Ends,
    /// It has killed too many incarnations.
    Poisonous,
}

/// How many letters a thread keeps for its next messages: as many as are outstanding where nothing else was said.
const KEPT: usize = 1024;

thread_local! {
    static FREE: Kept<Sheet> = const { RefCell::new(Vec::new()) };
}

impl Letter {
    /// One that is answered, and goes to the next incarnation if it had not begun.
    pub(crate) fn request(method: u32, body: Payload) -> Letter {
        let mut letter = reuse::take(&FREE);
        letter.method = method;
        letter.body = body;
        letter.nested = false;
        letter.deadline = 0;
        letter.answered = true;
        letter.retries = 0;
        letter.keep = true;
        letter.deaths = 0;
        letter.timeout = None;
        letter.kill_after = None;
        Letter(letter)
    }

    /// It is settled.
    fn retire(self) {
        let mut letter = self.0;
        letter.body = Payload::default();
        letter.interrupted = None;
        reuse::keep(&FREE, KEPT, letter);
    }
}

impl Deref for Letter {
    type Target = Contents;

    #[inline]
    fn deref(&self) -> &Contents {
        &self.0
    }
}

impl DerefMut for Letter {
    #[inline]
    fn deref_mut(&mut self) -> &mut Contents {
        &mut self.0
    }
}

impl Contents {
    /// Its deadline, and how long after that its process is killed if it still runs there.
    pub(crate) fn kill(&self) -> Option<(u64, Duration)> {
        self.kill_after.map(|grace| (self.deadline, grace))
    }

    /// Whether it has begun, in whatever incarnation: all that is said of that at its end comes from here.
    pub(crate) fn has_begun(&self) -> bool {
        self.interrupted.is_some()
    }

    /// What it is as a dead letter where there is no next incarnation.
    pub(crate) fn undelivered(&self, error: &Error) -> DeadCause {
        match &self.interrupted {
            Some(reason) => DeadCause::Died((**reason).clone()),
            None => DeadCause::Undeliverable(error.to_string()),
        }
    }

    /// An incarnation is dead that had it under this number. The next one may run it again where it had not ended, or
    /// where its sender waits for an answer that is lost.
    pub(crate) fn judge(&mut self, number: u64, obituary: Obituary<'_>, poisonous: u32) -> Lot {
        if number > obituary.begun {
            return if self.keep { Lot::Stays } else { Lot::Ends };
        }
        self.interrupted = Some(Box::new(obituary.reason.clone()));
        let unfinished = obituary.unfinished;
        let in_the_middle = unfinished.is_none_or(|numbers| numbers.contains(&number));
        if self.retries == 0 || !(in_the_middle || self.answered) {
            return Lot::Ends;
        }
        self.deaths += u32::from(in_the_middle && !obituary.reason.is_normal());
        if self.deaths >= poisonous {
            return Lot::Poisonous;
        }
        self.retries -= 1;
        Lot::Stays
    }
}

/// The books; `W` is whoever waits for an answer.
#[derive(Debug)]
pub(crate) struct Ledger<W> {
    /// The number of the last message.
    last: u64,
    /// The number of the first in the line.
    first: u64,
    line: VecDeque<Option<Entry<W>>>,
    /// Open requests that left the line.
    aside: BTreeMap<u64, Entry<W>>,
    n_open: usize,
    /// Everything up to here is known to have begun, or to have been taken back before.
    begun: u64,
    /// The last that was taken back: as far as is known here, it may yet begin.
    taken_back: u64,
}

#[derive(Debug)]
struct Entry<W> {
    letter: Letter,
    waiter: Option<W>,
    begun: bool,
}

/// What an incarnation had done when it died, on one link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Obituary<'a> {
    /// The number of the last message that had begun.
    pub(crate) begun: u64,
    /// Of these, the ones that had not ended; `None`: they were too many to be written down.
    pub(crate) unfinished: Option<&'a [u64]>,
    /// Why it ended.
    pub(crate) reason: &'a ExitReason,
}

/// What becomes of a message at a death. What gets none stays in the books.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict<W> {
    /// The request ends with its actor.
    Died { number: u64, waiter: W, begun: bool },
    /// It was never sent, as far as anybody can tell: its sender decides.
    Returned(W),
    /// It has killed too many incarnations.
    Poisonous {
        number: u64,
        method: u32,
        waiter: Option<W>,
        deaths: u32,
    },
}

/// An answer to a message that was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an answer to message {number} of {last}")]
pub(crate) struct Unsent {
    number: u64,
    last: u64,
}

impl<W> Default for Ledger<W> {
    fn default() -> Self {
        Ledger {
            last: 0,
            first: 1,
            line: VecDeque::new(),
            aside: BTreeMap::new(),
            n_open: 0,
            begun: 0,
            taken_back: 0,
        }
    }
}

impl<W> Ledger<W> {
    /// Enters a message and gives it its number.
    pub(crate) fn accept(&mut self, letter: Letter, waiter: Option<W>) -> u64 {
        self.shorten();
        self.last += 1;
        self.n_open += 1;
        self.line.push_back(Some(Entry {
            letter,
            waiter,
            begun: false,
        }));
        self.last
    }

    /// The message that was entered last, if it is open.
    pub(crate) fn newest(&self) -> Option<&Letter> {
        self.line.back()?.as_ref().map(|entry| &entry.letter)
    }

    /// The messages that are waited for, and who waits.
    pub(crate) fn waiters(&mut self) -> impl Iterator<Item = (&Letter, &mut W)> {
        let entries = self.aside.values_mut().chain(self.line.iter_mut().flatten());
        entries.filter_map(|entry| Some((&entry.letter, entry.waiter.as_mut()?)))
    }

    /// Takes back the message that was entered last.
    pub(crate) fn withdraw(&mut self) -> Option<(Letter, Option<W>)> {
        let entry = self.line.pop_back()??;
        self.last -= 1;
        self.n_open -= 1;
        Some((entry.letter, entry.waiter))
    }

    /// The number of the last message.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether everything is settled.
    pub(crate) fn is_empty(&self) -> bool {
        self.n_open == 0
    }

    /// Whether the link can be closed: what comes over another one is then behind all that came over this.
    pub(crate) fn is_over(&self) -> bool {
        self.is_empty() && self.taken_back <= self.begun
    }

    /// Everything up to this number has begun, or was taken back before it did.
    pub(crate) fn begun(&mut self, upto: u64) -> Result<(), Unsent> {
        self.check(upto)?;
        if upto <= self.begun {
            return Ok(());
        }
        let from = std::mem::replace(&mut self.begun, upto);
        for number in from.max(self.first - 1) + 1..=upto {
            let slot = &mut self.line[(number - self.first) as usize];
            if slot.as_mut().is_some_and(Entry::begin)
                && let Some(entry) = slot.take()
            {
                entry.letter.retire();
                self.n_open -= 1;
            }
        }
        if !self.aside.is_empty() {
            let begun = self.aside.range_mut(from + 1..=upto);
            let settled: Vec<_> = begun
                .filter_map(|(number, entry)| entry.begin().then_some(*number))
                .collect();
            settled.iter().for_each(|number| drop(self.take(*number)));
        }
        self.shorten();
        Ok(())
    }

    /// An answer came to a message that had begun. Who waits for it, if anybody still does.
    pub(crate) fn answer(&mut self, number: u64) -> Result<Option<W>, Unsent> {
        let waiter = self.answer_early(number)?;
        // Messages of one link begin in order.
        self.begun(number)?;
        Ok(waiter)
    }

    /// The same for one that was answered before its turn: those before it may wait for theirs.
    pub(crate) fn answer_early(&mut self, number: u64) -> Result<Option<W>, Unsent> {
        self.check(number)?;
        let waiter = self.take(number).and_then(|entry| {
            entry.letter.retire();
            entry.waiter
        });
        self.shorten();
        Ok(waiter)
    }

    /// Who waits for the answer to this message.
    pub(crate) fn waiter(&mut self, number: u64) -> Option<&mut W> {
        self.entry(number)?.waiter.as_mut()
    }

    /// When this message is no longer wanted, if it is open and there is such a time.
    pub(crate) fn deadline(&mut self, number: u64) -> Option<u64> {
        let deadline = self.entry(number)?.letter.deadline;
        (deadline > 0).then_some(deadline)
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry<W>> {
        match number.checked_sub(self.first) {
            Some(at) => self.line.get_mut(at as usize)?.as_mut(),
            None => self.aside.get_mut(&number),
        }
    }

    /// Its sender takes it back. What it was, if it was open.
    pub(crate) fn cancel(&mut self, number: u64) -> Option<(Letter, Option<W>)> {
        let entry = self.take(number);
        if entry.is_some() {
            self.taken_back = self.taken_back.max(number);
        }
        self.shorten();
        entry.map(|entry| (entry.letter, entry.waiter))
    }

    /// The first message after this one, to be sent to a new incarnation.
    pub(crate) fn next_after(&self, number: u64) -> Option<(u64, &Letter)> {
        let aside = self.aside.range(number + 1..).next();
        if let Some((number, entry)) = aside {
            return Some((*number, &entry.letter));
        }
        let from = (number + 1).max(self.first);
        let line = self.line.iter().zip(self.first..);
        line.skip((from - self.first) as usize)
            .find_map(|(entry, number)| entry.as_ref().map(|entry| (number, &entry.letter)))
    }

    /// An incarnation is dead. What stays has not begun, as far as the next one is concerned; a message of which
    /// `poisonous` incarnations died in a row does not stay.
    pub(crate) fn die(&mut self, obituary: Obituary<'_>, poisonous: u32) -> Vec<Verdict<W>> {
        (self.begun, self.taken_back) = (0, 0);
        let mut verdicts = Vec::new();
        for number in self.numbers() {
            let Some(entry) = self.take(number) else { continue };
            match entry.judge(number, obituary, poisonous) {
                Ok(entry) => self.put_back(number, entry),
                Err(verdict) => verdicts.extend(verdict),
            }
        }
        self.shorten();
        verdicts
    }

    /// Takes everything out, in order.
    pub(crate) fn clear(&mut self) -> Vec<(Letter, Option<W>)> {
        let numbers = self.numbers();
        let entries = numbers.into_iter().filter_map(|number| self.take(number));
        let entries = entries.map(|entry| (entry.letter, entry.waiter)).collect();
        self.shorten();
        entries
    }

    /// One-way messages that may have to be sent again, with their numbers: what outlives an orderly end of the sender.
    pub(crate) fn tells(&self) -> impl Iterator<Item = (u64, &Letter)> {
        let line = (self.first..).zip(&self.line);
        let line = line.filter_map(|(number, entry)| Some((number, entry.as_ref()?)));
        let all = self
            .aside
            .iter()
            .map(|(number, entry)| (*number, entry))
            .chain(line);
        all.filter(|(_, entry)| !entry.letter.answered)
            .map(|(number, entry)| (number, &entry.letter))
    }

    fn numbers(&self) -> Vec<u64> {
        let line = (self.first..).zip(&self.line);
        let line = line.filter_map(|(number, entry)| entry.as_ref().map(|_| number));
        self.aside.keys().copied().chain(line).collect()
    }

    fn check(&self, number: u64) -> Result<(), Unsent> {
        match number == 0 || number > self.last {
            true => Err(Unsent {
                number,
                last: self.last,
            }),
            false => Ok(()),
        }
    }

    fn take(&mut self, number: u64) -> Option<Entry<W>> {
        let entry = match number.checked_sub(self.first) {
            Some(at) => self.line.get_mut(at as usize)?.take(),
            None => self.aside.remove(&number),
        };
        self.n_open -= usize::from(entry.is_some());
        entry
    }

    fn put_back(&mut self, number: u64, entry: Entry<W>) {
        self.n_open += 1;
        match number.checked_sub(self.first) {
            Some(at) => self.line[at as usize] = Some(entry),
            None => drop(self.aside.insert(number, entry)),
        }
    }

    /// Lets go of memory that is of use only while messages go, with what this thread keeps for them.
    pub(crate) fn shrink(&mut self) {
        self.shorten();
        self.line.shrink_to_fit();
        // Each lies somewhere between what is long free, and holds its page.
        let _ = FREE.try_with(RefCell::take);
    }

    /// Takes what is settled off the head of the line, and puts aside what keeps a long one from getting shorter.
    fn shorten(&mut self) {
        while let Some(head) = self.line.front() {
            let keeps_long = |entry: &Entry<W>| entry.begun && self.line.len() > LINE;
            if head.as_ref().is_some_and(|entry| !keeps_long(entry)) {
                return;
            }
            let head = self.line.pop_front().flatten();
            self.aside.extend(head.map(|entry| (self.first, entry)));
            self.first += 1;
        }
    }
}

impl<W> Entry<W> {
    /// It has begun. Whether that settles it.
    fn begin(&mut self) -> bool {
        self.begun = true;
        if self.letter.retries == 0 {
            self.letter.body = Payload::default();
        }
        !self.letter.answered && self.letter.retries == 0
    }

    /// What becomes of it: it stays, or there is a verdict, or it is settled without one.
    fn judge(
        mut self,
        number: u64,
        obituary: Obituary<'_>,
        poisonous: u32,
    ) -> Result<Self, Option<Verdict<W>>> {
        let (lot, begun) = (
            self.letter.judge(number, obituary, poisonous),
            self.letter.has_begun(),
        );
        Err(match (lot, self.waiter) {
            (Lot::Stays, waiter) => {
                self.begun = false;
                return Ok(Entry { waiter, ..self });
            }
            (Lot::Poisonous, waiter) => Some(Verdict::Poisonous {
                number,
                method: self.letter.method,
                waiter,
                deaths: self.letter.deaths,
            }),
            (Lot::Ends, Some(waiter)) if !begun && obituary.reason.is_normal() => {
                Some(Verdict::Returned(waiter))
            }
            (Lot::Ends, Some(waiter)) => Some(Verdict::Died {
                number,
                waiter,
                begun,
            }),
            // One that died in the middle is named by the host, who sees it in the status page.
            (Lot::Ends, None) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letter(answered: bool, retries: u32, keep: bool) -> Letter {
        let mut letter = Letter::request(0, Payload::from(b"x".to_vec()));
        (letter.answered, letter.retries, letter.keep) = (answered, retries, keep);
        letter
    }

    fn obituary(begun: u64, unfinished: &[u64]) -> Obituary<'_> {
        Obituary {
            begun,
            unfinished: Some(unfinished),
            reason: &ExitReason::Exited(1),
        }
    }

    fn left(ledger: &Ledger<u64>) -> Vec<u64> {
        let (mut numbers, mut last) = (Vec::new(), 0);
        while let Some((number, _)) = ledger.next_after(last) {
            numbers.push(number);
            last = number;
        }
        numbers
    }

    #[test]
    fn a_letter_whose_memory_is_used_again_has_nothing_of_the_one_before() {
        let mut first = letter(false, 3, false);
        (first.nested, first.deadline, first.deaths) = (true, 7, 2);
        first.interrupted = Some(Box::new(ExitReason::Exited(1)));
        (first.timeout, first.kill_after) = (Some(Duration::ZERO), Some(Duration::ZERO));
        first.retire();
        let fresh = Contents {
            method: 1,
            answered: true,
            keep: true,
            ..Contents::default()
        };
        let next = Letter::request(1, Payload::default());
        assert_eq!(format!("{:?}", *next), format!("{fresh:?}"));
    }

    #[test]
    fn an_old_request_does_not_keep_the_line_long() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.accept(letter(true, 0, true), Some(1)), 1);
        for number in 2..10_000 {
            assert_eq!(ledger.accept(letter(true, 0, true), Some(number)), number);
            assert_eq!(ledger.answer(number), Ok(Some(number)));
            assert!(ledger.line.len() <= LINE + 1, "{}", ledger.line.len());
        }
        assert_eq!(ledger.waiter(1), Some(&mut 1));
        assert_eq!(ledger.answer(1), Ok(Some(1)));
        assert!(ledger.is_empty());
    }

    #[test]
    fn an_answer_to_what_was_never_sent_is_an_error() {
        let mut ledger = Ledger::default();
        ledger.accept(letter(true, 0, true), Some(1));
        assert!(ledger.answer(0).is_err() && ledger.answer(2).is_err() && ledger.begun(2).is_err());
        assert_eq!(ledger.answer(1), Ok(Some(1)));
        assert_eq!(ledger.answer(1), Ok(None), "it was answered already");
    }

    #[test]
    fn a_link_is_not_over_while_what_was_taken_back_may_begin() {
        let mut ledger = Ledger::default();
        ledger.accept(letter(true, 0, true), Some(1));
        ledger.accept(letter(true, 0, true), Some(2));
        assert!(ledger.cancel(1).is_some());
        assert!(ledger.cancel(1).is_none());
        assert_eq!(ledger.answer_early(2), Ok(Some(2)));
        assert!(ledger.is_empty() && !ledger.is_over());
        ledger.begun(1).unwrap();
        assert!(ledger.is_over());
        ledger.accept(letter(true, 0, true), Some(3));
        ledger.cancel(3);
        assert!(!ledger.is_over());
        assert!(ledger.die(obituary(1, &[]), 3).is_empty());
        assert!(ledger.is_over(), "it cannot begin any more");
    }

    #[test]
    fn a_one_way_message_that_had_begun_is_not_sent_again() {
        let mut ledger: Ledger<u64> = Ledger::default();
        for _ in 0..3 {
            ledger.accept(letter(false, 0, true), None);
        }
        assert_eq!(ledger.die(obituary(2, &[2]), 3), []);
        assert_eq!(left(&ledger), [3]);
    }

    #[test]
    fn a_message_that_was_not_to_be_kept_goes_back_to_its_sender() {
        let mut ledger = Ledger::default();
        ledger.accept(letter(true, 0, false), Some(1));
        ledger.accept(letter(true, 0, false), Some(2));
        let died = |number, begun| Verdict::Died {
            number,
            waiter: number,
            begun,
        };
        assert_eq!(ledger.die(obituary(1, &[1]), 3), [died(1, true), died(2, false)]);
        ledger.accept(letter(true, 0, false), Some(3));
        let orderly = Obituary {
            reason: &ExitReason::Shutdown,
            ..obituary(0, &[])
        };
        assert_eq!(ledger.die(orderly, 3), [Verdict::Returned(3)]);
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_may_run_again_does_so_until_too_many_died_of_it() {
        let mut ledger = Ledger::default();
        ledger.accept(letter(true, 9, true), Some(1));
        for _ in 0..2 {
            assert_eq!(ledger.die(obituary(1, &[1]), 3), []);
            assert_eq!(left(&ledger), [1]);
        }
        let verdicts = ledger.die(obituary(1, &[1]), 3);
        assert!(
            matches!(
                verdicts[..],
                [Verdict::Poisonous {
                    number: 1,
                    waiter: Some(1),
                    deaths: 3,
                    ..
                }]
            ),
            "{verdicts:?}"
        );
        assert!(ledger.is_empty());
    }

    /// Each way in which a message can end that had begun once, and each in which one can that never had.
    #[test]
    fn what_has_begun_once_is_said_to_have_begun_however_it_ends() {
        let orderly = Obituary {
            reason: &ExitReason::Shutdown,
            ..obituary(0, &[])
        };
        let ends = [obituary(0, &[]), obituary(1, &[1]), obituary(1, &[]), orderly];
        for first in ends {
            let has_begun = first.begun == 1;
            let mut ledger = Ledger::default();
            ledger.accept(letter(true, 1, true), Some(1));
            assert_eq!(ledger.die(first, 3), []);
            // There is no other incarnation.
            let (left, _) = ledger.clear().remove(0);
            assert_eq!(left.has_begun(), has_begun, "{first:?}");
            for last in ends {
                let mut left = left.clone();
                left.keep = false;
                if left.judge(1, last, 3) == Lot::Ends {
                    assert_eq!(
                        left.has_begun(),
                        has_begun || last.begun == 1,
                        "{first:?}, {last:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_one_way_message_that_had_ended_does_not_run_again() {
        let mut ledger: Ledger<u64> = Ledger::default();
        ledger.accept(letter(false, 2, true), None);
        ledger.accept(letter(false, 2, true), None);
        assert_eq!(ledger.die(obituary(2, &[2]), 3), []);
        assert_eq!(left(&ledger), [2]);
    }

    /// What happens to the books, in any order that a link allows.
    #[derive(Debug, Clone)]
    enum Event {
        Accept {
            answered: bool,
            retries: u32,
        },
        /// The actor takes up so many of those that it has.
        Begin(usize),
        /// It ends one of those that it has begun.
        End(usize),
        /// The sender hears of what has begun.
        Acknowledge,
        Cancel(usize),
        Die,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (any::<bool>(), 0..3_u32).prop_map(|(answered, retries)| Event::Accept { answered, retries }),
            4 => (1..4_usize).prop_map(Event::Begin),
            4 => any::<usize>().prop_map(Event::End),
            2 => Just(Event::Acknowledge),
            1 => any::<usize>().prop_map(Event::Cancel),
            1 => Just(Event::Die),
        ]
    }

    proptest! {
        /// A model of one actor and its sender: whatever happens, every message is handled, answered for, lost by name or
        /// taken back, once; and those that had not begun are handled in order.
        #[test]
        fn no_message_is_forgotten_doubled_or_overtaken(events in prop::collection::vec(event(), 1..400)) {
            let mut ledger = Ledger::default();
            // The actor: what is on the link, what it has begun, what runs.
            let (mut sent, mut begun, mut runs) = (VecDeque::new(), 0, Vec::new());
            // Of each message: how often it was begun, and how it was settled.
            let mut starts = vec![0_u32];
            let mut settled = vec![true];
            let mut plain = vec![false];
            for event in events {
                match event {
                    Event::Accept { answered, retries } => {
                        let number = ledger.last() + 1;
                        let waiter = answered.then_some(number);
                        prop_assert_eq!(ledger.accept(letter(answered, retries, true), waiter), number);
                        sent.push_back((number, answered || retries > 0));
                        starts.push(0);
                        settled.push(false);
                        plain.push(retries == 0);
                    }
                    Event::Begin(count) => {
                        for (number, answered) in sent.drain(..count.min(sent.len())) {
                            prop_assert!(number > begun, "overtaken");
                            starts[number as usize] += 1;
                            begun = number;
                            runs.push((number, answered));
                        }
                    }
                    Event::End(which) if !runs.is_empty() => {
                        let (number, answered) = runs.swap_remove(which % runs.len());
                        settled[number as usize] = true;
                        if answered {
                            ledger.answer(number).unwrap();
                        }
                    }
                    Event::Acknowledge if begun > 0 => ledger.begun(begun).unwrap(),
                    Event::Cancel(which) => {
                        let number = which as u64 % (ledger.last() + 1);
                        if ledger.cancel(number).is_some() {
                            settled[number as usize] = true;
                            sent.retain(|(other, _)| *other != number);
                            runs.retain(|(other, _)| *other != number);
                        }
                    }
                    Event::Die => {
                        let unfinished: Vec<_> = runs.drain(..).map(|(number, _)| number).collect();
                        for verdict in ledger.die(obituary(begun, &unfinished), 2) {
                            match verdict {
                                Verdict::Died { number, begun: had_begun, .. } => {
                                    prop_assert!(had_begun && !settled[number as usize]);
                                    settled[number as usize] = true;
                                }
                                Verdict::Poisonous { number, deaths, .. } => {
                                    prop_assert_eq!(deaths, 2);
                                    settled[number as usize] = true;
                                }
                                Verdict::Returned(_) => prop_assert!(false, "nothing is returned here"),
                            }
                        }
                        // One-way messages that were in the middle are lost, and no others.
                        let again = left(&ledger);
                        for number in unfinished.iter().filter(|number| !again.contains(number)) {
                            settled[*number as usize] = true;
                        }
                        prop_assert!(again.is_sorted());
                        prop_assert!(again.iter().all(|number| !settled[*number as usize]));
                        sent.clear();
                        let mut last = 0;
                        while let Some((number, letter)) = ledger.next_after(last) {
                            sent.push_back((number, letter.answered || letter.retries > 0));
                            last = number;
                        }
                        begun = 0;
                    }
                    Event::End(_) | Event::Acknowledge => {}
                }
            }
            // The rest is handled.
            for (number, answered) in sent {
                starts[number as usize] += 1;
                runs.push((number, answered));
            }
            for (number, answered) in runs {
                settled[number as usize] = true;
                match answered {
                    true => drop(ledger.answer(number).unwrap()),
                    false => ledger.begun(number).unwrap(),
                }
            }
            if ledger.last() > 0 {
                ledger.begun(ledger.last()).unwrap();
            }
            prop_assert!(ledger.is_empty(), "{:?}", ledger);
            prop_assert!(settled.iter().all(|settled| *settled), "forgotten: {:?}", settled);
            for (number, plain) in plain.iter().enumerate().filter(|(_, plain)| **plain) {
                prop_assert!(starts[number] <= 1, "message {} ran {} times, {}", number, starts[number], plain);
            }
        }
    }
}
