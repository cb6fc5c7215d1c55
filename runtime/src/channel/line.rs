//! A line: items both ways between two ends, each of which is in one process at a time and can be handed on.
//!
//! Everything in this module is made of lines. An end of one is used by whoever polls it: no task stands behind it, and
//! it is registered with the runtime in which it is polled, at the first poll, and anew if that is another one. So an end
//! can be made anywhere, and sent on without ever having been used.
//!
//! **Sending.** `Ok` means that the transport has the item: the death of this process no longer takes it back. Each side may
//! have so many items and bytes under way as the line's window says ([`credit`](crate::link::credit)); past that a send waits.
//! A send that is dropped has sent its item whole or not at all: what is half written is written by a task, which keeps the
//! line until then.
//!
//! **The end.** An end that is dropped says so, behind all that it sent. The transport alone says that the other end is
//! closed, not why: where the goodbye is missing, whoever held it died, or left it in a message that was never read, or ended
//! by a way that runs no destructors (`exit`, a panic, a thread that is still running). That is [`End::Lost`]: what was sent
//! before is read first. In place of the goodbye there may be an error, for the other end to be told. There is room for the goodbye in a transport that is full.
//!
//! **Travelling.** An end that is [packed](Line::pack) is gone from here. What was read and not taken, and what is not yet
//! written, goes along; the other side sees nothing of it.

use crate::error::{Error, ErrorKind, Result};
use crate::link::credit::{Credit, CreditFault, Granter, Window};
use crate::link::{self, Driver, Incoming, Item, LinkKind, Rest, Sender, Transport};
use crate::process::control;
use crate::wire::attach::Payload;
use crate::wire::codec;
use crate::wire::frame::{Flags, Head, Kind};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::runtime;

use super::waiters::Waiters;

/// How many bytes of items may be under way in one direction.
const BYTES: u64 = 4 << 20;

/// How many of their descriptors: one item has at most half as many.
const DESCRIPTORS: u32 = 512;

/// One end.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    window: Window,
    size: Credit,
    waiters: Arc<Waiters>,
}

#[derive(Debug)]
pub(super) struct State {
    at: At,
    granter: Granter,
    /// Items that arrived and were not taken.
    arrived: VecDeque<Item>,
    /// Nothing more will arrive.
    end: Option<End>,
    /// Whether a receiver was told of it.
    told: bool,
}

/// Where the transport is.
#[derive(Debug)]
enum At {
    /// Not registered with a runtime.
    Rest(Transport, Rest),
    Open {
        runtime: runtime::Id,
        sender: Sender,
        driver: Box<Driver>,
    },
    Gone,
}

/// How a line ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The other end was dropped.
    Dropped,
    /// It is gone, and did not say so: its process died. It may have been in the middle of an item.
    Lost { cut: bool },
    /// What came is no item, or the transport failed.
    Broken(Error),
    /// This end was sent to another process.
    Left,
}

/// Why an item was not sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The other end is gone.
    Closed,
    /// There is no room now.
    Full,
    Other(Error),
}

/// An end on its way to another process, but for its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Packed {
    size: Credit,
    /// What was sent and not given back.
    taken: Credit,
    outstanding: Credit,
    consumed: Credit,
    n_transport: u32,
    unread: Bytes,
    n_unread_fds: u32,
    unwritten: Vec<(Bytes, u32)>,
    end: Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Ended {
    No,
    Dropped,
    Lost,
    Cut,
    Told,
}

/// Two ends of a new line with room for so many items each way.
pub(super) fn pair(capacity: usize) -> Result<(Arc<Line>, Arc<Line>)> {
    // Not what links are made of elsewhere: items may hold descriptors.
    let (a, b) = link::pair(LinkKind::Socket)?;
    Ok((Line::new(a, capacity).into(), Line::new(b, capacity).into()))
}

fn window(capacity: usize) -> Credit {
    Credit {
        messages: u32::try_from(capacity).unwrap_or(u32::MAX).max(1),
        bytes: BYTES,
        fds: DESCRIPTORS,
    }
}

impl Line {
    /// An end over a transport that is not in use yet.
    pub(super) fn new(transport: Transport, capacity: usize) -> Line {
        transport.reserve();
        let size = window(capacity);
        let state = State {
            at: At::Rest(transport, Rest::default()),
            granter: Granter::new(size),
            arrived: VecDeque::new(),
            end: None,
            told: false,
        };
        Line {
            state: Mutex::new(state),
            window: Window::new(size),
            size,
            waiters: Arc::default(),
        }
    }

