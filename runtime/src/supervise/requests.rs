//! What is asked of the host, by its own threads and by its children, and how each is answered.

use crate::actor::row::NO_ROW;
use crate::error::{Error, ErrorKind, Result};
use crate::exit::{ExitReason, KillCause};
use crate::link;
use crate::process::StartMode;
use crate::process::control::{Answered, Asked};
use crate::process::fate;
use crate::wire::attach::Payload;
use crate::wire::control::{
    Answer, BodyKind, Cap, ChildId, Context, DeadCause, Down, Exit, Info, Request, Target, Ticket, Up,
};
use std::os::fd::OwnedFd;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

use super::child::{Caller, Child, FirstLink, Joiner, Process, Starter, Supervisor, Work};
use super::decide::{self, Decider};
use super::host::{Host, Who, stopped};
use super::life::Life;
use super::spec::{Policy, Rules};
use super::{name, node};

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A thread of the host.
    Local(oneshot::Sender<Result<Answered>>),
    /// A child, by its number for the request.
    Remote {
        who: Who,
        control: link::Sender,
        id: u64,
    },
}

/// Who hears of exits.
pub(crate) struct Ear {
    pub(super) child: ChildId,
    monitor: u64,
    /// The child that asked; `None` is the host.
    by: Option<ChildId>,
    exits: Exits,
}

enum Exits {
    Local(mpsc::UnboundedSender<Exit>),
    Remote(link::Sender),
}

/// Who asks.
struct Asker {
    child: Option<ChildId>,
    context: Context,
    reply: Reply,
    early: Option<oneshot::Sender<Answered>>,
    exits: Option<Exits>,
}

impl Reply {
    /// Answers; whoever no longer waits gets nothing, and what the answer carried is closed.
    pub(super) fn answer(self, answer: Result<Answer>) {
        self.deliver(answer, Vec::new(), None);
    }

    /// The same, with what goes beside it. Whether anybody took it, as far as can be known here.
    pub(super) fn deliver(
        self,
        answer: Result<Answer>,
        fds: Vec<OwnedFd>,
        fate: Option<fate::Hearer>,
    ) -> bool {
        match self {
            Reply::Local(asker) => asker
                .send(answer.map(|answer| Answered { answer, fds, fate }))
                .is_ok(),
            Reply::Remote { control, id, .. } => {
                super::life::say(&control, &Down::Answer(id, answer), fds);
                true
            }
        }
    }
}

impl Starter {
    fn new(reply: Reply, wants_link: bool, early: Option<oneshot::Sender<Answered>>) -> Starter {
        Starter {
            reply,
            early,
            link: None,
            wants_link,
            is_introduced: false,
        }
    }

    /// Gives the link that was made with the process to whoever takes it now. Whether that may hear over it that the child
    /// is up.
    pub(super) fn introduce(&mut self, child: ChildId, cap: Cap, pid: u32) -> bool {
        let Some(early) = self.early.take() else {
            return false;
        };
        let Some(FirstLink {
            introduced,
            ours,
            fate,
            ..
        }) = self.link.take()
        else {
            return false;
        };
        let answer = Answer::Started {
            child,
            cap,
            pid,
            link: Some(introduced),
        };
        // Whoever is gone takes the request back.
        let _ = early.send(Answered {
            answer,
            fds: ours,
            fate,
        });
        self.is_introduced = true;
        true
    }

    /// The child is up. Whether anybody wants it still, as far as can be known here.
    pub(super) fn started(self, child: ChildId, cap: Cap, pid: u32) -> bool {
        let (link, ours, fate) = match self.link {
            Some(first) => (Some(first.introduced), first.ours, first.fate),
            None => (None, Vec::new(), None),
        };
        let answer = Answer::Started {
            child,
            cap,
            pid,
            link,
        };
        self.reply.deliver(Ok(answer), ours, fate) || self.is_introduced
    }
}

