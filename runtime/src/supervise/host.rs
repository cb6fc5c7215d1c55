//! The control plane: the one loop that acts, and all that it knows.
//!
//! It runs on a thread of its own with a runtime of its own. Everything reaches it as an [`Event`], in one queue: what
//! was asked, what children said, how they ended, timers. It asks the deciders of the tree what to do and does it.
//! Nothing here waits: what takes time (a start, a life) is a task of its own that reports back as an event, and what
//! is to be logged goes to the thread of the [`Relay`].
//!
//! | file | what |
//! | --- | --- |
//! | `child` | what is known of each child |
//! | `life` | one process of a child |
//! | `tree` | deciders: events in, actions out |
//! | `start`, `end` | what those actions come to |
//! | `requests` | what is asked of the host, and by whom |
//! | `links` | introductions, and the fate of links |
//! | `waits` | calls that wait for each other |
//! | `letters` | messages whose senders or receivers are no more |

use crate::error::{Error, ErrorKind, Result};
use crate::exit::KillCause;
use crate::link::LinkKind;
use crate::os::slice::Slice;
use crate::process::control::Asked;
use crate::process::{Launcher, Relay, StartMode, Watch};
use crate::wire::control::{ChildId, Context, LinkId, Settings, Up};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::child::Child;
use super::decide::{Incarnation, Timer};
use super::letters::{DeadLetters, Estate};
use super::life::CLOSED;
use super::links::Link;
use super::requests::{Ear, Reply};
use super::start::Launched;
use super::waits::Waits;

/// What a host is told before it starts.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) start: StartMode,
    /// Whether a process is kept ready for the next start.
    pub(crate) spares: bool,
    pub(crate) link: LinkKind,
    pub(crate) settings: Settings,
    /// Takes one record of a child's log.
    pub(crate) replay: fn(i32, &[u8]),
    /// What a child need not log, as directives.
    pub(crate) log: fn() -> String,
}

/// One process of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) child: ChildId,
    pub(crate) incarnation: Incarnation,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    Asked(Asked),
    Launched(Who, Result<Box<Launched>>),
    Said(Who, Up, Vec<OwnedFd>),
    /// It said what cannot be understood.
    Garbled(Who, String),
    /// It has closed its control socket, and not ended since.
    Closed(Who),
    Exited(Who, Rc<Watch>),
    /// The deadline of that call on this link has passed, and its grace.
    Expired(LinkId, u64),
    /// An item of a pool has taken too long.
    Overdue(Who),
    /// The last output of a process that ended was relayed.
    Relayed(Who),
    /// A timer of this supervisor's decider.
    Fired(ChildId, Timer),
}

/// All that the control plane knows.
pub(crate) struct Host {
    pub(super) config: Config,
    pub(super) launcher: Result<Rc<Launcher>>,
    pub(super) relay: Rc<Relay>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) epoch: Instant,
    pub(super) children: HashMap<ChildId, Child>,
    /// Who has which name: as long as it could be started again, which is as long as it has a seat.
    pub(super) names: HashMap<(Context, String), ChildId>,
    /// The root supervisor of each context.
    pub(super) roots: HashMap<Context, ChildId>,
    pub(super) links: HashMap<LinkId, Link>,
    /// The last process that was started takes calls: the next will, too.
    pub(super) ahead: bool,
    /// It was seen that rings can be made here.
    pub(super) rings_work: bool,
    pub(super) dead: DeadLetters,
    pub(super) estate: Estate,
    pub(super) waits: Waits,
    pub(super) monitors: Vec<Ear>,
    /// Processes that may be known to be up before that is heard here.
    pub(super) coming: Vec<Who>,
    /// Those who wait until a child or a tree is up.
    pub(super) awaiting: Vec<(ChildId, Reply)>,
    /// What deciders have yet to hear: never while the actions of another decision are carried out.
    pub(super) undecided: VecDeque<(ChildId, super::decide::Event)>,
    last: u64,
}

/// Runs the control plane on a thread of its own, which begins with `begin`; it takes requests at once.
pub(crate) fn start(config: Result<Config>, begin: fn()) -> mpsc::UnboundedSender<Asked> {
    let (inbox, asked) = mpsc::unbounded_channel();
    let thread = std::thread::Builder::new().name("procession".to_owned());
    let run = move || {
        begin();
        run(config, asked, begin);
    };
    if let Err(error) = thread.spawn(run) {
        // The receiver is gone with the closure: each request fails, saying that the host is going down.
        eprintln!("procession: the control plane has no thread: {error}");
    }
    inbox
}

