//! Whom a process talks to: for each pair of a runtime and an actor the books of what was sent, and a connection to the
//! living incarnation, made when it is first needed.
//!
//! A connection belongs to the runtime whose reactor drives it, so the table is keyed by both. All refs to an actor
//! share one peer in a runtime, so that messages keep their order whatever ref they were sent by.
//!
//! **Delivery.** A message is accepted when it is in the books and queued on the link, both under one lock. At the
//! death of an incarnation the books say what becomes of each message; those that stay are sent to the next
//! incarnation, in their order, before any message that is accepted later. If there will be no next one they end as
//! dead letters, and their callers hear why.
//!
//! **The end.** When the last ref is dropped the connection closes, once everything that was accepted has begun: until
//! then it might have to be sent again. The peer asks the actor for word of that.

use crate::crash::{self, Point};
use crate::error::{CallError, Error, ErrorKind, Result};
use crate::link::Incoming;
use crate::link::credit::{Credit, Refused};
use crate::local::{self, Local, RuntimeId};
use crate::os::clock;
use crate::os::socket::MAX_DESCRIPTORS;
use crate::process::control::{self, Answered};
use crate::wire::behind::Hold;
use crate::wire::codec;
use crate::wire::control::{
    Answer as ControlAnswer, Bequeathed, Bequest, DeadCause, DeadReport, Fate, LinkId, Overflow, Request,
    Target, Wait,
};
use crate::wire::encoded::Encoded;
use crate::wire::frame::{Flags, Head, Kind};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::alarm::Alarm;
use super::answer::{self, Silence};
use super::books::{self, Books, Posting, Waiting};
use super::conn::{self, Answer, Conn, Death, Reply};
use super::handle::Handle;
use super::ledger::{Letter, Obituary, Verdict};
use super::row::{self, Entry};
use super::stream::{self, Inflow};
use super::{child, current};

/// How often, and after how long, a link is asked for again where the host had no descriptors for it.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

type Key = (RuntimeId, Target);

static PEERS: Local<Mutex<HashMap<Key, Weak<Peer>>>> = Local::new();

type Connecting = WeakShared<BoxFuture<'static, Result<Arc<Conn>>>>;

/// An actor, as one runtime of this process knows it.
#[derive(Debug)]
pub(crate) struct Peer {
    key: Key,
    row: u32,
    books: Mutex<Books>,
    alarm: Arc<Alarm>,
    /// A connection that is being made. It belongs to all who wait for it, as none of them need be polled again.
    connecting: Mutex<Option<Connecting>>,
}

/// A call that was made within another and waits for longer than this may wait for itself.
const SUSPICIOUS: Duration = Duration::from_millis(100);

/// Keeps the connection of a peer open.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Peer>);

impl Lease {
    /// The peer of the current runtime for that actor.
    pub(crate) fn of(target: &Target, row: u32) -> Result<Lease> {
        let runtime = control::runtime("a message")?;
        let key = (runtime, target.clone());
        let mut table = lock(PEERS.get_or_init(Mutex::default));
        let peer = table.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let peer = Arc::new(Peer {
                key: key.clone(),
                row,
                books: Mutex::default(),
                alarm: Alarm::of(runtime, late),
                connecting: Mutex::default(),
            });
            table.insert(key, Arc::downgrade(&peer));
            peer
        });
        drop(table);
        peer.books().leases += 1;
        Ok(Lease(peer))
    }

    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut books = self.0.books();
        books.leases -= 1;
        let idle = books.rest();
        drop(books);
        drop(idle);
    }
}

impl Peer {
    pub(crate) fn runtime(&self) -> RuntimeId {
        self.key.0
    }

    /// Sends a request and waits for its end; `None`: it was returned unsent. Dropped, it takes the request back.
    /// `holds`: whether the message that it is made within runs alone, if it is made within one.
    pub(crate) async fn call(
        self: &Arc<Self>,
        letter: Letter,
        holds: Option<bool>,
    ) -> Result<Option<Answer>> {
        let answered = self.request(letter, holds, None).await?;
        Ok(answered.map(|(_, answer)| answer))
    }

