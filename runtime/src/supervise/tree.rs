//! The tree: what happened goes to the deciders, what they decide is done.

use crate::error::Error;
use crate::exit::{ExitReason, KillCause};
use crate::link::{self, Transport};
use crate::process::control;
use crate::process::{Launcher, Page, StartMode, Status, Watch};
use crate::wire::codec;
use crate::wire::control::{Answer, Birth, BodyKind, ChildId, Down, State};
use crate::wire::frame::{Head, Kind};
use bytes::Bytes;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;

use super::child::{Child, Last, Launching, Supervisor, Work};
use super::decide::{self, Action, Cause, Decider, Incarnation, Timer, Why};
use super::host::{Event, Host, Who, stopped};
use super::life::{Life, attend, time};
use super::requests::Reply;
use super::spec::Outcome;

/// A first message that is longer than this is sent after the start, not before.
const FIRST: usize = 32 << 10;

impl Host {
    /// Tells a decider, in its turn.
    pub(super) fn decide(&mut self, supervisor: ChildId, event: decide::Event) {
        self.undecided.push_back((supervisor, event));
    }

    /// Tells the decider above a child.
    pub(super) fn decide_above(
        &mut self,
        child: ChildId,
        event: impl FnOnce(decide::ChildId) -> decide::Event,
    ) {
        if let Some((supervisor, seat)) = self.children.get(&child).and_then(|child| child.under) {
            self.decide(supervisor, event(seat));
        }
    }

    /// Lets every decider hear what it has yet to, and does what they say.
    pub(super) fn settle(&mut self) {
        while let Some((supervisor, event)) = self.undecided.pop_front() {
            let now = self.epoch.elapsed();
            let Some(tree) = self.children.get_mut(&supervisor).and_then(Child::supervisor_mut) else {
                continue;
            };
            let was_ending = tree.decider.is_ending();
            let actions = tree.decider.on(now, event);
            let ends = !was_ending && tree.decider.is_ending();
            self.act(supervisor, actions);
            if ends && self.is_final(supervisor) {
                self.retire_those_down(supervisor);
            }
        }
    }

    pub(super) fn act(&mut self, supervisor: ChildId, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(incarnation) => self.with_seat(supervisor, incarnation.child, |host, child| {
                    host.start(child, incarnation);
                }),
                Action::Stop(incarnation) => self.with_seat(supervisor, incarnation.child, Host::stop),
                Action::Kill(incarnation) => self.with_seat(supervisor, incarnation.child, Host::kill),
                Action::SetTimer(timer, after) => self.set_timer(supervisor, timer, after),
                Action::CancelTimer(timer) => self.cancel_timer(supervisor, timer),
                Action::Gone(seat, why) => {
                    self.with_seat(supervisor, seat, |host, child| host.gone(child, why))
                }
                Action::Forgotten(seat) => self.forgotten(supervisor, seat),
                Action::Up => self.up(supervisor),
                Action::Ended(cause) => self.supervisor_ended(supervisor, cause),
            }
        }
    }

    fn with_seat(
        &mut self,
        supervisor: ChildId,
        seat: decide::ChildId,
        act: impl FnOnce(&mut Self, ChildId),
    ) {
        let tree = self.children.get(&supervisor).and_then(Child::supervisor);
        if let Some(child) = tree.and_then(|tree| tree.seats.get(&seat).copied()) {
            act(self, child);
        }
    }

    /// What a child does now, as its supervisor has it.
    pub(super) fn state(&self, child: &Child) -> State {
        let Some((supervisor, seat)) = child.under else {
            return State::Running;
        };
        let tree = self.children.get(&supervisor).and_then(Child::supervisor);
        tree.and_then(|tree| tree.decider.stage(seat))
            .map_or(State::Ended, State::from)
    }
}

/// How long a restart that could not even be launched waits before it counts as failed.
const RELAUNCH: Duration = Duration::from_millis(100);

/// A process that was started, with its control socket open.
#[derive(Debug)]
pub(crate) struct Launched {
    pid: i32,
    start: StartMode,
    watch: Rc<Watch>,
    page: Page,
    control: link::Sender,
    driver: link::Driver,
}

