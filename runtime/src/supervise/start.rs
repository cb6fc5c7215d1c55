//! Starts: from a decision to a process that is up, or to the news that there is none.

use crate::error::Error;
use crate::exit::ExitReason;
use crate::link::{self, LinkKind, Transport};
use crate::os::socket::MAX_DESCRIPTORS;
use crate::process::control;
use crate::process::spare::{Ahead, Link, Spare};
use crate::process::{Launcher, Page, StartMode, Watch};
use crate::wire::attach::Payload;
use crate::wire::control::{Answer, Birth, BodyKind, ChildId, Down};
use crate::wire::frame::{Head, Kind};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use tokio::task::spawn_local;
use tracing::level_filters::LevelFilter;

use super::child::{Child, Last, Launching, Work};
use super::decide::{self, Decider, Incarnation};
use super::host::{Event, Host, Who, stopped};
use super::life::{Life, attend, time};
use super::spec::{Outcome, Restart};

/// A first message that is longer than this is sent after the start, not before.
const FIRST: usize = 32 << 10;

/// How long a restart that could not even be launched waits before it counts as failed.
const RELAUNCH: Duration = Duration::from_millis(100);

/// When a process that is up makes way for the next spare.
const SOON: Duration = Duration::from_millis(1);

/// A process that was started, with its control socket open.
#[derive(Debug)]
pub(crate) struct Launched {
    pid: i32,
    start: StartMode,
    watch: Rc<Watch>,
    page: Page,
    control: link::Sender,
    driver: link::Driver,
    /// Not with the first words that it was to have, nor with what was made ahead.
    repeated: bool,
    /// The client's end of its first link, where that was made anew.
    ours: Option<Vec<OwnedFd>>,
}

/// What a child is told first.
#[derive(Clone)]
struct FirstWords {
    birth: Payload,
    /// Its first link, where the birth has no room for the descriptors of that.
    attach: Option<Payload>,
    /// What that link is made of: so many of the last descriptors beside one of these.
    link: Option<(LinkKind, usize)>,
}

impl FirstWords {
    /// Makes the link anew: a child that is dead may have opened it. The client's end of it.
    fn renew(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        let Some((kind, n_fds)) = self.link else {
            return Ok(None);
        };
        let (ours, theirs) = link::pair(kind)?;
        let beside = &mut self.attach.as_mut().unwrap_or(&mut self.birth).fds;
        beside.truncate(beside.len().saturating_sub(n_fds));
        let theirs = theirs.into_descriptors();
        self.link = Some((kind, theirs.len()));
        beside.extend(theirs.into_iter().map(Arc::new));
        Ok(Some(ours.into_descriptors()))
    }
}

/// Starts a process and gives it its first message: again, with a fresh link, where the fork server died meanwhile.
async fn launch(
    launcher: &Launcher,
    mut spare: Option<Spare>,
    mut words: FirstWords,
    outbox: usize,
    limit: usize,
) -> Result<Launched, Error> {
    let mut ours = None;
    for tried in 0..Launcher::REPEATS {
        match try_launch(launcher, spare.take(), words.clone(), outbox, limit).await? {
            Some(launched) => {
                return Ok(Launched {
                    repeated: tried > 0,
                    ours,
                    ..launched
                });
            }
            None => ours = words.renew()?,
        }
    }
    Err(Launcher::given_up())
}

/// The first message is there before it starts where that is short, else as soon as it has.
async fn try_launch(
    launcher: &Launcher,
    spare: Option<Spare>,
    FirstWords { birth, attach, .. }: FirstWords,
    outbox: usize,
    limit: usize,
) -> Result<Option<Launched>, Error> {
    let (first, later) = match birth.len() > FIRST {
        true => (Payload::pack(&Down::Wait)?, Some(birth)),
        false => (birth, None),
    };
    let frame = frame(&first, first.fds.len());
    let fds: Vec<_> = first.fds.iter().map(AsFd::as_fd).collect();
    let Some(child) = launcher.try_start(spare, &frame, &fds, outbox).await? else {
        return Ok(None);
    };
    let (control, driver) = link::open(Transport::Socket(child.control), limit)?;
    for message in later.into_iter().chain(attach) {
        control.send(Head::new(Kind::Control), &message, message.fds.clone())?;
    }
    Ok(Some(Launched {
        pid: child.pid,
        start: child.mode,
        watch: Rc::new(child.watch),
        page: child.page,
        control,
        driver,
        repeated: false,
        ours: None,
    }))
}