impl Host {
    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked {
            context,
            request,
            answer,
            early,
            exits,
        } = asked;
        let (reply, exits) = (Reply::Local(answer), exits.map(Exits::Local));
        self.handle(
            request,
            Asker {
                child: None,
                context,
                reply,
                early,
                exits,
            },
        );
    }

    pub(super) fn said(&mut self, who: Who, up: Up, _fds: Vec<OwnedFd>) {
        let Some(life) = self.life(who) else { return };
        match up {
            Up::Ready => self.ready(who),
            Up::InitFailed(text) => life.said.init_failed = Some(text),
            Up::Done(done) => life.said.done = Some(done),
            Up::Stopped => life.said.stopped = true,
            Up::Closed(link) => self.link_closed(who, link),
            Up::Broken(link, fault) => self.client_broke(who, link, fault),
            Up::Bequest(mut bequest) => {
                life.said.letters.append(&mut bequest.letters);
                if !bequest.more {
                    std::mem::swap(&mut bequest.letters, &mut life.said.letters);
                    self.inherit(bequest, self.context(who.child));
                }
            }
            Up::Request(id, request) => {
                let control = life.control();
                let context = self.context(who.child);
                let exits = Some(Exits::Remote(control.clone()));
                let reply = Reply::Remote { who, control, id };
                self.handle(
                    request,
                    Asker {
                        child: Some(who.child),
                        context,
                        reply,
                        early: None,
                        exits,
                    },
                );
            }
        }
    }

    fn handle(&mut self, request: Request, asker: Asker) {
        let Asker {
            child: by,
            context,
            reply,
            early,
            exits,
        } = asker;
        self.see_who_is_up();
        match request {
            Request::Spawn { spec, link, ticket } => {
                let starter = Starter::new(reply, link, early);
                self.spawn(spec, (by, ticket), context, starter);
            }
            Request::Start { tree, ticket } => {
                let starter = Starter::new(reply, false, None);
                self.spawn(tree, (by, ticket), context, starter);
            }
            Request::Abandon { ticket } => {
                self.abandon(by, ticket);
                reply.answer(Ok(Answer::Done));
            }
            Request::Introduce { target, row, instead } => match self.find(&target, context, Some(row)) {
                Ok(id) => self.introduce(id, Caller { reply, instead }),
                Err(error) => reply.answer(Err(error)),
            },
            Request::Lookup { name, row } => {
                let found = self.find(&Target::Named(name), context, Some(row));
                reply.answer(found.and_then(|id| self.found(id)));
            }
            Request::Join { target } => self.join_task(&target, context, reply),
            Request::Kill { target, cause } => self.kill_asked(&target, context, cause, reply),
            Request::Stop { target } => self.stop_asked(&target, context, reply),
            Request::Restart { target } => match self.find(&target, context, None) {
                Ok(id) => {
                    self.decide_above(id, decide::Event::RestartChild);
                    self.awaiting.push((id, reply));
                }
                Err(error) => reply.answer(Err(error)),
            },
            Request::Detach { target } => {
                let found = self.find(&target, context, None).map(|id| {
                    self.children.entry(id).and_modify(|child| child.owner = None);
                    Answer::Done
                });
                reply.answer(found);
            }
            Request::Monitor { target, monitor } => {
                let found = self.find(&target, context, None).map(|child| {
                    let ear = exits.map(|exits| Ear {
                        child,
                        monitor,
                        by,
                        exits,
                    });
                    self.monitors.extend(ear);
                    Answer::Done
                });
                reply.answer(found);
            }
            Request::Unmonitor { monitor } => {
                self.monitors.retain(|ear| (ear.by, ear.monitor) != (by, monitor));
                reply.answer(Ok(Answer::Done));
            }
            Request::Inspect { target } => {
                let info = self.find(&target, context, None).and_then(|id| self.info(id));
                reply.answer(info.map(Answer::Info));
            }
            Request::Ready { target } => match self.find(&target, context, None) {
                Ok(id) => self.awaiting.push((id, reply)),
                Err(error) => reply.answer(Err(error)),
            },
            Request::List { target } => {
                let list = self.find(&target, context, None).map(|id| {
                    let mut list = Vec::new();
                    self.list(id, 0, &mut list);
                    Answer::List(list)
                });
                reply.answer(list);
            }
            Request::Active => reply.answer(Ok(Answer::List(self.active(context)))),
            Request::Mode => reply.answer(self.mode()),
            Request::KillAfter { link, number, grace } => {
                self.kill_after(by, link, number, grace);
                reply.answer(Ok(Answer::Done));
            }
            Request::Waits(wait) => self.waits(by, wait, context, reply),
            Request::WaitsNoMore { wait } => {
                self.waits_no_more(by, wait);
                reply.answer(Ok(Answer::Done));
            }
            Request::DeadLetter(report) => {
                self.dead_letter(report, context);
                reply.answer(Ok(Answer::Done));
            }
            Request::Unread { method, why } => {
                if let Some(id) = by {
                    self.not_handled(id, method, DeadCause::Unread(why));
                }
                reply.answer(Ok(Answer::Done));
            }
            Request::DeadLetters { target } => reply.answer(self.dead_letters(&target, context)),
            Request::Broken { link, what } => {
                self.server_broke(by, link, what);
                reply.answer(Ok(Answer::Done));
            }
            Request::End => self.end(context, reply),
        }
    }
}

