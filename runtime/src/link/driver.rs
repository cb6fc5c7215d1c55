//! The receiving half of a link, which also writes what is queued: owned by one task.

use super::idle::Idle;
use super::inbox::Inbox;
use super::outbox::Flushed;
use super::port::Port;
use super::rest::Rest;
use super::sender::{ROOM, Sender};
use super::side::Lots;
use super::{Incoming, LinkError, Transport};
use crate::os::memory;
use crate::os::socket::Received;
use crate::wire::encoded::Encoded;
use crate::wire::frame::{Flags, FrameCodec, Head, Kind};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long to wait when the kernel cannot take a write for now and will not say when it can.
const STALL: Duration = Duration::from_millis(1);

/// Reads and parses frames, and writes what is queued.
///
/// Dropping it closes both directions. What is queued then is written if the transport takes it at once.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(super) port: Port,
    pub(super) inbox: Inbox,
    pub(super) sender: Sender,
    pub(super) state: State,
    /// Waits for a stalled write.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Nothing more is written: this side has closed, or nobody reads.
    finished: bool,
    /// The sender holds a waker of ours.
    parked: bool,
    /// A fault that was found in place of the driver's task, which is to be told.
    pub(super) found: Option<LinkError>,
    n_received: u64,
    /// Tells when memory can be given back, where there is any.
    pub(super) idle: Option<Box<Idle>>,
    /// It has given memory back, and its owner was not told yet.
    rested: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The peer sends no more.
    Ended,
    /// The peer broke the protocol: nothing that it says counts.
    Broken,
}

/// What was readable at a peer's death.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) frames: Vec<Incoming>,
    /// Why it is not all of it.
    pub(crate) fault: Option<LinkError>,
}

impl Driver {
    pub(super) fn new(port: Port, sender: Sender, codec: FrameCodec) -> Self {
        Driver {
            n_received: 0,
            idle: port.has_spare_memory().then(Box::default),
            rested: false,
            port,
            inbox: Inbox::new(codec),
            sender,
            state: State::Open,
            stalled: None,
            finished: false,
            parked: false,
            found: None,
        }
    }

