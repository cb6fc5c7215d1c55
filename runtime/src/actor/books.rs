//! What one runtime knows of its dealings with one actor: the ledger of messages, the connection over which they were
//! sent, and those that wait at the sender because the actor's mailbox drops the oldest when it is full.
//!
//! Everything here happens under one lock of the [`Peer`](super::peer::Peer), so that the order of numbers is the order
//! on the link. Nothing here waits.

use crate::crash::{self, Point};
use crate::error::{Error, ErrorKind, Result};
use crate::exit::ExitReason;
use crate::link::Incoming;
use crate::link::credit::Credit;
use crate::local::Local;
use crate::wire::attach::Payload;
use crate::wire::control::{LinkId, Overflow};
use crate::wire::frame::{Flags, Head, Kind};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::answer;
use super::conn::{Answer, Conn, Reply};
use super::ledger::{Ledger, Letter};
use super::stream::Inflow;

/// This process is about to end, and hands over what is in its books: nothing is entered or sent any more, or it would
/// be sent once by this process and once by its heir.
static LEAVING: Local<()> = Local::new();

pub(super) fn leave() {
    // It is leaving already where this is refused.
    let _ = LEAVING.set(());
}

pub(super) fn is_leaving() -> bool {
    LEAVING.get().is_some()
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) ledger: Ledger<Waiting>,
    /// Accepted, and not yet numbered.
    backlog: VecDeque<Posting>,
    /// The connection over which the messages in the ledger were sent.
    pub(super) conn: Option<Arc<Conn>>,
    /// That of the last one.
    pub(super) link: Option<LinkId>,
    /// It takes new messages: those from before are on it.
    pub(super) live: bool,
    /// The number of the last message that was sent over it.
    pub(super) sent: u64,
    /// How many hold a [`Lease`](super::peer::Lease).
    pub(super) leases: usize,
    /// Why the last incarnation died, where it did.
    pub(super) death: Option<ExitReason>,
}

/// Whoever waits for an answer.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Taken by the word that a stream is there, or that it is too late.
    pub(super) answer: Option<answer::Sender>,
    /// Apart, as few have any: what every message moves about stays small.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    /// What has come of the answer.
    parts: Vec<Payload>,
    /// The size of the first for which there was no memory.
    unheld: Option<usize>,
    /// Where the number of the message is to be told, if that is not known at once.
    number: Option<Arc<AtomicU64>>,
    /// Where the items of a stream go.
    stream: Option<Arc<Inflow>>,
}

/// A message on its way into the books.
#[derive(Debug)]
pub(super) struct Posting {
    pub(super) letter: Letter,
    pub(super) waiter: Option<Waiting>,
}

impl Books {
    pub(super) fn is_current(&self, conn: &Conn) -> bool {
        self.conn
            .as_deref()
            .is_some_and(|current| std::ptr::eq(current, conn))
    }

