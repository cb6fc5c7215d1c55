//! In the place of the control plane: starts processes, introduces them to each other, and tells of their deaths.
//!
//! It speaks the messages of the control link with the code of a child, and makes of a dead process's status page what the
//! host makes of it. It restarts what dies, after a while.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use super::kernel::{Kernel, PLANE, Pid};
use super::oracle::Oracle;
use crate::actor::child::{self, WorkerBody};
use crate::error::{Error, ErrorKind, Result};
use crate::exit::{ExitReason, KillCause};
use crate::link::{self, Driver, Transport};
use crate::process::StartMode;
use crate::process::control::{self, Answered, heard};
use crate::process::fate;
use crate::process::page::Page;
use crate::supervise::letters::{Estate, Progress};
use crate::wire::attach::Payload;
use crate::wire::control::{
    Answer, Attach, Birth, Body, BodyKind, Cap, ChildId, Context, DeadCause, Down, Fate, Introduced, LinkId,
    Mailbox, Request, Settings, Target, Up,
};
use crate::wire::frame::{Head, Kind};

pub(super) struct Plane {
    me: Weak<Plane>,
    kernel: Rc<Kernel>,
    oracle: Rc<Oracle>,
    pub(super) settings: Settings,
    children: RefCell<BTreeMap<ChildId, Child>>,
    links: RefCell<HashMap<LinkId, Link>>,
    n_links: Cell<u64>,
    estate: RefCell<Estate<ChildId>>,
}

/// A child, from its first start to its last end.
struct Child {
    name: String,
    kind: BodyKind,
    row: u32,
    mailbox: Mailbox,
    life: Option<Life>,
    callers: Vec<Caller>,
    /// It is not started again.
    ended: bool,
}

/// One process of it.
struct Life {
    pid: Pid,
    page: Page,
    control: link::Sender,
    links: Vec<(LinkId, u32)>,
    used: u32,
    free: Vec<u32>,
    asked: bool,
    stopped: bool,
    done: bool,
    killed: Option<KillCause>,
}

/// Who asked, and for a link instead of which.
type Caller = (Reply, Option<LinkId>);

enum Reply {
    Local(Pid, oneshot::Sender<Result<Answered>>),
    Remote {
        child: ChildId,
        id: u64,
        control: link::Sender,
    },
}

struct Link {
    server: ChildId,
    slot: u32,
    client: Client,
}

enum Client {
    Local(fate::Teller),
    Remote(ChildId, link::Sender),
}

impl Plane {
    pub(super) fn new(kernel: Rc<Kernel>, oracle: Rc<Oracle>, settings: Settings) -> Rc<Plane> {
        Rc::new_cyclic(|me| Plane {
            me: me.clone(),
            kernel,
            oracle,
            settings,
            children: RefCell::default(),
            links: RefCell::default(),
            n_links: Cell::new(0),
            estate: RefCell::default(),
        })
    }

    fn strong(&self) -> Rc<Plane> {
        self.me.upgrade().expect("it is borrowed")
    }

    /// Hears what a process of the host asks.
    pub(super) fn listen(&self, pid: Pid) {
        let (asks, mut inbox) = mpsc::unbounded_channel();
        let (plane, settings) = (self.strong(), self.settings.clone());
        self.kernel.within(pid, || control::simulate(asks, settings));
        self.kernel.spawn_in(PLANE, async move {
            while let Some(asked) = inbox.recv().await {
                plane.asked(None, asked.request, Reply::Local(pid, asked.answer));
            }
        });
    }

    pub(super) fn add(&self, name: &str, kind: BodyKind, row: u32, mailbox: Mailbox) -> ChildId {
        let mut children = self.children.borrow_mut();
        let id = ChildId(children.len() as u64 + 1);
        let child = Child {
            name: name.to_owned(),
            kind,
            row,
            mailbox,
            life: None,
            callers: Vec::new(),
            ended: false,
        };
        children.insert(id, child);
        drop(children);
        self.start(id);
        id
    }

    pub(super) fn cap(id: ChildId) -> Cap {
        Cap(u128::from(id.0) << 64 | 7)
    }

    /// The process of a child, while it lives.
    pub(super) fn pid(&self, id: ChildId) -> Option<Pid> {
        let children = self.children.borrow();
        let life = children.get(&id)?.life.as_ref()?;
        self.kernel.is_alive(life.pid).then_some(life.pid)
    }

