//! A link to one incarnation of one actor, from the client's side.
//!
//! It belongs to the runtime that made it: a task there drives it, and ends with it. What is sent over it, and what
//! becomes of that, is in the books of its [`Peer`], which outlive it.
//!
//! **The end.** Only the control plane says that an actor died, with the reason and the number of the last message that
//! had begun; an end of file says nothing (a grandchild may hold the socket open, or the actor have closed it). When
//! the word comes, everything that the actor had managed to write is read first, and those answers delivered; then the
//! books are told. An actor that closes its link, or writes what is no frame, is reported to the control plane, which
//! kills it: the word comes then too.

use crate::error::{CallError, Error, Result};
use crate::exit::ExitReason;
use crate::link::credit::{Credit, Window};
use crate::link::{self, Driver};
use crate::process::control::{self, Answered};
use crate::process::fate;
use crate::wire::attach::Payload;
use crate::wire::control::{Fate, LinkId, Mailbox, Overflow, Salvage};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;

use super::answer;
use super::peer::Peer;

/// How many frames are heard before others of the runtime have a turn.
const AT_ONCE: usize = 256;

/// How often the driver is asked for by who would look for an answer: a few microseconds.
const PATIENCE: u32 = 100;

/// How long an actor may have closed its link before that is reported: its death is noticed sooner.
const EOF_GRACE: Duration = Duration::from_millis(200);

/// A connection to one incarnation.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(super) sender: link::Sender,
    pub(super) window: Window,
    pub(super) overflow: Overflow,
    /// How many messages may wait here for room.
    pub(super) backlog: usize,
    pub(super) link: LinkId,
    /// The word of the control plane that the actor died. Once it was given, no message is taken any more: whoever
    /// heard of the death elsewhere reaches the next incarnation.
    fate: fate::Hearer,
    /// No message is taken any more.
    closed: AtomicBool,
    /// The actor said that it is up.
    up: Notify,
    /// The books know what became of all that was sent over it.
    settled: watch::Sender<bool>,
    /// What moves its frames: under this lock they are heard, in their order.
    driver: Mutex<Option<Driver>>,
    /// Set by who wants that lock for a moment, to look for an answer; `None`: there is nothing to look at.
    wanted: Option<Arc<AtomicBool>>,
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What came before its end: of a pool's chunk only.
    pub(crate) parts: Vec<Payload>,
    pub(crate) reply: Reply,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The value, and the number in the frame's header beside it.
    Value(Payload, u64),
    Failed(Payload),
    Fault(Error),
    /// Apart, so that answers are small.
    Died(Box<Death>),
}

/// A call ended with its actor.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) reason: ExitReason,
    pub(crate) begun: bool,
    /// What a worker left of the chunk that it was on.
    pub(crate) salvage: Option<Salvage>,
}

impl Conn {
    /// Opens the link that an answer introduced, on the current runtime; to be driven.
    pub(super) fn open(answered: Answered) -> Result<Arc<Conn>> {
        let introduced = *answered
            .answer
            .introduced()
            .ok_or_else(|| Error::msg("the control plane answered without a link"))?;
        let settings = control::client().settings();
        let transport = link::Transport::introduced(introduced.link, answered.fds)?;
        let (sender, mut driver) = link::open(transport, settings.frame_limit)?;
        let conn = Arc::new(Conn {
            sender,
            window: Window::new(introduced.mailbox.window()),
            overflow: introduced.mailbox.overflow,
            backlog: introduced.mailbox.backlog() as usize,
            link: introduced.link,
            fate: answered.fate.unwrap_or_else(|| fate::channel().1),
            closed: AtomicBool::new(false),
            up: Notify::new(),
            settled: watch::Sender::new(false),
            wanted: driver.wanted(),
            driver: Mutex::new(Some(driver)),
        });
        Ok(conn)
    }

    /// Whether a message can go over it, whenever it has room.
    pub(super) fn allows(&self, message: &Payload) -> Result<()> {
        Ok(self.sender.allows(message.len(), message.fds.len())?)
    }