    /// Whether everything is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.ledger.is_empty() && self.backlog.is_empty()
    }

    /// The connection, while it takes messages.
    pub(super) fn live(&self) -> Option<&Arc<Conn>> {
        let conn = self.conn.as_ref().filter(|conn| self.live && conn.is_open());
        conn.filter(|_| !is_leaving())
    }

    /// Enters a message if there is room for it and nothing else to be seen to: its number. `None`, and both left,
    /// otherwise.
    pub(super) fn enter_at_once(
        &mut self,
        letter: &mut Option<Letter>,
        waiter: &mut Option<Waiting>,
    ) -> Result<Option<u64>> {
        let (Some(conn), Some(new)) = (self.live(), letter.as_ref()) else {
            return Ok(None);
        };
        conn.allows(&new.body)?;
        if conn.overflow == Overflow::DropOldest || conn.window.try_take(new.cost()).is_err() {
            return Ok(None);
        }
        // Out and in again, where a clone would cost more.
        let conn = self.conn.take();
        let number = conn
            .as_ref()
            .and_then(|conn| self.enter_open(conn, letter, waiter));
        self.conn = conn;
        Ok(number)
    }

    /// Tells who is late by `now`: whom to wake for that, outside the lock, and the earliest deadline of the others that
    /// wait.
    pub(super) fn late(&mut self, now: u64) -> (Vec<Waker>, Option<u64>) {
        let (mut late, mut next) = (Vec::new(), None);
        for (letter, waiting) in self.ledger.waiters() {
            match (letter.deadline, &mut waiting.answer) {
                (0, _) | (_, None) => {}
                (deadline, answer) if deadline <= now => {
                    late.extend(answer.take().and_then(answer::Sender::late));
                }
                (deadline, _) => next = Some(next.map_or(deadline, |next: u64| next.min(deadline))),
            }
        }
        (late, next)
    }

    /// Enters a message for which there is credit, and queues it: its number. `None`, and `posting` left, where the
    /// connection takes no more.
    pub(super) fn enter(&mut self, conn: &Arc<Conn>, posting: &mut Option<Posting>) -> Option<u64> {
        if self.live().is_none() || !self.is_current(conn) {
            return None;
        }
        let Posting { letter, mut waiter } = posting.take()?;
        let mut letter = Some(letter);
        let number = self.enter_open(conn, &mut letter, &mut waiter);
        *posting = letter.map(|letter| Posting { letter, waiter });
        number
    }

    /// The same where the connection is the current one and live.
    fn enter_open(
        &mut self,
        conn: &Conn,
        letter: &mut Option<Letter>,
        waiter: &mut Option<Waiting>,
    ) -> Option<u64> {
        let mut head = letter.as_ref()?.head();
        let told = waiter.as_mut().and_then(Waiting::take_number);
        crash::at(Point::BeforeEntry);
        head.seq = self.ledger.accept(letter.take()?, waiter.take());
        crash::at(Point::Entered);
        let body = &self.ledger.newest()?.body;
        if conn.sender.send(head, body, body.fds.clone()).is_err() {
            if let Some((back, waits)) = self.ledger.withdraw() {
                (*letter, *waiter) = (Some(back), waits);
            }
            return None;
        }
        crash::at(Point::Queued);
        self.sent = head.seq;
        if let Some(told) = told {
            told.store(head.seq, Ordering::Relaxed);
        }
        Some(head.seq)
    }

    /// The first message in the ledger that was not sent over the connection.
    pub(super) fn next_unsent(&self) -> Option<(u64, &Letter)> {
        self.ledger.next_after(self.sent)
    }

    /// Sends that one, for which there is credit, under its old number: whether it still was the next. `None`: the
    /// connection takes no more.
    pub(super) fn resend(&mut self, conn: &Conn, number: u64) -> Option<bool> {
        if !self.is_current(conn) || is_leaving() {
            return None;
        }
        let Some((_, letter)) = self.next_unsent().filter(|(next, _)| *next == number) else {
            return Some(false);
        };
        let head = Head {
            seq: number,
            ..letter.head()
        };
        let body = &letter.body;
        conn.sender.send(head, body, body.fds.clone()).ok()?;
        self.sent = number;
        crash::at(Point::Replayed);
        Some(true)
    }

    /// Enters a message where the mailbox drops the oldest when it is full, with or without credit. What was dropped for it.
    pub(super) fn enter_or_drop(
        &mut self,
        conn: &Arc<Conn>,
        posting: &mut Option<Posting>,
    ) -> Option<Posting> {
        let cost = posting.as_ref()?.letter.cost();
        if self.backlog.is_empty() && conn.window.try_take(cost).is_ok() {
            self.enter(conn, posting);
            return None;
        }
        if self.live().is_none() || !self.is_current(conn) {
            return None;
        }
        self.backlog.extend(posting.take());
        match self.backlog.len() > conn.backlog {
            true => self.backlog.pop_front(),
            false => None,
        }
    }

    /// Sends what waits here, as far as there is credit.
    pub(super) fn drain_backlog(&mut self) {
        while let Some(conn) = self.live().cloned()
            && let Some(first) = self.backlog.front()
        {
            let is_gone = first.waiter.as_ref().is_some_and(Waiting::is_gone);
            if is_gone {
                self.backlog.pop_front();
            } else if conn.window.try_take(first.letter.cost()).is_ok() {
                let mut posting = self.backlog.pop_front();
                if self.enter(&conn, &mut posting).is_none() {
                    self.backlog.extend(posting);
                    self.backlog.rotate_right(1);
                    return;
                }
            } else {
                return;
            }
        }
    }

    /// Lets go of memory that is of use only while messages go.
    pub(super) fn shrink(&mut self) {
        self.ledger.shrink();
        self.backlog.shrink_to_fit();
    }

    /// Takes everything out, in order.
    pub(super) fn clear(&mut self) -> Vec<Posting> {
        let entered = self.ledger.clear().into_iter();
        let entered = entered.map(|(letter, waiter)| Posting { letter, waiter });
        entered.chain(self.backlog.drain(..)).collect()
    }

    /// One-way messages that are not known to have begun, with their numbers; those without one have the highest.
    pub(super) fn tells(&self) -> impl Iterator<Item = (u64, &Letter)> {
        let waiting = self.backlog.iter().map(|posting| (u64::MAX, &posting.letter));
        let waiting = waiting.filter(|(_, letter)| !letter.answered);
        self.ledger.tells().chain(waiting)
    }

    pub(super) fn rest_if_empty(&mut self) -> Option<Arc<Conn>> {
        match self.leases == 0 && self.is_empty() {
            true => self.rest(),
            false => None,
        }
    }

    /// Where nobody holds the peer any more: closes its connection, or asks for word of when that may be done. What is
    /// returned is to be dropped outside the lock.
    pub(super) fn rest(&mut self) -> Option<Arc<Conn>> {
        if self.leases > 0 || !self.live {
            return None;
        }
        if self.backlog.is_empty() && self.ledger.is_over() {
            self.live = false;
            return self.conn.take().inspect(|conn| conn.close());
        }
        if let Some(conn) = self.conn.as_ref().filter(|_| !self.ledger.is_over()) {
            let head = Head {
                seq: self.ledger.last(),
                ..Head::new(Kind::Credit)
            };
            // One that is closed is buried soon.
            let _ = conn.sender.send(head, Bytes::new(), Vec::new());
        }
        None
    }
}