/// A control message with so many descriptors, as it is written where there is no link yet.
fn frame(message: &Payload, n_fds: usize) -> Vec<u8> {
    let head = Head {
        fds: n_fds as u16,
        ..Head::new(Kind::Control)
    };
    [&head.to_bytes(message.len())[..], &message.bytes].concat()
}

/// A link for a process that is nobody yet. Where it cannot be had it is made in its time.
fn ahead(kind: LinkKind, limit: usize) -> Option<Ahead> {
    let (ours, theirs) = link::pair(kind).ok()?;
    let theirs = theirs.into_descriptors();
    let message = Payload::pack(&Down::Ahead { limit }).ok()?;
    Some(Ahead {
        message: frame(&message, theirs.len()),
        theirs,
        link: (kind, ours.into_descriptors()),
    })
}

/// Does now what it can, and the rest when it is its turn: a spare has its first message before the host goes on.
fn begin_now(work: impl Future<Output = ()> + 'static) {
    let mut work = Box::pin(work);
    if work
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        spawn_local(work);
    }
}

impl Host {
    pub(super) fn start(&mut self, id: ChildId, incarnation: Incarnation) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        child.number = incarnation.number;
        child.since = Instant::now();
        child.ended = false;
        match &mut child.work {
            Work::Process(process) => {
                process.launching = Some(Launching::default());
                self.launch(Who {
                    child: id,
                    incarnation,
                });
            }
            Work::Supervisor(tree) => {
                tree.incarnation = Some(incarnation);
                self.begin(id);
            }
        }
    }

    /// A supervisor comes up: a fresh decider for the children that it starts with.
    pub(super) fn begin(&mut self, id: ChildId) {
        let Some(tree) = self.children.get(&id).and_then(Child::supervisor) else {
            return;
        };
        let (rules, listed) = (tree.rules.clone(), tree.listed.clone());
        let children = || listed.iter().filter_map(|id| self.children.get(id));
        let policies = children().map(|child| child.policy.clone());
        let mut decider = Decider::new(rules, policies, id.0 ^ u64::from(std::process::id()));
        decider.count_on(&tree.decider, children().map(|child| child.number));
        let seats: Vec<_> = decider.children().zip(listed).collect();
        for (seat, child) in &seats {
            if let Some(child) = self.children.get_mut(child) {
                child.under = Some((id, *seat));
            }
        }
        if let Some(tree) = self.children.get_mut(&id).and_then(Child::supervisor_mut) {
            tree.seats = seats.iter().copied().collect();
            tree.decider = decider;
        }
        self.decide(id, decide::Event::Start);
        // Those who were stopped by hand while it went down do not come back with it.
        for (seat, child) in seats {
            if self
                .children
                .get(&child)
                .is_some_and(|child| !child.stoppers.is_empty())
            {
                self.decide(id, decide::Event::StopChild(seat));
            }
        }
    }

    fn launch(&mut self, who: Who) {
        let outbox = self.process(who.child).map_or(0, |process| process.spec.outbox);
        let started = self.launcher.clone().and_then(|launcher| {
            let mut spare = launcher.claim(outbox);
            let link = spare.as_mut().and_then(Spare::link);
            let words = self.birth(who.child, link)?;
            Ok((launcher, spare, words))
        });
        let limit = control::limit(&self.config.settings);
        let events = self.events.clone();
        begin_now(async move {
            let launched = match started {
                Ok((launcher, spare, words)) => launch(&launcher, spare, words, outbox, limit).await,
                Err(error) => Err(error),
            };
            if launched.is_err() && who.incarnation.number > 1 {
                // What there was too little of comes back in its own time, whatever the child's own back-off says.
                tokio::time::sleep(RELAUNCH).await;
            }
            // The host is gone only with its thread.
            let _ = events.send(Event::Launched(who, launched.map(Box::new)));
        });
    }

    fn birth(&mut self, id: ChildId, link: Option<Link>) -> Result<FirstWords, Error> {
        let kind = self.link_kind();
        let ahead = link.filter(|(made_of, _)| *made_of == kind).map(|(_, ours)| ours);
        let wants_link = self
            .children
            .get(&id)
            .and_then(|c| c.starter.as_ref())
            .is_some_and(|s| s.wants_link);
        let is_awaited = self
            .process(id)
            .is_some_and(|process| !process.callers.is_empty());
        let is_ahead = ahead.is_some() && (wants_link || is_awaited);
        let (attach, fds) = if wants_link {
            let (first, attach, theirs) = self.first_link(id, ahead)?;
            if let Some(launching) = self
                .process_mut(id)
                .and_then(|process| process.launching.as_mut())
            {
                launching.link = Some(first);
            }
            (Some(attach), theirs)
        } else {
            if let Some(launching) = self
                .process_mut(id)
                .and_then(|process| process.launching.as_mut())
            {
                launching.ahead = ahead.filter(|_| is_awaited);
            }
            (None, Vec::new())
        };
        let child = self.children.get(&id).ok_or_else(|| stopped("it"))?;
        let Work::Process(process) = &child.work else {
            return Err(stopped(&child.name));
        };
        let input = &process.spec.body.input;
        // Also where it has to be made again.
        let fits = input.fds.len() + Transport::MOST_DESCRIPTORS <= MAX_DESCRIPTORS;
        let birth = Birth {
            child: id,
            cap: child.cap,
            context: child.context,
            name: child.name.clone(),
            body: process.spec.body.clone(),
            link: attach.filter(|_| fits),
            ahead: is_ahead,
            settings: self.config.settings.clone(),
            log: (self.config.log)(),
        };
        self.ahead = birth.body.kind == BodyKind::Actor;
        let mut birth = Payload::pack(&Down::Birth(Box::new(birth)))?;
        let mut attach = attach
            .filter(|_| !fits)
            .map(|attach| Payload::pack(&Down::Attach(attach)))
            .transpose()?;
        let link = wants_link.then_some((self.config.link, fds.len()));
        let beside = &mut attach.as_mut().unwrap_or(&mut birth).fds;
        beside.extend(fds.into_iter().map(Arc::new));
        Ok(FirstWords { birth, attach, link })
    }

    pub(super) fn launched(&mut self, who: Who, launched: Result<Box<Launched>, Error>) {
        let Launched {
            pid,
            start,
            watch,
            page,
            control,
            driver,
            repeated,
            ours,
        } = match launched {
            Ok(launched) => *launched,
            Err(error) => return self.not_launched(who, error),
        };
        let (child, link) = (self.name(who.child).to_owned(), self.config.link);
        // The other thread is not woken for what nobody reads.
        if LevelFilter::current() >= LevelFilter::DEBUG {
            self.log(move || tracing::debug!(child, pid, %start, %link, "started"));
        }
        spawn_local(attend(who, driver, watch.clone(), self.events.clone()));
        let Some(child) = self.children.get_mut(&who.child) else {
            return;
        };
        let (id, cap) = (child.id, child.cap);
        let starter = child.starter.as_mut();
        let once = child.policy.restart == Restart::Temporary;
        let Work::Process(process) = &mut child.work else {
            return;
        };
        if once {
            // Not needed again; what it holds would seem to be in use until the process ends.
            Rc::make_mut(&mut process.spec).body.input = Payload::default();
        }
        let mut life = Life::new(who.incarnation, pid, page, watch, control);
        let Some(launching) = process.launching.take() else {
            return;
        };
        if let Some(mut first) = launching.link {
            if let Some(ours) = ours {
                first.ours = ours;
            }
            life.links.push((first.introduced.link, first.slot));
            life.adopt(first.slot);
            if let Some(starter) = starter {
                starter.link = Some(first);
                if starter.introduce(id, cap, pid as u32) {
                    self.coming.push(who);
                }
            }
        }
        life.ahead = launching.ahead.filter(|_| !repeated);
        if launching.stop {
            life.stop();
        }
        if let Some(cause) = launching.kill {
            life.kill(cause);
        }
        if let Some(limit) = process.spec.item_timeout {
            let timer = spawn_local(time(who, life.page.clone(), limit, self.events.clone()));
            life.timer = Some(timer.abort_handle());
            life.item_timeout = Some(limit);
        }
        let kind = process.spec.body.kind;
        if kind == BodyKind::Task {
            // It has its input, and is never started again: here nothing of that stays open.
            Rc::make_mut(&mut process.spec).body.input = Payload::default();
        }
        let at_once = matches!(kind, BodyKind::Task | BodyKind::Service);
        process.life = Some(life);
        self.introduce_callers(who.child);
        if let Some(life) = self.life(who) {
            life.ahead = None;
        }
        if at_once {
            self.ready(who);
        }
        // While it comes up, as the next start may be a moment away. A restart has callers who wait, and what they wait for
        // is not held up.
        if who.incarnation.number == 1 {
            self.keep_spare();
        }
    }

    /// Those whose starters may have heard from them that they are up: whatever these ask next finds it so.
    pub(super) fn see_who_is_up(&mut self) {
        for who in std::mem::take(&mut self.coming) {
            match self.life(who) {
                Some(life) if life.page.is_up() => self.ready(who),
                Some(life) if !life.ready => self.coming.push(who),
                Some(_) | None => {}
            }
        }
        self.settle();
    }

    fn not_launched(&mut self, who: Who, error: Error) {
        let (child, text) = (self.name(who.child).to_owned(), error.to_string());
        self.log(move || tracing::error!(child, error = text, "a process could not be started"));
        let reason = ExitReason::Failed(error.to_string());
        let mut unused = None;
        if let Some(child) = self.children.get_mut(&who.child) {
            child.last = Some(Last {
                reason: reason.clone(),
                begun: false,
                done: None,
                not_launched: Some(error),
            });
            if let Some(process) = child.process_mut() {
                // Its end is told before it is over.
                process.relaying = Some(who);
                unused = process.launching.take().and_then(|launching| launching.link);
                process
                    .killers
                    .drain(..)
                    .for_each(|killer| killer.answer(Ok(Answer::Done)));
            }
        }
        if let Some(first) = unused {
            self.links.remove(&first.introduced.link);
        }
        self.decide_above(who.child, |_| {
            decide::Event::Exited(who.incarnation, Outcome::Abnormal)
        });
        self.settle();
        self.retire_with_those_above(who.child);
        self.tell_monitors(who.child, 0, &reason);
        self.relayed(who);
    }

    /// A process is up.
    pub(super) fn ready(&mut self, who: Who) {
        let Some(life) = self.life(who).filter(|life| !life.ready) else {
            return;
        };
        life.ready = true;
        life.since = Instant::now();
        let pid = life.pid as u32;
        if let Some(child) = self.children.get_mut(&who.child) {
            child.since = Instant::now();
            let (id, cap) = (child.id, child.cap);
            let starter = child.starter.take();
            if starter.is_some_and(|starter| !starter.started(id, cap, pid)) {
                self.disown(id);
            }
        }
        self.decide_above(who.child, |_| decide::Event::Ready(who.incarnation));
        self.keep_spare_soon();
    }

    fn keep_spare(&mut self) {
        let ahead = self.ahead();
        if let Ok(launcher) = &self.launcher {
            launcher.keep_spare(ahead);
        }
    }

    /// Not while the first messages are answered that waited for the process.
    fn keep_spare_soon(&mut self) {
        let ahead = self.ahead();
        if let Ok(launcher) = self.launcher.clone() {
            spawn_local(async move {
                tokio::time::sleep(SOON).await;
                launcher.keep_spare(ahead);
            });
        }
    }

    /// What is to be made with a spare, when that is.
    fn ahead(&mut self) -> impl FnOnce() -> Option<Ahead> + use<> {
        let (wanted, kind, limit) = (self.ahead, self.link_kind(), self.config.settings.frame_limit);
        move || wanted.then(|| ahead(kind, limit)).flatten()
    }

    /// Every child of a supervisor is up.
    pub(super) fn up(&mut self, id: ChildId) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        child.since = Instant::now();
        if let Some(starter) = child.starter.take() {
            starter.reply.answer(Ok(Answer::Tree {
                tree: child.id,
                cap: child.cap,
            }));
        }
        if let Some(incarnation) = child.supervisor().and_then(|tree| tree.incarnation) {
            self.decide_above(id, |_| decide::Event::Ready(incarnation));
        }
    }
}