/// Starting.
impl Host {
    fn spawn(&mut self, spec: Payload, asked: (Option<ChildId>, Ticket), context: Context, starter: Starter) {
        let started = spec.unpack::<node::Node>().and_then(|(node, _)| {
            self.check_names(&node, context)?;
            Ok(node)
        });
        let node = match started {
            Ok(node) => node,
            Err(error) => return starter.reply.answer(Err(error)),
        };
        let root = self.root(context);
        let policy = node.policy.clone();
        let id = self.adopt(node, context, asked.0);
        let Some(tree) = self.children.get_mut(&root).and_then(Child::supervisor_mut) else {
            return;
        };
        match tree.decider.add(policy) {
            Ok((seat, actions)) => {
                tree.seats.insert(seat, id);
                if let Some(child) = self.children.get_mut(&id) {
                    child.under = Some((root, seat));
                    child.asked = Some(asked);
                    child.starter = Some(starter);
                }
                self.act(root, actions);
            }
            Err(error) => {
                self.free_names(id);
                self.drop_below(id);
                starter.reply.answer(Err(error));
            }
        }
    }

    /// Whoever asked for it does not wait for it any more.
    fn abandon(&mut self, by: Option<ChildId>, ticket: Ticket) {
        let started = self
            .children
            .values()
            .find(|child| child.asked == Some((by, ticket)));
        if let Some(id) = started.map(|child| child.id) {
            self.disown(id);
        }
    }

    fn check_names(&self, node: &node::Node, context: Context) -> Result<()> {
        let names = node.names();
        name::check_all(names.iter().copied())?;
        match names
            .into_iter()
            .find(|name| self.names.contains_key(&(context, (*name).to_owned())))
        {
            Some(taken) => Err(name::taken(taken)),
            None => Ok(()),
        }
    }

    /// Takes a child, and what is below it, into the books.
    fn adopt(&mut self, node: node::Node, context: Context, owner: Option<ChildId>) -> ChildId {
        let id = ChildId(self.number());
        let (work, label) = match node.work {
            node::Work::Process(process) => {
                let label = process.label.clone();
                (Work::Process(Process::new(process)), label)
            }
            node::Work::Supervisor { rules, children } => {
                let listed = children
                    .into_iter()
                    .map(|child| self.adopt(child, context, None))
                    .collect();
                (
                    Work::Supervisor(Supervisor::of(rules, listed)),
                    "supervisor".to_owned(),
                )
            }
        };
        let name = node.name.unwrap_or_else(|| format!("{label}-{}", id.0));
        let child = Child::new(
            id,
            Cap(crate::os::random()),
            context,
            name,
            node.policy,
            owner,
            work,
        );
        self.names.insert((context, child.name.clone()), id);
        self.children.insert(id, child);
        id
    }

    /// The supervisor of everything in a context that has no other.
    fn root(&mut self, context: Context) -> ChildId {
        if let Some(root) = self.roots.get(&context) {
            return *root;
        }
        let id = ChildId(self.number());
        let work = Work::Supervisor(Supervisor::of(Rules::root(), Vec::new()));
        let cap = Cap(crate::os::random());
        let child = Child::new(id, cap, context, String::new(), Policy::supervisor(), None, work);
        self.children.insert(id, child);
        self.roots.insert(context, id);
        self.begin(id);
        self.settle();
        id
    }

    /// Stops everything in a context.
    fn end(&mut self, context: Context, reply: Reply) {
        match self.roots.get(&context).copied() {
            Some(root) => {
                if let Some(root) = self.children.get_mut(&root) {
                    root.stoppers.push(reply);
                }
                self.decide(root, decide::Event::Stop);
            }
            None => reply.answer(Ok(Answer::Done)),
        }
    }
}