    /// Sends an item, once there is room for it.
    pub(super) async fn send(self: &Arc<Self>, item: &Payload) -> Result<(), Unsent> {
        tokio::task::coop::consume_budget().await;
        self.allow(item)?;
        let mut take = pin!(self.window.take(Credit::of_payload(item)));
        poll_fn(|cx| {
            self.poll(cx)?;
            match ready!(take.as_mut().poll(cx)) {
                Ok(()) => Poll::Ready(self.queue(item)),
                Err(link::Closed) => Poll::Ready(Err(Unsent::Closed)),
            }
        })
        .await?;
        let rest = Unwritten(self);
        poll_fn(|cx| self.poll_flush(cx)).await?;
        std::mem::forget(rest);
        Ok(())
    }

    /// The same at once, or not at all. What the transport does not take of it is written by a task.
    pub(super) fn try_send(self: &Arc<Self>, item: &Payload) -> Result<(), Unsent> {
        self.allow(item)?;
        // To hear of credit that was given back, and of the end.
        self.poll(&mut Context::from_waker(std::task::Waker::noop()))?;
        match self.window.try_take(Credit::of_payload(item)) {
            Ok(()) => self.queue(item)?,
            Err(link::credit::Refused::Full) => return Err(Unsent::Full),
            Err(link::credit::Refused::Closed) => return Err(Unsent::Closed),
        }
        drop(Unwritten(self));
        Ok(())
    }

    /// The next item, `None` at the end; an end that was no goodbye is told once, as an error.
    pub(super) async fn recv(&self) -> Result<Option<Payload>> {
        tokio::task::coop::consume_budget().await;
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`recv`](Self::recv).
    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Payload>>> {
        if let Some(item) = self.take(&mut self.state()) {
            return Poll::Ready(item.map(Some));
        }
        // An end is told below.
        if let Err(Unsent::Other(error)) = self.poll(cx) {
            return Poll::Ready(Err(error));
        }
        let mut state = self.state();
        match self.take(&mut state) {
            Some(item) => Poll::Ready(item.map(Some)),
            None => state.tell_end().map_or(Poll::Pending, Poll::Ready),
        }
    }

    /// Waits until the other end is gone.
    pub(super) async fn closed(&self) {
        poll_fn(|cx| match self.poll(cx) {
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(()),
        })
        .await
    }

    /// Whether the other end is gone, as far as is known at once.
    pub(super) fn is_closed(&self) -> bool {
        let polled = self.poll(&mut Context::from_waker(std::task::Waker::noop()));
        matches!(polled, Err(Unsent::Closed))
    }

    /// Hears what has come and writes what is queued; an error once nothing more can be sent.
    fn poll(&self, cx: &mut Context<'_>) -> Result<(), Unsent> {
        let mut state = self.state();
        if state.end.is_none() {
            let waker = self.waiters.join(cx.waker());
            state.open().map_err(Unsent::Other)?;
            state.hear_all(&mut Context::from_waker(&waker), &self.window);
        }
        match state.end {
            None => Ok(()),
            Some(_) => {
                drop(state);
                self.window.close();
                Err(Unsent::Closed)
            }
        }
    }

