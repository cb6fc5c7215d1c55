//! The actor's side of a link: messages in, answers out.

use crate::error::Error;
use crate::link::credit::{Credit, Granter};
use crate::link::{self, Incoming};
use crate::process::control::Remote;
use crate::wire::codec;
use crate::wire::control::{Attach, LinkId, Settings, Up};
use crate::wire::frame::{Head, Kind};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Notify;

use super::contract::Outcome;
use super::work::Work;

/// One link that a client of this process holds the other end of.
pub(crate) struct Port {
    pub(crate) link: LinkId,
    /// The cell of the status page that counts what had begun on this link.
    pub(crate) slot: u32,
    remote: &'static Remote,
    sender: link::Sender,
    granter: RefCell<Granter>,
    /// The number of the last message.
    last: Cell<u64>,
    /// What runs, or waits to, by the numbers of the messages.
    running: RefCell<HashMap<u64, Rc<Work>>>,
    limit: usize,
    /// Asks the reader of this link to take what is there, and say so.
    pub(crate) drain: Notify,
    pub(crate) drained: Notify,
}

/// What a client asks.
pub(crate) struct Message {
    pub(crate) port: Rc<Port>,
    pub(crate) seq: u64,
    pub(crate) method: u32,
    pub(crate) body: Bytes,
    /// Whether anybody waits for an answer.
    pub(crate) answered: bool,
}

impl Port {
    pub(crate) fn new(
        remote: &'static Remote,
        attach: Attach,
        sender: link::Sender,
        settings: &Settings,
    ) -> Rc<Port> {
        let granter = RefCell::new(Granter::new(settings.window()));
        Rc::new(Port {
            link: attach.link,
            slot: attach.slot,
            remote,
            sender,
            granter,
            last: 0.into(),
            running: RefCell::default(),
            limit: settings.frame_limit,
            drain: Notify::new(),
            drained: Notify::new(),
        })
    }

    /// Reads one frame: a message, or nothing where it was a cancel. An error names what the protocol does not allow.
    pub(crate) fn accept(self: &Rc<Self>, frame: Incoming) -> Result<Option<Message>, String> {
        let Head {
            kind, method, seq, ..
        } = frame.head;
        match kind {
            Kind::Request | Kind::Tell => {
                if seq != self.last.get() + 1 {
                    return Err(format!("message {seq} after message {}", self.last.get()));
                }
                self.last.set(seq);
                self.granter
                    .borrow_mut()
                    .arrived(frame.body.len() as u64)
                    .map_err(|fault| fault.to_string())?;
                let answered = kind == Kind::Request;
                Ok(Some(Message {
                    port: self.clone(),
                    seq,
                    method,
                    body: frame.body,
                    answered,
                }))
            }
            Kind::Cancel => {
                let cancelled = self.running.borrow_mut().remove(&seq);
                if let Some(work) = cancelled {
                    work.cancel();
                }
                Ok(None)
            }
            other => Err(format!("a frame of kind {other:?} from a client")),
        }
    }

    /// Room in the mailbox: called when a message leaves it.
    fn release(&self, bytes: usize) {
        let due = self.granter.borrow_mut().consumed(bytes as u64);
        if let Some(Credit { messages, bytes }) = due {
            // A window of bytes is far below 4 GiB.
            let aux = (u64::from(messages) << 32) | bytes;
            self.send(
                Head {
                    aux,
                    ..Head::new(Kind::Credit)
                },
                Bytes::new(),
            );
        }
    }

    fn send(&self, head: Head, body: Bytes) {
        // A client that is gone needs no answer.
        let _ = self.sender.send(head, body, Vec::new());
    }

    /// The client is gone: what it waited for is cancelled at its next await. One-way messages go on.
    pub(crate) fn close(&self) {
        let cancelled = std::mem::take(&mut *self.running.borrow_mut());
        cancelled.into_values().for_each(|work| work.cancel());
        self.sender.close();
    }

    /// The most bytes that a message may hold.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits until every answer is on its way.
    pub(crate) async fn flushed(&self) {
        // A client that is gone needs no answer.
        let _ = self.sender.drained().await;
    }

    /// Pushes out what can be without waiting: before an end that cannot wait.
    pub(crate) fn flush_now(&self) {
        self.sender.flush_now();
    }
}

impl Drop for Port {
    /// Nothing that came over the link is left: its cell of the status page can be given to another.
    fn drop(&mut self) {
        self.remote.say(&Up::Closed(self.link));
    }
}

impl Message {
    /// It leaves the mailbox.
    pub(crate) fn taken(&self) {
        self.port.release(self.body.len());
    }

    /// It came too late. A request goes elsewhere when its sender learns of the end; a one-way message is lost.
    pub(crate) fn unheard(&self) {
        if !self.answered {
            tracing::warn!("a one-way message came when the actor was stopping, and was not handled");
        }
    }

    /// Remembers what runs for it, so that a cancel finds it.
    pub(crate) fn runs(&self, work: Rc<Work>) {
        if !self.answered {
            return;
        }
        self.port.running.borrow_mut().insert(self.seq, work);
    }

    /// Its end.
    pub(crate) fn settle(&self, outcome: Outcome) {
        self.port.running.borrow_mut().remove(&self.seq);
        match outcome {
            Outcome::Value(bytes) => self.answer(Kind::Reply, 0, bytes.into()),
            Outcome::Failed(bytes) => self.answer(Kind::Failed, 0, bytes.into()),
            Outcome::Fault(error) => self.fault(&error),
        }
    }

    /// Sends a part of the answer of a chunk.
    pub(crate) fn part(&self, body: Bytes) {
        self.answer(Kind::Part, 0, body);
    }

    /// Sends the last part of the answer of a chunk, and how long it took.
    pub(crate) fn finish(&self, body: Bytes, nanos: u64) {
        self.port.running.borrow_mut().remove(&self.seq);
        self.answer(Kind::Reply, nanos, body);
    }

    fn fault(&self, error: &Error) {
        let mut out = Vec::new();
        if codec::encode(error, &mut out).is_ok() {
            self.answer(Kind::Fault, 0, out.into());
        }
        if !self.answered {
            tracing::error!(%error, "a one-way message was not handled");
        }
    }

    fn answer(&self, kind: Kind, aux: u64, body: Bytes) {
        if body.len() > self.port.limit {
            return self.fault(&Error::too_large(body.len(), self.port.limit));
        }
        if self.answered {
            self.port.send(
                Head {
                    seq: self.seq,
                    aux,
                    ..Head::new(kind)
                },
                body,
            );
        }
    }
}
