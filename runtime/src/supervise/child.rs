//! What the host knows of a child: a process that may be started again, or a supervisor.

use crate::error::{Error, ErrorKind};
use crate::exit::ExitReason;
use crate::process::control::Answered;
use crate::wire::control::{BodyKind, Cap, ChildId, Context, Done, Info, Introduced, LinkId, State, Ticket};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::decide::{self, Decider, Incarnation, Stage, Timer};
use super::host::Who;
use super::life::Life;
use super::node;
use super::requests::Reply;
use super::spec::{Policy, Rules};

/// A child, from the moment it is asked for until nobody asks for it any more.
pub(crate) struct Child {
    pub(super) id: ChildId,
    pub(super) cap: Cap,
    pub(super) context: Context,
    pub(super) name: String,
    pub(super) policy: Policy,
    /// The supervisor that it is under, and its seat there. Roots have none.
    pub(super) under: Option<(ChildId, decide::ChildId)>,
    /// The process whose end is its own.
    pub(super) owner: Option<ChildId>,
    /// Who asked for it, and by which of their starts; what is below a supervisor was not asked for by itself.
    pub(super) asked: Option<(Option<ChildId>, Ticket)>,
    pub(super) work: Work,
    /// The number of its last incarnation, 0 before the first; none is used twice, whoever starts it.
    pub(super) number: u64,
    /// The supervisor that has forgotten it, and still waits for its last output.
    pub(super) left: Option<ChildId>,
    /// When its incarnation came up.
    pub(super) since: Instant,
    /// Who waits for its first start.
    pub(super) starter: Option<Starter>,
    /// Why its last incarnation did not start or ended.
    pub(super) last: Option<Last>,
    /// It has ended for good.
    pub(super) ended: bool,
    /// Who is told once it has ended for good and its last output was relayed.
    pub(super) stoppers: Vec<Reply>,
}

pub(crate) enum Work {
    Process(Process),
    Supervisor(Supervisor),
}

pub(crate) struct Process {
    pub(super) spec: Rc<node::Process>,
    pub(super) life: Option<Life>,
    /// What is to happen to a process that is still being launched.
    pub(super) launching: Option<Launching>,
    /// An end whose last output is still being relayed.
    pub(super) relaying: Option<Who>,
    /// Who waits for a link to it, while it is not up.
    pub(super) callers: Vec<Caller>,
    pub(super) killers: Vec<Reply>,
    pub(super) joiner: Joiner,
}

/// Whoever waits for a link.
pub(crate) struct Caller {
    pub(super) reply: Reply,
    /// The link whose messages it is to carry on.
    pub(super) instead: Option<LinkId>,
}

/// Whether anybody asks what a task came to.
pub(crate) enum Joiner {
    Nobody,
    Expected,
    Waiting(Reply),
}

/// A start that is under way.
#[derive(Debug, Default)]
pub(crate) struct Launching {
    pub(super) stop: bool,
    pub(super) kill: Option<crate::exit::KillCause>,
    /// The first link, made with the process.
    pub(super) link: Option<FirstLink>,
    /// The host's end of a link that was made ahead, for who waits for it to start again.
    pub(super) ahead: Option<Vec<OwnedFd>>,
}

/// A link that is made with a process: the server's end goes with its birth.
#[derive(Debug)]
pub(crate) struct FirstLink {
    pub(super) introduced: Introduced,
    pub(super) slot: u32,
    pub(super) ours: Vec<OwnedFd>,
    pub(super) fate: Option<crate::process::fate::Hearer>,
}

pub(crate) struct Supervisor {
    pub(super) rules: Rules,
    pub(super) decider: Decider,
    /// Which life of this supervisor it is, for its own supervisor.
    pub(super) incarnation: Option<Incarnation>,
    /// Its children, by their seats.
    pub(super) seats: BTreeMap<decide::ChildId, ChildId>,
    /// The children that it starts with, again and again; a root starts with none.
    pub(super) listed: Vec<ChildId>,
    /// Children that it has forgotten, whose last output is still on its way.
    pub(super) leaving: Vec<ChildId>,
    pub(super) timers: HashMap<Timer, AbortHandle>,
}