    /// Sends a request that a stream answers, and waits until that is there, or for the end; then also its number.
    pub(crate) async fn stream(
        self: &Arc<Self>,
        letter: Letter,
        holds: Option<bool>,
        stream: Arc<Inflow>,
    ) -> Result<Option<(u64, Answer)>> {
        self.request(letter, holds, Some(stream)).await
    }

    async fn request(
        self: &Arc<Self>,
        letter: Letter,
        holds: Option<bool>,
        stream: Option<Arc<Inflow>>,
    ) -> Result<Option<(u64, Answer)>> {
        let (answer, mut answered) = answer::channel(None);
        let (method, kill) = (letter.method, letter.kill());
        let waiter = Waiting::new(answer, stream);
        let number = self.post(letter, Some(waiter)).await?;
        let unanswered = Unanswered {
            peer: self,
            number: &number,
            kill,
        };
        let end = match (self.look_for(&answered), holds) {
            (true, _) => answered.take(),
            (false, None) => answered.await,
            (false, Some(holds)) => {
                Box::pin(self.answer_or_cycle(answered, number.get(), method, holds)).await?
            }
        };
        let answer = end.map_or_else(unheard, |answer| Ok(Some((number.get(), answer))))?;
        std::mem::forget(unanswered);
        Ok(answer)
    }

    /// Sends a request, if there is room for it and nothing else to be seen to; `waiter` is woken at its end. `letter` is left
    /// otherwise. `is_other`: this is not the first peer of the ref.
    pub(crate) fn ask_at_once(
        self: &Arc<Self>,
        letter: &mut Option<Letter>,
        waiter: &Waker,
        is_other: bool,
    ) -> Result<Option<Asked>> {
        let (deadline, kill) = letter
            .as_ref()
            .map_or((0, None), |letter| (letter.deadline, letter.kill()));
        let mut waiting = None;
        let (answer, answered) = answer::channel(Some(waiter));
        // Outlives the receiver: whoever is not sent wakes nobody.
        waiting.replace(Waiting::new(answer, None));
        let entered = self.books().enter_at_once(letter, &mut waiting)?;
        Ok(entered.map(|number| {
            self.alarm.set(deadline);
            Asked {
                other: is_other.then(|| self.clone()),
                number,
                kill: kill.map(Box::new),
                answered,
            }
        }))
    }

    /// Sends a message that nobody waits for, if there is room for it and nothing else to be seen to. `letter` is left
    /// otherwise.
    pub(crate) fn tell_at_once(&self, letter: &mut Option<Letter>) -> Result<()> {
        self.books().enter_at_once(letter, &mut None).map(drop)
    }

    /// Takes a request back that nobody waits for any more. `kill`: its deadline, and how long after that its process is
    /// killed if it still runs there.
    fn take_back(&self, number: u64, kill: Option<(u64, Duration)>) {
        let link = self.cancel(number);
        if let (Some(link), Some((deadline, grace))) = (link, kill)
            && clock::monotonic() >= deadline
        {
            control::client().tell(Request::KillAfter { link, number, grace });
        }
    }

    /// Tells those whose deadlines have passed by `now`; the earliest deadline of the others.
    fn tell_late(&self, now: u64) -> Option<u64> {
        let (late, next) = self.books().late(now);
        late.into_iter().for_each(Waker::wake);
        next
    }

    /// Room for more of the stream that answers this request.
    pub(super) fn grant(&self, number: u64, credit: Credit) {
        let books = self.books();
        if let Some(conn) = &books.conn {
            let head = Head {
                seq: number,
                ..credit.to_head(Kind::Part)
            };
            // A link that is closed brings no more.
            let _ = conn.sender.send(head, Bytes::new(), Vec::new());
        }
    }