    fn start(&self, id: ChildId) {
        let page = Page::private().expect("memory for a page");
        let mut children = self.children.borrow_mut();
        let Some(child) = children.get_mut(&id).filter(|child| !child.ended) else {
            return;
        };
        let pid = self.kernel.process(&child.name, Some(page.clone()));
        self.oracle.starts(pid, id);
        let (ours, theirs) = self.kernel.connect(PLANE, pid);
        let (control, driver) =
            link::open(Transport::Memory(ours), usize::MAX >> 33).expect("memory can be opened");
        let birth = Birth {
            child: id,
            cap: Self::cap(id),
            context: Context(0),
            name: child.name.clone(),
            body: Body {
                kind: child.kind,
                row: child.row,
                input: Payload::default(),
            },
            link: None,
            ahead: false,
            settings: self.settings.clone(),
            log: String::new(),
        };
        say(&control, &Down::Birth(Box::new(birth)));
        child.life = Some(Life {
            pid,
            page: page.clone(),
            control,
            links: Vec::new(),
            used: 0,
            free: Vec::new(),
            asked: false,
            stopped: false,
            done: false,
            killed: None,
        });
        drop(children);
        let (kernel, plane, death) = (self.kernel.clone(), self.strong(), self.kernel.death(pid));
        let oracle = self.oracle.clone();
        self.kernel.spawn_in(pid, async move {
            if let Some(control) = child::open_control(Transport::Memory(theirs)) {
                child::born(control, page, StartMode::ForkServer, NO_WORKER, |_| {}).await;
            }
            oracle.ends_in_order(pid);
            kernel.kill(pid, false);
        });
        self.kernel.spawn_in(PLANE, async move {
            plane.attend(id, driver).await;
            // It cannot be closed but by the death.
            let _ = death.await;
            let after = plane.kernel.rng.pick(&[0, 0, 1, 10]).unwrap_or(0);
            if after > 0 {
                tokio::time::sleep(Duration::from_millis(after)).await;
            }
            plane.exited(id);
        });
        self.introduce_callers(id);
    }

    /// Hears what a process says, to its end.
    async fn attend(&self, id: ChildId, mut driver: Driver) {
        while let Some(frame) = driver.next().await {
            match frame.map_err(Error::from).and_then(heard) {
                Ok((up, _)) => self.hear(id, up),
                Err(error) => self
                    .oracle
                    .wrong(format_args!("{id} says what cannot be read: {error}")),
            }
        }
    }

    fn hear(&self, id: ChildId, up: Up) {
        match up {
            Up::Ready => {}
            Up::Stopped => drop(self.life(id, |life| life.stopped = true)),
            Up::Done(_) => drop(self.life(id, |life| life.done = true)),
            Up::Request(number, request) => {
                let control = self.life(id, |life| life.control.clone());
                if let Some(control) = control {
                    let reply = Reply::Remote {
                        child: id,
                        id: number,
                        control,
                    };
                    self.asked(Some(id), request, reply);
                }
            }
            Up::Closed(link) => {
                self.estate.borrow_mut().link_was_closed(link);
                self.links.borrow_mut().remove(&link);
                self.life(id, |life| life.release(link));
            }
            Up::Broken(link, what) => self.broken(Some(id), link, &what),
            Up::InitFailed(text) => self.oracle.wrong(format_args!("{id} did not come up: {text}")),
            Up::Bequest(bequest) => {
                let is_open = bequest
                    .link
                    .is_some_and(|link| self.links.borrow().contains_key(&link));
                self.estate.borrow_mut().inherit(bequest, is_open);
            }
        }
    }

    fn asked(&self, by: Option<ChildId>, request: Request, reply: Reply) {
        match request {
            Request::Introduce { target, instead, .. } => {
                if let Target::Child(id, _) = target {
                    self.introduce(id, (reply, instead));
                }
            }
            Request::DeadLetter(report) => {
                if let Target::Child(id, _) = report.target {
                    self.oracle.dead_letter(id, &report.cause);
                }
                reply.answer(Ok(Answer::Done));
            }
            Request::KillAfter { link, number, grace } => {
                let plane = self.strong();
                self.kernel.spawn_in(PLANE, async move {
                    tokio::time::sleep(grace).await;
                    plane.expired(link, number);
                });
                reply.answer(Ok(Answer::Done));
            }
            Request::Broken { link, what } => {
                self.broken(by, link, &what);
                reply.answer(Ok(Answer::Done));
            }
            // It waits for its answer until it has ended: nothing here calls in a round.
            Request::Waits(_) => {}
            Request::WaitsNoMore { .. } => reply.answer(Ok(Answer::Done)),
            other => self
                .oracle
                .wrong(format_args!("nobody asks that here: {other:?}")),
        }
    }