/// Ending.
impl Host {
    fn join_task(&mut self, target: &Target, context: Context, reply: Reply) {
        let id = match self.find_any(target, context) {
            Ok(id) => id,
            Err(error) => return reply.answer(Err(error)),
        };
        if let Some(process) = self.process_mut(id) {
            process.joiner = Joiner::Waiting(reply);
        }
        self.finish(id);
    }

    fn kill_asked(&mut self, target: &Target, context: Context, cause: KillCause, reply: Reply) {
        let id = match self.find(target, context, None) {
            Ok(id) => id,
            Err(error) => return reply.answer(Err(error)),
        };
        let Some(process) = self.process_mut(id) else {
            return reply.answer(Err(Error::with_kind(
                ErrorKind::Invalid,
                "a supervisor has no process to kill",
            )));
        };
        match (&mut process.life, &mut process.launching) {
            (Some(life), _) => life.kill(cause),
            (None, Some(launching)) => launching.kill = Some(cause),
            (None, None) => return reply.answer(Ok(Answer::Done)),
        }
        process.killers.push(reply);
    }

    /// A child of the root is forgotten once it has stopped; one of a tree keeps its seat there.
    fn stop_asked(&mut self, target: &Target, context: Context, reply: Reply) {
        let id = match self.find(target, context, None) {
            Ok(id) => id,
            Err(error) => return reply.answer(Err(error)),
        };
        if let Some(child) = self.children.get_mut(&id) {
            child.stoppers.push(reply);
        }
        let at_root = self.is_at_root(id);
        self.decide_above(
            id,
            if at_root {
                decide::Event::RemoveChild
            } else {
                decide::Event::StopChild
            },
        );
    }

    /// Whether it is under no supervisor of the user's.
    pub(super) fn is_at_root(&self, id: ChildId) -> bool {
        let Some(child) = self.children.get(&id) else {
            return false;
        };
        child
            .under
            .is_some_and(|(supervisor, _)| self.roots.get(&child.context) == Some(&supervisor))
    }

    pub(super) fn tell_monitors(&mut self, id: ChildId, pid: u32, reason: &ExitReason) {
        let Some(child) = self.children.get(&id) else {
            return;
        };
        let exit = Exit {
            child: id,
            name: child.name.clone(),
            pid,
            reason: reason.clone(),
            last: child.ended,
        };
        self.monitors.retain(|ear| {
            if ear.child != id {
                return true;
            }
            match &ear.exits {
                Exits::Local(exits) => drop(exits.send(exit.clone())),
                Exits::Remote(control) => {
                    super::life::say(control, &Down::Exit(ear.monitor, exit.clone()), Vec::new());
                }
            }
            !exit.last
        });
    }

    /// Nothing more will be heard of it.
    pub(super) fn close_monitors(&mut self, id: ChildId) {
        for ear in self.monitors.extract_if(.., |ear| ear.child == id) {
            if let Exits::Remote(control) = &ear.exits {
                super::life::say(control, &Down::Unheard(ear.monitor), Vec::new());
            }
        }
    }

    /// Monitors that a process held end with it.
    pub(super) fn end_monitors_of(&mut self, by: ChildId) {
        self.monitors.retain(|ear| ear.by != Some(by));
    }
}

/// Looking.
impl Host {
    /// The child that is meant, if it has not ended for good and its row is that one.
    fn find(&self, target: &Target, context: Context, row: Option<u32>) -> Result<ChildId> {
        let id = self.find_any(target, context)?;
        let child = self.children.get(&id).ok_or_else(|| stopped("it"))?;
        if child.ended {
            return Err(stopped(&child.name));
        }
        match (row, child.process()) {
            (Some(row), Some(process)) if is_of(process.spec.body.kind, process.spec.body.row, row) => Ok(id),
            (None, _) => Ok(id),
            (Some(_), other) => {
                let label = other.map_or("supervisor", |process| process.spec.label.as_str());
                let message = format!(
                    "`{}` is a `{label}`: ask for it by a ref of that type",
                    child.name
                );
                Err(Error::with_kind(ErrorKind::Invalid, message))
            }
        }
    }

