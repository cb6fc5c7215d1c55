//! What was sent, what was said of it, what began and what ended: written down beside the library, and held against
//! `docs/delivery.md`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::kernel::{Kernel, Pid, Remains};
use super::subject::value_of;
use super::world::World;
use crate::crash::Point;
use crate::error::CallError;
use crate::wire::control::{ChildId, DeadCause, Mailbox, Overflow};

/// The number of a message.
pub(super) type Id = usize;

pub(super) struct Oracle {
    kernel: Rc<Kernel>,
    messages: RefCell<Vec<Message>>,
    incarnations: RefCell<BTreeMap<Pid, Incarnation>>,
    actors: RefCell<BTreeMap<ChildId, Actor>>,
    /// What each sender had begun at each actor: the latest entry of all, and of each incarnation.
    latest: RefCell<BTreeMap<(Pid, ChildId), u64>>,
    latest_of: RefCell<BTreeMap<(Pid, Pid), u64>>,
    n_entries: Cell<u64>,
    /// The message whose sender runs now.
    pub(super) sending: Cell<Option<Id>>,
    wrong: RefCell<Option<String>>,
    log: RefCell<Option<Vec<String>>>,
    pub(super) counts: Counts,
}

/// How much happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: Cell<u64>,
    pub(super) begun: Cell<u64>,
    pub(super) died: Cell<u64>,
    pub(super) dead_letters: Cell<u64>,
    pub(super) faults: Cell<u64>,
}

#[derive(Debug)]
struct Message {
    from: Pid,
    to: ChildId,
    tell: bool,
    stream: bool,
    retries: u32,
    /// When it is no longer to begin.
    deadline: u64,
    /// Its place in the order in which messages were accepted.
    entry: Option<u64>,
    /// `Ok` of a tell.
    accepted: bool,
    /// Its sender heard of its end, or took it back.
    settled: bool,
    /// The incarnations in which it began.
    begun: Vec<Pid>,
    /// That in which it ended, and when.
    ended: Option<(Pid, u64)>,
    /// How many died in the middle of it.
    deaths: u32,
}

#[derive(Debug, Default)]
struct Incarnation {
    of: Option<ChildId>,
    /// Began and not ended.
    running: BTreeSet<Id>,
    /// The status page counts a message as begun that its method does not know of, or as running that has ended.
    between: Between,
    dead: bool,
    /// Until when its answers were on their way before it died, where nothing of that was lost.
    heard_to: u64,
    /// It came to its end by itself.
    orderly: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Between {
    #[default]
    Nothing,
    /// Counted, and the method has not run.
    Begin,
    /// The method has ended, and the page does not know.
    End,
}

#[derive(Debug, Default)]
struct Actor {
    mailbox: Option<Mailbox>,
    ended: bool,
    /// How many messages may have begun, by the status page, without having run.
    phantoms: u64,
    overflown: u64,
    undelivered: u64,
    poisonous: u64,
}

impl Oracle {
    pub(super) fn new(kernel: Rc<Kernel>) -> Self {
        Oracle {
            kernel,
            messages: RefCell::default(),
            incarnations: RefCell::default(),
            actors: RefCell::default(),
            latest: RefCell::default(),
            latest_of: RefCell::default(),
            n_entries: Cell::new(0),
            sending: Cell::new(None),
            wrong: RefCell::default(),
            log: RefCell::default(),
            counts: Counts::default(),
        }
    }

    /// Keeps what happens to be printed.
    pub(super) fn record(&self) {
        self.log.replace(Some(Vec::new()));
    }

    pub(super) fn recorded(&self) -> Vec<String> {
        self.log.take().unwrap_or_default()
    }

    /// It happened, now.
    pub(super) fn log(&self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            let (now, step) = (self.kernel.now() / 1_000_000, self.kernel.steps.get());
            log.push(format!("{now:>6} ms, step {step:>6}: {}", what()));
        }
    }

    /// The first thing that is wrong counts.
    pub(super) fn wrong(&self, what: impl fmt::Display) {
        self.wrong.borrow_mut().get_or_insert_with(|| what.to_string());
    }

    pub(super) fn verdict(&self) -> Option<String> {
        self.wrong.borrow().clone()
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.wrong.borrow().is_some()
    }

    pub(super) fn knows(&self, actor: ChildId, mailbox: Mailbox) {
        self.actors.borrow_mut().entry(actor).or_default().mailbox = Some(mailbox);
    }

    pub(super) fn starts(&self, pid: Pid, of: ChildId) {
        let of = Some(of);
        self.incarnations.borrow_mut().entry(pid).or_default().of = of;
    }

    pub(super) fn ends_in_order(&self, pid: Pid) {
        if self.kernel.is_alive(pid) {
            self.incarnation(pid, |incarnation| incarnation.orderly = true);
        }
    }