    /// The answer of a call that was made within another, which may wait for itself.
    async fn answer_or_cycle(
        self: &Arc<Self>,
        mut answered: answer::Receiver,
        number: u64,
        method: u32,
        holds: bool,
    ) -> Result<answer::End> {
        if let Ok(end) = tokio::time::timeout(SUSPICIOUS, &mut answered).await {
            return Ok(end);
        }
        tokio::select! {
            biased;
            end = &mut answered => Ok(end),
            cycle = self.wait(number, method, holds) => Err(cycle),
        }
    }

    /// Looks for the answer for a moment. Whether it is there.
    fn look_for(&self, answered: &answer::Receiver) -> bool {
        // Beside a task others of its runtime may be waiting to run.
        if tokio::task::try_id().is_some() {
            return false;
        }
        self.live().is_some_and(|conn| conn.look_for(self, answered))
    }

    /// Tells the control plane of a call that waits: completes if it waits for itself.
    async fn wait(self: &Arc<Self>, number: u64, method: u32, holds: bool) -> Error {
        let link = loop {
            let link = self.books().conn.as_ref().map(|conn| conn.link);
            // Between two incarnations there is none; where there will be none, the call is about to end.
            match link {
                Some(link) => break link,
                None if self.connect().await.is_ok() => {}
                None => return std::future::pending().await,
            }
        };
        let Some(wait) = self.describe_wait(link, number, method, holds) else {
            return std::future::pending().await;
        };
        let _told = Told(wait.wait);
        let asked = control::client().ask(Request::Waits(wait)).await;
        match asked.map(|answered| answered.answer) {
            Ok(ControlAnswer::Cycle(path)) => current::cycle_of(&path),
            // The host is going down, and this process with it.
            _ => std::future::pending().await,
        }
    }

    fn describe_wait(&self, link: LinkId, number: u64, method: u32, holds: bool) -> Option<Wait> {
        static NEXT: Local<AtomicU64> = Local::new();
        let (caller, current) = (child::identity()?, current::get()?);
        let exclusive = match row::at(self.row).map(|row| &row.entry) {
            Ok(Entry::Actor(actor)) => (actor.exclusive)(method),
            _ => true,
        };
        Some(Wait {
            wait: NEXT
                .get_or_init(|| AtomicU64::new(1))
                .fetch_add(1, Ordering::Relaxed),
            target: self.key.1.clone(),
            link,
            number,
            exclusive,
            within: current.message,
            holds,
            name: format!("{}.{}", caller.name, current.method),
        })
    }

    /// Sends a message that nobody waits for; returns when it was accepted.
    pub(crate) async fn tell(self: &Arc<Self>, letter: Letter) -> Result<()> {
        self.post(letter, None).await.map(drop)
    }

    /// The same at once, or not at all.
    pub(crate) fn try_tell(&self, letter: Letter) -> Result<(), CallError> {
        let conn = self.live().ok_or(CallError::Full)?;
        conn.allows(&letter.body)?;
        let cost = letter.cost();
        let waiter = None;
        let mut posting = Some(Posting { letter, waiter });
        if conn.overflow == Overflow::DropOldest {
            self.enter_or_drop(&conn, &mut posting);
        } else {
            conn.window.try_take(cost).map_err(|_| CallError::Full)?;
            self.books().enter(&conn, &mut posting);
        }
        match posting {
            None => Ok(()),
            Some(_) => Err(CallError::Full),
        }
    }

    async fn post(self: &Arc<Self>, letter: Letter, waiter: Option<Waiting>) -> Result<Number> {
        let (mut letter, mut waiter) = (Some(letter), waiter);
        if let Some(number) = self.books().enter_at_once(&mut letter, &mut waiter)? {
            return Ok(Number::Now(number));
        }
        let posting = letter.map(|letter| Posting { letter, waiter });
        // Boxed, as are the other rare ways of a call: what every call moves about stays small.
        Box::pin(self.post_in_turn(posting)).await
    }