    /// Ready when all that is queued is on the transport: then it counts as sent, whatever the other end says since.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        if let Some(flushed) = self.state().flush(cx, &self.waiters) {
            return Poll::Ready(flushed);
        }
        // It goes on reading, so that two who send to each other do not wait for each other.
        self.poll(cx)?;
        match self.state().flush(cx, &self.waiters) {
            Some(flushed) => Poll::Ready(flushed),
            None => Poll::Pending,
        }
    }

    /// How many items may be under way.
    pub(super) fn capacity(&self) -> usize {
        self.size.messages as usize
    }

    /// Closes it without a goodbye: the other end is to know that it misses something.
    pub(super) fn lose(&self) {
        let mut state = self.state();
        state.at = At::Gone;
        state.end.get_or_insert(End::Dropped);
    }

    /// Closes it with an error in place of a goodbye, behind all that was sent.
    pub(super) fn fail(&self, error: &Error) {
        let mut state = self.state();
        state.end.get_or_insert(End::Dropped);
        let at = std::mem::replace(&mut state.at, At::Gone);
        drop(state);
        let (head, mut body) = (Head::new(Kind::Fault), Vec::new());
        if codec::encode(error, &mut body).is_err() {
            return;
        }
        at.end(head, body.into());
    }

    fn allow(&self, item: &Payload) -> Result<(), Unsent> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(Unsent::Closed);
        }
        state.open().map_err(Unsent::Other)?;
        match &state.at {
            At::Open { sender, .. } => sender
                .allows(item.len(), item.fds.len())
                .map_err(|refused| Unsent::Other(refused.into())),
            _ => Err(Unsent::Closed),
        }
    }

    /// Queues an item for which there is room.
    fn queue(&self, item: &Payload) -> Result<(), Unsent> {
        match &self.state().at {
            At::Open { sender, .. } => sender
                .send(Head::new(Kind::Tell), item, item.fds.clone())
                .map_err(|_| Unsent::Closed),
            _ => Err(Unsent::Closed),
        }
    }

    /// The first item that arrived, and the credit for it.
    fn take(&self, state: &mut State) -> Option<Result<Payload>> {
        let item = state.arrived.pop_front()?;
        if let Some(credit) = state.granter.consumed(item.cost()) {
            state.grant(credit);
        }
        Some(item.payload())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sees to it that the transport is registered with the current runtime.
    fn open(&mut self) -> Result<()> {
        let runtime = control::within_runtime("an end of a channel")?.id();
        match &mut self.at {
            At::Open { runtime: at, .. } if *at == runtime => return Ok(()),
            At::Gone => return Ok(()),
            At::Open { driver, .. } => {
                let (transport, rest) = driver.dismantle()?;
                self.at = At::Rest(transport, rest);
            }
            At::Rest(..) => {}
        }
        if let At::Rest(transport, rest) = std::mem::replace(&mut self.at, At::Gone) {
            let limit = control::client().settings().frame_limit;
            // Where it fails the end is lost: there is no descriptor, or no memory, to have it with.
            let opened = link::reopen(transport, rest, limit).map_err(Error::from);
            let (sender, driver) = opened.inspect_err(|error| self.end = Some(End::Broken(error.clone())))?;
            self.at = At::Open {
                runtime,
                sender,
                driver: Box::new(driver),
            };
        }
        Ok(())
    }

    /// Writes what is queued; `None`: the transport is full.
    fn flush(&mut self, cx: &mut Context<'_>, waiters: &Arc<Waiters>) -> Option<Result<(), Unsent>> {
        let At::Open { sender, driver, .. } = &mut self.at else {
            return Some(Err(Unsent::Closed));
        };
        let waker = waiters.join(cx.waker());
        if driver.poll_flush(&mut Context::from_waker(&waker)).is_pending() {
            return None;
        }
        Some(match sender.queued() {
            0 => Ok(()),
            _ => Err(Unsent::Closed),
        })
    }

    /// Takes in all that can be read.
    fn hear_all(&mut self, cx: &mut Context<'_>, window: &Window) {
        while self.end.is_none()
            && let At::Open { driver, .. } = &mut self.at
        {
            let polled = driver.poll_next(cx);
            let cut = driver.is_cut();
            let heard = match polled {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(frame))) => self.hear(frame, window),
                Poll::Ready(Some(Err(error))) => Err(End::Broken(error.into())),
                Poll::Ready(None) => Err(End::Lost { cut }),
            };
            if let Err(end) = heard {
                self.end = Some(end);
                self.at = At::Gone;
            }
        }
    }

    fn hear(&mut self, frame: Incoming, window: &Window) -> Result<(), End> {
        let Head { kind, flags, .. } = frame.head;
        match kind {
            Kind::Tell if flags.contains(Flags::END) => return Err(End::Dropped),
            Kind::Tell => {
                let item = unheld(frame.head).unwrap_or_else(|| frame.into_item());
                self.granter.arrived(item.cost())?;
                self.arrived.push_back(item);
            }
            Kind::Fault => {
                let error = codec::decode(&frame.body);
                return Err(End::Broken(error.unwrap_or_else(Error::from)));
            }
            Kind::Credit => window.grant(Credit::of_head(&frame.head))?,
            other => {
                let what = format!("a frame of kind {other:?} in a channel");
                return Err(End::Broken(Error::with_kind(ErrorKind::Protocol, what)));
            }
        }
        Ok(())
    }

    fn grant(&mut self, credit: Credit) {
        let At::Open { sender, driver, .. } = &mut self.at else {
            return;
        };
        let head = credit.to_head(Kind::Credit);
        // Who is gone needs no credit.
        if sender.send(head, Bytes::new(), Vec::new()).is_ok() {
            driver.flush_now();
        }
    }

    /// What a receiver hears at the end: an error once, where there is one.
    fn tell_end(&mut self) -> Option<Result<Option<Payload>>> {
        let end = self.end.as_ref()?;
        let told = std::mem::replace(&mut self.told, true);
        Some(match end.error().filter(|_| !told) {
            Some(error) => Err(error),
            None => Ok(None),
        })
    }

    /// Brings the end to rest.
    fn rest(&mut self) -> io::Result<()> {
        if let At::Open { driver, .. } = &mut self.at {
            let (transport, rest) = driver.dismantle()?;
            self.at = At::Rest(transport, rest);
        }
        Ok(())
    }
}