/// Starts a process and gives it its first message: before it starts where that is short, else as soon as it is there.
async fn launch(
    launcher: &Launcher,
    birth: Bytes,
    fds: Vec<OwnedFd>,
    outbox: usize,
    limit: usize,
) -> Result<Launched, Error> {
    let head = Head {
        fds: fds.len() as u16,
        ..Head::new(Kind::Control)
    };
    let (first, now, later) = if birth.len() > FIRST {
        let word = codec::pack(&Down::Wait)?;
        let head = Head::new(Kind::Control);
        (
            [&head.to_bytes(word.len())[..], &word].concat(),
            Vec::new(),
            Some((birth, fds)),
        )
    } else {
        ([&head.to_bytes(birth.len())[..], &birth].concat(), fds, None)
    };
    let child = launcher.start(&first, now, outbox).await?;
    let (control, driver) = link::open(Transport::Socket(child.control), limit)?;
    if let Some((birth, fds)) = later {
        control.send(head, birth, fds)?;
    }
    Ok(Launched {
        pid: child.pid,
        start: child.mode,
        watch: Rc::new(child.watch),
        page: child.page,
        control,
        driver,
    })
}

/// Starts.
impl Host {
    fn start(&mut self, id: ChildId, incarnation: Incarnation) {
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
        let started = self
            .birth(who.child)
            .and_then(|birth| Ok((self.launcher.clone()?, birth)));
        let outbox = self.process(who.child).map_or(0, |process| process.spec.outbox);
        let limit = control::limit(&self.config.settings);
        let events = self.events.clone();
        spawn_local(async move {
            let launched = match started {
                Ok((launcher, (birth, fds))) => launch(&launcher, birth, fds, outbox, limit).await,
                Err(error) => Err(error),
            };
            if launched.is_err() && who.incarnation.number > 1 {
                // What there was too little of comes back in its own time, whatever the child's own back-off says.
                tokio::time::sleep(RELAUNCH).await;
            }
            // The host is gone only with its thread.
            let _ = events.send(Event::Launched(who, launched));
        });
    }

    /// The first message of a child, and what goes with it.
    fn birth(&mut self, id: ChildId) -> Result<(Bytes, Vec<OwnedFd>), Error> {
        let wants_link = self
            .children
            .get(&id)
            .and_then(|c| c.starter.as_ref())
            .is_some_and(|s| s.wants_link);
        let (attach, fds) = if wants_link {
            let (first, attach, theirs) = self.first_link(id)?;
            if let Some(launching) = self
                .process_mut(id)
                .and_then(|process| process.launching.as_mut())
            {
                launching.link = Some(first);
            }
            (Some(attach), theirs)
        } else {
            (None, Vec::new())
        };
        let child = self.children.get(&id).ok_or_else(|| stopped("it"))?;
        let Work::Process(process) = &child.work else {
            return Err(stopped(&child.name));
        };
        let birth = Birth {
            child: id,
            cap: child.cap,
            context: child.context,
            name: child.name.clone(),
            body: process.spec.body.clone(),
            link: attach,
            settings: self.config.settings.clone(),
            log: (self.config.log)(),
        };
        Ok((codec::pack(&Down::Birth(Box::new(birth)))?, fds))
    }

    pub(super) fn launched(&mut self, who: Who, launched: Result<Launched, Error>) {
        let Launched {
            pid,
            start,
            watch,
            page,
            control,
            driver,
        } = match launched {
            Ok(launched) => launched,
            Err(error) => return self.not_launched(who, error),
        };
        let (child, link) = (self.name(who.child).to_owned(), self.config.link);
        self.log(move || tracing::debug!(child, pid, %start, %link, "started"));
        spawn_local(attend(
            who,
            pid,
            driver,
            watch.clone(),
            self.relay.clone(),
            self.events.clone(),
        ));
        let Some(child) = self.children.get_mut(&who.child) else {
            return;
        };
        let starter = child.starter.as_mut();
        let Work::Process(process) = &mut child.work else {
            return;
        };
        let mut life = Life::new(who.incarnation, pid, page, watch, control);
        let Some(launching) = process.launching.take() else {
            return;
        };
        if let Some(first) = launching.link {
            life.links.push(first.introduced.link);
            life.adopt(first.slot);
            if let Some(starter) = starter {
                starter.link = Some(first);
            }
        }
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
        let at_once = matches!(process.spec.body.kind, BodyKind::Task | BodyKind::Service);
        process.life = Some(life);
        if at_once {
            self.ready(who);
        }
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
        let Some(life) = self.life(who) else { return };
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
        self.introduce_callers(who.child);
        self.decide_above(who.child, |_| decide::Event::Ready(who.incarnation));
    }