fn run(config: Result<Config>, asked: mpsc::UnboundedReceiver<Asked>, begin: fn()) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return eprintln!("procession: the control plane has no runtime: {error}"),
    };
    LocalSet::new().block_on(&runtime, serve(config, asked, begin));
    // Not dropped: this thread is the parent of the children, and its end would be theirs.
}

async fn serve(config: Result<Config>, mut asked: mpsc::UnboundedReceiver<Asked>, begin: fn()) {
    let config = match config {
        Ok(config) => config,
        Err(error) => return refuse(&error, asked).await,
    };
    let (events, mut happened) = mpsc::unbounded_channel();
    let relay = match Relay::new(config.replay) {
        Ok(relay) => Rc::new(relay),
        Err(error) => {
            return refuse(
                &Error::from(error).context("the output of children cannot be relayed"),
                asked,
            )
            .await;
        }
    };
    relay.run(begin);
    Slice::SHORT.take();
    let mut host = Host::new(config, relay, events);
    loop {
        let event = tokio::select! {
            biased;
            event = happened.recv() => event,
            Some(request) = asked.recv() => Some(Event::Asked(request)),
        };
        match event {
            Some(event) => host.survive(event),
            None => return,
        }
    }
}

/// A host that cannot be one says why to whoever asks.
async fn refuse(error: &Error, mut asked: mpsc::UnboundedReceiver<Asked>) {
    while let Some(asked) = asked.recv().await {
        let _ = asked.answer.send(Err(error.clone()));
    }
}

impl Host {
    fn new(config: Config, relay: Rc<Relay>, events: mpsc::UnboundedSender<Event>) -> Self {
        let launcher = Launcher::new(config.start, config.spares, &relay).map(Rc::new);
        Host {
            launcher: launcher.map_err(|error| error.context("children cannot be started")),
            config,
            relay,
            events,
            epoch: Instant::now(),
            children: HashMap::new(),
            names: HashMap::new(),
            roots: HashMap::new(),
            links: HashMap::new(),
            ahead: false,
            rings_work: false,
            dead: DeadLetters::default(),
            estate: Estate::default(),
            waits: Waits::default(),
            monitors: Vec::new(),
            coming: Vec::new(),
            awaiting: Vec::new(),
            undecided: VecDeque::new(),
            last: 0,
        }
    }

    /// A panic here would be the end of every child: it costs what one event leads to instead.
    fn survive(&mut self, event: Event) {
        if catch_unwind(AssertUnwindSafe(|| self.on(event))).is_err() {
            self.relay.run(|| {
                eprintln!("procession: a fault of the control plane, see the panic above: it goes on")
            });
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Asked(asked) => self.asked(asked),
            Event::Launched(who, launched) => self.launched(who, launched),
            Event::Said(who, up, fds) => self.said(who, up, fds),
            Event::Garbled(who, fault) => {
                if let Some(life) = self.life(who) {
                    life.condemn(fault);
                }
            }
            Event::Closed(who) => {
                if let Some(life) = self.life(who).filter(|life| !life.said.is_last()) {
                    life.condemn(CLOSED.to_owned());
                }
            }
            Event::Overdue(who) => {
                // It may have come to its end since the look.
                if let Some(life) = self.life(who).filter(|life| life.is_overdue()) {
                    life.kill(KillCause::Timeout);
                }
            }
            Event::Expired(link, number) => self.expired(link, number),
            Event::Exited(who, watch) => self.exited(who, &watch),
            Event::Relayed(who) => self.relayed(who),
            Event::Fired(supervisor, timer) => self.decide(supervisor, super::decide::Event::Fired(timer)),
        }
        self.settle();
        self.answer_those_waiting();
    }

    /// Logs, on a thread that may wait for whoever reads it.
    pub(super) fn log(&self, log: impl FnOnce() + Send + 'static) {
        self.relay.run(log);
    }

    /// A number that was never used: for a child, a link.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

pub(super) fn stopped(name: &str) -> Error {
    Error::with_kind(ErrorKind::Stopped, format_args!("`{name}` has stopped"))
}