    /// Whether what the process sent is as good as ever.
    fn keeps(&self, pid: Pid) -> bool {
        let incarnations = self.incarnations.borrow();
        self.kernel.is_alive(pid)
            || incarnations
                .get(&pid)
                .is_some_and(|incarnation| incarnation.orderly)
    }

    /// The actor is not started again.
    pub(super) fn ends_for_good(&self, actor: ChildId) {
        self.log(|| format!("{actor} ends for good"));
        self.actors.borrow_mut().entry(actor).or_default().ended = true;
    }

    pub(super) fn has_ended(&self, actor: ChildId) -> bool {
        self.actors.borrow().get(&actor).is_some_and(|actor| actor.ended)
    }

    /// A stream has no end of its own where its actor stops.
    pub(super) fn is_stream(&self, id: Id) {
        self.messages.borrow_mut()[id].stream = true;
    }

    /// A message is about to be sent.
    pub(super) fn made(&self, from: Pid, to: ChildId, tell: bool, retries: u32, deadline: u64) -> Id {
        let mut messages = self.messages.borrow_mut();
        messages.push(Message {
            from,
            to,
            tell,
            stream: false,
            retries,
            deadline,
            entry: None,
            accepted: false,
            settled: false,
            begun: Vec::new(),
            ended: None,
            deaths: 0,
        });
        self.counts.sent.set(self.counts.sent.get() + 1);
        messages.len() - 1
    }

    /// The sender heard that its one-way message was accepted, or was not.
    pub(super) fn told(&self, world: &World, id: Id, accepted: bool) {
        if !world.runs() {
            return;
        }
        self.log(|| format!("tell {id} accepted: {accepted}"));
        let mut messages = self.messages.borrow_mut();
        let message = &mut messages[id];
        message.accepted = accepted;
        message.settled = !accepted;
        let (from, to) = (message.from, message.to);
        if !accepted && !message.begun.is_empty() {
            self.wrong(format_args!("tell {id} was refused, and has begun"));
        }
        let waiting = |other: &&Message| {
            other.from == from && other.to == to && other.tell && other.accepted && other.begun.is_empty()
        };
        let limit = self.actors.borrow().get(&to).and_then(|actor| actor.mailbox);
        if let Some(Mailbox {
            messages: limit,
            overflow,
        }) = limit
            && accepted
            && overflow != Overflow::DropOldest
        {
            let recent = messages.iter().rev().take(300);
            let n_waiting = recent.filter(waiting).count();
            let phantoms = self.actors.borrow().get(&to).map_or(0, |actor| actor.phantoms);
            if n_waiting as u64 > u64::from(limit) + phantoms {
                self.wrong(format_args!(
                    "{n_waiting} tells of process {from} wait at {to}, whose mailbox has room for {limit}"
                ));
            }
        }
    }

    /// A call has ended for its caller, or was taken back by it.
    pub(super) fn returned(&self, world: &World, id: Id, result: Option<&Result<u64, CallError<u64>>>) {
        if !world.runs() {
            return;
        }
        self.log(|| format!("call {id} returned {result:?}"));
        let mut messages = self.messages.borrow_mut();
        let message = &mut messages[id];
        message.settled = true;
        let Some(result) = result else { return };
        let n_begun = message.begun.len();
        let fault = match result {
            Ok(value) | Err(CallError::Failed(value)) => {
                if *value != value_of(id) {
                    Some("has the value of another".to_owned())
                } else if message.ended.is_none() {
                    Some("is answered and has not ended".to_owned())
                } else {
                    None
                }
            }
            Err(CallError::Died { begun: true, reason }) => match message.begun.last() {
                None if self.use_phantom(message.to) => None,
                None => Some(format!("has not begun, and is said to have, by {reason}")),
                Some(pid) if world.kernel.is_alive(*pid) => Some("began in a process that lives".to_owned()),
                Some(pid) => self
                    .was_answered(*pid, message)
                    .then(|| "was answered, and is said to have died".to_owned()),
            },
            // A stream is not taken up again.
            Err(CallError::Stopped) if message.stream => None,
            Err(CallError::Died { begun: false, .. } | CallError::Stopped) => {
                let ended = self
                    .actors
                    .borrow()
                    .get(&message.to)
                    .is_some_and(|actor| actor.ended);
                match (ended, n_begun) {
                    (false, _) => Some("hears of an end that is none".to_owned()),
                    (true, 0) => None,
                    (true, _) => Some("has begun, and is said not to have".to_owned()),
                }
            }
            Err(CallError::Full | CallError::Cycle { .. }) => {
                (n_begun > 0).then(|| "was refused, and has begun".to_owned())
            }
            Err(CallError::Timeout) => (world.kernel.now() + 1_000_000 < message.deadline)
                .then(|| "ended before its time".to_owned()),
            Err(CallError::Other(error)) => Some(format!("failed: {error:#}")),
        };
        if let Some(fault) = fault {
            self.wrong(format_args!("call {id} to {} {fault}", message.to));
        }
    }