    /// Whether it takes messages.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && !self.fate.is_told()
    }

    /// Closes it, once all that was accepted is on its way.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.sender.close();
    }

    /// Waits until the actor says that it is up, over the link that was made with its process.
    pub(crate) async fn up(&self) {
        self.up.notified().await;
    }

    pub(super) fn is_up(&self) {
        self.up.notify_one();
    }

    /// Waits until the books know what became of all that was sent over it.
    pub(super) async fn settled(&self) {
        // It cannot close: this is its sender.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Waits until all that was accepted is on its way.
    pub(super) async fn flushed(&self) {
        // One that is closed has nothing left to send.
        let _ = self.sender.drained().await;
    }

    /// Looks for an answer in place of the connection's task, for a moment, where there is something to look at. Whether it
    /// is there.
    pub(super) fn look_for(&self, peer: &Peer, answered: &answer::Receiver) -> bool {
        let mut lent = self.wanted.as_deref().and_then(|wanted| self.lend(wanted));
        if let Some(Some(driver)) = lent.as_deref_mut() {
            driver.help(|frame| peer.hear(self, frame), || answered.is_ended());
        }
        answered.is_ended()
    }

    /// The driver, unless its task keeps it for long.
    fn lend(&self, wanted: &AtomicBool) -> Option<MutexGuard<'_, Option<Driver>>> {
        wanted.store(true, Ordering::Relaxed);
        let lent = (0..PATIENCE).find_map(|_| {
            let lent = self.driver.try_lock().ok();
            if lent.is_none() {
                std::hint::spin_loop();
            }
            lent
        });
        wanted.store(false, Ordering::Relaxed);
        lent
    }

    /// What comes next; frames first, as what the actor wrote before its death counts.
    fn poll_next(&self, peer: &Peer, cx: &mut Context<'_>) -> Poll<Next> {
        let mut driver = match self.driver.try_lock() {
            Ok(driver) => driver,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // Somebody looks for an answer, which is over in a moment.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        let Some(driver) = driver.as_mut() else {
            return Poll::Ready(Next::End(None));
        };
        for _ in 0..AT_ONCE {
            if let Some((head, value)) = driver.next_value() {
                if let Err(what) = peer.hear_value(self, &head, value) {
                    return Poll::Ready(Next::End(Some(what)));
                }
                continue;
            }
            match driver.poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Err(what) = peer.hear(self, frame) {
                        return Poll::Ready(Next::End(Some(what)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Next::End(Some(error.to_string()))),
                Poll::Ready(None) => return Poll::Ready(Next::End(None)),
                Poll::Pending => {
                    if driver.has_rested() {
                        peer.shrink();
                    }
                    return self.poll_fate(cx).map(Next::Fate);
                }
            }
        }
        // Others of this runtime have a turn before it goes on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Completes with the word that the actor died; `None`: it will never come.
    async fn fate(&self) -> Option<Fate> {
        poll_fn(|cx| self.poll_fate(cx)).await
    }

    fn poll_fate(&self, cx: &mut Context<'_>) -> Poll<Option<Fate>> {
        let word = ready!(self.fate.poll(cx));
        self.closed.store(true, Ordering::Release);
        Poll::Ready(word)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(client) = control::existing() {
            client.forget(self.link);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settles a connection, also where its task is dropped with its runtime.
struct Driven {
    peer: Arc<Peer>,
    conn: Arc<Conn>,
}

impl Driven {
    fn end(&self, fate: Option<Fate>) {
        self.conn.closed.store(true, Ordering::Release);
        self.conn.window.close();
        self.peer.bury(&self.conn, fate);
        self.conn.settled.send_replace(true);
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        drop(lock(&self.conn.driver).take());
        if !*self.conn.settled.borrow() {
            self.end(None);
        }
    }
}

/// Moves frames until the actor is dead or nobody needs the connection; then sees to it that what is left in the books
/// reaches the next incarnation.
pub(super) async fn drive(peer: Arc<Peer>, conn: Arc<Conn>) {
    let driven = Driven { peer, conn };
    let fate = serve(&driven).await;
    let mut driver = lock(&driven.conn.driver).take();
    if let Some(fate) = fate {
        let drained = driver.as_mut().map(|driver| driver.drain().frames);
        for frame in drained.into_iter().flatten() {
            // A dead process can no longer be blamed for what it wrote.
            let _ = driven.peer.hear(&driven.conn, frame);
        }
        driven.end(Some(fate));
        // Whoever waits hears of it first: to close and unmap the link takes longer.
        yield_now().await;
        drop(driver);
        driven.peer.recover().await;
    }
}

/// Moves frames until the actor is dead; `None`: nobody holds the connection any more.
async fn serve(driven: &Driven) -> Option<Fate> {
    let Driven { peer, conn } = driven;
    let fault = match poll_fn(|cx| conn.poll_next(peer, cx)).await {
        Next::End(fault) => fault,
        Next::Fate(word) => return word,
    };
    if peer.has_left(conn) {
        return None;
    }
    conn.closed.store(true, Ordering::Release);
    if fault.is_none()
        && let Ok(word) = tokio::time::timeout(EOF_GRACE, conn.fate()).await
    {
        return word;
    }
    let what = fault.as_deref().unwrap_or("it closed its end of a link");
    control::client().broken(conn.link, what);
    conn.fate().await
}

enum Next {
    /// The link yields nothing more, because of a fault of the actor's where there is one.
    End(Option<String>),
    Fate(Option<Fate>),
}

impl Reply {
    /// The value, decoded.
    #[inline]
    pub(crate) fn decode<T, E>(
        &mut self,
        value: fn(&mut &[u8]) -> Result<T>,
        error: fn(&mut &[u8]) -> Result<E>,
    ) -> Result<T, CallError<E>> {
        match self {
            Reply::Value(payload, _) => payload.decode_here(value).map_err(CallError::Other),
            Reply::Failed(payload) => Err(payload
                .decode_here(error)
                .map_or_else(CallError::Other, CallError::Failed)),
            Reply::Fault(error) => Err(CallError::from_fault(error.clone())),
            Reply::Died(death) => Err(CallError::Died {
                reason: death.reason.clone(),
                begun: death.begun,
            }),
        }
    }
}

/// How many bytes of one sender may wait at one actor.
const WINDOW: u64 = 4 << 20;

/// How many of its descriptors: one message has at most half as many.
const DESCRIPTORS: u32 = 512;

impl Mailbox {
    /// What one sender may have sent to one actor that has not begun.
    pub(crate) fn window(&self) -> Credit {
        Credit {
            messages: self.messages - self.backlog(),
            bytes: WINDOW,
            fds: DESCRIPTORS,
        }
    }

    /// How many messages of it are at the sender.
    fn backlog(&self) -> u32 {
        match self.overflow {
            Overflow::Wait | Overflow::Reject => 0,
            Overflow::DropOldest => self.messages / 2,
        }
    }
}
