//! Messages whose senders or receivers are no more: dead letters, and what a process left to be sent when it ended.
//!
//! A process that comes to an orderly end hands over the one-way messages that it had accepted and of which it does not
//! know that they are settled. They stay with the link that they were sent over: when the link is closed in order they
//! are done, but for those that were never sent over it; if the receiver dies first, those that had not begun are sent
//! to its next incarnation.
//!
//! A one-way message that had begun and not ended at a death is a dead letter. The status page names it, since its
//! sender may have gone, or have been told that it had begun and forgotten it.

use crate::actor::ledger::{Letter, Lot, Obituary};
use crate::actor::peer::Lease;
use crate::actor::row::{self, Entry};
use crate::error::Result;
use crate::exit::ExitReason;
use crate::local::spawn_local;
use crate::process::control;
use crate::wire::control::{
    Answer, Bequeathed, Bequest, BodyKind, ChildId, Context, DeadCause, DeadLetter, DeadReport, LinkId,
    Request, Target,
};
use std::collections::{HashMap, VecDeque};

use super::host::{Host, Who};
use super::life::Life;

/// How many dead letters are kept of one actor, and of how many actors.
const KEPT: usize = 100;
const ACTORS: usize = 100;

/// The latest messages that were not handled.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    of: HashMap<ChildId, Pile>,
    /// The actors, in the order of their first letter.
    order: VecDeque<ChildId>,
}

#[derive(Debug, Default)]
struct Pile {
    latest: VecDeque<DeadLetter>,
    n: u64,
}

/// What dead or leaving clients left; `C` is a client.
#[derive(Debug)]
pub(crate) struct Estate<C = Who> {
    /// By the links that carry it.
    open: HashMap<LinkId, Bequest>,
    /// Links whose server died before their client.
    cut: HashMap<LinkId, (C, Progress)>,
}

/// How far a process had come with what was sent over a link.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The number of the last message that had begun.
    pub(crate) begun: u64,
    /// Of these, the ones that had not ended; `None`: they were too many to be named.
    pub(crate) unfinished: Option<Vec<u64>>,
    /// Why it died, if it did.
    pub(crate) reason: ExitReason,
}

impl DeadLetters {
    fn add(&mut self, actor: ChildId, letter: DeadLetter) {
        if !self.of.contains_key(&actor) {
            self.order.push_back(actor);
            if self.order.len() > ACTORS
                && let Some(oldest) = self.order.pop_front()
            {
                self.of.remove(&oldest);
            }
        }
        let pile = self.of.entry(actor).or_default();
        pile.n += 1;
        pile.latest.push_back(letter);
        if pile.latest.len() > KEPT {
            pile.latest.pop_front();
        }
    }

    fn list(&self, actor: ChildId) -> (Vec<DeadLetter>, u64) {
        self.of.get(&actor).map_or((Vec::new(), 0), |pile| {
            (pile.latest.iter().cloned().collect(), pile.n)
        })
    }
}

impl Host {
    /// A message was not handled: it is counted, logged and listed.
    pub(super) fn dead_letter(&mut self, report: DeadReport, context: Context) {
        let DeadReport {
            target,
            row,
            method,
            cause,
        } = report;
        let id = match &target {
            Target::Child(id, _) => Some(*id),
            Target::Named(_) => self.find_any(&target, context).ok(),
        };
        let known = id.and_then(|id| self.children.get(&id));
        let actor = known.map_or_else(|| target.to_string(), |child| child.name.clone());
        let letter = DeadLetter {
            actor,
            method: method_name(row, method),
            cause,
        };
        let logged = letter.clone();
        self.log(move || {
            let DeadLetter { actor, method, cause } = logged;
            tracing::warn!(actor, method, %cause, "a message was not handled");
        });
        if let Some(id) = id {
            self.dead.add(id, letter);
        }
    }

    /// The latest that were for this actor, which may have ended for good.
    pub(super) fn dead_letters(&self, target: &Target, context: Context) -> Result<Answer> {
        let id = match target {
            Target::Child(id, _) if !self.children.contains_key(id) => *id,
            target => self.find_any(target, context)?,
        };
        let (letters, n) = self.dead.list(id);
        Ok(Answer::DeadLetters(letters, n))
    }

    /// A process that is about to end leaves messages.
    pub(super) fn inherit(&mut self, mut bequest: Bequest, context: Context) {
        // A name is looked up in the context of whoever used it.
        if let Target::Named(_) = bequest.target
            && let Ok(Answer::Found { child, cap }) = self
                .find_any(&bequest.target, context)
                .and_then(|id| self.found(id))
        {
            bequest.target = Target::Child(child, cap);
        }
        let is_open = bequest.link.is_some_and(|link| self.links.contains_key(&link));
        self.estate.inherit(bequest, is_open);
    }

    /// The server of a link died, when so much of what came over it had been done.
    pub(super) fn link_was_cut(&mut self, link: LinkId, client: Option<Who>, progress: Progress) {
        self.estate.link_was_cut(link, client, progress);
    }