/// Who asked for a child.
pub(crate) struct Starter {
    pub(super) reply: Reply,
    /// Where it takes its link before the answer, until it has.
    pub(super) early: Option<oneshot::Sender<Answered>>,
    /// The link that it asked for, once made, until it is told.
    pub(super) link: Option<FirstLink>,
    /// It has its link, and may hear from the child itself that that is up.
    pub(super) is_introduced: bool,
    pub(super) wants_link: bool,
}

/// An end.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    pub(super) reason: ExitReason,
    pub(super) begun: bool,
    pub(super) done: Option<Done>,
    /// Why it could not even be launched.
    pub(super) not_launched: Option<Error>,
}

impl Child {
    pub(super) fn process(&self) -> Option<&Process> {
        match &self.work {
            Work::Process(process) => Some(process),
            Work::Supervisor(_) => None,
        }
    }

    pub(super) fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.work {
            Work::Process(process) => Some(process),
            Work::Supervisor(_) => None,
        }
    }

    pub(super) fn supervisor(&self) -> Option<&Supervisor> {
        match &self.work {
            Work::Supervisor(supervisor) => Some(supervisor),
            Work::Process(_) => None,
        }
    }

    pub(super) fn supervisor_mut(&mut self) -> Option<&mut Supervisor> {
        match &mut self.work {
            Work::Supervisor(supervisor) => Some(supervisor),
            Work::Process(_) => None,
        }
    }

    pub(super) fn life(&self) -> Option<&Life> {
        self.process()?.life.as_ref()
    }

    /// What is said to whoever waited for it to start.
    pub(super) fn not_started(&self) -> Error {
        let what = match &self.last {
            Some(Last {
                not_launched: Some(error),
                ..
            }) => {
                return error
                    .clone()
                    .context(format_args!("`{}` could not be started: {error}", self.name));
            }
            Some(last) => last.reason.to_string(),
            None => "it was stopped first".to_owned(),
        };
        Error::with_kind(
            ErrorKind::Init,
            format_args!("`{}` did not start: {what}", self.name),
        )
    }

    pub(super) fn kind(&self) -> &'static str {
        match &self.work {
            Work::Supervisor(_) => "supervisor",
            Work::Process(process) => match process.spec.body.kind {
                BodyKind::Task => "task",
                BodyKind::Service => "service",
                BodyKind::Actor => "actor",
                BodyKind::Worker => "worker",
            },
        }
    }

    pub(super) fn info(&self, state: State, depth: usize) -> Info {
        let up = matches!(state, State::Running | State::Stopping);
        Info {
            id: self.id,
            name: self.name.clone(),
            kind: self.kind().to_owned(),
            pid: self.life().map(|life| life.pid as u32),
            state,
            restarts: self.number.saturating_sub(1) as u32,
            uptime: if up { self.since.elapsed() } else { Duration::ZERO },
            depth,
        }
    }
}

impl Supervisor {
    /// Its children, in order.
    pub(super) fn below(&self) -> Vec<ChildId> {
        if self.seats.is_empty() {
            self.listed.clone()
        } else {
            self.seats.values().copied().collect()
        }
    }
}

impl Process {
    pub(super) fn new(spec: node::Process) -> Process {
        let joiner = if spec.joined {
            Joiner::Expected
        } else {
            Joiner::Nobody
        };
        Process {
            spec: Rc::new(spec),
            life: None,
            launching: None,
            relaying: None,
            callers: Vec::new(),
            killers: Vec::new(),
            joiner,
        }
    }
}

impl From<Stage> for State {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Waiting => State::Waiting,
            Stage::Starting => State::Starting,
            Stage::Running => State::Running,
            Stage::Stopping => State::Stopping,
            Stage::Down => State::Ended,
        }
    }
}
