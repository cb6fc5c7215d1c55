//! The actor's side of a link: messages in, answers out.

use crate::crash::{self, Point};
use crate::error::{Error, ErrorKind};
use crate::link::credit::{Credit, Granter, Window};
use crate::link::{self, Incoming};
use crate::os::clock;
use crate::process::control::{self, Remote};
use crate::process::page::{Name, Page, Running};
use crate::wire::attach::Payload;
use crate::wire::codec;
use crate::wire::control::{Attach, LinkId, Request, Settings, Up};
use crate::wire::encoded::Encoded;
use crate::wire::frame::{Flags, Head, Kind};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Notify;

use super::contract::Outcome;
use super::current::{Ancestors, Step};
use super::stream;
use super::work::Work;

/// The largest number that a message may have: as many bits as the status page has for it.
const MOST: u64 = (1 << 48) - 1;

/// One link that a client of this process holds the other end of.
pub(crate) struct Port {
    pub(crate) link: LinkId,
    /// The cell of the status page that counts what had begun on this link.
    pub(crate) slot: u32,
    remote: &'static Remote,
    sender: link::Sender,
    granter: RefCell<Granter>,
    /// The number of the last message that came, and of the last that has begun.
    last: Cell<u64>,
    begun: Cell<u64>,
    /// How many are in the mailbox.
    n_waiting: Cell<usize>,
    /// The client wants word when none is, of those up to this number; 0: it does not.
    asked: Cell<u64>,
    /// A message came too late: not all that came over this link is done when it is closed.
    missed: Cell<bool>,
    /// What runs, or waits to, by the numbers of the messages.
    running: RefCell<HashMap<u64, Rc<Work>>>,
    /// How much may be sent of the streams that are read.
    streams: RefCell<HashMap<u64, Window>>,
    limit: usize,
    /// Answers do not wait for others that go with them.
    at_once: Cell<bool>,
    /// Asks the reader of this link to take what is there, and say so.
    pub(crate) drain: Notify,
    pub(crate) drained: Notify,
}

/// What a client asks.
pub(crate) struct Message {
    pub(crate) port: Rc<Port>,
    pub(crate) seq: u64,
    pub(crate) method: u32,
    /// Until it is decoded; `None` also where it is lent.
    body: Cell<Option<Payload>>,
    /// What it takes of the mailbox.
    cost: Credit,
    /// Whether it has an answer.
    pub(super) answered: bool,
    /// Whether nobody waits for that.
    one_way: bool,
    /// There was no memory for its body: it is one that cannot be read.
    is_unheld: bool,
    /// The calls that wait for it, the first one first.
    pub(crate) ancestors: Ancestors,
    /// When it is no longer wanted, in nanoseconds of the monotonic clock; 0: always wanted.
    pub(crate) deadline: u64,
    /// It is in the mailbox: it has not begun, nor was it taken back.
    waits: Cell<bool>,
}

impl Port {
    pub(crate) fn new(
        remote: &'static Remote,
        attach: Attach,
        sender: link::Sender,
        settings: &Settings,
    ) -> Rc<Port> {
        let granter = RefCell::new(Granter::new(attach.mailbox.window()));
        Rc::new(Port {
            link: attach.link,
            slot: attach.slot,
            remote,
            sender,
            granter,
            last: 0.into(),
            begun: 0.into(),
            n_waiting: 0.into(),
            asked: 0.into(),
            missed: false.into(),
            running: RefCell::default(),
            streams: RefCell::default(),
            limit: settings.frame_limit,
            at_once: true.into(),
            drain: Notify::new(),
            drained: Notify::new(),
        })
    }

    /// Says that the actor is up to whoever waits for that at the other end.
    pub(crate) fn say_up(&self) {
        // Whoever is gone need not know.
        let _ = self.sender.send(Head::new(Kind::Up), Bytes::new(), Vec::new());
    }

    /// Reads one frame: a message, or nothing where it was a cancel. An error names what the protocol does not allow.
    pub(crate) fn accept(self: &Rc<Self>, frame: Incoming) -> Result<Option<Message>, String> {
        let Head { kind, flags, seq, .. } = frame.head;
        match kind {
            Kind::Request | Kind::Tell => {
                let (head, cost, is_held) = (frame.head, frame.cost(), !frame.is_unheld());
                let mut body = frame.into_payload();
                let ancestors = match flags.contains(Flags::NESTED) && is_held {
                    true => {
                        let (ancestors, bytes) = ancestors(body.bytes)?;
                        body.bytes = bytes;
                        ancestors
                    }
                    false => None,
                };
                let mut message = self.enter(head, cost)?;
                message.ancestors = ancestors;
                message.is_unheld = !is_held;
                message.give(body);
                Ok(Some(message))
            }
            Kind::Cancel => {
                crash::at(Point::CancelRead);
                let cancelled = self.running.borrow_mut().remove(&seq);
                if let Some(work) = cancelled {
                    work.cancel();
                }
                Ok(None)
            }
            Kind::Part => {
                // One that has ended needs none.
                if let Some(window) = self.streams.borrow().get(&seq) {
                    window
                        .grant(Credit::of_head(&frame.head))
                        .map_err(|fault| fault.to_string())?;
                }
                Ok(None)
            }
            Kind::Credit => {
                self.asked.set(seq);
                self.acknowledge(Credit::default());
                Ok(None)
            }
            other => Err(format!("a frame of kind {other:?} from a client")),
        }
    }

