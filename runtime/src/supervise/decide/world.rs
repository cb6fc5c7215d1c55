//! The world of a [`Decider`] in tests: processes that start, get ready, fail, heed or do not, and a clock.
//!
//! It carries out each action and checks, as it does, everything that the decider promises; and it counts restarts in
//! a way of its own, so that it knows after each exit what is to follow.

use super::*;
use crate::supervise::spec::Restart;
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct World {
    pub(super) decider: Decider,
    pub(super) now: Duration,
    rules: Rules,
    children: BTreeMap<ChildId, Child>,
    /// When each timer fires that is set.
    timers: HashMap<Timer, Duration>,
    /// Those that fired or were cancelled.
    old_timers: Vec<Timer>,
    restarts: Vec<Duration>,
    started: bool,
    been_up: bool,
    /// Nothing was decided by hand.
    hands_off: bool,
    killing: bool,
    ending: Option<Cause>,
    ended: Option<Cause>,
    log: Vec<Action>,
}

#[derive(Debug)]
struct Child {
    policy: Policy,
    listed: bool,
    been_ready: bool,
    by_hand: bool,
    last: u64,
    process: Option<Process>,
    restarts: Vec<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Process {
    ready: bool,
    asked: bool,
    killed: bool,
    /// It is to end together with one that failed.
    doomed: bool,
}

impl Process {
    fn is_left_alone(self) -> bool {
        !self.asked && !self.killed && !self.doomed
    }
}

impl Child {
    fn new(policy: Policy, listed: bool) -> Self {
        Child {
            policy,
            listed,
            been_ready: false,
            by_hand: false,
            last: 0,
            process: None,
            restarts: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn new(rules: Rules, policies: Vec<Policy>) -> Self {
        let decider = Decider::new(rules.clone(), policies.clone(), 7);
        let ids: Vec<_> = decider.children().collect();
        let children = policies.into_iter().map(|policy| Child::new(policy, true));
        World {
            decider,
            now: Duration::from_secs(1000),
            rules,
            children: ids.into_iter().zip(children).collect(),
            timers: HashMap::new(),
            old_timers: Vec::new(),
            restarts: Vec::new(),
            started: false,
            been_up: false,
            hands_off: true,
            killing: false,
            ending: None,
            ended: None,
            log: Vec::new(),
        }
    }

    pub(super) fn start(&mut self) {
        self.started |= self.ending.is_none();
        self.tell(Event::Start);
    }

    pub(super) fn ready(&mut self, child: ChildId) {
        let known = self.children.get_mut(&child).unwrap();
        let process = known.process.as_mut().unwrap();
        process.ready = true;
        known.been_ready |= process.is_left_alone();
        let event = Event::Ready(self.current(child));
        self.tell(event);
    }

    /// The child's process ends, whether asked or not; checks what the decider makes of it.
    pub(super) fn exit(&mut self, child: ChildId, outcome: Outcome) {
        let incarnation = self.current(child);
        let process = self.children.get_mut(&child).unwrap().process.take().unwrap();
        let expected = self.expect(child, process, outcome);
        let from = self.log.len();
        self.tell(Event::Exited(incarnation, outcome));
        let follows = |action| self.log[from..].contains(&action);
        match expected {
            Expected::Nothing => {}
            Expected::Gone(why) => assert!(follows(Action::Gone(child, why)), "{child:?} is not gone"),
            Expected::Again => {
                let stage = self.decider.stage(child);
                assert!(
                    matches!(stage, Some(Stage::Waiting | Stage::Starting)),
                    "{stage:?}"
                );
            }
            Expected::End(cause) => assert_eq!(self.ending, Some(cause)),
        }
        assert_eq!(self.decider.is_ending(), self.ending.is_some());
    }

    pub(super) fn stop(&mut self) {
        self.ending.get_or_insert(Cause::Stopped);
        self.tell(Event::Stop);
    }

    pub(super) fn kill_all(&mut self) {
        self.ending.get_or_insert(Cause::Killed);
        self.killing = true;
        self.tell(Event::KillAll);
        assert!(self.processes().all(|(_, process)| process.killed));
        self.killing = false;
    }

    pub(super) fn add(&mut self, policy: Policy) {
        match self.decider.add(policy.clone()) {
            Ok((child, actions)) => {
                self.children.insert(child, Child::new(policy, false));
                self.carry_out(actions);
            }
            Err(error) => {
                assert!(self.ending.is_some());
                assert_eq!(error.kind(), ErrorKind::Stopped);
            }
        }
    }

    pub(super) fn by_hand(&mut self, event: Event) {
        let (Event::StopChild(child) | Event::RemoveChild(child) | Event::RestartChild(child)) = event else {
            panic!("{event:?} is not by hand")
        };
        self.hands_off = false;
        if let Some(known) = self.children.get_mut(&child) {
            known.by_hand = true;
            if matches!(event, Event::RestartChild(_)) && self.ending.is_none() {
                known.restarts.clear();
            }
        }
        self.tell(event);
    }

    /// An event that was reported before, or belongs to nobody, changes nothing.
    pub(super) fn stale(&mut self, event: Event) {
        let before = self.stages();
        assert_eq!(self.decider.on(self.now, event), []);
        assert_eq!(self.stages(), before);
    }

    /// Lets the clock go on to the next timer.
    pub(super) fn fire(&mut self) -> bool {
        let Some((&timer, &at)) = self.timers.iter().min_by_key(|(timer, at)| (**at, timer.number)) else {
            return false;
        };
        self.now = self.now.max(at);
        self.timers.remove(&timer);
        self.old_timers.push(timer);
        self.tell(Event::Fired(timer));
        true
    }

    /// Lets everything take its course, with processes that become ready, and stop when they are `heedful`, until
    /// nothing more can happen; then the supervisor must be where it is to be.
    pub(super) fn settle(&mut self, heedful: bool) {
        for _ in 0..10_000 {
            if !self.settle_one(heedful) && !self.fire() {
                return assert!(
                    self.ended.is_some() || self.decider.is_up() || !self.started,
                    "it waits for nothing: {self:#?}"
                );
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }

    fn settle_one(&mut self, heedful: bool) -> bool {
        let stops = |child: &Child, process: Process| {
            process.killed || (process.asked && (heedful || child.policy.shutdown.is_none()))
        };
        let mut all = self
            .children
            .iter()
            .filter_map(|(&id, child)| Some((id, child, child.process?)));
        if let Some((id, ..)) = all.clone().find(|(_, child, process)| stops(child, *process)) {
            self.exit(id, Outcome::Normal);
        } else if let Some((id, ..)) = all.find(|(_, _, process)| !process.ready && process.is_left_alone()) {
            self.ready(id);
        } else {
            return false;
        }
        true
    }

    pub(super) fn is_left_behind(&self) -> bool {
        self.processes().next().is_some() || !self.timers.is_empty()
    }

    pub(super) fn ended(&self) -> Option<Cause> {
        self.ended
    }

    pub(super) fn ids(&self) -> Vec<ChildId> {
        self.children.keys().copied().collect()
    }

    pub(super) fn live(&self) -> Vec<ChildId> {
        self.processes().map(|(id, _)| id).collect()
    }

    pub(super) fn starting(&self) -> Vec<ChildId> {
        let starting = self.processes().filter(|(_, process)| !process.ready);
        starting.map(|(id, _)| id).collect()
    }

    pub(super) fn old_timers(&self) -> &[Timer] {
        &self.old_timers
    }

    pub(super) fn current(&self, child: ChildId) -> Incarnation {
        let number = self.children.get(&child).map_or(1, |child| child.last);
        Incarnation { child, number }
    }

    /// What was done since the last look, timers left out: `stop c1, start a2, up`.
    pub(super) fn log(&mut self) -> String {
        let lines: Vec<_> = self.log.drain(..).filter_map(line).collect();
        lines.join(", ")
    }

    fn processes(&self) -> impl Iterator<Item = (ChildId, Process)> + '_ {
        self.children
            .iter()
            .filter_map(|(&id, child)| Some((id, child.process?)))
    }

    fn stages(&self) -> Vec<(ChildId, Option<Stage>)> {
        self.decider
            .children()
            .map(|child| (child, self.decider.stage(child)))
            .collect()
    }
}

/// What is to follow an exit.
#[derive(Debug)]
enum Expected {
    Nothing,
    Gone(Why),
    Again,
    End(Cause),
}

impl World {
    fn expect(&mut self, id: ChildId, process: Process, outcome: Outcome) -> Expected {
        if !process.is_left_alone() || self.ending.is_some() {
            return Expected::Nothing;
        }
        let child = self.children.get_mut(&id).unwrap();
        child.been_ready |= outcome == Outcome::Normal;
        if !child.been_ready && !child.listed {
            return Expected::Gone(Why::NotStarted);
        }
        if !child.been_ready && !self.been_up {
            return self.expect_end(Cause::NotStarted(id));
        }
        let again = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => outcome == Outcome::Abnormal,
            Restart::Temporary => false,
        };
        if !again {
            return Expected::Gone(Why::Done);
        }
        self.expect_restart(id)
    }

    fn expect_restart(&mut self, id: ChildId) -> Expected {
        let child = self.children.get_mut(&id).unwrap();
        let (restarts, intensity) = match self.rules.scope {
            Scope::Together => (&mut self.restarts, self.rules.intensity),
            Scope::EachChild => {
                let own = child.policy.intensity.unwrap_or(self.rules.intensity);
                (&mut child.restarts, own)
            }
        };
        let recent = restarts
            .iter()
            .filter(|&&at| at + intensity.period >= self.now)
            .count();
        if recent < intensity.max as usize {
            restarts.push(self.now);
            self.doom(id);
            return Expected::Again;
        }
        match self.rules.scope {
            Scope::Together => self.expect_end(Cause::TooManyRestarts(id)),
            Scope::EachChild => Expected::Gone(Why::GivenUp),
        }
    }

    fn expect_end(&mut self, cause: Cause) -> Expected {
        self.ending = Some(cause);
        Expected::End(cause)
    }

    fn doom(&mut self, failed: ChildId) {
        let taken = |id: ChildId| match self.rules.strategy {
            Strategy::OneForOne => false,
            Strategy::OneForAll => true,
            Strategy::RestForOne => id > failed,
        };
        for (_, child) in self.children.iter_mut().filter(|(id, _)| taken(**id)) {
            if let Some(process) = &mut child.process {
                process.doomed = true;
            }
        }
    }

    fn tell(&mut self, event: Event) {
        let actions = self.decider.on(self.now, event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.log.push(action);
            self.check_and_do(action);
        }
        self.check_that_strangers_do_not_wait();
        let known = self.decider.children().collect::<Vec<_>>();
        assert_eq!(known, self.ids());
        for child in known {
            let lives = matches!(
                self.decider.stage(child),
                Some(Stage::Starting | Stage::Running | Stage::Stopping)
            );
            assert_eq!(lives, self.live().contains(&child), "{child:?}");
            let number = self
                .decider
                .incarnation(child)
                .map_or(0, |incarnation| incarnation.number);
            assert_eq!(number, self.children[&child].last);
        }
    }

    fn check_and_do(&mut self, action: Action) {
        assert_eq!(self.ended, None, "{action:?} after the end");
        match action {
            Action::Start(incarnation) => self.check_start(incarnation),
            Action::Stop(incarnation) => self.check_stop(incarnation),
            Action::Kill(incarnation) => self.check_kill(incarnation),
            Action::SetTimer(timer, after) => {
                assert!(!self.old_timers.contains(&timer));
                assert_eq!(self.timers.insert(timer, self.now + after), None);
            }
            Action::CancelTimer(timer) => {
                assert!(self.timers.remove(&timer).is_some(), "{timer:?} is not set");
                self.old_timers.push(timer);
            }
            Action::Gone(child, _) => assert!(self.children[&child].process.is_none()),
            Action::Forgotten(child) => assert!(self.children.remove(&child).unwrap().process.is_none()),
            Action::Up => {
                assert!(self.ending.is_none());
                let mut processes = self.processes();
                assert!(processes.all(|(_, process)| process.ready && process.is_left_alone()));
                drop(processes);
                self.been_up = true;
            }
            Action::Ended(cause) => {
                assert!(!self.is_left_behind(), "{self:#?}");
                assert_eq!(self.ending, Some(cause));
                assert!(self.stages().iter().all(|(_, stage)| *stage == Some(Stage::Down)));
                self.ended = Some(cause);
            }
        }
    }

    /// Behind the last supervisor among a root's children nobody waits for another's end.
    fn check_that_strangers_do_not_wait(&self) {
        if self.ending.is_none() || self.rules.scope == Scope::Together {
            return;
        }
        let is_alone = |id: &ChildId| !self.children[id].policy.tree;
        let strangers = self.live().into_iter().rev().take_while(is_alone);
        for id in strangers {
            let process = self.children[&id].process.unwrap();
            assert!(process.asked || process.killed, "{id:?} waits for its neighbours");
        }
    }

    fn check_start(&mut self, incarnation: Incarnation) {
        let id = incarnation.child;
        assert!(self.started && self.ending.is_none());
        let in_order = self.rules.strategy != Strategy::OneForOne;
        for (other, process) in self.processes() {
            assert_ne!(other, id, "two incarnations at once");
            assert!(!process.doomed, "{id:?} starts while {other:?} is to end");
            assert!(
                process.ready || other > id || (!in_order && self.been_up),
                "{id:?} before {other:?}"
            );
            assert!(
                !in_order || !self.hands_off || other < id,
                "{other:?} outlived {id:?}"
            );
        }
        let child = self.children.get_mut(&id).unwrap();
        assert_eq!(incarnation.number, child.last + 1);
        let first = incarnation.number == 1;
        assert!(first || child.by_hand || child.policy.restart != Restart::Temporary);
        child.last = incarnation.number;
        child.process = Some(Process::default());
    }

    fn check_stop(&mut self, incarnation: Incarnation) {
        self.check_order(incarnation.child);
        let process = self.process(incarnation);
        assert!(!process.asked && !process.killed);
        process.asked = true;
    }

    fn check_kill(&mut self, incarnation: Incarnation) {
        let process = *self.process(incarnation);
        assert!(!process.killed);
        if !process.asked && !self.killing {
            assert_eq!(
                self.children[&incarnation.child].policy.shutdown,
                Some(Duration::ZERO)
            );
            self.check_order(incarnation.child);
        }
        self.process(incarnation).killed = true;
    }

    /// Whoever is stopped and was not stopped by hand is the last one alive, and there is a reason for it.
    fn check_order(&self, id: ChildId) {
        let child = &self.children[&id];
        if !child.by_hand {
            let later: Vec<_> = self.processes().filter(|(later, _)| *later > id).collect();
            let strangers = self.ending.is_some() && self.rules.scope == Scope::EachChild;
            let are_told = later.iter().all(|(_, later)| later.asked || later.killed);
            let is_tree = |id: &ChildId| self.children[id].policy.tree;
            let is_alone = !is_tree(&id) && !later.iter().any(|(later, _)| is_tree(later));
            assert!(
                later.is_empty() || (strangers && are_told && is_alone),
                "stopped before a later one"
            );
            assert!(self.ending.is_some() || child.process.unwrap().doomed);
        }
    }

    fn process(&mut self, incarnation: Incarnation) -> &mut Process {
        let child = self.children.get_mut(&incarnation.child).unwrap();
        assert_eq!(incarnation.number, child.last);
        child
            .process
            .as_mut()
            .expect("an action for a child without a process")
    }
}

fn line(action: Action) -> Option<String> {
    let name = |id: ChildId| char::from(b'a' + id.0 as u8);
    let life = |life: Incarnation| format!("{}{}", name(life.child), life.number);
    Some(match action {
        Action::Start(incarnation) => format!("start {}", life(incarnation)),
        Action::Stop(incarnation) => format!("stop {}", life(incarnation)),
        Action::Kill(incarnation) => format!("kill {}", life(incarnation)),
        Action::Gone(child, why) => format!("gone {} {why:?}", name(child)),
        Action::Forgotten(child) => format!("forgotten {}", name(child)),
        Action::Up => "up".into(),
        Action::Ended(_) => "ended".into(),
        Action::SetTimer(..) | Action::CancelTimer(_) => return None,
    })
}