    pub(super) fn find_any(&self, target: &Target, context: Context) -> Result<ChildId> {
        match target {
            Target::Named(name) => self.names.get(&(context, name.clone())).copied().ok_or_else(|| {
                Error::with_kind(ErrorKind::NotFound, format_args!("nobody is named `{name}`"))
            }),
            Target::Child(id, cap) => match self.children.get(id) {
                Some(child) if child.cap == *cap => Ok(*id),
                Some(_) => Err(Error::with_kind(
                    ErrorKind::NotFound,
                    format_args!("the ref to {id} is not genuine"),
                )),
                None => Err(stopped(&id.to_string())),
            },
        }
    }

    pub(super) fn found(&self, id: ChildId) -> Result<Answer> {
        let cap = self
            .children
            .get(&id)
            .map(|child| child.cap)
            .ok_or_else(|| stopped("it"))?;
        Ok(Answer::Found { child: id, cap })
    }

    fn context(&self, id: ChildId) -> Context {
        self.children
            .get(&id)
            .map(|child| child.context)
            .unwrap_or_default()
    }

    fn info(&self, id: ChildId) -> Result<Info> {
        let child = self.children.get(&id).ok_or_else(|| stopped("it"))?;
        Ok(child.info(self.state(child), 0))
    }

    fn list(&self, id: ChildId, depth: usize, list: &mut Vec<Info>) {
        let Some(child) = self.children.get(&id) else {
            return;
        };
        list.push(child.info(self.state(child), depth));
        for below in child.supervisor().map(Supervisor::below).unwrap_or_default() {
            self.list(below, depth + 1, list);
        }
    }

    fn active(&self, context: Context) -> Vec<Info> {
        let here = self
            .children
            .values()
            .filter(|child| child.context == context && child.life().is_some());
        let mut active: Vec<_> = here.map(|child| child.info(self.state(child), 0)).collect();
        active.sort_by_key(|info| info.id);
        active
    }

    fn mode(&mut self) -> Result<Answer> {
        let link = self.link_kind();
        let launcher = self.launcher.as_ref().map_err(Clone::clone)?;
        Ok(Answer::Mode {
            fork_server: launcher.mode() == StartMode::ForkServer,
            link,
            server_pid: launcher.server_pid().map(|pid| pid as u32),
        })
    }

    /// Those who wait until a child or a tree is up, and now need not.
    pub(super) fn answer_those_waiting(&mut self) {
        if self.awaiting.is_empty() {
            return;
        }
        for (id, reply) in std::mem::take(&mut self.awaiting) {
            match self.children.get(&id) {
                None => reply.answer(Err(stopped("it"))),
                Some(child) if child.ended => reply.answer(Err(stopped(&child.name))),
                Some(_) if self.is_up(id) => reply.answer(Ok(Answer::Done)),
                Some(_) => self.awaiting.push((id, reply)),
            }
        }
    }

    fn is_up(&self, id: ChildId) -> bool {
        let Some(child) = self.children.get(&id) else {
            return true;
        };
        match &child.work {
            Work::Process(process) => process.life.as_ref().is_some_and(Life::is_up),
            Work::Supervisor(tree) => {
                let rests = |child: ChildId| self.children.get(&child).is_none_or(|child| child.ended);
                tree.decider.is_up()
                    && tree
                        .below()
                        .into_iter()
                        .all(|child| rests(child) || self.is_up(child))
            }
        }
    }
}

/// Whether a ref of that row means a child of this kind and row.
fn is_of(kind: BodyKind, its: u32, row: u32) -> bool {
    match kind {
        BodyKind::Actor => its == row,
        BodyKind::Worker | BodyKind::Service => row == NO_ROW,
        BodyKind::Task => false,
    }
}

impl Child {
    fn new(
        id: ChildId,
        cap: Cap,
        context: Context,
        name: String,
        policy: Policy,
        owner: Option<ChildId>,
        work: Work,
    ) -> Child {
        Child {
            id,
            cap,
            context,
            name,
            policy,
            under: None,
            owner,
            work,
            number: 0,
            left: None,
            since: Instant::now(),
            asked: None,
            starter: None,
            last: None,
            ended: false,
            stoppers: Vec::new(),
        }
    }
}

impl Supervisor {
    fn of(rules: Rules, listed: Vec<ChildId>) -> Supervisor {
        let decider = Decider::new(rules.clone(), [], 0);
        Supervisor {
            rules,
            decider,
            incarnation: None,
            seats: Default::default(),
            listed,
            leaving: Vec::new(),
            timers: Default::default(),
        }
    }
}