    /// Every child of a supervisor is up.
    fn up(&mut self, id: ChildId) {
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

/// Ends.
impl Host {
    fn stop(&mut self, id: ChildId) {
        match self.children.get_mut(&id).map(|child| &mut child.work) {
            Some(Work::Supervisor(_)) => self.decide(id, decide::Event::Stop),
            Some(Work::Process(process)) => match (&mut process.life, &mut process.launching) {
                (Some(life), _) => life.stop(),
                (None, Some(launching)) => launching.stop = true,
                (None, None) => {}
            },
            None => {}
        }
    }

    /// As the decider says: it took too long to stop, or may take no time.
    fn kill(&mut self, id: ChildId) {
        match self.children.get_mut(&id).map(|child| &mut child.work) {
            Some(Work::Supervisor(_)) => self.decide(id, decide::Event::KillAll),
            Some(Work::Process(process)) => match (&mut process.life, &mut process.launching) {
                (Some(life), _) => {
                    let cause = if life.asked {
                        KillCause::ShutdownTime
                    } else {
                        KillCause::Dropped
                    };
                    life.kill(cause);
                }
                (None, Some(launching)) => launching.kill = Some(KillCause::Dropped),
                (None, None) => {}
            },
            None => {}
        }
    }

    pub(super) fn exited(&mut self, who: Who, status: Status) {
        let Some(process) = self.process_mut(who.child) else {
            return;
        };
        let Some(mut life) = process.life.take_if(|life| life.incarnation == who.incarnation) else {
            return;
        };
        process.relaying = Some(who);
        let killers = std::mem::take(&mut process.killers);
        let reason = life.reason(&status);
        let begun = life.page.begun(0).is_some_and(|begun| begun > 0);
        self.cut_links(&life, &reason);
        self.end_owned(who.child);
        self.end_monitors_of(who.child);
        let outcome = Outcome::from(&reason);
        if let Some(child) = self.children.get_mut(&who.child) {
            let done = life.said.done.take();
            child.last = Some(Last {
                reason: reason.clone(),
                begun,
                done,
                not_launched: None,
            });
        }
        self.decide_above(who.child, |_| decide::Event::Exited(who.incarnation, outcome));
        self.settle();
        self.retire_with_those_above(who.child);
        // The supervisor has changed its mind by now: whoever hears of the end finds it so.
        self.tell_monitors(who.child, life.pid as u32, &reason);
        killers
            .into_iter()
            .for_each(|killer| killer.answer(Ok(Answer::Done)));
        self.log_end(who.child, life.pid, &reason);
    }

    /// Its last output was relayed: those may go on who wait for its end.
    pub(super) fn relayed(&mut self, who: Who) {
        if let Some(process) = self.process_mut(who.child) {
            process.relaying.take_if(|relaying| *relaying == who);
        }
        // Supervisors above it may have waited for this alone.
        let mut next = Some(who.child);
        while let Some(id) = next {
            next = self
                .children
                .get(&id)
                .and_then(|child| child.under.map(|(supervisor, _)| supervisor).or(child.left));
            self.finish(id);
            if let Some(tree) = next.and_then(|above| self.supervisor_mut(above)) {
                tree.leaving.retain(|child| *child != id);
            }
        }
    }

    /// What a process started ends with it.
    fn end_owned(&mut self, owner: ChildId) {
        let owned = self.children.values().filter(|child| child.owner == Some(owner));
        for child in owned.map(|child| child.id).collect::<Vec<_>>() {
            self.disown(child);
        }
    }

    /// Nobody is left who asked for it.
    pub(super) fn disown(&mut self, id: ChildId) {
        self.decide_above(id, decide::Event::RemoveChild);
        self.expect_nobody(id);
    }

    /// A child is down for good, or until its siblings take it along.
    fn gone(&mut self, id: ChildId, why: Why) {
        let Some(child) = self.children.get(&id) else {
            return;
        };
        if why == Why::GivenUp && child.starter.is_none() {
            let last = child.last.as_ref().map(|last| last.reason.to_string());
            let (child, last) = (child.name.clone(), last.unwrap_or_default());
            self.log(move || {
                tracing::error!(child, last, "failed too often: it is not started again");
            });
        }
        self.retire(id);
        // A root keeps no seat for what will not start again.
        if self.is_at_root(id) {
            self.decide_above(id, decide::Event::RemoveChild);
        }
    }

    /// Nobody reaches it any more, nor what is below it; whoever waits for its start or its end hears of it.
    fn retire(&mut self, id: ChildId) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        child.ended = true;
        let (name, starter) = (child.name.clone(), child.starter.take());
        let below = child.supervisor().map(Supervisor::below).unwrap_or_default();
        let callers = child
            .process_mut()
            .map(|process| std::mem::take(&mut process.callers))
            .unwrap_or_default();
        let not_started = starter.map(|starter| (starter.reply, child.not_started()));
        callers
            .into_iter()
            .for_each(|caller| caller.answer(Err(stopped(&name))));
        below.into_iter().for_each(|child| self.retire(child));
        self.tell_of_supervisor(id);
        match not_started {
            Some((reply, error)) => {
                reply.answer(Err(error));
                self.expect_nobody(id);
            }
            None => self.finish(id),
        }
    }

    /// The children of a supervisor that ends for good, and that are down already.
    fn retire_those_down(&mut self, supervisor: ChildId) {
        let tree = self.children.get(&supervisor).and_then(Child::supervisor);
        let is_down = |child: &ChildId| {
            let child = self.children.get(child);
            child.is_some_and(|child| !child.ended && self.state(child) == State::Ended)
        };
        let mut below = tree.map(Supervisor::below).unwrap_or_default();
        below.retain(is_down);
        below.into_iter().for_each(|child| self.retire(child));
    }

    /// A child that is down, if its supervisor is ending for good: nobody will start it again.
    fn retire_with_those_above(&mut self, id: ChildId) {
        let ends = self.children.get(&id).is_some_and(|child| !child.ended) && self.ends_with_those_above(id);
        if ends {
            self.retire(id);
        }
    }

    fn ends_with_those_above(&self, id: ChildId) -> bool {
        let above = self.children.get(&id).and_then(|child| child.under);
        above.is_some_and(|(supervisor, _)| {
            let tree = self.children.get(&supervisor).and_then(Child::supervisor);
            tree.is_some_and(|tree| tree.decider.is_ending()) && self.is_final(supervisor)
        })
    }

    /// Whether the end of this supervisor, which is under way, is for good.
    fn is_final(&self, id: ChildId) -> bool {
        let Some((above, seat)) = self.children.get(&id).and_then(|child| child.under) else {
            return true;
        };
        let tree = self.children.get(&above).and_then(Child::supervisor);
        tree.is_some_and(|tree| tree.decider.is_leaving(seat)) || self.ends_with_those_above(id)
    }

    /// The end of a process is told when that is dead; a supervisor has none.
    fn tell_of_supervisor(&mut self, id: ChildId) {
        let ended = self
            .children
            .get(&id)
            .filter(|child| child.supervisor().is_some());
        let reason = ended
            .and_then(|child| child.last.as_ref())
            .map(|last| last.reason.clone());
        if let Some(reason) = reason {
            self.tell_monitors(id, 0, &reason);
        }
    }

    /// It has no seat any more, and so no name, nor has what is below it.
    pub(super) fn free_names(&mut self, id: ChildId) {
        let Some(child) = self.children.get(&id) else {
            return;
        };
        let key = (child.context, child.name.clone());
        let below = child.supervisor().map(Supervisor::below).unwrap_or_default();
        if self.names.get(&key) == Some(&id) {
            self.names.remove(&key);
        }
        below.into_iter().for_each(|child| self.free_names(child));
    }

    fn forgotten(&mut self, supervisor: ChildId, seat: decide::ChildId) {
        let Some(tree) = self.supervisor_mut(supervisor) else {
            return;
        };
        let Some(id) = tree.seats.remove(&seat) else {
            return;
        };
        tree.listed.retain(|child| *child != id);
        self.free_names(id);
        if self.is_relaying(id)
            && let Some(tree) = self.supervisor_mut(supervisor)
        {
            tree.leaving.push(id);
        }
        if let Some(child) = self.children.get_mut(&id) {
            child.under = None;
            child.left = Some(supervisor);
        }
        self.finish(id);
    }

    fn supervisor_ended(&mut self, id: ChildId, cause: Cause) {
        let reason = self.cause(id, cause);
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        let Work::Supervisor(tree) = &mut child.work else {
            return;
        };
        tree.timers.drain().for_each(|(_, timer)| timer.abort());
        let incarnation = tree.incarnation.take();
        child.last = Some(Last {
            reason: reason.clone(),
            begun: true,
            done: None,
            not_launched: None,
        });
        match incarnation {
            Some(incarnation) => {
                if !reason.is_normal() {
                    let (supervisor, reason) = (child.name.clone(), reason.to_string());
                    self.log(move || tracing::error!(supervisor, reason, "a supervisor ended"));
                }
                self.decide_above(id, |_| decide::Event::Exited(incarnation, Outcome::from(&reason)));
                self.retire_with_those_above(id);
            }
            None => self.root_ended(id),
        }
    }

    fn cause(&self, id: ChildId, cause: Cause) -> ExitReason {
        let tree = self.children.get(&id).and_then(Child::supervisor);
        let child = |seat| {
            tree.and_then(|tree| tree.seats.get(&seat))
                .and_then(|child| self.children.get(child))
        };
        let describe = |seat, what: &str| {
            let name = child(seat).map_or("a child", |child| child.name.as_str());
            let last = child(seat)
                .and_then(|child| child.last.as_ref())
                .map(|last| last.reason.to_string());
            ExitReason::Failed(format!("`{name}` {what}: {}", last.unwrap_or_default()))
        };
        match cause {
            Cause::Stopped => ExitReason::Shutdown,
            Cause::Killed => ExitReason::Killed(KillCause::ShutdownTime),
            Cause::NotStarted(seat) => describe(seat, "did not start"),
            Cause::TooManyRestarts(seat) => describe(seat, "failed too often"),
        }
    }

    /// A whole context has ended.
    fn root_ended(&mut self, id: ChildId) {
        if let Some(root) = self.children.get(&id) {
            self.roots.remove(&root.context);
        }
        self.free_names(id);
        self.retire(id);
    }

    /// Answers those who wait for an end that is whole: decided, and its output relayed. Forgets it when nobody will ask.
    pub(super) fn finish(&mut self, id: ChildId) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        if !child.ended || self.is_relaying(id) {
            return;
        }
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        let stoppers = std::mem::take(&mut child.stoppers);
        let last = child.last.clone();
        let asked_for = child
            .process_mut()
            .is_some_and(|process| process.joiner.answer(last));
        let is_forgotten = child.under.is_none();
        if !stoppers.is_empty() {
            // What was logged until now is written before anybody goes on: that may be the program, to its end.
            self.log(|| {
                stoppers
                    .into_iter()
                    .for_each(|stopper| stopper.answer(Ok(Answer::Done)))
            });
        }
        self.close_monitors(id);
        if is_forgotten && !asked_for {
            self.drop_below(id);
        }
    }