    async fn post_in_turn(self: &Arc<Self>, mut posting: Option<Posting>) -> Result<Number> {
        let cost = posting
            .as_ref()
            .map(|posting| posting.letter.cost())
            .unwrap_or_default();
        loop {
            let conn = match self.live() {
                Some(conn) => conn,
                None => self.connect().await?,
            };
            posting
                .iter()
                .try_for_each(|posting| conn.allows(&posting.letter.body))?;
            let taken = match conn.overflow {
                Overflow::DropOldest => {
                    let number = Arc::new(AtomicU64::new(0));
                    if let Some(Posting {
                        waiter: Some(waiter), ..
                    }) = &mut posting
                    {
                        waiter.tell_number(number.clone());
                    }
                    self.enter_or_drop(&conn, &mut posting);
                    match posting {
                        None => return Ok(Number::Later(number)),
                        Some(_) => continue,
                    }
                }
                Overflow::Wait => conn.window.take(cost).await.is_ok(),
                Overflow::Reject => match conn.window.try_take(cost) {
                    Ok(()) => true,
                    Err(Refused::Closed) => false,
                    Err(Refused::Full) => {
                        return Err(Error::with_kind(ErrorKind::Full, "the actor's mailbox is full"));
                    }
                },
            };
            if taken && let Some(number) = self.books().enter(&conn, &mut posting) {
                return Ok(Number::Now(number));
            }
        }
    }

    fn enter_or_drop(&self, conn: &Arc<Conn>, posting: &mut Option<Posting>) {
        let dropped = self.books().enter_or_drop(conn, posting);
        match dropped {
            Some(Posting {
                waiter: Some(waiter), ..
            }) => waiter.overflow(),
            Some(Posting { letter, waiter: None }) => self.report(letter.method, DeadCause::Overflow),
            None => {}
        }
    }

