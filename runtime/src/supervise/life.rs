//! One incarnation of a child, as the host sees it: its process, its control socket, its links.

use crate::error::Error;
use crate::exit::{ExitReason, KillCause};
use crate::link::{self, Driver};
use crate::process::control::heard;
use crate::process::page::Cell;
use crate::process::reason::{self, LastWords};
use crate::process::{Page, Status, Watch};
use crate::wire::attach::Payload;
use crate::wire::control::{Bequeathed, Done, Down, LinkId, Salvage, Up};
use crate::wire::frame::{Head, Kind};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::decide::Incarnation;
use super::host::{Event, Who};

/// How long a process may have closed its control socket before it is killed for that: its death is noticed sooner.
const EOF_GRACE: Duration = Duration::from_secs(1);

/// The same, where it has said that it comes to its end: to let go of much memory takes a while.
const EXIT_GRACE: Duration = Duration::from_secs(30);

/// A process, from its start to its end.
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    pub(crate) pid: i32,
    pub(crate) page: Page,
    pub(crate) since: Instant,
    pub(crate) ready: bool,
    /// It was told to stop.
    pub(crate) asked: bool,
    pub(crate) said: Said,
    /// The links that it serves, and their slots.
    pub(crate) links: Vec<(LinkId, u32)>,
    /// A link that it has open already, for its first client.
    pub(crate) ahead: Option<Vec<OwnedFd>>,
    /// Watches the time of its items.
    pub(crate) timer: Option<AbortHandle>,
    /// How long one of them may run.
    pub(crate) item_timeout: Option<Duration>,
    slots: Slots,
    watch: Rc<Watch>,
    control: link::Sender,
}

/// What a process said and what was done to it, before it ended.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) init_failed: Option<String>,
    pub(crate) done: Option<Done>,
    pub(crate) stopped: bool,
    /// What it leaves, until all of it was said.
    pub(crate) letters: Vec<Bequeathed>,
    pub(crate) killed: Option<KillCause>,
    pub(crate) fault: Option<String>,
}

/// The cells of a status page that count what had begun on each link. The first is the body's own.
#[derive(Debug, Default)]
struct Slots {
    used: u32,
    free: Vec<u32>,
}

impl Said {
    /// Whether it comes to its end by itself.
    pub(crate) fn is_last(&self) -> bool {
        self.stopped || self.done.is_some() || self.init_failed.is_some()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

impl Slots {
    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            self.used += 1;
            (self.used < Page::LINKS).then_some(self.used)
        })
    }
}

impl Life {
    pub(crate) fn new(
        incarnation: Incarnation,
        pid: i32,
        page: Page,
        watch: Rc<Watch>,
        control: link::Sender,
    ) -> Life {
        Life {
            incarnation,
            pid,
            page,
            since: Instant::now(),
            ready: false,
            asked: false,
            said: Said::default(),
            links: Vec::new(),
            ahead: None,
            timer: None,
            item_timeout: None,
            slots: Slots::default(),
            watch,
            control,
        }
    }

    /// Whether it takes calls, and will as far as is known here: it is up, and was not told to stop or killed.
    pub(crate) fn is_up(&self) -> bool {
        self.ready && self.may_serve()
    }

    /// Whether it will take calls as far as is known here: it was not told to stop or killed.
    pub(crate) fn may_serve(&self) -> bool {
        !self.asked && self.said.killed.is_none() && self.said.fault.is_none()
    }

    /// The slot of the link that is made with the process.
    pub(crate) const FIRST_SLOT: u32 = 1;

    /// A link whose slot was given out before there was a process.
    pub(crate) fn adopt(&mut self, slot: u32) {
        self.slots.used = self.slots.used.max(slot);
    }

    pub(crate) fn control(&self) -> link::Sender {
        self.control.clone()
    }

    pub(crate) fn say(&self, down: &Down, fds: Vec<OwnedFd>) {
        say(&self.control, down, fds);
    }

    /// The first reason counts: what follows is only its consequence.
    pub(crate) fn kill(&mut self, cause: KillCause) {
        self.said.killed.get_or_insert(cause);
        self.strike();
    }

    /// Kills it for what it did. One that is dead already did nothing: its end is what broke its links.
    pub(crate) fn condemn(&mut self, fault: String) {
        if self.watch.has_ended() {
            return;
        }
        self.said.fault.get_or_insert(fault);
        self.strike();
    }

    fn strike(&self) {
        if let Err(error) = self.watch.signal(libc::SIGKILL) {
            tracing::error!(pid = self.pid, %error, "a process could not be killed");
        }
    }

    /// A cell for a new link, at zero.
    pub(crate) fn slot(&mut self) -> Result<u32, Error> {
        let slot = self.slots.take().ok_or_else(|| {
            Error::msg(format_args!(
                "process {} serves {} links already: it can take no more",
                self.pid,
                Page::LINKS
            ))
        })?;
        self.page.reset(slot);
        Ok(slot)
    }

