//! What a supervisor is asked to start: plain data, which a child that starts a tree sends to the host.

use crate::wire::control::{Body, Mailbox};
use serde::{Deserialize, Serialize};

use super::spec::{Policy, Rules};

/// A child, or a supervisor with children of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    /// `None`: named after its type, with its id.
    pub(crate) name: Option<String>,
    pub(crate) policy: Policy,
    pub(crate) work: Work,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    Process(Process),
    Supervisor { rules: Rules, children: Vec<Node> },
}

/// A process, and what it needs beyond its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) body: Body,
    /// What it is called where it has no name: the annotated item's.
    pub(crate) label: String,
    /// Its mailbox, where it is not that of the settings.
    pub(crate) mailbox: Option<Mailbox>,
    /// Bytes of shared memory for the results of a pool's worker.
    pub(crate) outbox: usize,
    /// How long an item of a pool's worker may run before the worker is killed.
    pub(crate) item_timeout: Option<std::time::Duration>,
    /// Whether its starter will ask for its end and what it came to.
    pub(crate) joined: bool,
}

impl Node {
    /// All names below it, its own included, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let own = self.name.iter().map(String::as_str);
        match &self.work {
            Work::Process(_) => own.collect(),
            Work::Supervisor { children, .. } => own.chain(children.iter().flat_map(Node::names)).collect(),
        }
    }
}