    /// The connection to the living incarnation; waits while there is none.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<Arc<Conn>> {
        let connecting = {
            let mut connecting = lock(&self.connecting);
            let begun = connecting.as_ref().and_then(WeakShared::upgrade);
            begun.unwrap_or_else(|| {
                let begins = self.clone().make_connection().boxed().shared();
                *connecting = begins.downgrade();
                begins
            })
        };
        connecting.await
    }

    async fn make_connection(self: Arc<Self>) -> Result<Arc<Conn>> {
        let made = self.try_connect().await;
        // It is known: whoever asks from now on means another one.
        lock(&self.connecting).take();
        made
    }

    async fn try_connect(self: &Arc<Self>) -> Result<Arc<Conn>> {
        loop {
            if books::is_leaving() {
                return Err(Error::msg("this process is ending: it sends nothing new"));
            }
            if let Some(conn) = self.live() {
                return Ok(conn);
            }
            let made = self.books().conn.clone();
            let conn = match made {
                Some(conn) => conn,
                None => self.introduce().await?,
            };
            if conn.is_open() && self.replay(&conn).await.is_some() {
                return Ok(conn);
            }
            // What becomes of the messages that it carried must be known before they can be sent again.
            conn.settled().await;
        }
    }

    async fn introduce(self: &Arc<Self>) -> Result<Arc<Conn>> {
        let request = Request::Introduce {
            target: self.key.1.clone(),
            row: self.row,
            instead: self.books().link,
        };
        self.open(control::client().ask(request).await?)
    }

    /// Takes a link that came with another answer.
    pub(crate) fn adopt(self: &Arc<Self>, answered: Answered) -> Result<Arc<Conn>> {
        let conn = self.open(answered)?;
        self.books().live = true;
        Ok(conn)
    }

    fn open(self: &Arc<Self>, answered: Answered) -> Result<Arc<Conn>> {
        let conn = Conn::open(answered)?;
        let mut books = self.books();
        books.conn = Some(conn.clone());
        books.link = Some(conn.link);
        books.live = false;
        books.sent = 0;
        drop(books);
        local::spawn(conn::drive(self.clone(), conn.clone()));
        Ok(conn)
    }

    /// Sends what is in the books and was not sent over it, in order; then the connection is live. `None`: it died.
    async fn replay(&self, conn: &Arc<Conn>) -> Option<()> {
        while let Some((number, cost)) = self.next_to_replay(conn)? {
            crash::at(Point::Replaying);
            conn.window.take(cost).await.ok()?;
            if !self.books().resend(conn, number)? {
                // It was taken back in the meantime.
                conn.window.put_back(cost);
            }
        }
        crash::at(Point::Live);
        Some(())
    }

    /// The first message that is still to be sent over it; without one it is live.
    #[expect(
        clippy::option_option,
        reason = "no connection, and no message, are two things"
    )]
    fn next_to_replay(&self, conn: &Conn) -> Option<Option<(u64, Credit)>> {
        let mut books = self.books();
        if !books.is_current(conn) {
            return None;
        }
        let next = books
            .next_unsent()
            .map(|(number, letter)| (number, letter.cost()));
        if next.is_none() {
            crash::at(Point::GoingLive);
            books.live = true;
            books.drain_backlog();
            let idle = books.rest();
            drop(books);
            drop(idle);
        }
        Some(next)
    }

    /// After a death: sees to it that what stayed in the books reaches the next incarnation, or ends.
    pub(super) async fn recover(self: &Arc<Self>) {
        for tried in 1.. {
            if self.books().is_empty() {
                return;
            }
            match self.connect().await {
                Ok(_) => return,
                // Its heir sees to it.
                Err(_) if books::is_leaving() => return,
                Err(error) if error.kind() == ErrorKind::Io && tried < TRIES => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(error) => return self.give_up(&error),
            }
        }
    }

    /// There will be no next incarnation, or no link to it.
    fn give_up(&self, error: &Error) {
        let mut books = self.books();
        if books.live {
            return;
        }
        let left = books.clear();
        let death = books.death.clone();
        drop(books);
        for Posting { letter, waiter } in left {
            let begun = letter.has_begun();
            match (waiter, letter.interrupted.as_deref().or(death.as_ref())) {
                (Some(waiter), Some(reason)) => waiter.end(Reply::Died(Box::new(Death {
                    reason: reason.clone(),
                    begun,
                    salvage: None,
                }))),
                (Some(waiter), None) => waiter.end(Reply::Fault(error.clone())),
                (None, _) => self.report(letter.method, letter.undelivered(error)),
            }
        }
    }

    /// The connection, while it takes messages.
    pub(crate) fn live(&self) -> Option<Arc<Conn>> {
        self.books().live().cloned()
    }

    /// Waits until what was sent is on its way.
    pub(crate) async fn flushed(&self) {
        let conn = self.books().conn.clone();
        if let Some(conn) = conn {
            conn.flushed().await;
        }
    }

    /// Takes one frame of the actor's. An error names what the protocol does not allow.
    pub(super) fn hear(&self, conn: &Conn, frame: Incoming) -> Result<(), String> {
        let head = frame.head;
        let Head { kind, seq, aux, .. } = head;
        let reply = match kind {
            Kind::Reply | Kind::Failed | Kind::Fault if frame.is_unheld() => {
                Reply::Fault(Error::unheld_here(frame.size()))
            }
            Kind::Reply => Reply::Value(frame.into_payload(), aux),
            Kind::Failed => Reply::Failed(frame.into_payload()),
            Kind::Fault => Reply::Fault(codec::decode(&frame.body).map_err(|e| e.to_string())?),
            Kind::Part => {
                let mut books = self.books();
                let Some(waiting) = books.ledger.waiter(seq).filter(|_| seq > 0) else {
                    return Ok(());
                };
                let Some(stream) = waiting.stream().cloned() else {
                    waiting.part(frame);
                    return Ok(());
                };
                let begun = (aux == stream::BEGUN).then(|| waiting.answer.take());
                drop(books);
                return match begun {
                    None => stream.hear(frame).map_err(|fault| fault.to_string()),
                    Some(answer) => {
                        Waiting::begin(answer);
                        Ok(())
                    }
                };
            }
            Kind::Credit => return self.hear_credit(conn, frame.head),
            Kind::Up => {
                conn.is_up();
                return Ok(());
            }
            other => return Err(format!("a frame of kind {other:?} from an actor")),
        };
        self.settle(conn, &head, || reply)
    }

    /// The same of a value that is small, and lies where it was read.
    #[inline]
    pub(super) fn hear_value(&self, conn: &Conn, head: &Head, value: Encoded) -> Result<(), String> {
        self.settle(conn, head, || Reply::Value(value.into(), head.aux))
    }

    /// A message has ended, with what `reply` makes.
    #[inline]
    fn settle(&self, conn: &Conn, head: &Head, reply: impl FnOnce() -> Reply) -> Result<(), String> {
        let Head { kind, flags, seq, .. } = *head;
        let mut books = self.books();
        if !books.is_current(conn) {
            return Ok(());
        }
        // The deadline has ended the work, which may say so in words of its own before the alarm is heard here.
        let is_late = kind == Kind::Failed && books.ledger.deadline(seq).is_some_and(clock::is_past);
        // One that is not waited for was taken back.
        crash::at(Point::ReplyHeard);
        let waiter = match flags.contains(Flags::EARLY) {
            true => books.ledger.answer_early(seq),
            false => books.ledger.answer(seq),
        };
        let waiter = waiter.map_err(|error| error.to_string())?;
        let idle = books.rest_if_empty();
        drop(books);
        drop(idle);
        crash::at(Point::ReplySettled);
        if let Some(waiter) = waiter {
            match is_late {
                true => waiter.end_late(reply()),
                false => waiter.end_with(reply),
            }
        }
        Ok(())
    }

    /// Room in the mailbox, and word of what has begun.
    fn hear_credit(&self, conn: &Conn, head: Head) -> Result<(), String> {
        let begun = head.seq;
        conn.window
            .grant(Credit::of_head(&head))
            .map_err(|fault| fault.to_string())?;
        let mut books = self.books();
        if !books.is_current(conn) {
            return Ok(());
        }
        crash::at(Point::CreditHeard);
        books.drain_backlog();
        if begun > 0 {
            books.ledger.begun(begun).map_err(|error| error.to_string())?;
        }
        crash::at(Point::CreditSettled);
        let idle = books.rest_if_empty();
        drop(books);
        drop(idle);
        Ok(())
    }

    /// Whether the connection was given up here.
    pub(super) fn has_left(&self, conn: &Arc<Conn>) -> bool {
        !self.books().is_current(conn)
    }

    /// Nothing has come or gone for a while.
    pub(super) fn shrink(&self) {
        self.books().shrink();
    }

    /// An incarnation is dead, or the runtime is going down where there is no fate: the books are closed on it.
    pub(super) fn bury(&self, conn: &Arc<Conn>, fate: Option<Fate>) {
        let mut books = self.books();
        if !books.is_current(conn) {
            return;
        }
        books.conn = None;
        books.live = false;
        let Some(fate) = fate else {
            // The senders are dropped unheard.
            let left = books.clear();
            drop(books);
            return drop(left);
        };
        crash::at(Point::FateHeard);
        let obituary = Obituary {
            begun: fate.begun,
            unfinished: fate.unfinished.as_deref(),
            reason: &fate.reason,
        };
        let verdicts = books.ledger.die(obituary, control::client().settings().poisonous);
        books.death = (!fate.reason.is_normal()).then(|| fate.reason.clone());
        drop(books);
        crash::at(Point::Buried);
        for verdict in verdicts {
            self.pronounce(verdict, &fate);
        }
    }

    fn pronounce(&self, verdict: Verdict<Waiting>, fate: &Fate) {
        let died = |waiter: Waiting, number, begun| {
            waiter.end(Reply::Died(Box::new(Death {
                reason: fate.reason.clone(),
                begun,
                salvage: fate.salvage.clone().filter(|salvage| salvage.seq == number),
            })));
        };
        match verdict {
            Verdict::Died {
                number,
                waiter,
                begun,
            } => died(waiter, number, begun),
            // It came too late for an actor that stopped in order, and lost nothing by it.
            Verdict::Returned(waiter) => drop(waiter),
            Verdict::Poisonous {
                number,
                method,
                waiter,
                deaths,
            } => {
                let reason = fate.reason.clone();
                self.report(method, DeadCause::Poisonous { deaths, reason });
                if let Some(waiter) = waiter {
                    died(waiter, number, true);
                }
            }
        }
    }

    /// Says that a message will not be handled.
    fn report(&self, method: u32, cause: DeadCause) {
        let report = DeadReport {
            target: self.key.1.clone(),
            row: self.row,
            method,
            cause,
        };
        control::client().tell(Request::DeadLetter(report));
    }

    fn books(&self) -> Opened<'_> {
        Opened {
            _hold: Hold::new(),
            books: lock(&self.books),
        }
    }

    /// What was accepted and may have to be sent again, for when this process is no more.
    fn bequests(&self) -> Vec<Bequest> {
        let books = self.books();
        let mut bequests: Vec<Bequest> = Vec::new();
        let mut n_fds = 0;
        for (number, letter) in books.tells() {
            n_fds += letter.body.fds.len();
            if n_fds > MAX_DESCRIPTORS {
                n_fds = letter.body.fds.len();
                bequests.iter_mut().for_each(|bequest| bequest.more = true);
            }
            if bequests.last().is_none_or(|last| last.more) {
                bequests.push(Bequest {
                    link: books.conn.as_ref().map(|conn| conn.link),
                    target: self.key.1.clone(),
                    row: self.row,
                    sent: books.sent,
                    letters: Vec::new(),
                    more: false,
                });
            }
            if let Some(last) = bequests.last_mut() {
                last.letters.push(Bequeathed {
                    number,
                    method: letter.method,
                    body: letter.body.clone(),
                    retries: letter.retries,
                    deaths: letter.deaths,
                    interrupted: letter.interrupted.clone(),
                });
            }
        }
        bequests
    }

    /// Takes a message back. The link that it is on, if it was open.
    pub(super) fn cancel(&self, number: u64) -> Option<LinkId> {
        let mut books = self.books();
        let cancelled = books.ledger.cancel(number);
        let conn = books.conn.as_ref().filter(|_| cancelled.is_some());
        let link = conn.map(|conn| conn.link);
        if let Some(conn) = conn {
            let head = Head {
                seq: number,
                ..Head::new(Kind::Cancel)
            };
            // A link that is closed has nothing left to cancel.
            let _ = conn.sender.send(head, Bytes::new(), Vec::new());
            crash::at(Point::Cancelled);
        }
        let idle = books.rest_if_empty();
        drop(books);
        // Whoever reads its stream may be woken by that.
        drop((idle, cancelled));
        link
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(table) = PEERS.get() else { return };
        let mut table = lock(table);
        if table.get(&self.key).is_some_and(|peer| peer.strong_count() == 0) {
            table.remove(&self.key);
        }
    }
}

