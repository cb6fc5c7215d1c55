//! The tree: what happened goes to the deciders, what they decide is done.

use crate::wire::control::{ChildId, State};
use std::time::Duration;
use tokio::task::spawn_local;

use super::child::{Child, Supervisor};
use super::decide::{self, Action, Timer};
use super::host::{Event, Host, Who};
use super::life::Life;

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

    pub(super) fn supervisor_mut(&mut self, id: ChildId) -> Option<&mut Supervisor> {
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
