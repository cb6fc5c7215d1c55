//! Introductions: a connected pair for a client and a server, and what becomes of it.
//!
//! The host makes the pair, hands one end to each side and keeps none. It remembers who holds which end, so that at the
//! death of the server the client hears the reason, and what had begun.

use crate::error::{Error, ErrorKind};
use crate::exit::{ExitReason, KillCause};
use crate::link::{self, LinkKind};
use crate::os::{limits, memfd};
use crate::process::fate;
use crate::wire::control::{Answer, Attach, ChildId, Down, Fate, Introduced, LinkId, Salvage};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::child::{Caller, FirstLink};
use super::host::{Event, Host, Who, stopped};
use super::letters::Progress;
use super::life::Life;
use super::requests::Reply;

/// One link.
pub(crate) struct Link {
    server: ChildId,
    slot: u32,
    client: Client,
}

/// Who holds the client's end.
enum Client {
    /// A thread of the host, until it is told.
    Local(fate::Teller),
    Remote(Who, link::Sender),
}

/// A pair of ends.
struct Pair {
    introduced: Introduced,
    attach: Attach,
    ours: Vec<OwnedFd>,
    theirs: Vec<OwnedFd>,
    fate: Option<fate::Hearer>,
}

impl Host {
    /// Links whoever asked to a child, as soon as there is a process: it opens the link once it is up, and meanwhile its
    /// client does.
    pub(super) fn introduce(&mut self, id: ChildId, caller: Caller) {
        let Some(child) = self.children.get_mut(&id).filter(|child| !child.ended) else {
            return caller.reply.answer(Err(stopped(self.name(id))));
        };
        let Some(process) = child.process_mut() else {
            return caller.reply.answer(Err(Error::msg(format_args!(
                "`{}` is a supervisor: it takes no calls",
                child.name
            ))));
        };
        if !process.life.as_ref().is_some_and(Life::may_serve) {
            return process.callers.push(caller);
        }
        let Caller { reply, instead } = caller;
        match self.join(id, &reply) {
            Ok(pair) => {
                if let Some(old) = instead {
                    self.waits.moved(old, pair.introduced.link);
                }
                if let Some(life) = self.process_mut(id).and_then(|process| process.life.as_mut()) {
                    life.say(&Down::Attach(pair.attach), pair.theirs);
                }
                reply.deliver(Ok(Answer::Introduced(pair.introduced)), pair.ours, pair.fate);
            }
            Err(error) => reply.answer(Err(error.context("no link could be made"))),
        }
    }

    pub(super) fn introduce_callers(&mut self, id: ChildId) {
        let callers = self
            .process_mut(id)
            .map(|process| std::mem::take(&mut process.callers))
            .unwrap_or_default();
        for caller in callers {
            self.introduce(id, caller);
        }
    }

    /// A link for a child's starter, made before there is a process: its slot is the first.
    pub(super) fn first_link(
        &mut self,
        id: ChildId,
        ahead: Option<Vec<OwnedFd>>,
    ) -> Result<(FirstLink, Attach, Vec<OwnedFd>), Error> {
        let starter = self.children.get_mut(&id).and_then(|child| child.starter.take());
        let Some(starter) = starter else {
            return Err(stopped(self.name(id)));
        };
        let pair = self.pair(id, Life::FIRST_SLOT, &starter.reply, ahead);
        if let Some(child) = self.children.get_mut(&id) {
            child.starter = Some(starter);
        }
        let Pair {
            introduced,
            attach,
            ours,
            theirs,
            fate,
        } = pair.map_err(|error| Error::with_kind(ErrorKind::Spawn, error))?;
        Ok((
            FirstLink {
                introduced,
                slot: attach.slot,
                ours,
                fate,
            },
            attach,
            theirs,
        ))
    }

    fn join(&mut self, id: ChildId, caller: &Reply) -> Result<Pair, Error> {
        let life = self.process_mut(id).and_then(|process| process.life.as_mut());
        let life = life.ok_or_else(|| stopped("it"))?;
        let slot = life.slot()?;
        let ahead = life.ahead.take();
        let pair = self.pair(id, slot, caller, ahead);
        if let Some(life) = self.process_mut(id).and_then(|process| process.life.as_mut()) {
            match &pair {
                Ok(pair) => life.links.push((pair.introduced.link, slot)),
                Err(_) => life.give_back(slot),
            }
        }
        pair
    }

    /// `ahead`: the client's end of a link that the server has open.
    fn pair(
        &mut self,
        server: ChildId,
        slot: u32,
        caller: &Reply,
        ahead: Option<Vec<OwnedFd>>,
    ) -> Result<Pair, Error> {
        let (ours, theirs) = match ahead {
            Some(ours) => (ours, Vec::new()),
            None => self.ends()?,
        };
        let link = LinkId(self.number());
        let (client, fate) = match caller {
            Reply::Remote { who, control, .. } => (Client::Remote(*who, control.clone()), None),
            Reply::Local(_) => {
                let (told, fate) = fate::channel();
                (Client::Local(told), Some(fate))
            }
        };
        self.links.insert(link, Link { server, slot, client });
        let spec = self.process(server).map(|process| process.spec.mailbox);
        let mailbox = spec.flatten().unwrap_or(self.config.settings.mailbox);
        Ok(Pair {
            introduced: Introduced {
                link,
                child: server,
                mailbox,
            },
            attach: Attach { link, slot, mailbox },
            ours,
            theirs,
            fate,
        })
    }

