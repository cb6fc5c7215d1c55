//! The client's side of a link: calls in flight to one incarnation of one actor.
//!
//! A connection belongs to the runtime that made it: a task there drives its link, and ends with it. Messages are
//! numbered in the order in which they are queued, which is the order in which the actor begins them.
//!
//! **The end.** Only the control plane says that an actor died, with the reason and the number of the last message that
//! had begun; an end of file says nothing (a grandchild may hold the socket open, or the actor have closed it). When
//! the word comes, everything that the actor had managed to write is read first, and those answers delivered; the
//! calls that are left end as `Died`, each with whether it had begun; after an orderly end, those that had not begun
//! are as if never sent. An actor that closes its link, or writes what is no frame, is reported to the control plane,
//! which kills it: the word comes then too.

use crate::error::{CallError, Error, Result};
use crate::exit::ExitReason;
use crate::link::credit::{Credit, Window};
use crate::link::{self, Driver, Incoming};
use crate::process::control::{self, Answered};
use crate::wire::codec;
use crate::wire::control::{Fate, LinkId, Salvage, Settings};
use crate::wire::frame::{Head, Kind};
use bytes::Bytes;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long an actor may have closed its link before that is reported: its death is noticed sooner.
const EOF_GRACE: Duration = Duration::from_millis(200);

/// The connections of this process, by their links.
static OPEN: LazyLock<Mutex<HashMap<LinkId, Weak<Conn>>>> = LazyLock::new(Mutex::default);

/// A connection to one incarnation.
#[derive(Debug)]
pub(crate) struct Conn {
    sender: link::Sender,
    window: Window,
    link: LinkId,
    calls: Mutex<Calls>,
    /// The word of the control plane that the actor died. Once it was given, no message is taken any more: whoever
    /// heard of the death elsewhere reaches the next incarnation.
    fate: Mutex<oneshot::Receiver<Fate>>,
}

#[derive(Debug, Default)]
struct Calls {
    /// The number of the last message.
    last: u64,
    waiting: HashMap<u64, Waiting>,
    /// No message is taken any more.
    closed: bool,
    /// Nobody here holds it any more. That the link is closed says less: it is also when its other end is gone.
    given_up: bool,
}

/// A call in flight.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// What has come of its answer.
    parts: Vec<Bytes>,
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What came before its end: of a pool's chunk only.
    pub(crate) parts: Vec<Bytes>,
    pub(crate) reply: Reply,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The value, and the number in the frame's header beside it.
    Value(Bytes, u64),
    Failed(Bytes),
    Fault(Error),
    Died {
        reason: ExitReason,
        begun: bool,
        salvage: Option<Salvage>,
    },
}

/// The incarnation is gone, and the message was not sent: it can go to the next one.
#[derive(Debug)]
pub(crate) struct Closed;

impl Conn {
    /// Opens the link that an answer introduced, and drives it on the current runtime.
    pub(crate) fn open(answered: Answered) -> Result<Arc<Conn>> {
        let client = control::client();
        let introduced = *answered
            .answer
            .introduced()
            .ok_or_else(|| Error::msg("the control plane answered without a link"))?;
        let settings = client.settings();
        let transport = link::Transport::from_descriptors(answered.fds)?;
        let (sender, driver) = link::open(transport, settings.frame_limit)?;
        let conn = Arc::new(Conn {
            sender,
            window: Window::new(settings.window()),
            link: introduced.link,
            calls: Mutex::default(),
            fate: Mutex::new(answered.fate.unwrap_or_else(|| oneshot::channel().1)),
        });
        lock(&OPEN).insert(conn.link, Arc::downgrade(&conn));
        tokio::spawn(drive(conn.clone(), driver));
        Ok(conn)
    }

    /// Whether it takes messages.
    pub(crate) fn is_open(&self) -> bool {
        !self.lock().closed && !self.is_doomed()
    }

    fn is_doomed(&self) -> bool {
        !lock(&self.fate).is_empty()
    }

    /// Completes with the word that the actor died; `None`: it will never come.
    async fn fate(&self) -> Option<Fate> {
        poll_fn(|cx| self.poll_fate(cx)).await
    }