    /// The next frame; `None` at the end of file, and ever after an error.
    ///
    /// Buffered frames come first. When there is none, what is queued is written, then the transport read; pending
    /// means that both are exhausted. After the end of file it still writes what is queued when polled.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, LinkError>>> {
        self.poll_frame(cx, Inbox::next)
    }

    /// What `next` finds, when it finds something.
    #[inline]
    fn poll_frame<T>(
        &mut self,
        cx: &mut Context<'_>,
        next: impl Fn(&mut Inbox, Option<&mut Lots>) -> Result<Option<T>, LinkError>,
    ) -> Poll<Option<Result<T, LinkError>>> {
        if self.parked {
            self.parked = false;
            self.sender.unpark();
        }
        loop {
            if self.state == State::Broken {
                self.sever();
                return Poll::Ready(None);
            }
            if let Some(error) = self.found.take() {
                return self.fail(error);
            }
            match next(&mut self.inbox, self.port.lots()) {
                Ok(None) => {}
                Ok(Some(found)) => return Poll::Ready(Some(Ok(found))),
                Err(error) => return self.fail(error),
            }
            let waiting = self.poll_flush(cx).is_pending();
            if self.state == State::Ended {
                return Poll::Ready(None);
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return self.fail(error),
                Poll::Pending if self.sender.park(cx.waker(), waiting) => {
                    self.parked = true;
                    self.rest(cx);
                    return Poll::Pending;
                }
                // Something was queued since the flush.
                Poll::Pending => {}
            }
        }
    }

    /// The same, but for a frame that can be [lent](Self::lend): then there is none.
    pub(crate) fn poll_next_unlent(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Option<Incoming>, LinkError>>> {
        self.poll_frame(cx, |inbox, lots| match inbox.lend() {
            Some(_) => Ok(Some(None)),
            None => Ok(inbox.next(lots)?.map(Some)),
        })
    }

    /// The next frame, if it is small, all here, and nothing goes with it: lent, until it is [passed](Self::pass) or
    /// [taken](Self::take). It is still to come meanwhile.
    #[inline]
    pub(crate) fn lend(&self) -> Option<(Head, &[u8])> {
        match self.state != State::Broken && !self.parked && self.found.is_none() {
            true => self.inbox.lend(),
            false => None,
        }
    }

    /// The next frame, if it could be lent.
    #[inline]
    pub(crate) fn next_lent(&mut self) -> Option<Incoming> {
        let (head, body) = self.lend()?;
        let len = body.len();
        Some(Incoming {
            head,
            body: self.take(len),
            block: None,
            fds: Vec::new(),
        })
    }

    /// The next frame, if it is the value of an answer and has a few bytes: what most of the frames of many calls are.
    #[inline]
    pub(crate) fn next_value(&mut self) -> Option<(Head, Encoded)> {
        let is_value = |head: &Head| head.kind == Kind::Reply && !head.flags.contains(Flags::UNHELD);
        let (head, body) = self.lend().filter(|(head, _)| is_value(head))?;
        let (len, value) = (body.len(), Encoded::few(body)?);
        self.pass(len);
        Some((head, value))
    }

    /// What was lent, with a body of `len` bytes, is of no more use.
    #[inline]
    pub(crate) fn pass(&mut self, len: usize) {
        self.inbox.pass(len);
    }

    /// The body of what was lent, to keep.
    pub(crate) fn take(&mut self, len: usize) -> Encoded {
        self.inbox.take_lent(len)
    }

    /// The next frame, as a future.
    pub(crate) async fn next(&mut self) -> Option<Result<Incoming, LinkError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Writes what is queued: ready when all of it is written, or nobody reads any more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sender.ring();
        if self.finished || !self.sender.has_work() {
            return Poll::Ready(());
        }
        if let Some(stalled) = &mut self.stalled {
            if stalled.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.stalled = None;
        }
        loop {
            let registers = self.sender.is_blocked();
            let flushed = match registers {
                true => self.port.flush_when_writable(cx, || self.sender.flush()),
                false => self.sender.flush(),
            };
            match flushed {
                Flushed::All => {
                    self.port.had_room();
                    return Poll::Ready(());
                }
                Flushed::Closed => {
                    self.finish();
                    return Poll::Ready(());
                }
                Flushed::Gone => {
                    self.sever();
                    return Poll::Ready(());
                }
                Flushed::Blocked if registers => return Poll::Pending,
                // Once more, by way of the port, which registers the task.
                Flushed::Blocked => {}
                Flushed::Stalled if self.stall(cx).is_pending() => return Poll::Pending,
                Flushed::Stalled => {}
            }
        }
    }

    /// Whether more is queued than should be added to.
    pub(crate) fn is_crowded(&self) -> bool {
        self.sender.queued() >= ROOM
    }

    /// Waits until less than 1 MiB is queued, and writes meanwhile: it is the driver that does.
    pub(crate) async fn room(&mut self) {
        let sender = self.sender.clone();
        let mut room = std::pin::pin!(sender.room());
        std::future::poll_fn(|cx| match room.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.poll_flush(cx),
        })
        .await;
    }

    /// Writes what the transport takes at once: for a process that is about to exit.
    pub(crate) fn flush_now(&mut self) {
        if self.sender.flush() == Flushed::Closed {
            self.finish();
        }
    }

    /// All frames that are readable right now: for the peer's death, after which no more will come.
    pub(crate) fn drain(&mut self) -> Drained {
        let mut frames = Vec::new();
        let fault = self.drain_into(&mut frames).err();
        if fault.is_some() {
            self.state = State::Broken;
        }
        Drained { frames, fault }
    }

    /// Says the last that there is to say, and closes. What the transport does not take is lost, but for a few bytes that
    /// a [reserved](super::Transport::reserve) one always takes.
    pub(crate) fn end(self) {
        self.sender.flush_last();
    }

    /// Whether a frame was begun and not finished.
    pub(crate) fn is_cut(&self) -> bool {
        self.inbox.is_cut()
    }

    /// Takes the link apart, to go on elsewhere; on an error it stays as it is.
    pub(crate) fn dismantle(&mut self) -> io::Result<(Transport, Rest)> {
        let transport = self.port.again()?;
        let lost = || {
            io::Error::other(
                "a part of a message was lost on its way: raise the limits of open files and of memory",
            )
        };
        let (unread, unread_fds) = self.inbox.take().ok_or_else(lost)?;
        let rest = Rest {
            unread,
            unread_fds,
            unwritten: self.sender.take_unwritten(),
        };
        Ok((transport, rest))
    }

    /// Goes on with what another link over the same transport had left.
    pub(super) fn resume(&mut self, rest: Rest) {
        self.inbox.buf = rest.unread;
        self.inbox.fds = rest.unread_fds;
        self.sender.queue_unwritten(rest.unwritten);
    }

    fn drain_into(&mut self, frames: &mut Vec<Incoming>) -> Result<(), LinkError> {
        if self.state == State::Broken {
            return Ok(());
        }
        loop {
            while let Some(incoming) = self.inbox.next(self.port.lots())? {
                frames.push(incoming);
            }
            if self.state == State::Ended {
                return Ok(());
            }
            let n_before = self.inbox.fds.len();
            let (buf, fds) = self.inbox.room();
            match self.port.read(buf, fds) {
                Ok(received) => self.received(received, n_before)?,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    _ => self.read_failed(error)?,
                },
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let n_before = self.inbox.fds.len();
        let (buf, fds) = self.inbox.room();
        let read = ready!(self.port.poll_read(cx, buf, fds));
        Poll::Ready(match read {
            Ok(received) => self.received(received, n_before),
            Err(error) => self.read_failed(error),
        })
    }

    pub(super) fn received(&mut self, received: Received, n_before: usize) -> Result<(), LinkError> {
        if received.truncated {
            self.inbox.lose(n_before);
        }
        if received.len == 0 {
            self.state = State::Ended;
        }
        self.n_received += received.len as u64;
        Ok(())
    }

    pub(super) fn read_failed(&mut self, error: io::Error) -> Result<(), LinkError> {
        if error.kind() == io::ErrorKind::InvalidData {
            return Err(LinkError::State(error.to_string()));
        }
        // The peer closed its end before it had read all from us: an end of file, told once as an error.
        if error.kind() == io::ErrorKind::ConnectionReset {
            self.state = State::Ended;
            return Ok(());
        }
        Err(error.into())
    }

    /// Whether it has given memory back since this was asked: its owner may as well.
    pub(crate) fn has_rested(&mut self) -> bool {
        std::mem::take(&mut self.rested)
    }

    /// Gives memory back if nothing has come or gone for a while.
    fn rest(&mut self, cx: &mut Context<'_>) {
        let traffic = self.n_received + self.sender.n_sent();
        let Some(idle) = &mut self.idle else { return };
        if idle.poll(cx, traffic).is_ready() {
            self.rested = true;
            let had_usual = self.inbox.release();
            self.sender.release();
            if had_usual {
                memory::give_back();
            }
        } else if !idle.is_running() {
            // It was given back, and this was a look in vain for which there had to be room.
            self.inbox.release();
        }
    }

    /// Closed when it is polled again, or dropped: first its owner says why, or the peer's word of the end would be there
    /// before that.
    fn fail<T>(&mut self, error: LinkError) -> Poll<Option<Result<T, LinkError>>> {
        self.state = State::Broken;
        Poll::Ready(Some(Err(error)))
    }

    fn finish(&mut self) {
        self.finished = true;
        self.sender.finish();
        self.port.finish();
    }

    fn sever(&mut self) {
        self.finished = true;
        self.sender.sever();
        self.port.finish();
    }

    fn stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.stalled.insert(Box::pin(tokio::time::sleep(STALL)));
        sleep.as_mut().poll(cx)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.state != State::Broken {
            self.flush_now();
        }
        self.sever();
    }
}