    fn broken(&self, by: Option<ChildId>, link: LinkId, what: &str) {
        let server = self.links.borrow().get(&link).map(|link| link.server);
        // One that is dead already did nothing: its end is what broke its links.
        if server.is_some_and(|server| by == Some(server) || self.pid(server).is_some()) {
            self.oracle.wrong(format_args!("{by:?} says of {link:?}: {what}"));
        }
    }

    fn expired(&self, link: LinkId, number: u64) {
        let served = self
            .links
            .borrow()
            .get(&link)
            .map(|link| (link.server, link.slot));
        let Some((server, slot)) = served else { return };
        let runs = self.life(server, |life| {
            let runs = life
                .page
                .unfinished(slot)
                .is_some_and(|runs| runs.contains(&number));
            if runs {
                life.killed.get_or_insert(KillCause::Deadline);
            }
            runs.then_some(life.pid)
        });
        if let Some(Some(pid)) = runs {
            self.kernel.kill(pid, true);
        }
    }

    fn introduce(&self, id: ChildId, (reply, instead): Caller) {
        let mut children = self.children.borrow_mut();
        let Some(child) = children.get_mut(&id).filter(|child| !child.ended) else {
            return reply.answer(Err(stopped(id)));
        };
        let mailbox = child.mailbox;
        let Some(life) = child.life.as_mut().filter(|life| !life.asked) else {
            return child.callers.push((reply, instead));
        };
        let link = LinkId(self.n_links.get() + 1);
        self.n_links.set(link.0);
        let slot = life.free.pop().unwrap_or_else(|| {
            life.used += 1;
            life.used
        });
        life.page.reset(slot);
        life.links.push((link, slot));
        self.kernel.gives_slot(life.pid, slot);
        let client_pid = match &reply {
            Reply::Local(pid, _) => Some(*pid),
            Reply::Remote { child, .. } if *child == id => Some(life.pid),
            Reply::Remote { child, .. } => {
                let life = children.get(child).and_then(|child| child.life.as_ref());
                life.map(|life| life.pid)
            }
        };
        let Some(life) = children.get_mut(&id).and_then(|child| child.life.as_mut()) else {
            return;
        };
        // Who asked may be dead: then nobody opens that end.
        let client_pid = client_pid.unwrap_or(PLANE);
        let (ours, theirs) = self.kernel.connect(client_pid, life.pid);
        self.kernel.hand(client_pid, link.0, ours);
        self.kernel.hand(life.pid, link.0, theirs);
        self.oracle
            .log(|| format!("{link:?} from process {client_pid} to {id} in slot {slot}: {mailbox:?}"));
        say(&life.control, &Down::Attach(Attach { link, slot, mailbox }));
        drop(children);
        let introduced = Introduced {
            link,
            child: id,
            mailbox,
        };
        let (client, fate) = match &reply {
            Reply::Local(..) => {
                let (told, fate) = fate::channel();
                (Client::Local(told), Some(fate))
            }
            Reply::Remote { child, control, .. } => (Client::Remote(*child, control.clone()), None),
        };
        let server = id;
        self.links
            .borrow_mut()
            .insert(link, Link { server, slot, client });
        reply.deliver(Answer::Introduced(introduced), fate);
    }

    fn introduce_callers(&self, id: ChildId) {
        let callers = match self.children.borrow_mut().get_mut(&id) {
            Some(child) => std::mem::take(&mut child.callers),
            None => return,
        };
        callers.into_iter().for_each(|caller| self.introduce(id, caller));
    }