/// The books, locked. Blocks of bytes that are settled meanwhile are dropped after that: they may be the user's, who may
/// send.
struct Opened<'a> {
    books: MutexGuard<'a, Books>,
    _hold: Hold,
}

impl Deref for Opened<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl DerefMut for Opened<'_> {
    fn deref_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}

/// The number of a message that was accepted.
enum Number {
    Now(u64),
    /// It gets one when it leaves its sender; 0 until then.
    Later(Arc<AtomicU64>),
}

impl Number {
    fn get(&self) -> u64 {
        match self {
            Number::Now(number) => *number,
            Number::Later(number) => number.load(Ordering::Relaxed),
        }
    }
}

/// A call whose future is dropped before its answer came.
struct Unanswered<'a> {
    peer: &'a Peer,
    number: &'a Number,
    /// Its deadline, and how long after that its process is killed if it still runs.
    kill: Option<(u64, Duration)>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        // One without a number is seen to be of no interest when its turn comes.
        self.peer.take_back(self.number.get(), self.kill);
    }
}

/// A request that was sent by way of a ref. Whoever drops it before its end takes it back.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Whom it was sent to; `None`: the first peer of the ref.
    other: Option<Arc<Peer>>,
    number: u64,
    /// Its deadline, and how long after that its process is killed if it still runs.
    kill: Option<Box<(u64, Duration)>>,
    answered: answer::Receiver,
}