impl End {
    fn error(&self) -> Option<Error> {
        let (kind, what) = match self {
            End::Dropped => return None,
            End::Lost { cut: false } => (
                ErrorKind::Died,
                "the other end of a channel is gone without a word: its process died, or ended without dropping it",
            ),
            End::Lost { cut: true } => (
                ErrorKind::Died,
                "the other end of a channel is gone in the middle of an item: its process died",
            ),
            End::Broken(error) => return Some(error.clone()),
            End::Left => (ErrorKind::Invalid, "this end was sent to another process"),
        };
        Some(Error::with_kind(kind, what))
    }
}

impl From<CreditFault> for End {
    fn from(fault: CreditFault) -> Self {
        End::Broken(Error::with_kind(ErrorKind::Protocol, fault))
    }
}

impl Line {
    /// The end on its way, and its descriptors behind those in `fds`, lent from a state that is at rest.
    pub(super) fn pack<'s>(&self, state: &'s mut State, fds: &mut Vec<BorrowedFd<'s>>) -> Result<Packed> {
        if let Some(End::Left) = state.end {
            return Err(End::Left
                .error()
                .unwrap_or_else(|| Error::msg("an end that was sent")));
        }
        state.rest()?;
        let (mut outstanding, consumed) = state.granter.state();
        let mut unread = BytesMut::new();
        let first = fds.len();
        // What was taken apart into items travels as it came, and is counted again when it is read there.
        for item in &state.arrived {
            outstanding = outstanding.checked_sub(item.cost()).unwrap_or_default();
            let item = match item {
                Item::Held(item) => item,
                Item::Unheld(cost) => {
                    unread.extend_from_slice(&unheld_head(*cost).to_bytes(0));
                    continue;
                }
            };
            let head = Head {
                fds: item.fds.len() as u16,
                ..Head::new(Kind::Tell)
            };
            unread.extend_from_slice(&head.to_bytes(item.len()));
            unread.extend_from_slice(&item.bytes);
            item.behind
                .iter()
                .flatten()
                .for_each(|block| unread.extend_from_slice(block));
            fds.extend(item.fds.iter().map(|fd| fd.as_fd()));
        }
        let end = state.ended();
        let mut packed = Packed {
            size: self.size,
            taken: self.window.outstanding(),
            outstanding,
            consumed,
            n_transport: 0,
            unread: Bytes::new(),
            n_unread_fds: 0,
            unwritten: Vec::new(),
            end,
        };
        if let At::Rest(transport, rest) = &state.at {
            unread.extend_from_slice(&rest.unread);
            fds.extend(rest.unread_fds.iter().map(AsFd::as_fd));
            packed.n_unread_fds = (fds.len() - first) as u32;
            for (bytes, with) in &rest.unwritten {
                fds.extend(with.iter().map(|fd| fd.as_fd()));
                packed.unwritten.push((bytes.clone(), with.len() as u32));
            }
            packed.n_transport = 1;
            fds.extend(transport.socket());
        } else {
            packed.n_unread_fds = (fds.len() - first) as u32;
        }
        packed.unread = unread.freeze();
        Ok(packed)
    }

    /// The end is on its way: it is gone from here, without a goodbye.
    pub(super) fn leave(&self, state: &mut State) {
        state.at = At::Gone;
        state.arrived.clear();
        state.end = Some(End::Left);
    }

    /// The end that arrived, with its descriptors, which are the first of `fds`.
    pub(super) fn unpack(packed: Packed, fds: &mut VecDeque<OwnedFd>) -> Result<Line> {
        let mut take = |n: u32| -> Vec<OwnedFd> { fds.drain(..fds.len().min(n as usize)).collect() };
        let unread_fds: VecDeque<OwnedFd> = take(packed.n_unread_fds).into();
        let unwritten = packed.unwritten.into_iter();
        let unwritten = unwritten
            .map(|(bytes, n)| (bytes, take(n).into_iter().map(Arc::new).collect()))
            .collect();
        let rest = Rest {
            unread: BytesMut::from(packed.unread),
            unread_fds,
            unwritten,
        };
        let mut state = State {
            at: At::Gone,
            granter: Granter::resumed(packed.size, packed.outstanding, packed.consumed),
            arrived: VecDeque::new(),
            end: None,
            told: packed.end == Ended::Told,
        };
        let window = Window::resumed(packed.size, packed.taken);
        match packed.end {
            Ended::No => state.at = At::Rest(Transport::from_descriptors(take(packed.n_transport))?, rest),
            ended => state.resume_ended(ended, rest)?,
        }
        Ok(Line {
            state: Mutex::new(state),
            window,
            size: packed.size,
            waiters: Arc::default(),
        })
    }
}