    fn ends(&mut self) -> Result<(Vec<OwnedFd>, Vec<OwnedFd>), Error> {
        let (ours, theirs) = link::pair(self.link_kind()).map_err(|error| {
            let what = format!("making a link: {}", limits::explain(&error));
            Error::with_kind(ErrorKind::Io, what)
        })?;
        Ok((ours.into_descriptors(), theirs.into_descriptors()))
    }

    /// What links are made of: sockets, if rings were asked for and the system refuses what they are made of.
    pub(super) fn link_kind(&mut self) -> LinkKind {
        if self.config.link == LinkKind::Ring && !self.rings_work {
            match link::ring::usable() {
                Err(error) if memfd::is_refused(&error) => self.fall_back(&error),
                // Short of something, it fails where it is used, and says so there.
                Err(_) => {}
                Ok(()) => self.rings_work = true,
            }
        }
        self.config.link
    }

    fn fall_back(&mut self, error: &io::Error) {
        self.config.link = LinkKind::Socket;
        let error = error.to_string();
        self.log(move || {
            tracing::warn!(
                error,
                "links are sockets: this system refuses the shared memory of rings"
            );
        });
    }

    /// The server is dead: its clients hear why, and what had begun.
    pub(super) fn cut_links(&mut self, life: &Life, reason: &ExitReason) {
        for (id, _) in &life.links {
            if let Some(link) = self.links.remove(id) {
                self.link_was_cut(*id, link.client.who(), link.progress(life, reason));
                let salvage = life.salvage(link.slot);
                link.cut(*id, life, reason.clone(), salvage);
            }
        }
    }

    /// The server has closed its end: its client is gone, or the server could not open it and the client is to know.
    pub(super) fn link_closed(&mut self, who: Who, id: LinkId) {
        self.link_was_closed(id);
        self.cut_link(who, id, "it closed its end of the link");
        if let Some(life) = self.life(who) {
            life.release(id);
        }
    }

    /// The server goes on without this link. What came over it may still run there, in its slot.
    fn cut_link(&mut self, who: Who, id: LinkId, why: &str) {
        let served = self.links.get(&id).is_some_and(|link| link.server == who.child);
        let Some(link) = served.then(|| self.links.remove(&id)).flatten() else {
            return;
        };
        if let Some(life) = self.life(who) {
            link.cut(id, life, ExitReason::Failed(why.to_owned()), None);
        }
    }

    /// The server says that the client broke the protocol, and closes its end.
    pub(super) fn client_broke(&mut self, who: Who, id: LinkId, fault: String) {
        let client = match self.links.get(&id) {
            Some(link) if link.server == who.child => link.client.who(),
            _ => return,
        };
        self.blame(client, fault.clone());
        self.cut_link(who, id, &fault);
    }

    /// The client, or the host where that is `None`, says that the server broke the protocol, or closed its end out of
    /// turn.
    pub(super) fn server_broke(&mut self, by: Option<ChildId>, id: LinkId, fault: String) {
        let Some(link) = self.links.get(&id) else { return };
        let server = link.server;
        let is_its = link.client.who().map(|who| who.child) == by;
        let life = self.process(server).and_then(|process| process.life.as_ref());
        if let Some(incarnation) = life.map(|life| life.incarnation).filter(|_| is_its) {
            let child = server;
            self.blame(Some(Who { child, incarnation }), fault);
        }
    }

    /// The deadline of a call has passed: its process has so long to bring it to its end.
    pub(super) fn kill_after(&self, by: Option<ChildId>, id: LinkId, number: u64, grace: Duration) {
        let client = self.links.get(&id).map(|link| link.client.who());
        if client.map(|who| who.map(|who| who.child)) == Some(by) {
            let events = self.events.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(grace).await;
                let _ = events.send(Event::Expired(id, number));
            });
        }
    }

    /// Kills the process that still runs that call.
    pub(super) fn expired(&mut self, id: LinkId, number: u64) {
        let Some(link) = self.links.get(&id) else { return };
        let (server, slot) = (link.server, link.slot);
        if let Some(life) = self.process_mut(server).and_then(|process| process.life.as_mut())
            && life
                .page
                .unfinished(slot)
                .is_some_and(|runs| runs.contains(&number))
        {
            life.kill(KillCause::Deadline);
        }
    }

    /// Kills the process that broke the protocol; the host itself is only named.
    fn blame(&mut self, blamed: Option<Who>, fault: String) {
        let name = blamed.map_or("the host", |who| self.name(who.child)).to_owned();
        let what = fault.clone();
        self.log(move || tracing::error!(blamed = name, fault = what, "a link was broken"));
        if let Some(life) = blamed.and_then(|who| self.life(who)) {
            life.condemn(fault);
        }
    }
}

impl Link {
    /// The number of the last message that has begun.
    pub(super) fn begun(&self, life: &Life) -> u64 {
        life.page.begun(self.slot as usize).unwrap_or(0)
    }

    fn progress(&self, life: &Life, reason: &ExitReason) -> Progress {
        Progress {
            begun: self.begun(life),
            unfinished: life.page.unfinished(self.slot),
            reason: reason.clone(),
        }
    }

    /// Tells the client.
    fn cut(self, id: LinkId, life: &Life, reason: ExitReason, salvage: Option<Salvage>) {
        let fate = Fate {
            reason,
            begun: self.begun(life),
            unfinished: life.page.unfinished(self.slot),
            salvage,
        };
        match self.client {
            Client::Local(told) => told.tell(fate),
            Client::Remote(_, control) => super::life::say(&control, &Down::Fate(id, fate), Vec::new()),
        }
    }
}

impl Client {
    /// The process; `None` is the host.
    fn who(&self) -> Option<Who> {
        match self {
            Client::Local(_) => None,
            Client::Remote(who, _) => Some(*who),
        }
    }
}
