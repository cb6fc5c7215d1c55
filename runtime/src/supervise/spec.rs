//! What a supervisor is told about its children: when to start one again, and which others a death takes along.
//!
//! Plain data, all of it serialisable: a child that starts a tree sends its spec to the host.

use super::{Backoff, Intensity};
use crate::exit::ExitReason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a child that is asked to stop may take, unless its spec says otherwise.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Which children are started again when one of them fails.
///
/// In every strategy the others are stopped in reverse order, and started in order, the next one only when the one
/// before it is ready. A failure during all this begins it anew and counts towards the [`Intensity`].
///
/// | strategy | when the second of `a b c` fails |
/// | --- | --- |
/// | `OneForOne` | `b` is started again |
/// | `OneForAll` | `c` and `a` are stopped; `a`, `b`, `c` are started again |
/// | `RestForOne` | `c` is stopped; `b`, `c` are started again |
///
/// ```
/// use procession::Strategy;
///
/// assert_eq!(Strategy::default(), Strategy::OneForOne);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Strategy {
    /// Only the one that failed: the children do not depend on each other.
    #[default]
    OneForOne,
    /// All of them: none makes sense without the others.
    OneForAll,
    /// The one that failed and those listed after it: each depends on those before it.
    RestForOne,
}

/// Whether a child that ended is started again.
///
/// A child that was stopped by hand is not, whatever its `Restart` says.
///
/// | | it returned, or was asked to stop | it failed, panicked or was killed |
/// | --- | --- | --- |
/// | `Permanent` | again | again |
/// | `Transient` | not again | again |
/// | `Temporary` | not again | not again |
///
/// ```
/// use procession::Restart;
///
/// assert_eq!(Restart::default(), Restart::Permanent);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an end that was not wished for. Once it ended well it is started again only together with its
    /// siblings, where the [`Strategy`] says so.
    Transient,
    /// Never, not even where the [`Strategy`] starts its siblings again: it is then stopped with them and forgotten.
    Temporary,
}

impl Restart {
    /// Whether a child that ended so is started again.
    pub(crate) fn after(self, outcome: Outcome) -> bool {
        match self {
            Restart::Permanent => true,
            Restart::Transient => outcome == Outcome::Abnormal,
            Restart::Temporary => false,
        }
    }
}

/// What matters of an [`ExitReason`] to a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It returned, or was asked to stop and did.
    Normal,
    /// Any other end, a start that failed included.
    Abnormal,
}

impl From<&ExitReason> for Outcome {
    fn from(reason: &ExitReason) -> Self {
        if reason.is_normal() {
            Outcome::Normal
        } else {
            Outcome::Abnormal
        }
    }
}

/// The rules for one child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// Whether it is started again.
    pub(crate) restart: Restart,
    /// How long it may take to stop before it is killed. Zero kills it at once; `None` waits for ever.
    pub(crate) shutdown: Option<Duration>,
    /// How long to wait before it is started again.
    pub(crate) backoff: Backoff,
    /// Its own intensity, where each child is counted for itself; `None` takes the supervisor's.
    pub(crate) intensity: Option<Intensity>,
    /// It is a supervisor: one of a root's children that stops in its turn, not together with its neighbours.
    pub(crate) tree: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            restart: Restart::default(),
            shutdown: Some(SHUTDOWN),
            backoff: Backoff::default(),
            intensity: None,
            tree: false,
        }
    }
}

impl Policy {
    /// The default for a child that is itself a supervisor: it has the time that its own children need.
    pub(crate) fn supervisor() -> Self {
        Policy {
            shutdown: None,
            tree: true,
            ..Policy::default()
        }
    }
}

/// The rules for one supervisor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Which children a failure takes along.
    pub(crate) strategy: Strategy,
    /// How many restarts are too many.
    pub(crate) intensity: Intensity,
    /// Whose restarts are counted together, and who goes when they are too many.
    pub(crate) scope: Scope,
}

impl Rules {
    /// The rules of a host's root: its children are strangers to each other, and it never ends by itself.
    pub(crate) fn root() -> Self {
        Rules {
            scope: Scope::EachChild,
            ..Rules::default()
        }
    }
}

/// Whose restarts are counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scope {
    /// All children's; too many end the supervisor, and its own supervisor decides.
    #[default]
    Together,
    /// Each child's for itself; too many end that child alone.
    EachChild,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::KillCause;
    use crate::wire::codec;

    #[test]
    fn only_a_return_and_an_orderly_stop_are_normal_ends() {
        for reason in [ExitReason::Normal, ExitReason::Shutdown] {
            assert_eq!(Outcome::from(&reason), Outcome::Normal);
        }
        let abnormal = [
            ExitReason::Exited(0),
            ExitReason::InitFailed("no".into()),
            ExitReason::Killed(KillCause::Asked),
        ];
        for reason in &abnormal {
            assert_eq!(Outcome::from(reason), Outcome::Abnormal);
        }
    }

    #[test]
    fn rules_and_policies_travel() {
        let mut bytes = Vec::new();
        codec::encode(&(Rules::root(), Policy::supervisor()), &mut bytes).unwrap();
        let back: (Rules, Policy) = codec::decode(&bytes).unwrap();
        assert_eq!(back, (Rules::root(), Policy::supervisor()));
    }
}