    /// Whether output of a process of this child, or below it, is still on its way.
    fn is_relaying(&self, id: ChildId) -> bool {
        match self.children.get(&id).map(|child| &child.work) {
            Some(Work::Process(process)) => process.relaying.is_some(),
            Some(Work::Supervisor(tree)) => {
                let mut all = tree.below().into_iter().chain(tree.leaving.iter().copied());
                all.any(|child| self.is_relaying(child))
            }
            None => false,
        }
    }

    pub(super) fn drop_below(&mut self, id: ChildId) {
        let Some(child) = self.children.remove(&id) else {
            return;
        };
        self.close_monitors(id);
        child
            .stoppers
            .into_iter()
            .for_each(|stopper| stopper.answer(Ok(Answer::Done)));
        match child.work {
            Work::Supervisor(tree) => tree.below().into_iter().for_each(|child| self.drop_below(child)),
            Work::Process(mut process) => {
                process.joiner.answer(child.last);
                let callers = process.callers.into_iter();
                callers.for_each(|caller| caller.answer(Err(stopped(&child.name))));
            }
        }
    }

    fn log_end(&self, id: ChildId, pid: i32, reason: &ExitReason) {
        let (child, reason) = (self.name(id).to_owned(), reason.clone());
        self.log(move || match reason {
            ExitReason::Normal
            | ExitReason::Shutdown
            | ExitReason::Killed(KillCause::Asked | KillCause::Dropped) => {
                tracing::debug!(child, pid, %reason, "ended");
            }
            _ => tracing::warn!(child, pid, %reason, "died"),
        });
    }
}