    /// The same of a message whose body is lent: small, with nothing beside it. `None`: it is something else.
    #[inline]
    pub(crate) fn accept_lent(self: &Rc<Self>, head: Head, body: &[u8]) -> Result<Option<Message>, String> {
        match head.kind {
            Kind::Request | Kind::Tell if !head.flags.contains(Flags::NESTED) => {
                self.enter(head, Credit::of(body.len(), 0)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A message comes into the mailbox, without its body.
    #[inline]
    fn enter(self: &Rc<Self>, head: Head, cost: Credit) -> Result<Message, String> {
        crash::at(Point::Received);
        let Head {
            kind,
            flags,
            method,
            seq,
            aux,
            ..
        } = head;
        // There are gaps: messages that were settled before this link was made.
        if seq <= self.last.get() || seq > MOST {
            return Err(format!("message {seq} after message {}", self.last.get()));
        }
        self.last.set(seq);
        self.n_waiting.set(self.n_waiting.get() + 1);
        self.granter
            .borrow_mut()
            .arrived(cost)
            .map_err(|fault| fault.to_string())?;
        crash::at(Point::Accepted);
        let answered = kind == Kind::Request;
        Ok(Message {
            port: self.clone(),
            seq,
            method,
            body: Cell::default(),
            cost,
            answered,
            one_way: !answered || flags.contains(Flags::ONE_WAY),
            is_unheld: false,
            ancestors: None,
            deadline: aux,
            waits: true.into(),
        })
    }

    /// A message leaves the mailbox.
    fn release(&self, cost: Credit) {
        self.n_waiting.set(self.n_waiting.get() - 1);
        let due = self.granter.borrow_mut().consumed(cost);
        self.acknowledge(due.unwrap_or_default());
    }

    /// Tells the client of room in the mailbox, and of what has begun, where there is something to tell.
    fn acknowledge(&self, credit: Credit) {
        let asked = match self.n_waiting.get() {
            0 => self.asked.take(),
            _ => 0,
        };
        if credit == Credit::default() && asked == 0 {
            return;
        }
        crash::at(Point::CreditDue);
        let head = Head {
            // Those that have not begun and do not wait were taken back.
            seq: self.begun.get().max(asked),
            ..credit.to_head(Kind::Credit)
        };
        self.send(head, Payload::default());
        crash::at(Point::CreditQueued);
    }

    fn send(&self, head: Head, mut body: Payload) {
        let fds = std::mem::take(&mut body.fds);
        // A client that is gone needs no answer.
        let _ = self.sender.send(head, &body, fds);
    }

    /// The client is gone: what it waited for is cancelled, the oldest first. One-way messages go on.
    pub(crate) fn close(&self) {
        let mut cancelled: Vec<_> = self.running.take().into_iter().collect();
        cancelled.sort_unstable_by_key(|(number, _)| *number);
        cancelled.into_iter().for_each(|(_, work)| work.cancel());
        self.sender.close();
    }

    /// Whether an answer goes as soon as it is there, or with others.
    pub(crate) fn answer_at_once(&self, at_once: bool) {
        self.at_once.set(at_once);
    }

    /// The most bytes that a message may hold.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits until every answer is on its way.
    pub(crate) async fn flushed(&self) {
        // A client that is gone needs no answer.
        let _ = self.sender.drained().await;
    }

    /// Pushes out what can be without waiting: before an end that cannot wait.
    pub(crate) fn flush_now(&self) {
        self.sender.flush_now();
    }
}

/// Takes the calls that wait for a message off the front of its body.
fn ancestors(body: Encoded) -> Result<(Ancestors, Encoded), String> {
    let mut rest = &body[..];
    let ancestors: Vec<Step> = codec::decode_next(&mut rest).map_err(|error| error.to_string())?;
    let begin = body.len() - rest.len();
    Ok((Some(ancestors.into()), body.skip(begin)))
}

impl Drop for Port {
    /// Nothing that came over the link is left: its cell of the status page can be given to another. A link with
    /// messages that were not handled stays until the process ends, which is soon: they have to be found then.
    fn drop(&mut self) {
        if !self.missed.get() {
            self.remote.say(&Up::Closed(self.link));
        }
    }
}

impl Drop for Message {
    /// Also where it was taken back before it began.
    fn drop(&mut self) {
        self.leave();
    }
}

impl Message {
    /// What there is to decode: it can be had once.
    pub(crate) fn payload(&self) -> Result<Payload, Error> {
        match self.is_unheld {
            false => Ok(self.body.take().unwrap_or_default()),
            true => Err(Error::unheld(self.cost.bytes as usize)),
        }
    }

    /// There is that to decode.
    pub(crate) fn give(&self, body: Payload) {
        self.body.set(Some(body));
    }

    /// Whether anybody waits for what it comes to.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.one_way
    }

    /// It begins: it leaves the mailbox, and is named in the status page until what is returned is dropped.
    pub(crate) fn begin(&self, page: &Rc<Page>) -> Running {
        let running = page.run(Name {
            slot: self.port.slot,
            seq: self.seq,
            method: self.method,
            one_way: !self.answered,
        });
        self.port.begun.set(self.seq);
        self.leave();
        crash::at(Point::Begun);
        running
    }

    /// Whether its deadline has passed. Then it is not begun.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline > 0 && clock::is_past(self.deadline)
    }

    /// Its deadline has passed before it began.
    pub(crate) fn expire(&self) {
        self.settle(Outcome::Fault(Error::with_kind(
            ErrorKind::Timeout,
            "its deadline had passed before it began",
        )));
    }

    /// It came too late for an actor that stops: its sender learns of the end, and sends it to the next incarnation.
    pub(crate) fn unheard(self) {
        self.waits.set(false);
        self.port.missed.set(true);
    }

    /// It leaves the mailbox.
    pub(crate) fn leave(&self) {
        if self.waits.replace(false) {
            self.port.release(self.cost);
        }
    }

    /// Remembers what runs for it, so that a cancel finds it.
    pub(crate) fn runs(&self, work: Rc<Work>) {
        if self.one_way {
            return;
        }
        self.port.running.borrow_mut().insert(self.seq, work);
    }

    /// Its end.
    pub(crate) fn settle(&self, outcome: Outcome) {
        crash::at(Point::Handled);
        self.runs_no_more();
        match outcome {
            Outcome::Value(payload) => self.answer(Kind::Reply, 0, payload),
            Outcome::Failed(payload) => self.answer(Kind::Failed, 0, payload),
            Outcome::Unheard => self.answer(Kind::Reply, 0, Payload::default()),
            Outcome::Fault(error) => {
                self.fault(&error);
                self.report(&error);
            }
            // Who is to hear it has its own way to: see `source`.
            Outcome::Stream(_) => {}
        }
        if self.port.at_once.get() && !self.one_way {
            self.port.sender.flush_now();
        }
        crash::at(Point::Answered);
    }

    /// The stream that answers it is there: how much of it may be sent, which is nothing until it is read.
    pub(crate) fn begin_stream(&self) -> Window {
        let window = stream::window();
        self.port.streams.borrow_mut().insert(self.seq, window.clone());
        self.answer(Kind::Part, stream::BEGUN, Payload::default());
        window
    }

    /// Nothing more is sent of it.
    pub(crate) fn end_stream(&self) {
        self.port.streams.borrow_mut().remove(&self.seq);
    }

    /// Whether an item may be sent at all.
    pub(crate) fn allows(&self, item: &Payload) -> Result<(), Error> {
        Ok(self.port.sender.allows(item.len(), item.fds.len())?)
    }

    /// Ends what runs for it.
    pub(crate) fn cancel(&self) {
        let work = self.port.running.borrow_mut().remove(&self.seq);
        if let Some(work) = work {
            work.cancel();
        }
    }

    /// Sends a part of the answer: of a chunk, or an item of a stream.
    pub(crate) fn part(&self, body: Payload) {
        self.answer(Kind::Part, 0, body);
    }

    /// Sends the last part of the answer of a chunk, and how long it took.
    pub(crate) fn finish(&self, body: Payload, nanos: u64) {
        self.runs_no_more();
        self.answer(Kind::Reply, nanos, body);
    }

    fn runs_no_more(&self) {
        let mut running = self.port.running.borrow_mut();
        // Most messages are handled at once, and never were in there.
        if !running.is_empty() {
            running.remove(&self.seq);
        }
    }

    fn fault(&self, error: &Error) {
        let mut out = Vec::new();
        if codec::encode(error, &mut out).is_ok() {
            self.answer(Kind::Fault, 0, out.into());
        }
    }

    /// It is not handled, and where it is one-way nobody else says so.
    fn report(&self, error: &Error) {
        if self.one_way {
            control::client().tell(Request::Unread {
                method: self.method,
                why: error.to_string(),
            });
        }
    }

    fn answer(&self, kind: Kind, aux: u64, body: Payload) {
        if !self.answered {
            return;
        }
        if let Err(refused) = self.port.sender.allows(body.len(), body.fds.len()) {
            return self.fault(&refused.into());
        }
        let flags = match self.port.begun.get() < self.seq {
            true => Flags::EARLY,
            false => Flags::NONE,
        };
        self.port.send(
            Head {
                flags,
                seq: self.seq,
                aux,
                ..Head::new(kind)
            },
            body,
        );
    }
}
