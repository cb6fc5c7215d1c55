//! What a [`Decider`](super::Decider) is told: what happened, and to which incarnation.

use crate::supervise::spec::Outcome;

/// A child of one supervisor; in the order in which children were added, and never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(pub(crate) u64);

/// One life of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Incarnation {
    pub(crate) child: ChildId,
    /// 1 for the first.
    pub(crate) number: u64,
}

/// A timer that was set; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Timer {
    pub(super) child: ChildId,
    pub(super) number: u64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The supervisor is to come up.
    Start,
    /// This incarnation is at work.
    Ready(Incarnation),
    /// This incarnation is gone, or could not be started.
    Exited(Incarnation, Outcome),
    /// The time of this timer is over.
    Fired(Timer),
    /// All children are to stop in order, and the supervisor to end.
    Stop,
    /// The same at once, by killing them.
    KillAll,
    /// By hand: this child is to stop and to stay down.
    StopChild(ChildId),
    /// By hand: this child is to stop and to be forgotten.
    RemoveChild(ChildId),
    /// By hand: this child is to stop, if it runs, and to start afresh, its failures forgotten.
    RestartChild(ChildId),
}