/// Timers and look-ups.
impl Host {
    fn set_timer(&mut self, supervisor: ChildId, timer: Timer, after: Duration) {
        let events = self.events.clone();
        let task = spawn_local(async move {
            tokio::time::sleep(after).await;
            let _ = events.send(Event::Fired(supervisor, timer));
        });
        if let Some(tree) = self.children.get_mut(&supervisor).and_then(Child::supervisor_mut) {
            tree.timers.insert(timer, task.abort_handle());
        }
    }

    fn cancel_timer(&mut self, supervisor: ChildId, timer: Timer) {
        let tree = self.children.get_mut(&supervisor).and_then(Child::supervisor_mut);
        if let Some(task) = tree.and_then(|tree| tree.timers.remove(&timer)) {
            task.abort();
        }
    }

    /// That very process, if it lives.
    pub(super) fn life(&mut self, who: Who) -> Option<&mut Life> {
        let life = self.process_mut(who.child)?.life.as_mut()?;
        (life.incarnation == who.incarnation).then_some(life)
    }

    pub(super) fn process(&self, id: ChildId) -> Option<&super::child::Process> {
        self.children.get(&id)?.process()
    }

    pub(super) fn process_mut(&mut self, id: ChildId) -> Option<&mut super::child::Process> {
        self.children.get_mut(&id)?.process_mut()
    }

