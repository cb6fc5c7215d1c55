//! Ends: told to stop, killed, dead; who hears of it, and what goes with it.

use crate::exit::{ExitReason, KillCause};
use crate::process::Watch;
use crate::wire::control::{Answer, ChildId, Down, State};
use tokio::task::spawn_local;

use super::child::{Child, Last, Supervisor, Work};
use super::decide::{self, Cause, Why};
use super::host::{Event, Host, Who, stopped};
use super::life::Life;
use super::requests::Reply;
use super::spec::Outcome;

impl Host {
    pub(super) fn stop(&mut self, id: ChildId) {
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
    pub(super) fn kill(&mut self, id: ChildId) {
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

    /// A process is dead. What stands on its way to those who wait is short: its output is seen to last.
    pub(super) fn exited(&mut self, who: Who, watch: &Watch) {
        let log = self.bury(who, watch);
        watch.reap();
        let (pid, relay, events) = (watch.pid(), self.relay.clone(), self.events.clone());
        // After the start of the next one, which was decided on by now.
        spawn_local(async move {
            if let Some(log) = log {
                relay.run(log);
            }
            relay.drained(pid).await;
            let _ = events.send(Event::Relayed(who));
        });
    }

    /// What is to be logged of it, if it was known.
    fn bury(&mut self, who: Who, watch: &Watch) -> Option<impl FnOnce() + Send + use<>> {
        // It may have said so to others, and not here.
        if self.life(who).is_some_and(|life| life.page.is_up()) {
            self.ready(who);
        }
        let process = self.process_mut(who.child)?;
        let mut life = process.life.take_if(|life| life.incarnation == who.incarnation)?;
        process.relaying = Some(who);
        let killers = std::mem::take(&mut process.killers);
        let reason = life.reason(watch.status());
        let begun = life.page.begun(0).is_some_and(|begun| begun > 0);
        self.cut_links(&life, &reason);
        // They have heard: now its number may be freed, before anybody is told that it is gone.
        watch.reap();
        self.lose(who.child, &life, &reason);
        self.end_owned(who.child);
        self.end_monitors_of(who.child);
        self.forget_cut_links(who);
        self.forget_waits_of(who.child);
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
        Some(self.log_of_end(who.child, life.pid, reason))
    }

    /// Its last output was relayed: those may go on who wait for its end.
    pub(super) fn relayed(&mut self, who: Who) {
        if let Some(process) = self.process_mut(who.child) {
            process.relaying.take_if(|relaying| *relaying == who);
        }
        if self.is_relaying(who.child) {
            // The next process of this child is dead too, and is waited for.
            return;
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
    pub(super) fn gone(&mut self, id: ChildId, why: Why) {
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
            .for_each(|caller| caller.reply.answer(Err(stopped(&name))));
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
    pub(super) fn retire_those_down(&mut self, supervisor: ChildId) {
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
    pub(super) fn retire_with_those_above(&mut self, id: ChildId) {
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
    pub(super) fn is_final(&self, id: ChildId) -> bool {
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

    pub(super) fn forgotten(&mut self, supervisor: ChildId, seat: decide::ChildId) {
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

    pub(super) fn supervisor_ended(&mut self, id: ChildId, cause: Cause) {
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
                callers.for_each(|caller| caller.reply.answer(Err(stopped(&child.name))));
            }
        }
    }

    fn log_of_end(&self, id: ChildId, pid: i32, reason: ExitReason) -> impl FnOnce() + Send + use<> {
        let child = self.name(id).to_owned();
        move || match reason {
            ExitReason::Normal
            | ExitReason::Shutdown
            | ExitReason::Killed(KillCause::Asked | KillCause::Dropped) => {
                tracing::debug!(child, pid, %reason, "ended");
            }
            _ => tracing::warn!(child, pid, %reason, "died"),
        }
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