    /// Whether the answer was on its way when that process died: the clock goes on when all have done what they can.
    fn was_answered(&self, pid: Pid, message: &Message) -> bool {
        let incarnations = self.incarnations.borrow();
        let heard_to = incarnations.get(&pid).map_or(0, |dead| dead.heard_to);
        !message.stream && message.ended.is_some_and(|(by, at)| by == pid && at < heard_to)
    }

    fn use_phantom(&self, actor: ChildId) -> bool {
        let mut actors = self.actors.borrow_mut();
        let actor = actors.entry(actor).or_default();
        let has = actor.phantoms > 0;
        actor.phantoms = actor.phantoms.saturating_sub(1);
        has
    }

    /// The method of a message has its first instruction.
    pub(super) fn begins(&self, world: &World, id: Id) {
        if !world.runs() {
            return;
        }
        let pid = world.kernel.current();
        world.kernel.note(id as u64);
        self.log(|| format!("message {id} begins in process {pid}"));
        self.counts.begun.set(self.counts.begun.get() + 1);
        let mut incarnations = self.incarnations.borrow_mut();
        let incarnation = incarnations.entry(pid).or_default();
        incarnation.running.insert(id);
        incarnation.between = Between::Nothing;
        let mut messages = self.messages.borrow_mut();
        let message = &mut messages[id];
        if incarnation.of != Some(message.to) {
            self.wrong(format_args!("message {id} to {} began elsewhere", message.to));
        }
        if world.kernel.now() > message.deadline {
            self.wrong(format_args!("message {id} began after its deadline"));
        }
        if message.begun.len() > message.retries as usize {
            self.wrong(format_args!(
                "message {id} begins in process {pid}, with {} retries, and has begun in {:?}",
                message.retries, message.begun
            ));
        }
        if message.deaths >= world.plane.settings.poisonous {
            let deaths = message.deaths;
            self.wrong(format_args!(
                "message {id} begins, of which {deaths} processes have died"
            ));
        }
        if message.begun.contains(&pid) {
            self.wrong(format_args!("message {id} begins again in process {pid}"));
        }
        if let Some(entry) = message.entry {
            let first = message.begun.is_empty();
            let key = (message.from, message.to);
            let mut latest = self.latest.borrow_mut();
            let mut latest_of = self.latest_of.borrow_mut();
            let here = latest_of.entry((message.from, pid)).or_default();
            let ever = latest.entry(key).or_default();
            if *here >= entry || first && *ever >= entry {
                self.wrong(format_args!(
                    "message {id} of process {} was overtaken on its way to {}",
                    message.from, message.to
                ));
            }
            *here = entry;
            *ever = entry.max(*ever);
        }
        message.begun.push(pid);
    }

    /// It came to its end.
    pub(super) fn ends(&self, world: &World, id: Id) {
        if !world.runs() {
            return;
        }
        let pid = world.kernel.current();
        self.messages.borrow_mut()[id].ended = Some((pid, self.kernel.now()));
        self.stops(pid, id);
    }

    /// Its future was dropped before its end.
    pub(super) fn is_dropped(&self, world: &World, id: Id) {
        if !world.runs() {
            return;
        }
        self.log(|| format!("message {id} was cancelled"));
        let message = &self.messages.borrow()[id];
        if !message.settled && !message.stream && world.kernel.is_alive(message.from) && !world.is_over() {
            self.wrong(format_args!(
                "message {id} was cancelled, and nobody asked for it"
            ));
        }
        self.stops(world.kernel.current(), id);
    }

    fn stops(&self, pid: Pid, id: Id) {
        let mut incarnations = self.incarnations.borrow_mut();
        let incarnation = incarnations.entry(pid).or_default();
        incarnation.running.remove(&id);
        incarnation.between = Between::End;
    }

    /// A living process is at that place.
    pub(super) fn at(&self, pid: Pid, point: Point) {
        match point {
            Point::Entered => {
                if let Some(id) = self.sending.get() {
                    let entry = self.n_entries.get() + 1;
                    self.n_entries.set(entry);
                    let message = &mut self.messages.borrow_mut()[id];
                    let to = self
                        .actors
                        .borrow()
                        .get(&message.to)
                        .and_then(|actor| actor.mailbox);
                    if to.is_some_and(|mailbox| mailbox.overflow != Overflow::DropOldest)
                        && message.from == pid
                    {
                        message.entry = Some(entry);
                    }
                }
            }
            Point::BeginCounted => self.incarnation(pid, |incarnation| incarnation.between = Between::Begin),
            Point::Finished => self.incarnation(pid, |incarnation| incarnation.between = Between::Nothing),
            _ => {}
        }
    }