    fn poll_fate(&self, cx: &mut Context<'_>) -> Poll<Option<Fate>> {
        let mut calls = self.lock();
        let fate = ready!(std::pin::Pin::new(&mut *lock(&self.fate)).poll(cx));
        // The word is taken: from here on this says that it was given.
        calls.closed = true;
        Poll::Ready(fate.ok())
    }

    /// Sends a request and waits for its end. Dropped, it takes the request back.
    pub(crate) async fn call(&self, method: u32, body: Bytes) -> Result<Answer, Closed> {
        self.window.take(body.len() as u64).await.map_err(|_| Closed)?;
        let (answer, answered) = oneshot::channel();
        let head = Head {
            method,
            ..Head::new(Kind::Request)
        };
        let seq = self.queue(head, body, Some(answer))?;
        let unanswered = Unanswered { conn: self, seq };
        let reply = answered.await.map_err(|_| Closed);
        std::mem::forget(unanswered);
        reply
    }

    /// Sends a message that has no answer; returns when it was accepted.
    pub(crate) async fn tell(&self, method: u32, body: Bytes) -> Result<(), Closed> {
        self.window.take(body.len() as u64).await.map_err(|_| Closed)?;
        self.queue(
            Head {
                method,
                ..Head::new(Kind::Tell)
            },
            body,
            None,
        )
        .map(drop)
    }

    /// Waits until all that was accepted is on its way.
    pub(crate) async fn flushed(&self) {
        // One that is closed has nothing left to send.
        let _ = self.sender.drained().await;
    }

    /// Closes it, once all that was accepted is on its way.
    pub(crate) fn close(&self) {
        self.lock().given_up = true;
        self.sender.close();
    }

    /// The number is taken and the frame queued under one lock: the order of numbers is the order on the link.
    fn queue(&self, head: Head, body: Bytes, answer: Option<oneshot::Sender<Answer>>) -> Result<u64, Closed> {
        let mut calls = self.lock();
        if calls.closed || self.is_doomed() {
            return Err(Closed);
        }
        calls.last += 1;
        let seq = calls.last;
        self.sender
            .send(Head { seq, ..head }, body, Vec::new())
            .map_err(|_| Closed)?;
        if let Some(answer) = answer {
            calls.waiting.insert(
                seq,
                Waiting {
                    answer,
                    parts: Vec::new(),
                },
            );
        }
        Ok(seq)
    }

    /// Takes one frame of the actor's.
    fn accept(&self, frame: Incoming) -> Result<(), String> {
        let Head { kind, seq, aux, .. } = frame.head;
        let reply = match kind {
            Kind::Reply => Reply::Value(frame.body, aux),
            Kind::Failed => Reply::Failed(frame.body),
            Kind::Fault => Reply::Fault(codec::decode(&frame.body).map_err(|e| e.to_string())?),
            Kind::Part => {
                if let Some(waiting) = self.lock().waiting.get_mut(&seq) {
                    waiting.parts.push(frame.body);
                }
                return Ok(());
            }
            Kind::Credit => {
                let credit = Credit {
                    messages: (aux >> 32) as u32,
                    bytes: aux & 0xffff_ffff,
                };
                return self.window.grant(credit).map_err(|fault| fault.to_string());
            }
            other => return Err(format!("a frame of kind {other:?} from an actor")),
        };
        let mut calls = self.lock();
        if seq == 0 || seq > calls.last {
            return Err(format!("an answer to message {seq} of {}", calls.last));
        }
        // One that is not waited for was taken back.
        if let Some(Waiting { answer, parts }) = calls.waiting.remove(&seq) {
            drop(calls);
            let _ = answer.send(Answer { parts, reply });
        }
        Ok(())
    }

