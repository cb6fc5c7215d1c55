//! Introductions: a connected pair for a client and a server, and what becomes of it.
//!
//! The host makes the pair, hands one end to each side and keeps none. It remembers who holds which end, so that at the
//! death of the server the client hears the reason, and what had begun.

use crate::error::{Error, ErrorKind};
use crate::exit::ExitReason;
use crate::link::{self, LinkKind};
use crate::os::limits;
use crate::wire::control::{Answer, Attach, ChildId, Down, Fate, Introduced, LinkId};
use std::os::fd::OwnedFd;
use tokio::sync::oneshot;

use super::child::FirstLink;
use super::host::{Host, Who, stopped};
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
    Local(oneshot::Sender<Fate>),
    Remote(Who, link::Sender),
}

/// A pair of ends.
struct Pair {
    introduced: Introduced,
    attach: Attach,
    ours: Vec<OwnedFd>,
    theirs: Vec<OwnedFd>,
    fate: Option<oneshot::Receiver<Fate>>,
}

impl Host {
    /// Links whoever asked to a child, as soon as that is up.
    pub(super) fn introduce(&mut self, id: ChildId, caller: Reply) {
        let Some(child) = self.children.get_mut(&id).filter(|child| !child.ended) else {
            return caller.answer(Err(stopped(self.name(id))));
        };
        let Some(process) = child.process_mut() else {
            return caller.answer(Err(Error::msg(format_args!(
                "`{}` is a supervisor: it takes no calls",
                child.name
            ))));
        };
        if !process.life.as_ref().is_some_and(|life| life.ready) {
            return process.callers.push(caller);
        }
        match self.join(id, &caller) {
            Ok(pair) => {
                if let Some(life) = self.process_mut(id).and_then(|process| process.life.as_mut()) {
                    life.say(&Down::Attach(pair.attach), pair.theirs);
                }
                caller.deliver(Ok(Answer::Introduced(pair.introduced)), pair.ours, pair.fate);
            }
            Err(error) => caller.answer(Err(error.context("no link could be made"))),
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
    pub(super) fn first_link(&mut self, id: ChildId) -> Result<(FirstLink, Attach, Vec<OwnedFd>), Error> {
        let starter = self.children.get_mut(&id).and_then(|child| child.starter.take());
        let Some(starter) = starter else {
            return Err(stopped(self.name(id)));
        };
        let pair = self.pair(id, Life::FIRST_SLOT, &starter.reply);
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
        let slot = life.ok_or_else(|| stopped("it"))?.slot()?;
        let pair = self.pair(id, slot, caller)?;
        if let Some(life) = self.process_mut(id).and_then(|process| process.life.as_mut()) {
            life.links.push(pair.introduced.link);
        }
        Ok(pair)
    }

    fn pair(&mut self, server: ChildId, slot: u32, caller: &Reply) -> Result<Pair, Error> {
        let (ours, theirs) = link::pair(self.config.link).map_err(|error| {
            let what = format!("making a link: {}", limits::explain(&error));
            Error::with_kind(ErrorKind::Io, what)
        })?;
        let link = LinkId(self.number());
        let (client, fate) = match caller {
            Reply::Remote { who, control, .. } => (Client::Remote(*who, control.clone()), None),
            Reply::Local(_) => {
                let (told, fate) = oneshot::channel();
                (Client::Local(told), Some(fate))
            }
        };
        self.links.insert(link, Link { server, slot, client });
        let pipe = self.config.link == LinkKind::Pipe;
        Ok(Pair {
            introduced: Introduced {
                link,
                child: server,
                pipe,
            },
            attach: Attach { link, slot, pipe },
            ours: ours.into_descriptors(),
            theirs: theirs.into_descriptors(),
            fate,
        })
    }

    /// The server is dead: its clients hear why, and what had begun.
    pub(super) fn cut_links(&mut self, life: &Life, reason: &ExitReason) {
        for id in &life.links {
            let Some(link) = self.links.remove(id) else {
                continue;
            };
            let begun = life.page.begun(link.slot as usize).unwrap_or(0);
            let fate = Fate {
                reason: reason.clone(),
                begun,
                salvage: life.salvage(link.slot),
            };
            match link.client {
                Client::Local(told) => drop(told.send(fate)),
                Client::Remote(_, control) => super::life::say(&control, &Down::Fate(*id, fate), Vec::new()),
            }
        }
    }

    /// The server saw its client go.
    pub(super) fn link_closed(&mut self, who: Who, link: LinkId) {
        if self
            .links
            .get(&link)
            .is_none_or(|known| known.server != who.child)
        {
            return;
        }
        if let (Some(known), Some(life)) = (self.links.remove(&link), self.life(who)) {
            life.release(link, known.slot);
        }
    }

    /// One end says that the other broke the protocol: that one is killed for it. `None` is the host itself.
    pub(super) fn link_broken(&mut self, by: Option<ChildId>, link: LinkId, fault: String) {
        let Some(known) = self.links.get(&link) else {
            return;
        };
        let client = match &known.client {
            Client::Local(_) => None,
            Client::Remote(who, _) => Some(who.child),
        };
        let blamed = match by {
            by if by == client => Some(known.server),
            by if by == Some(known.server) => client,
            _ => return,
        };
        let name = blamed.map_or("the host", |id| self.name(id)).to_owned();
        tracing::error!(blamed = name, fault, "a link was broken");
        let life = blamed
            .and_then(|id| self.process_mut(id))
            .and_then(|process| process.life.as_mut());
        if let Some(life) = life {
            life.condemn(fault);
        }
    }
}