    /// A link was closed in order.
    pub(super) fn link_was_closed(&mut self, link: LinkId) {
        self.estate.link_was_closed(link);
    }

    /// A process is dead, and has said all that it could.
    pub(super) fn forget_cut_links(&mut self, client: Who) {
        self.estate.forget(client);
    }

    /// A process is dead: the one-way messages that it was handling are lost with it.
    pub(super) fn lose(&mut self, id: ChildId, life: &Life, reason: &ExitReason) {
        for name in life.page.running().filter(|name| name.one_way) {
            self.not_handled(id, name.method, DeadCause::Died(reason.clone()));
        }
    }

    /// An actor's process had that message, which is lost.
    pub(super) fn not_handled(&mut self, id: ChildId, method: u32, cause: DeadCause) {
        let Some(child) = self.children.get(&id) else {
            return;
        };
        let body = child.process().map(|process| &process.spec.body);
        let Some(body) = body.filter(|body| body.kind == BodyKind::Actor) else {
            return;
        };
        let report = DeadReport {
            target: Target::Child(id, child.cap),
            row: body.row,
            method,
            cause,
        };
        self.dead_letter(report, child.context);
    }
}

impl<C> Default for Estate<C> {
    fn default() -> Self {
        Estate {
            open: HashMap::new(),
            cut: HashMap::new(),
        }
    }
}

impl<C: PartialEq> Estate<C> {
    /// Takes what a client leaves. What was sent over a link that is open stays with that.
    pub(crate) fn inherit(&mut self, bequest: Bequest, is_open: bool) {
        match bequest.link {
            Some(link) if is_open => drop(self.open.insert(link, bequest)),
            Some(link) => match self.cut.remove(&link) {
                Some((_, progress)) => send(bequest, progress),
                // A link that is neither open nor was cut was closed when all that came over it was done.
                None => send_unsent(bequest),
            },
            None => send(bequest, Progress::done_up_to(0)),
        }
    }

    /// The server of a link died, when so much of what came over it had been done.
    pub(crate) fn link_was_cut(&mut self, link: LinkId, client: Option<C>, progress: Progress) {
        if let Some(bequest) = self.open.remove(&link) {
            send(bequest, progress);
        } else if let Some(client) = client {
            self.cut.insert(link, (client, progress));
        }
    }

    /// A link was closed in order.
    pub(crate) fn link_was_closed(&mut self, link: LinkId) {
        if let Some(bequest) = self.open.remove(&link) {
            send_unsent(bequest);
        }
    }

    /// A client is dead, and has said all that it could.
    pub(crate) fn forget(&mut self, client: C) {
        self.cut.retain(|_, (of, _)| *of != client);
    }
}

impl Progress {
    fn done_up_to(begun: u64) -> Progress {
        Progress {
            begun,
            unfinished: Some(Vec::new()),
            reason: ExitReason::Shutdown,
        }
    }

    fn obituary(&self) -> Obituary<'_> {
        Obituary {
            begun: self.begun,
            unfinished: self.unfinished.as_deref(),
            reason: &self.reason,
        }
    }
}

/// The link was closed in order: only what was never sent over it is left.
fn send_unsent(bequest: Bequest) {
    let begun = bequest.sent;
    send(bequest, Progress::done_up_to(begun));
}

/// Sends what is left to the next incarnation.
fn send(bequest: Bequest, progress: Progress) {
    let Bequest {
        target, row, letters, ..
    } = bequest;
    let poisonous = control::client().settings().poisonous;
    let mut left = Vec::new();
    for bequeathed in letters {
        let (number, mut letter) = (bequeathed.number, Letter::from(bequeathed));
        match letter.judge(number, progress.obituary(), poisonous) {
            Lot::Stays => left.push(letter),
            Lot::Ends => {}
            Lot::Poisonous => {
                let (deaths, reason) = (letter.deaths, progress.reason.clone());
                let cause = DeadCause::Poisonous { deaths, reason };
                report(&target, row, letter.method, cause);
            }
        }
    }
    if left.is_empty() {
        return;
    }
    spawn_local(async move {
        let lease = Lease::of(&target, row);
        for letter in left {
            let sent = match &lease {
                Ok(lease) => lease.peer().tell(letter.clone()).await,
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = sent {
                report(&target, row, letter.method, letter.undelivered(&error));
            }
        }
    });
}

fn report(target: &Target, row: u32, method: u32, cause: DeadCause) {
    control::client().tell(Request::DeadLetter(DeadReport {
        target: target.clone(),
        row,
        method,
        cause,
    }));
}

impl From<Bequeathed> for Letter {
    fn from(left: Bequeathed) -> Letter {
        let mut letter = Letter::request(left.method, left.body);
        letter.answered = false;
        letter.retries = left.retries;
        letter.deaths = left.deaths;
        letter.interrupted = left.interrupted;
        letter
    }
}

fn method_name(row: u32, method: u32) -> String {
    let name = row::at(row).ok().and_then(|row| match &row.entry {
        Entry::Actor(actor) => (actor.methods)().get(method as usize).copied(),
        _ => None,
    });
    name.map_or_else(|| format!("method {method}"), str::to_owned)
}