impl State {
    fn ended(&self) -> Ended {
        match &self.end {
            None => Ended::No,
            Some(_) if self.told => Ended::Told,
            Some(End::Dropped) => Ended::Dropped,
            Some(End::Lost { cut: true }) => Ended::Cut,
            Some(_) => Ended::Lost,
        }
    }

    /// The other end was gone before this one arrived: what is left are items.
    fn resume_ended(&mut self, ended: Ended, mut rest: Rest) -> Result<()> {
        self.end = Some(match ended {
            Ended::Dropped | Ended::Told => End::Dropped,
            Ended::Cut => End::Lost { cut: true },
            Ended::No | Ended::Lost => End::Lost { cut: false },
        });
        let codec = crate::wire::frame::FrameCodec::new(usize::MAX);
        while let Some(frame) = codec.split(&mut rest.unread)? {
            let n = rest.unread_fds.len().min(frame.head.fds.into());
            let fds = rest.unread_fds.drain(..n).collect();
            let held = || Item::Held(Payload::received(frame.body.into(), fds));
            let item = unheld(frame.head).unwrap_or_else(held);
            let _ = self.granter.arrived(item.cost());
            self.arrived.push_back(item);
        }
        Ok(())
    }
}

impl At {
    /// Says the last that there is to say, behind all that was sent, and closes.
    fn end(self, head: Head, body: Bytes) {
        match self {
            At::Open { sender, driver, .. } => {
                if sender.send(head, body, Vec::new()).is_ok() {
                    driver.end();
                }
            }
            At::Rest(transport, rest) => {
                rest.end(transport, [&head.to_bytes(body.len())[..], &body].concat())
            }
            At::Gone => {}
        }
    }
}

/// What stands for an item for which there was no memory where it came first, as the end travels on.
fn unheld_head(cost: Credit) -> Head {
    Head {
        flags: Flags::UNHELD,
        method: cost.fds,
        aux: cost.bytes,
        ..Head::new(Kind::Tell)
    }
}

/// The item that this head stands for, if it is one of those.
fn unheld(head: Head) -> Option<Item> {
    let is_one = head.flags.contains(Flags::UNHELD);
    is_one.then(|| {
        Item::Unheld(Credit {
            messages: 1,
            bytes: head.aux.max(head.block.into()),
            fds: head.method.max(head.fds.into()),
        })
    })
}

/// An item that is queued: nobody may come back to write it.
struct Unwritten<'a>(&'a Arc<Line>);

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if let At::Open { sender, driver, .. } = &mut self.0.state().at {
            driver.flush_now();
            if sender.queued() == 0 {
                return;
            }
        }
        let line = self.0.clone();
        if let Ok(runtime) = runtime::Handle::try_current() {
            runtime.spawn(async move { drop(poll_fn(|cx| line.poll_flush(cx)).await) });
        }
    }
}

/// The last that an end says.
const GOODBYE: Head = Head {
    flags: Flags::END,
    ..Head::new(Kind::Tell)
};

impl Drop for Line {
    fn drop(&mut self) {
        // What a panic takes with it was not done in order.
        if std::thread::panicking() {
            return;
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.at, At::Gone).end(GOODBYE, Bytes::new());
    }
}