    /// Nothing that came over this link is left.
    pub(crate) fn release(&mut self, link: LinkId) {
        if let Some(at) = self.links.iter().position(|(other, _)| *other == link) {
            let (_, slot) = self.links.swap_remove(at);
            self.give_back(slot);
        }
    }

    /// A slot whose link was not made, or is no more.
    pub(crate) fn give_back(&mut self, slot: u32) {
        self.slots.free.push(slot);
    }

    /// Why it ended: what it said counts where the wait status agrees.
    pub(crate) fn reason(&mut self, status: &Status) -> ExitReason {
        let killed = matches!(status, Status::Signaled { signal, .. } if *signal == libc::SIGKILL);
        if killed && let Some(fault) = self.said.fault.take() {
            return ExitReason::ProtocolError(fault);
        }
        let said = match (&self.said.done, &self.said.init_failed) {
            _ if self.said.stopped => reason::Said::Stopped,
            (Some(Done::Value(_)), _) => reason::Said::Returned,
            (Some(Done::Failed(_, text)), _) => reason::Said::Failed(text.clone()),
            (Some(Done::Fault(error)), _) => reason::Said::Failed(format!("{error:#}")),
            (None, Some(text)) => reason::Said::InitFailed(text.clone()),
            (None, None) => reason::Said::Nothing,
        };
        reason::reason(status, LastWords::read(&self.page), said, self.said.killed)
    }

    /// Whether the item that runs, or ran last, has taken longer than an item may.
    pub(crate) fn is_overdue(&self) -> bool {
        let age = self.page.item_age();
        self.item_timeout.zip(age).is_some_and(|(limit, age)| age > limit)
    }

    /// What a pool's worker left of the chunk that it was on, where that came over the link in this slot.
    pub(crate) fn salvage(&self, slot: u32) -> Option<Salvage> {
        if self.page.get(Cell::JobSlot) != u64::from(slot) {
            return None;
        }
        let seq = self.page.get(Cell::Job);
        let (base, results) = self.page.outbox().filter(|_| seq > 0)?;
        Some(Salvage {
            seq,
            begun: self.page.get(Cell::ItemBegun),
            base,
            results: results.into(),
            overdue: self.is_overdue(),
        })
    }
}

pub(crate) fn say(control: &link::Sender, down: &Down, fds: Vec<OwnedFd>) {
    match Payload::pack(down) {
        Ok(mut body) => {
            body.fds.extend(fds.into_iter().map(Arc::new));
            // One that is dead hears nothing, and its end is on its way here.
            drop(control.send(Head::new(Kind::Control), &body, body.fds.clone()));
        }
        Err(error) => tracing::error!(%error, "a message to a child was lost"),
    }
}

/// Kills a pool's worker whose item takes too long. It looks four times within the time that an item may take.
pub(crate) async fn time(who: Who, page: Page, limit: Duration, events: mpsc::UnboundedSender<Event>) {
    let mut tick = tokio::time::interval((limit / 4).max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        if page.item_age().is_some_and(|age| age > limit) && events.send(Event::Overdue(who)).is_err() {
            return;
        }
    }
}

pub(crate) const CLOSED: &str = "it closed its control socket";

/// Reads what a process says until it is dead, then says so.
///
/// The order of the events is the order of the truth: all that it said, then its end.
pub(crate) async fn attend(
    who: Who,
    mut driver: Driver,
    watch: Rc<Watch>,
    events: mpsc::UnboundedSender<Event>,
) {
    let hear = |frame: link::Incoming| match heard::<Up>(frame) {
        Ok((up, fds)) => drop(events.send(Event::Said(who, up, fds))),
        Err(error) => drop(events.send(Event::Garbled(who, error.to_string()))),
    };
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            next = driver.next(), if open => match next {
                Some(Ok(frame)) => hear(frame),
                Some(Err(error)) => {
                    open = false;
                    let _ = events.send(Event::Garbled(who, error.to_string()));
                }
                None => {
                    open = false;
                    if tokio::time::timeout(EOF_GRACE, watch.ended()).await.is_err() {
                        let _ = events.send(Event::Closed(who));
                    }
                    if tokio::time::timeout(EXIT_GRACE, watch.ended()).await.is_err() {
                        let _ = events.send(Event::Garbled(who, CLOSED.to_owned()));
                    }
                }
            },
            () = watch.ended() => break,
        }
    }
    if open {
        let drained = driver.drain();
        drained.frames.into_iter().for_each(hear);
        if let Some(fault) = drained.fault {
            tracing::debug!(pid = watch.pid(), %fault, "the last words of a process were cut short");
        }
    }
    let _ = events.send(Event::Exited(who, watch));
}