    fn supervisor_mut(&mut self, id: ChildId) -> Option<&mut Supervisor> {
        self.children.get_mut(&id)?.supervisor_mut()
    }

    pub(super) fn name(&self, id: ChildId) -> &str {
        self.children.get(&id).map_or("", |child| &child.name)
    }

    /// Nobody will join it any more.
    pub(super) fn expect_nobody(&mut self, id: ChildId) {
        if let Some(process) = self.process_mut(id) {
            process.joiner = super::child::Joiner::Nobody;
        }
        self.finish(id);
    }
}

impl Life {
    /// Asks it to come to an orderly end.
    pub(super) fn stop(&mut self) {
        self.asked = true;
        self.say(&Down::Stop, Vec::new());
    }
}

impl super::child::Joiner {
    /// Answers it. Whether it is yet to ask.
    fn answer(&mut self, last: Option<Last>) -> bool {
        use super::child::Joiner;
        match std::mem::replace(self, Joiner::Nobody) {
            Joiner::Nobody => false,
            Joiner::Expected => {
                *self = Joiner::Expected;
                true
            }
            Joiner::Waiting(reply) => {
                reply.ended(last);
                false
            }
        }
    }
}

impl Reply {
    /// What became of a task.
    pub(super) fn ended(self, last: Option<Last>) {
        let answer = match last {
            Some(Last {
                not_launched: Some(error),
                ..
            }) => Err(error),
            Some(Last {
                reason, begun, done, ..
            }) => Ok(Answer::Ended { reason, begun, done }),
            // It was stopped before it was ever started.
            None => Ok(Answer::Ended {
                reason: ExitReason::Shutdown,
                begun: false,
                done: None,
            }),
        };
        self.answer(answer);
    }
}
