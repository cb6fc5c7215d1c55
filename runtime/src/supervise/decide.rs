//! What a supervisor does next: a [`Decider`] turns what happened into what is to be done.
//!
//! It is pure: time comes in with each event, timers go out as actions, and the children may be processes or
//! supervisors in their turn. Whoever drives it carries out the actions in order and reports what comes of them.
//!
//! # What it promises
//!
//! - A child never has two incarnations at once: the next is started after the end of the last was reported.
//! - At the start, and where a failure takes siblings along, children are started in order, each when those before it
//!   are ready, and stopped in reverse order, each when those after it have ended. Where each child is for itself, at
//!   a root, processes that were started one after another are strangers: at the end they are asked in that order, and
//!   all at once. A supervisor among them still waits for those after it, and those before it wait for it.
//! - A child that is stopped is asked first, and killed when its shutdown time is over.
//! - No more than the allowed restarts are decided within a period. A failed start counts as a failure.
//! - Every timer that is set is either cancelled or, when it fires, leads on.
//! - After `Stop` or `KillAll` it ends as soon as every child's end was reported, and says so once.
//!
//! # What it asks
//!
//! For each [`Action::Start`] exactly one [`Event::Exited`] is owed, also if no process ever came to be; before it at
//! most one [`Event::Ready`]. An end before `Ready` is a failed start, unless it was a normal one: then the child
//! was ready and done at once. Events of incarnations that are gone and timers that were cancelled are ignored, so
//! the driver may report late or twice.

mod action;
mod event;
#[cfg(test)]
mod properties;
mod slot;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub(crate) use action::{Action, Cause, Stage, Why};
pub(crate) use event::{ChildId, Event, Incarnation, Timer};

use super::backoff::Chance;
use super::intensity::Recent;
use super::spec::{Outcome, Policy, Rules, Scope, Strategy};
use crate::error::{Error, ErrorKind, Result};
use slot::{Slot, State, Then};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Decides for one supervisor.
#[derive(Debug)]
pub(crate) struct Decider {
    rules: Rules,
    phase: Phase,
    slots: BTreeMap<ChildId, Slot>,
    /// The children that may have a process.
    live: BTreeSet<ChildId>,
    due: BTreeSet<ChildId>,
    doomed: BTreeSet<ChildId>,
    /// Those among the living that are supervisors.
    trees: BTreeSet<ChildId>,
    /// How many children are not where they are to be.
    unsettled: usize,
    /// `Up` was said since the last child was missing.
    up: bool,
    recent: Recent,
    chance: Chance,
    next_child: u64,
    next_timer: u64,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// Up to the first `Up`.
    Starting,
    Running,
    Ending(Cause),
    Ended,
}

impl Decider {
    /// A supervisor of these children, in order, that waits for [`Event::Start`]. The seed is for the jitter.
    pub(crate) fn new(rules: Rules, children: impl IntoIterator<Item = Policy>, seed: u64) -> Self {
        let mut decider = Decider {
            rules,
            phase: Phase::New,
            slots: BTreeMap::new(),
            live: BTreeSet::new(),
            due: BTreeSet::new(),
            doomed: BTreeSet::new(),
            trees: BTreeSet::new(),
            unsettled: 0,
            up: false,
            recent: Recent::default(),
            chance: Chance::seeded(seed),
            next_child: 0,
            next_timer: 0,
            actions: Vec::new(),
        };
        for policy in children {
            decider.append(Slot::new(policy, true));
        }
        decider
    }

    /// Goes on counting where the decider of this supervisor's last life left off, so that no incarnation and no timer
    /// is taken for one of that life; `numbers` are those of the children's last incarnations.
    pub(crate) fn count_on(&mut self, last: &Decider, numbers: impl IntoIterator<Item = u64>) {
        self.next_timer = last.next_timer;
        for (slot, number) in self.slots.values_mut().zip(numbers) {
            slot.number = number;
        }
    }