impl Letter {
    /// What it takes of a mailbox.
    pub(super) fn cost(&self) -> Credit {
        Credit::of_payload(&self.body)
    }

    pub(super) fn head(&self) -> Head {
        // What may run again is settled by its end, so that is to be told even where nobody waits for it.
        let kind = match self.answered || self.retries > 0 {
            true => Kind::Request,
            false => Kind::Tell,
        };
        let mut flags = Flags::NONE;
        if self.nested {
            flags = flags.with(Flags::NESTED);
        }
        if !self.answered {
            flags = flags.with(Flags::ONE_WAY);
        }
        Head {
            flags,
            method: self.method,
            aux: self.deadline,
            ..Head::new(kind)
        }
    }
}

impl Waiting {
    pub(super) fn new(answer: answer::Sender, stream: Option<Arc<Inflow>>) -> Waiting {
        Waiting {
            answer: Some(answer),
            rare: stream.map(|stream| {
                Box::new(Rare {
                    stream: Some(stream),
                    ..Rare::default()
                })
            }),
        }
    }

    /// The number of the message is to be told there.
    pub(super) fn tell_number(&mut self, number: Arc<AtomicU64>) {
        self.rare.get_or_insert_default().number = Some(number);
    }

    fn take_number(&mut self) -> Option<Arc<AtomicU64>> {
        self.rare.as_mut()?.number.take()
    }

    /// A part of the answer has come. Where there is no memory for one, those behind it are of no use either.
    pub(super) fn part(&mut self, part: Incoming) {
        let rare = self.rare.get_or_insert_default();
        match part.is_unheld() {
            _ if rare.unheld.is_some() => {}
            false => rare.parts.push(part.into_payload()),
            true => rare.unheld = Some(part.size()),
        }
    }

    /// Where the items of a stream go.
    pub(super) fn stream(&self) -> Option<&Arc<Inflow>> {
        self.rare.as_ref()?.stream.as_ref()
    }

    /// The stream is there.
    pub(super) fn begin(answer: Option<answer::Sender>) {
        if let Some(answer) = answer {
            let reply = Reply::Value(Payload::default(), 0);
            // Whoever no longer waits takes the stream back.
            answer.send(Answer {
                parts: Vec::new(),
                reply,
            });
        }
    }

    pub(super) fn end(mut self, reply: Reply) {
        match self.stream() {
            Some(stream) if self.answer.is_none() => stream.end(Some(reply)),
            _ => self.answer(reply),
        }
    }

    /// The same where the deadline has passed: that is what a call comes to then.
    pub(super) fn end_late(mut self, reply: Reply) {
        match self.answer.take() {
            Some(answer) => answer.late().into_iter().for_each(Waker::wake),
            None => self.end(reply),
        }
    }

    /// The same with what `reply` makes, where it is to lie: to move it there costs more than the rest.
    #[inline]
    pub(super) fn end_with(mut self, reply: impl FnOnce() -> Reply) {
        if self.rare.is_none()
            && let Some(answer) = self.answer.take()
        {
            answer.send(Answer {
                parts: Vec::new(),
                reply: reply(),
            });
        } else {
            self.end(reply());
        }
    }

    fn answer(&mut self, reply: Reply) {
        let (parts, unheld) = match &mut self.rare {
            Some(rare) => (std::mem::take(&mut rare.parts), rare.unheld),
            None => (Vec::new(), None),
        };
        let reply = match unheld {
            None => reply,
            Some(size) => Reply::Fault(Error::unheld_here(size)),
        };
        if let Some(answer) = self.answer.take() {
            answer.send(Answer { parts, reply });
        }
    }

    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool {
        self.answer.as_ref().is_some_and(answer::Sender::is_closed)
    }

    /// The mailbox was full, and this the oldest that could be dropped.
    pub(super) fn overflow(self) {
        let what = "newer messages took the place of this one in a full mailbox";
        self.end(Reply::Fault(Error::with_kind(ErrorKind::Full, what)));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(stream) = self.stream() {
            stream.end(None);
        }
    }
}
