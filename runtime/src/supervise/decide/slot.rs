//! One child in a [`Decider`](super::Decider): where it is in its life, and what is to follow.

use super::{Stage, Timer, Why};
use crate::supervise::intensity::Recent;
use crate::supervise::spec::{Policy, Restart};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) policy: Policy,
    pub(super) state: State,
    /// The current incarnation's number, or the last one's; the first is 1.
    pub(super) number: u64,
    /// It is in the supervisor's own spec: if it does not start, neither does the supervisor.
    pub(super) listed: bool,
    pub(super) been_ready: bool,
    /// When the living incarnation became ready.
    ready_at: Option<Duration>,
    /// Failures since it was last healthy.
    failures: u32,
    /// Its restarts, where each child is counted for itself.
    pub(super) recent: Recent,
}

/// The states in which a process may exist are `Starting`, `Running`, `Doomed`, `Stopping` and `Killed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be started when its turn comes.
    Due,
    /// To be `Due` when its back-off has passed.
    Waiting(Timer),
    Starting,
    Running,
    /// To be asked to stop once those after it have ended.
    Doomed(Then),
    /// Asked to stop; the timer ends its shutdown time, if that is finite.
    Stopping(Then, Option<Timer>),
    Killed(Then),
    /// Not running and not to be started, but by hand or together with its siblings.
    Down(Why),
}

/// What follows when a child that is being stopped has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is started again; nothing, if the supervisor ends.
    Again,
    /// It stays down.
    Rest,
    /// It is forgotten.
    Forget,
}

impl State {
    pub(super) fn is_live(self) -> bool {
        use State::*;
        matches!(self, Starting | Running | Doomed(_) | Stopping(..) | Killed(_))
    }

    /// Whether nothing more is to happen by itself.
    pub(super) fn is_settled(self) -> bool {
        matches!(self, State::Running | State::Down(_))
    }

    /// Whether it is on its way to an end that was decided.
    pub(super) fn is_ending(self) -> bool {
        self.then().is_some()
    }

    pub(super) fn then(self) -> Option<Then> {
        match self {
            State::Doomed(then) | State::Stopping(then, _) | State::Killed(then) => Some(then),
            _ => None,
        }
    }

    /// The same, with another thing to follow; no change where nothing is to follow.
    pub(super) fn with_then(self, then: Then) -> Self {
        match self {
            State::Doomed(_) => State::Doomed(then),
            State::Stopping(_, timer) => State::Stopping(then, timer),
            State::Killed(_) => State::Killed(then),
            other => other,
        }
    }

    /// The timer that is running for it.
    pub(super) fn timer(self) -> Option<Timer> {
        match self {
            State::Waiting(timer) => Some(timer),
            State::Stopping(_, timer) => timer,
            _ => None,
        }
    }

    pub(super) fn stage(self) -> Stage {
        match self {
            State::Due | State::Waiting(_) => Stage::Waiting,
            State::Starting => Stage::Starting,
            State::Running => Stage::Running,
            State::Doomed(_) | State::Stopping(..) | State::Killed(_) => Stage::Stopping,
            State::Down(_) => Stage::Down,
        }
    }
}

impl Slot {
    pub(super) fn new(policy: Policy, listed: bool) -> Self {
        Slot {
            policy,
            state: State::Due,
            number: 0,
            listed,
            been_ready: false,
            ready_at: None,
            failures: 0,
            recent: Recent::default(),
        }
    }

    pub(super) fn ready(&mut self, now: Duration) {
        self.been_ready = true;
        self.ready_at = Some(now);
    }

    /// Its incarnation ended: were its failures long enough ago, they are forgotten.
    pub(super) fn ended(&mut self, now: Duration) {
        let up = self.ready_at.take().map(|at| now.saturating_sub(at));
        if up.is_some_and(|up| self.policy.backoff.forgets_after(up)) {
            self.failures = 0;
        }
    }

    /// How long to wait before it is started again.
    pub(super) fn next_delay(&mut self, chance: f64) -> Duration {
        let delay = self.policy.backoff.delay(self.failures, chance);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Its failures are forgotten: it is started again by hand.
    pub(super) fn pardon(&mut self) {
        self.failures = 0;
        self.recent.forget();
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.policy.restart == Restart::Temporary
    }
}