    /// What is to be done now that this happened; `now` is the time since any fixed moment.
    pub(crate) fn on(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match event {
            Event::Start => self.begin(),
            Event::Ready(incarnation) => self.ready(now, incarnation),
            Event::Exited(incarnation, outcome) => self.exited(now, incarnation, outcome),
            Event::Fired(timer) => self.fired(timer),
            Event::Stop => self.end(Cause::Stopped),
            Event::KillAll => self.kill_all(),
            Event::StopChild(child) => self.rest(child, Then::Rest),
            Event::RemoveChild(child) => self.rest(child, Then::Forget),
            Event::RestartChild(child) => self.restart(child),
        }
        self.advance();
        std::mem::take(&mut self.actions)
    }

    /// Adds a child after all others and starts it, at once if the supervisor is up.
    ///
    /// # Errors
    ///
    /// The supervisor is about to end.
    pub(crate) fn add(&mut self, policy: Policy) -> Result<(ChildId, Vec<Action>)> {
        if self.is_ending() {
            let message = "the supervisor is stopping: it takes no more children";
            return Err(Error::with_kind(ErrorKind::Stopped, message));
        }
        let child = self.append(Slot::new(policy, false));
        self.advance();
        Ok((child, std::mem::take(&mut self.actions)))
    }

    /// Whether every child that is to run does.
    pub(crate) fn is_up(&self) -> bool {
        self.up && self.unsettled == 0 && self.phase == Phase::Running
    }

    /// Whether it ends, or has ended.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended)
    }

    /// Whether a child is on its way to an end after which it stays down, whatever becomes of its supervisor.
    pub(crate) fn is_leaving(&self, child: ChildId) -> bool {
        let then = self.slots.get(&child).and_then(|slot| slot.state.then());
        matches!(then, Some(Then::Rest | Then::Forget))
    }

    /// Its children in order.
    pub(crate) fn children(&self) -> impl Iterator<Item = ChildId> + '_ {
        self.slots.keys().copied()
    }

    /// Where a child is; `None` if it is not a child, or is no more.
    pub(crate) fn stage(&self, child: ChildId) -> Option<Stage> {
        self.slots.get(&child).map(|slot| slot.state.stage())
    }

    /// Which incarnation is the child's current or last one; `None` before the first.
    #[cfg(test)]
    pub(crate) fn incarnation(&self, child: ChildId) -> Option<Incarnation> {
        let number = self.slots.get(&child)?.number;
        (number > 0).then_some(Incarnation { child, number })
    }
}

/// What each event leads to, for the child that it is about.
impl Decider {
    fn begin(&mut self) {
        if self.phase == Phase::New {
            self.phase = Phase::Starting;
        }
    }

    fn ready(&mut self, now: Duration, incarnation: Incarnation) {
        if self.state_of(incarnation) == Some(State::Starting) {
            self.slot(incarnation.child).ready(now);
            self.set(incarnation.child, State::Running);
        }
    }

    fn exited(&mut self, now: Duration, incarnation: Incarnation, outcome: Outcome) {
        let Some(state) = self.state_of(incarnation).filter(|state| state.is_live()) else {
            return;
        };
        if let (State::Starting, Outcome::Normal) = (state, outcome) {
            self.ready(now, incarnation);
        }
        let child = incarnation.child;
        self.slot(child).ended(now);
        match (state, outcome) {
            (State::Starting, Outcome::Abnormal) => self.start_failed(now, child),
            (State::Starting | State::Running, _) => self.ended_by_itself(now, child, outcome),
            _ => self.ended_as_decided(child, state),
        }
    }

    /// The first start decides about the supervisor, or about a child that was added; later ones are like any failure.
    fn start_failed(&mut self, now: Duration, child: ChildId) {
        let slot = self.slot(child);
        match (slot.been_ready, slot.listed, self.phase) {
            (false, false, _) => self.lay_down(child, Why::NotStarted),
            (false, true, Phase::Starting) => self.fall(child, Cause::NotStarted(child)),
            _ => self.ended_by_itself(now, child, Outcome::Abnormal),
        }
    }