impl Asked {
    /// What `read` makes of the end, if that comes within a moment. `None`: it was returned unsent.
    pub(crate) fn look_for<T>(
        &mut self,
        handle: &Handle,
        read: impl FnOnce(Result<Option<&mut Answer>>) -> T,
    ) -> Option<T> {
        let peer = self.other.as_ref().or(handle.first_peer())?;
        peer.look_for(&self.answered).then(|| self.end(handle, read))
    }

    /// What `read` makes of the end. `None`: it was returned unsent.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        handle: &Handle,
        cx: &mut Context<'_>,
        read: impl FnOnce(Result<Option<&mut Answer>>) -> T,
    ) -> Poll<T> {
        ready!(self.answered.poll_end(cx));
        Poll::Ready(self.end(handle, read))
    }

    /// Nobody waits for it any more.
    pub(crate) fn take_back(&mut self, handle: &Handle) {
        // Or it would be woken.
        self.answered.leave();
        if let Some(peer) = self.other.as_ref().or(handle.first_peer()) {
            peer.take_back(self.number, self.kill.as_deref().copied());
        }
    }

    #[inline]
    fn end<T>(&mut self, handle: &Handle, read: impl FnOnce(Result<Option<&mut Answer>>) -> T) -> T {
        let mut is_late = false;
        let read = self.answered.end(|end| {
            let heard = match end {
                Some(Ok(answer)) => Ok(Some(answer)),
                Some(Err(silence)) => unheard(*silence),
                None => unheard(Silence::Unheard),
            };
            is_late = heard.is_err();
            read(heard)
        });
        if is_late {
            self.take_back(handle);
        }
        read
    }
}

