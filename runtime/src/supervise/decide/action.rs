//! What a [`Decider`](super::Decider) says: what is to be done, and what became of whom.

use super::event::{ChildId, Incarnation, Timer};
use std::time::Duration;

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start this incarnation.
    Start(Incarnation),
    /// Ask it to stop.
    Stop(Incarnation),
    /// Kill it: it was not to be asked, or did not heed.
    Kill(Incarnation),
    /// Report [`Event::Fired`](super::Event::Fired) after this time.
    SetTimer(Timer, Duration),
    /// Forget this timer.
    CancelTimer(Timer),
    /// This child is down, and will not start again by itself; not said of children that end with their supervisor.
    Gone(ChildId, Why),
    /// This child is forgotten: its id means nothing any more.
    Forgotten(ChildId),
    /// Every child that is to run does: at the first time, and each time after one was missing.
    Up,
    /// The supervisor has ended, and none of its children is left.
    Ended(Cause),
}

/// Why a child is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It ended, and its restart policy leaves it at that.
    Done,
    /// By hand, or with its supervisor.
    Stopped,
    /// It failed too often.
    GivenUp,
    /// It was added to a supervisor that was up, and did not start.
    NotStarted,
}

/// Why a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was asked to stop: a normal end, all others are abnormal.
    Stopped,
    /// It was killed.
    Killed,
    /// This child did not start.
    NotStarted(ChildId),
    /// This child's failure was one too many.
    TooManyRestarts(ChildId),
}

/// Where a child is in its life, for whoever looks at the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// For its turn, or for its back-off to pass.
    Waiting,
    Starting,
    Running,
    Stopping,
    Down,
}