    fn ended_by_itself(&mut self, now: Duration, child: ChildId, outcome: Outcome) {
        if !self.slot(child).policy.restart.after(outcome) {
            self.lay_down(child, Why::Done);
        } else if self.admit(now, child) {
            self.back_off(child);
            self.doom_siblings(child);
        } else if self.rules.scope == Scope::EachChild {
            self.lay_down(child, Why::GivenUp);
        } else {
            self.fall(child, Cause::TooManyRestarts(child));
        }
    }

    fn ended_as_decided(&mut self, child: ChildId, state: State) {
        match state.then() {
            Some(Then::Again) if self.is_ending() => self.set(child, State::Down(Why::Stopped)),
            Some(Then::Again) | None => self.set(child, State::Due),
            Some(Then::Rest) => self.lay_down(child, Why::Stopped),
            Some(Then::Forget) => self.forget_gone(child, Why::Stopped),
        }
    }

    fn fired(&mut self, timer: Timer) {
        let child = timer.child;
        match self.slots.get(&child).map(|slot| slot.state) {
            Some(State::Waiting(set)) if set == timer => self.replace(child, State::Due),
            Some(State::Stopping(then, Some(set))) if set == timer => {
                self.replace(child, State::Killed(then));
                self.push(child, Action::Kill);
            }
            _ => {}
        }
    }

    /// By hand: the child stops and stays down, or is forgotten.
    fn rest(&mut self, child: ChildId, then: Then) {
        let Some(state) = self.by_hand(child) else { return };
        match state {
            State::Starting | State::Running => self.ask(child, then),
            // What is to be forgotten does not come back.
            _ if state.then() == Some(Then::Forget) => {}
            _ if state.is_ending() => self.replace(child, state.with_then(then)),
            State::Down(_) if then == Then::Forget => self.forget(child),
            State::Down(_) => self.replace(child, State::Down(Why::Stopped)),
            _ if then == Then::Forget => self.forget_gone(child, Why::Stopped),
            _ => self.lay_down(child, Why::Stopped),
        }
    }

    /// By hand: the child starts afresh.
    fn restart(&mut self, child: ChildId) {
        let Some(state) = self.by_hand(child) else { return };
        self.slot(child).pardon();
        match state {
            State::Starting | State::Running => self.ask(child, Then::Again),
            _ if state.then() == Some(Then::Forget) => {}
            _ if state.is_ending() => self.replace(child, state.with_then(Then::Again)),
            _ => self.set(child, State::Due),
        }
    }

    /// The state of a child about which the user may decide: not once the supervisor ends.
    fn by_hand(&self, child: ChildId) -> Option<State> {
        let slot = self.slots.get(&child).filter(|_| !self.is_ending())?;
        Some(slot.state)
    }

    fn kill_all(&mut self) {
        self.end(Cause::Killed);
        for child in self.live.clone().into_iter().rev() {
            let state = self.slot(child).state;
            if let (false, Some(then)) = (matches!(state, State::Killed(_)), state.then()) {
                self.set(child, State::Killed(then));
                self.push(child, Action::Kill);
            }
        }
    }
}

/// What a failure leads to, beyond the child that failed.
impl Decider {
    /// Counts a restart, unless it is one too many.
    fn admit(&mut self, now: Duration, child: ChildId) -> bool {
        let Some(slot) = self.slots.get_mut(&child) else {
            return false;
        };
        match self.rules.scope {
            Scope::Together => self.recent.admit(now, self.rules.intensity),
            Scope::EachChild => {
                let intensity = slot.policy.intensity.unwrap_or(self.rules.intensity);
                slot.recent.admit(now, intensity)
            }
        }
    }