/// What whoever waited for a request hears in the place of an answer.
#[cold]
fn unheard<T>(silence: Silence) -> Result<Option<T>> {
    match silence {
        Silence::Unheard => Ok(None),
        Silence::Late => Err(Error::with_kind(ErrorKind::Timeout, "its deadline has passed")),
    }
}

/// Tells all calls of a runtime whose deadlines have passed; the earliest deadline of the others.
fn late(runtime: RuntimeId, now: u64) -> Option<u64> {
    let peers = peers(|peer| peer.runtime() == runtime);
    peers.iter().filter_map(|peer| peer.tell_late(now)).min()
}

/// Those of this process, in a fixed order.
fn peers(which: impl Fn(&Peer) -> bool) -> Vec<Arc<Peer>> {
    let Some(table) = PEERS.get() else {
        return Vec::new();
    };
    let mut peers: Vec<_> = lock(table).values().filter_map(Weak::upgrade).collect();
    peers.retain(|peer| which(peer));
    peers.sort_by(|a, b| a.key.1.cmp(&b.key.1));
    peers
}

/// What the control plane was told of a call that waits holds no longer.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        control::client().tell(Request::WaitsNoMore { wait: self.0 });
    }
}

/// Before an orderly end of a child: hands what may have to be sent again to the host, once all that was sent is on its
/// way. From here on this process sends nothing new.
pub(crate) async fn leave() {
    books::leave();
    let peers = flush().await;
    crash::at(Point::PeersFlushed);
    control::client().bequeath(peers.iter().flat_map(|peer| peer.bequests()));
    crash::at(Point::Bequeathed);
}

/// Waits until everything that this process sent to others is on its way. To whom that was.
pub(crate) async fn flush() -> Vec<Arc<Peer>> {
    let peers = peers(|_| true);
    for peer in &peers {
        peer.flushed().await;
    }
    peers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