    /// A process is dead, and was heard to its end.
    fn exited(&self, id: ChildId) {
        let life = self
            .children
            .borrow_mut()
            .get_mut(&id)
            .and_then(|child| child.life.take());
        let Some(life) = life else { return };
        let remains = self.kernel.bury(life.pid);
        let reason = match (life.stopped, life.done) {
            (true, _) => ExitReason::Shutdown,
            (_, true) => ExitReason::Normal,
            _ => life.killed.map_or(SIGNALED, ExitReason::Killed),
        };
        for (link, _) in &life.links {
            let Some(cut) = self.links.borrow_mut().remove(link) else {
                continue;
            };
            let (begun, unfinished) = remains.slots.get(cut.slot as usize).cloned().unwrap_or_default();
            self.oracle
                .log(|| format!("{link:?} to {id} is cut: begun {begun}, unfinished {unfinished:?}"));
            let progress = Progress {
                begun,
                unfinished: unfinished.clone(),
                reason: reason.clone(),
            };
            let client = cut.client.who();
            self.estate.borrow_mut().link_was_cut(*link, client, progress);
            cut.client.hears(
                *link,
                Fate {
                    reason: reason.clone(),
                    begun,
                    unfinished,
                    salvage: None,
                },
            );
        }
        for _ in remains.running.iter().filter(|name| name.one_way) {
            self.oracle.dead_letter(id, &DeadCause::Died(reason.clone()));
        }
        self.estate.borrow_mut().forget(id);
        self.oracle.buried(id, life.pid, &remains);
        let mut children = self.children.borrow_mut();
        let Some(child) = children.get_mut(&id) else {
            return;
        };
        child.ended |= child.kind != BodyKind::Actor;
        if child.ended {
            let callers = std::mem::take(&mut child.callers);
            drop(children);
            callers
                .into_iter()
                .for_each(|(reply, _)| reply.answer(Err(stopped(id))));
            return;
        }
        drop(children);
        let (plane, after) = (self.strong(), self.kernel.rng.pick(&[0, 1, 20, 150]).unwrap_or(0));
        self.kernel.spawn_in(PLANE, async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            plane.start(id);
        });
    }

    /// Asks an actor to come to an orderly end, for good or to be started afresh.
    pub(super) fn stop(&self, id: ChildId, for_good: bool) {
        if for_good {
            self.ends_for_good(id);
        }
        self.life(id, |life| {
            if !std::mem::replace(&mut life.asked, true) {
                say(&life.control, &Down::Stop);
            }
        });
    }

    fn ends_for_good(&self, id: ChildId) {
        self.oracle.ends_for_good(id);
        let callers = match self.children.borrow_mut().get_mut(&id) {
            Some(child) => {
                child.ended = true;
                std::mem::take(&mut child.callers)
            }
            None => return,
        };
        callers
            .into_iter()
            .for_each(|(reply, _)| reply.answer(Err(stopped(id))));
    }

    fn life<T>(&self, id: ChildId, act: impl FnOnce(&mut Life) -> T) -> Option<T> {
        let mut children = self.children.borrow_mut();
        children.get_mut(&id)?.life.as_mut().map(act)
    }
}

const SIGNALED: ExitReason = ExitReason::Signaled {
    signal: 9,
    core: false,
};

const NO_WORKER: WorkerBody = |_, _| unreachable!("there are no workers here");

fn stopped(id: ChildId) -> Error {
    Error::with_kind(ErrorKind::Stopped, format_args!("{id} has ended"))
}

fn say(control: &link::Sender, down: &Down) {
    let body = Payload::pack(down).expect("a control message");
    // One that is dead hears nothing.
    drop(control.send(Head::new(Kind::Control), &body, body.fds.clone()));
}

impl Life {
    fn release(&mut self, link: LinkId) {
        if let Some(at) = self.links.iter().position(|(other, _)| *other == link) {
            let (_, slot) = self.links.swap_remove(at);
            self.free.push(slot);
        }
    }
}

impl Reply {
    fn answer(self, answer: Result<Answer>) {
        match self {
            // Who asked may not wait.
            Reply::Local(_, asker) => drop(asker.send(answer.map(Answered::from))),
            Reply::Remote { id, control, .. } => say(&control, &Down::Answer(id, answer)),
        }
    }

    fn deliver(self, answer: Answer, fate: Option<fate::Hearer>) {
        match self {
            Reply::Local(_, asker) => {
                let fds = Vec::new();
                // Who asked may not wait.
                drop(asker.send(Ok(Answered { answer, fds, fate })));
            }
            remote @ Reply::Remote { .. } => remote.answer(Ok(answer)),
        }
    }
}

impl Client {
    fn who(&self) -> Option<ChildId> {
        match self {
            Client::Local(_) => None,
            Client::Remote(child, _) => Some(*child),
        }
    }

    fn hears(self, link: LinkId, fate: Fate) {
        match self {
            // Who held the link may have let it go.
            Client::Local(told) => told.tell(fate),
            Client::Remote(_, control) => say(&control, &Down::Fate(link, fate)),
        }
    }
}