    fn back_off(&mut self, child: ChildId) {
        let chance = self.chance.next();
        let delay = self.slot(child).next_delay(chance);
        if delay.is_zero() {
            return self.set(child, State::Due);
        }
        let timer = self.set_timer(child, delay);
        self.set(child, State::Waiting(timer));
    }

    /// Those whom the strategy takes along are stopped and started again; those stopped by hand stay down.
    fn doom_siblings(&mut self, failed: ChildId) {
        let first = match self.rules.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => ChildId(0),
            Strategy::RestForOne => failed,
        };
        let siblings: Vec<ChildId> = self.slots.range(first..).map(|(&child, _)| child).collect();
        for child in siblings.into_iter().filter(|&child| child != failed) {
            let slot = self.slot(child);
            let then = if slot.is_temporary() {
                Then::Forget
            } else {
                Then::Again
            };
            match slot.state {
                State::Starting | State::Running => self.set(child, State::Doomed(then)),
                State::Waiting(_) | State::Down(Why::Done) => self.set(child, State::Due),
                _ => {}
            }
        }
    }

    /// The supervisor ends because of a child that has just ended.
    fn fall(&mut self, child: ChildId, cause: Cause) {
        self.set(child, State::Down(Why::GivenUp));
        self.end(cause);
    }

    /// The supervisor is to end; the first cause stays.
    fn end(&mut self, cause: Cause) {
        if self.is_ending() {
            return;
        }
        self.phase = Phase::Ending(cause);
        for child in self.children().collect::<Vec<_>>() {
            match self.slot(child).state {
                State::Due | State::Waiting(_) => self.set(child, State::Down(Why::Stopped)),
                State::Starting | State::Running => self.set(child, State::Doomed(Then::Again)),
                _ => {}
            }
        }
    }
}

/// What is to be done next, in order: those that are to end, then those that are to start.
impl Decider {
    fn advance(&mut self) {
        match self.phase {
            Phase::New | Phase::Ended => {}
            Phase::Ending(cause) => {
                self.stop_last();
                if self.live.is_empty() {
                    self.phase = Phase::Ended;
                    self.actions.push(Action::Ended(cause));
                }
            }
            Phase::Starting | Phase::Running => {
                self.stop_last();
                self.start_due();
                self.announce();
            }
        }
    }

    /// Asks the last living child to stop, if it is doomed, and the strangers before it; one that may not take any time
    /// is killed.
    fn stop_last(&mut self) {
        while let Some(&last) = self.doomed.last()
            && self.is_its_turn(last)
            && let State::Doomed(then) = self.slot(last).state
        {
            self.ask(last, then);
        }
    }

    /// Whether those after it have ended, or need not.
    fn is_its_turn(&self, child: ChildId) -> bool {
        let strangers = self.is_ending() && self.rules.scope == Scope::EachChild;
        let is_last = self.live.last() == Some(&child);
        is_last || (strangers && self.trees.range(child..).next().is_none())
    }

    fn start_due(&mut self) {
        let one_for_one = self.rules.strategy == Strategy::OneForOne;
        if one_for_one && self.phase == Phase::Running {
            while let Some(child) = self.due.pop_first() {
                self.start(child);
            }
        } else if one_for_one || !self.is_held() {
            self.start_next();
        }
    }

    /// Siblings that start together do so after all that are to end have ended, and the back-off has passed.
    fn is_held(&self) -> bool {
        let holds = |state: State| state.is_ending() || matches!(state, State::Waiting(_));
        self.slots.values().any(|slot| holds(slot.state))
    }

    /// Starts the first child that is due, if all before it are where they are to be.
    fn start_next(&mut self) {
        let mut unsettled = self.slots.iter().filter(|(_, slot)| !slot.state.is_settled());
        if let Some((&child, slot)) = unsettled.next()
            && slot.state == State::Due
        {
            self.start(child);
        }
    }