    fn incarnation(&self, pid: Pid, act: impl FnOnce(&mut Incarnation)) {
        if let Some(incarnation) = self.incarnations.borrow_mut().get_mut(&pid) {
            act(incarnation);
        }
    }

    pub(super) fn died(&self, pid: Pid, whole: bool) {
        self.counts.died.set(self.counts.died.get() + 1);
        let mut incarnations = self.incarnations.borrow_mut();
        let incarnation = incarnations.entry(pid).or_default();
        incarnation.dead = true;
        if whole && self.kernel.has_wide_lines() && !self.kernel.was_paused(pid) {
            incarnation.heard_to = self.kernel.now();
        }
        let mut messages = self.messages.borrow_mut();
        let running = incarnation.running.iter();
        running.for_each(|id| messages[*id].deaths += 1);
        drop(messages);
        if let (Some(actor), Between::Begin) = (incarnation.of, incarnation.between) {
            self.actors.borrow_mut().entry(actor).or_default().phantoms += 1;
        }
    }

    /// A dead process's status page was read.
    pub(super) fn buried(&self, id: ChildId, pid: Pid, remains: &Remains) {
        let incarnations = self.incarnations.borrow();
        let Some(incarnation) = incarnations.get(&pid) else {
            return;
        };
        let messages = self.messages.borrow();
        let plain = |id: &&Id| messages[**id].tell && messages[**id].retries == 0;
        let expected = incarnation.running.iter().filter(plain).count();
        let named = remains.running.iter().filter(|name| name.one_way).count();
        // A message that may run again no more is one-way too.
        let again = |id: &&Id| messages[**id].tell && messages[**id].retries > 0;
        let most = expected + incarnation.running.iter().filter(again).count();
        let slack = usize::from(incarnation.between != Between::Nothing);
        if !(expected..=most + slack).contains(&named) {
            self.wrong(format_args!(
                "process {pid} of {id} died in the middle of {expected} one-way messages, and its page names {named}"
            ));
        }
    }

    pub(super) fn dead_letter(&self, actor: ChildId, cause: &DeadCause) {
        self.log(|| format!("a dead letter of {actor}: {cause:?}"));
        self.counts.dead_letters.set(self.counts.dead_letters.get() + 1);
        let mut actors = self.actors.borrow_mut();
        let actor = actors.entry(actor).or_default();
        match cause {
            DeadCause::Died(_) => {}
            DeadCause::Unread(error) => self.wrong(format_args!("a message could not be read: {error}")),
            DeadCause::Poisonous { .. } => actor.poisonous += 1,
            DeadCause::Undeliverable(_) => actor.undelivered += 1,
            DeadCause::Overflow => actor.overflown += 1,
        }
    }

    /// Everything has come to rest: nothing is left in the middle, and what is missing is accounted for.
    pub(super) fn at_rest(&self) {
        for (pid, incarnation) in &*self.incarnations.borrow() {
            if !incarnation.dead && !incarnation.running.is_empty() {
                self.wrong(format_args!(
                    "process {pid} still runs messages {:?}",
                    incarnation.running
                ));
            }
        }
        let messages = self.messages.borrow();
        let mut missing: BTreeMap<ChildId, Vec<Id>> = BTreeMap::new();
        let mut tails: BTreeMap<(Pid, ChildId), Vec<(u64, bool)>> = BTreeMap::new();
        for (id, message) in messages.iter().enumerate() {
            let lives = self.keeps(message.from);
            if lives && !message.tell && !message.settled {
                self.wrong(format_args!("call {id} to {} never ended", message.to));
            }
            if !message.tell || !message.accepted {
                continue;
            }
            match lives {
                true if message.begun.is_empty() => missing.entry(message.to).or_default().push(id),
                true => {}
                false => {
                    if let Some(entry) = message.entry {
                        let key = (message.from, message.to);
                        tails
                            .entry(key)
                            .or_default()
                            .push((entry, message.begun.is_empty()));
                    }
                }
            }
        }
        let actors = self.actors.borrow();
        for (actor, ids) in missing {
            let known = &actors[&actor];
            let excused = known.overflown + known.undelivered + known.phantoms + known.poisonous;
            if ids.len() as u64 > excused {
                self.wrong(format_args!(
                    "messages {ids:?} to {actor} were accepted and never began, and {excused} dead letters tell of such"
                ));
            }
        }
        for ((from, to), mut sent) in tails {
            sent.sort_unstable();
            let gaps = sent.windows(2).filter(|pair| pair[0].1 && !pair[1].1).count() as u64;
            if gaps > actors[&to].phantoms {
                self.wrong(format_args!(
                    "process {from} was killed, and of what it had sent to {to} messages from the middle are missing"
                ));
            }
        }
    }
}