    /// Ends every call that is left.
    fn end(&self, fate: Option<Fate>) {
        let waiting = {
            let mut calls = self.lock();
            calls.closed = true;
            let mut waiting: Vec<_> = calls.waiting.drain().collect();
            // In their order, so that those who send again do so in that.
            waiting.sort_unstable_by_key(|(seq, _)| *seq);
            waiting
        };
        self.window.close();
        // Without a fate the runtime is going down, and the senders are dropped unheard.
        let Some(fate) = fate else { return };
        for (seq, Waiting { answer, parts }) in waiting {
            let begun = seq <= fate.begun;
            if !begun && fate.reason.is_normal() {
                // It came too late for an actor that stopped in order, and lost nothing by it: unanswered, it goes to
                // the next incarnation, or hears that there is none.
                continue;
            }
            let salvage = fate.salvage.clone().filter(|salvage| salvage.seq == seq);
            let reply = Reply::Died {
                reason: fate.reason.clone(),
                begun,
                salvage,
            };
            let _ = answer.send(Answer { parts, reply });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        lock(&OPEN).remove(&self.link);
        if let Some(client) = control::existing() {
            client.forget(self.link);
        }
    }
}

/// Waits until everything that this process accepted for others is on its way: before an orderly end.
pub(crate) async fn flush() {
    let open: Vec<_> = lock(&OPEN).values().filter_map(Weak::upgrade).collect();
    for conn in open {
        conn.flushed().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call whose future is dropped before its answer came.
struct Unanswered<'a> {
    conn: &'a Conn,
    seq: u64,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.conn.lock().waiting.remove(&self.seq).is_some() {
            let head = Head {
                seq: self.seq,
                ..Head::new(Kind::Cancel)
            };
            // A link that is closed has nothing left to cancel.
            let _ = self.conn.sender.send(head, Bytes::new(), Vec::new());
        }
    }
}

/// Ends the calls of a connection whose task is dropped with its runtime.
struct Driven(Arc<Conn>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

/// Moves frames until the actor is dead or nobody holds the connection.
async fn drive(conn: Arc<Conn>, mut driver: Driver) {
    let driven = Driven(conn);
    let conn = &driven.0;
    let fault = loop {
        let next = poll_fn(|cx| {
            // Frames first: what the actor wrote before its death counts.
            if let Poll::Ready(next) = driver.poll_next(cx) {
                return Poll::Ready(Next::Frame(next));
            }
            conn.poll_fate(cx).map(Next::Fate)
        });
        match next.await {
            Next::Frame(Some(Ok(frame))) => {
                if let Err(what) = conn.accept(frame) {
                    break Some(what);
                }
            }
            Next::Frame(Some(Err(error))) => break Some(error.to_string()),
            Next::Frame(None) => break None,
            Next::Fate(word) => return finish(conn, &mut driver, word),
        }
    };
    if conn.lock().given_up {
        return; // nobody is left who could call
    }
    if fault.is_none()
        && let Ok(word) = tokio::time::timeout(EOF_GRACE, conn.fate()).await
    {
        return finish(conn, &mut driver, word);
    }
    control::client().broken(
        conn.link,
        fault.as_deref().unwrap_or("it closed its end of a link"),
    );
    conn.end(conn.fate().await);
}

enum Next {
    Frame(Option<Result<Incoming, link::LinkError>>),
    Fate(Option<Fate>),
}

/// The actor is dead: reads what it had written, then ends what is left.
fn finish(conn: &Conn, driver: &mut Driver, fate: Option<Fate>) {
    for frame in driver.drain().frames {
        // A dead process can no longer be blamed for what it wrote.
        let _ = conn.accept(frame);
    }
    conn.end(fate);
}

impl Reply {
    /// The value, decoded.
    pub(crate) fn decode<T, E>(
        self,
        value: fn(&mut &[u8]) -> Result<T>,
        error: fn(&mut &[u8]) -> Result<E>,
    ) -> Result<T, CallError<E>> {
        match self {
            Reply::Value(bytes, _) => value(&mut &bytes[..]).map_err(CallError::Other),
            Reply::Failed(bytes) => {
                Err(error(&mut &bytes[..]).map_or_else(CallError::Other, CallError::Failed))
            }
            Reply::Fault(error) => Err(CallError::from_fault(error)),
            Reply::Died { reason, begun, .. } => Err(CallError::Died { reason, begun }),
        }
    }
}

/// How many bytes of one sender may wait at one actor.
const WINDOW: u64 = 4 << 20;

impl Settings {
    /// What one sender may have sent to one actor that has not begun.
    pub(crate) fn window(&self) -> Credit {
        Credit {
            messages: self.mailbox,
            bytes: WINDOW,
        }
    }
}