    fn start(&mut self, child: ChildId) {
        self.slot(child).number += 1;
        self.set(child, State::Starting);
        self.push(child, Action::Start);
    }

    fn announce(&mut self) {
        let up = self.unsettled == 0;
        if up && !self.up {
            self.phase = Phase::Running;
            self.actions.push(Action::Up);
        }
        self.up = up;
    }

    fn ask(&mut self, child: ChildId, then: Then) {
        match self.slot(child).policy.shutdown {
            Some(time) if time.is_zero() => {
                self.set(child, State::Killed(then));
                self.push(child, Action::Kill);
            }
            Some(time) => {
                self.push(child, Action::Stop);
                let timer = self.set_timer(child, time);
                self.set(child, State::Stopping(then, Some(timer)));
            }
            None => {
                self.push(child, Action::Stop);
                self.set(child, State::Stopping(then, None));
            }
        }
    }

    /// The child is down for good; one that nobody could start again is forgotten.
    fn lay_down(&mut self, child: ChildId, why: Why) {
        if why == Why::NotStarted || self.slot(child).is_temporary() {
            return self.forget_gone(child, why);
        }
        self.set(child, State::Down(why));
        self.actions.push(Action::Gone(child, why));
    }

    fn forget_gone(&mut self, child: ChildId, why: Why) {
        self.set(child, State::Down(why));
        self.actions.push(Action::Gone(child, why));
        self.forget(child);
    }

    fn forget(&mut self, child: ChildId) {
        self.slots.remove(&child);
        self.actions.push(Action::Forgotten(child));
    }
}

/// The books: every change of a state goes through `replace`, so that the sets and counts agree with the states.
impl Decider {
    fn append(&mut self, slot: Slot) -> ChildId {
        let child = ChildId(self.next_child);
        self.next_child += 1;
        self.slots.insert(child, slot);
        self.due.insert(child);
        self.unsettled += 1;
        child
    }

    /// Changes a state and cancels the timer of the old one.
    fn set(&mut self, child: ChildId, state: State) {
        if let Some(timer) = self.slot(child).state.timer() {
            self.actions.push(Action::CancelTimer(timer));
        }
        self.replace(child, state);
    }

    /// Changes a state whose timer has fired, or goes on.
    fn replace(&mut self, child: ChildId, state: State) {
        let slot = self.slot(child);
        let tree = slot.policy.tree;
        let old = std::mem::replace(&mut slot.state, state);
        self.unsettled += usize::from(!state.is_settled());
        self.unsettled -= usize::from(!old.is_settled());
        mark(&mut self.live, child, state.is_live());
        mark(&mut self.due, child, state == State::Due);
        mark(&mut self.trees, child, tree && state.is_live());
        mark(&mut self.doomed, child, matches!(state, State::Doomed(_)));
    }

    fn set_timer(&mut self, child: ChildId, after: Duration) -> Timer {
        let timer = Timer {
            child,
            number: self.next_timer,
        };
        self.next_timer += 1;
        self.actions.push(Action::SetTimer(timer, after));
        timer
    }

    fn push(&mut self, child: ChildId, action: fn(Incarnation) -> Action) {
        let number = self.slot(child).number;
        self.actions.push(action(Incarnation { child, number }));
    }

    /// The state of the child whose current incarnation this is.
    fn state_of(&self, incarnation: Incarnation) -> Option<State> {
        let slot = self.slots.get(&incarnation.child)?;
        (slot.number == incarnation.number).then_some(slot.state)
    }

    /// A child that is known to exist.
    fn slot(&mut self, child: ChildId) -> &mut Slot {
        self.slots
            .get_mut(&child)
            .expect("ids of children that are gone were filtered at the door")
    }
}

fn mark(set: &mut BTreeSet<ChildId>, child: ChildId, is_in: bool) {
    if is_in {
        set.insert(child);
    } else {
        set.remove(&child);
    }
}
