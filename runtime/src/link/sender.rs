//! The sending half of a link, shared by all who have something to say.

use super::outbox::{Batch, Flushed, LARGE, Queue};
use super::port::Sink;
use crate::crash::{self, Point};
use crate::os::socket::MAX_DESCRIPTORS;
use crate::wire::attach::{Descriptors, Payload};
use crate::wire::behind::{Block, Hold};
use crate::wire::frame::{FrameCodec, FrameError, HEADER, Head};
use crate::{Error, ErrorKind};
use bytes::Bytes;
use nix::errno::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use tokio::sync::Notify;

/// A queue longer than this is written at once, by whoever made it so.
pub(super) const INLINE: usize = 64 << 10;

/// With this much queued there is no [`room`](Sender::room).
pub(crate) const ROOM: usize = 1 << 20;

/// Queues frames; cheap to clone.
///
/// Dropping it does not close the link: that is for [`Sender::close`], or for dropping the driver.
#[derive(Debug, Clone)]
pub(crate) struct Sender(Arc<Shared>);

/// The bytes of a frame, already encoded.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    /// Copied into the queue.
    Slice(&'a [u8]),
    /// Kept as it is where it is large.
    Owned(Bytes),
    /// Several of these, one after another.
    Parts(Bytes, Box<[Block]>),
}

/// The link is closed: by this side, or because the peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is closed")]
pub(crate) struct Closed;

/// Why a frame was not queued. Its descriptors are closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSent {
    #[error("the link is closed")]
    Closed,
    #[error("{0}")]
    TooLarge(FrameError),
    #[error("a message carries {0} descriptors, and at most {MAX_DESCRIPTORS} can go with one")]
    TooManyDescriptors(usize),
}

/// Lock order: the batch, then the queue. Wakers and user code are called under neither.
#[derive(Debug)]
struct Shared {
    codec: FrameCodec,
    /// A frame that nothing is queued before is written by who sends it.
    is_direct: bool,
    queue: Mutex<Queue>,
    batch: Mutex<Batch>,
    /// Bytes ever queued, and of these the bytes written. Both only grow.
    n_queued: AtomicU64,
    n_written: AtomicU64,
    /// Bytes that were written without being queued. Changed under the batch's lock.
    n_through: AtomicU64,
    /// The transport was full when last written to; the driver waits for it to say otherwise.
    blocked: AtomicBool,
    /// The peer is to be told of what was written, or woken for it; the driver will.
    due: AtomicBool,
    /// The driver has had a turn since something was written through.
    turned: AtomicBool,
    /// What the queue says of itself, to be read without its lock.
    closed: AtomicBool,
    /// Nothing more will be written.
    ended: AtomicBool,
    progress: Notify,
}

impl Sender {
    pub(super) fn new(sink: Sink, codec: FrameCodec) -> Self {
        Sender(Arc::new(Shared {
            codec,
            is_direct: sink.is_direct(),
            queue: Mutex::default(),
            batch: Mutex::new(Batch::new(sink)),
            n_queued: AtomicU64::new(0),
            n_written: AtomicU64::new(0),
            n_through: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            due: AtomicBool::new(false),
            turned: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            progress: Notify::new(),
        }))
    }

    /// Writes a frame where that costs nothing, or queues it and sees to it that the driver writes it.
    pub(crate) fn send<'a>(
        &self,
        mut head: Head,
        body: impl Into<Body<'a>>,
        fds: impl Into<Descriptors>,
    ) -> Result<(), NotSent> {
        let (body, fds) = (body.into(), fds.into());
        self.allows(body.len(), fds.len())?;
        head.fds = fds.len() as u16;
        head.block = body.others().last().map_or(0, |block| block.len() as u32);
        if self.0.is_direct && fds.is_empty() && self.write_through(head, &body) {
            return Ok(());
        }
        let size = HEADER + body.len();
        let mut queue = self.queue();
        if queue.closed {
            return Err(NotSent::Closed);
        }
        queue.push(head, body, fds);
        // Counted under the lock: a flush subtracts only what it found in the queue.
        self.0.n_queued.fetch_add(size as u64, Ordering::Relaxed);
        if (self.0.is_direct || self.queued() > INLINE) && !self.is_blocked() {
            drop(queue);
            if self.flush_inline() {
                return Ok(());
            }
            queue = self.queue();
        }
        let driver = queue.driver.take();
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }

    /// Whether a frame with a body of `size` bytes and `n_fds` descriptors could be sent over this link.
    pub(crate) fn allows(&self, size: usize, n_fds: usize) -> Result<(), NotSent> {
        self.0.codec.allows(size).map_err(NotSent::TooLarge)?;
        match n_fds {
            0 => Ok(()),
            n if n > MAX_DESCRIPTORS => Err(NotSent::TooManyDescriptors(n)),
            _ => Ok(()),
        }
    }

    /// How many bytes are queued and not yet written.
    pub(crate) fn queued(&self) -> usize {
        // In this order, so that the difference is never negative.
        let written = self.0.n_written.load(Ordering::Acquire);
        self.0.n_queued.load(Ordering::Acquire).saturating_sub(written) as usize
    }

    /// Waits until all that is queued now has been written to the transport.
    pub(crate) async fn drained(&self) -> Result<(), Closed> {
        let goal = self.0.n_queued.load(Ordering::Acquire);
        self.progress(|sender| sender.0.n_written.load(Ordering::Acquire) >= goal)
            .await
    }

    /// Waits until less than 1 MiB is queued.
    pub(crate) async fn room(&self) -> Result<(), Closed> {
        let has_room = |sender: &Self| sender.queued() < ROOM && !sender.has_ended();
        if has_room(self) {
            return Ok(());
        }
        self.progress(has_room).await
    }

    /// Refuses what is sent from now on. The driver writes what is queued, then the end of file.
    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        self.0.closed.store(true, Ordering::Release);
        let driver = queue.driver.take();
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Whether frames are refused because the link is closed.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.queue().closed
    }

    /// Writes all that is queued, or as much as the transport takes.
    pub(super) fn flush(&self) -> Flushed {
        let _hold = Hold::new();
        self.flush_batch(&mut self.batch())
    }

    /// Writes what the transport takes at once, for a process that is about to end and cannot wait.
    pub(crate) fn flush_now(&self) {
        self.flush();
    }

    /// Takes out what is not written, in order.
    pub(super) fn take_unwritten(&self) -> Vec<(Bytes, Descriptors)> {
        let mut batch = self.batch();
        let mut queue = self.queue();
        batch.take().chain(queue.take()).collect()
    }

    /// Queues what was taken out of another link.
    pub(super) fn queue_unwritten(&self, unwritten: Vec<(Bytes, Descriptors)>) {
        let mut queue = self.queue();
        for (bytes, fds) in unwritten {
            self.0.n_queued.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            queue.push_unwritten(bytes, fds);
        }
    }

    /// Writes all that is queued into what the transport holds back for last words.
    pub(super) fn flush_last(&self) {
        if self.flush() == Flushed::Blocked {
            if let Some(sink) = &self.batch().sink {
                sink.make_room();
            }
            self.flush();
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.0.blocked.load(Ordering::Acquire)
    }

    /// Registers the driver to be woken by the next frame.
    ///
    /// Refused if there is something to write, the end of file included, and the driver is not `waiting` to write it: it
    /// may be in the queue, or left in the batch by a sender that found the transport full. Who is waiting for the
    /// transport will be woken by it.
    pub(super) fn park(&self, waker: &Waker, waiting: bool) -> bool {
        let mut queue = self.queue();
        let due = self.0.due.load(Ordering::Acquire);
        if due || !waiting && !self.has_ended() && (queue.closed || self.queued() > 0) {
            return false;
        }
        match &mut queue.driver {
            Some(driver) => driver.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
        true
    }

    /// Undoes [`park`](Self::park): the driver runs and will look by itself.
    pub(super) fn unpark(&self) {
        let driver = self.queue().driver.take();
        drop(driver);
    }

    /// Writes the end of file.
    pub(super) fn finish(&self) {
        let sink = self.batch().sink.take();
        if let Some(sink) = sink {
            sink.finish();
        }
        self.end();
    }

    /// Nobody reads any more, or nobody will write: drops what is queued.
    pub(super) fn sever(&self) {
        let batch = self.batch().clear();
        let queue = self.queue().clear();
        self.0.closed.store(true, Ordering::Release);
        drop((batch, queue));
        self.end();
    }

    /// Whether the driver has something to write, the end of file included.
    pub(super) fn has_work(&self) -> bool {
        self.queued() > 0 || self.0.closed.load(Ordering::Acquire)
    }

    /// How many bytes were ever sent.
    pub(super) fn n_sent(&self) -> u64 {
        self.0.n_queued.load(Ordering::Relaxed) + self.0.n_through.load(Ordering::Relaxed)
    }

    /// Lets go of memory that is of use only while messages go.
    pub(super) fn release(&self) {
        self.batch().release();
        self.queue().release();
    }

    /// Whether the frame was written, or begun with nothing before it: then the driver writes the rest.
    fn write_through(&self, head: Head, body: &Body<'_>) -> bool {
        // Before the lock: what is copied right after it was written waits for that.
        let header = head.to_bytes(body.len());
        let Ok(mut batch) = self.0.batch.try_lock() else {
            return false;
        };
        // Under the batch's lock nothing leaves the queue, so what is found empty has nothing of this sender's.
        if self.has_work() {
            return false;
        }
        if self.0.turned.load(Ordering::Relaxed) {
            self.0.turned.store(false, Ordering::Relaxed);
            batch.be_eager();
        }
        let Some(n) = batch.write_through(&header, body) else {
            return false;
        };
        let size = HEADER + body.len();
        if n < size {
            self.0.n_queued.fetch_add(size as u64, Ordering::Relaxed);
            self.0.n_written.fetch_add(n as u64, Ordering::AcqRel);
        } else {
            let before = self.0.n_through.load(Ordering::Relaxed);
            self.0.n_through.store(before + size as u64, Ordering::Relaxed);
        }
        let due = batch.is_due();
        // Under the batch's lock, as whoever rings takes it back before.
        let is_news = due && !self.0.due.load(Ordering::Relaxed);
        if is_news {
            self.0.due.store(true, Ordering::Release);
        }
        drop(batch);
        self.0.blocked.store(n < size, Ordering::Release);
        if n < size || is_news {
            self.wake_driver();
        }
        true
    }

    /// A turn of the driver begins: tells the peer of all that was written, and wakes it if it sleeps.
    pub(super) fn ring(&self) {
        self.0.turned.store(true, Ordering::Relaxed);
        if self.0.due.load(Ordering::Acquire) {
            let mut batch = self.batch();
            self.0.due.store(false, Ordering::Release);
            batch.ring();
        }
    }

    pub(super) fn wake_driver(&self) {
        let driver = self.queue().driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn flush_inline(&self) -> bool {
        let _hold = Hold::new();
        match self.0.batch.try_lock() {
            Ok(mut batch) => self.flush_batch(&mut batch) == Flushed::All,
            Err(TryLockError::Poisoned(batch)) => self.flush_batch(&mut batch.into_inner()) == Flushed::All,
            // Somebody is writing, perhaps at the end of the batch: the driver will see to the rest.
            Err(TryLockError::WouldBlock) => false,
        }
    }

    fn flush_batch(&self, batch: &mut Batch) -> Flushed {
        loop {
            if batch.is_empty()
                && let Some(flushed) = batch.refill(&mut self.queue())
            {
                batch.ring();
                return flushed;
            }
            match batch.write() {
                Ok(n) => self.written(n),
                Err(error) => match flushed_by(&error) {
                    None => {}
                    Some(Flushed::Blocked) => {
                        self.0.blocked.store(true, Ordering::Release);
                        return Flushed::Blocked;
                    }
                    Some(flushed) => return flushed,
                },
            }
        }
    }

    fn written(&self, n: usize) {
        crash::at(Point::FramesWritten);
        self.0.blocked.store(false, Ordering::Release);
        self.0.n_written.fetch_add(n as u64, Ordering::AcqRel);
        self.0.progress.notify_waiters();
    }

    fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.progress.notify_waiters();
    }

    fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    async fn progress(&self, done: impl Fn(&Self) -> bool) -> Result<(), Closed> {
        loop {
            let notified = self.0.progress.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if done(self) {
                return Ok(());
            }
            if self.has_ended() {
                return Err(Closed);
            }
            notified.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed write means for the flush; `None`: write again.
pub(super) fn flushed_by(error: &io::Error) -> Option<Flushed> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINTR) => None,
        Some(Errno::ETOOMANYREFS | Errno::ENOMEM | Errno::ENOBUFS) => Some(Flushed::Stalled),
        _ if error.kind() == io::ErrorKind::WouldBlock => Some(Flushed::Blocked),
        _ => Some(Flushed::Gone),
    }
}

impl Body<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Body::Slice(bytes) => bytes.len(),
            Body::Owned(bytes) => bytes.len(),
            Body::Parts(first, others) => first.len() + others.iter().map(|block| block.len()).sum::<usize>(),
        }
    }

    pub(super) fn first(&self) -> &[u8] {
        match self {
            Body::Slice(bytes) => bytes,
            Body::Owned(bytes) | Body::Parts(bytes, _) => bytes,
        }
    }

    pub(super) fn others(&self) -> &[Block] {
        match self {
            Body::Parts(_, others) => others,
            _ => &[],
        }
    }
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Body::Slice(bytes)
    }
}

impl From<Vec<u8>> for Body<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Body::Owned(bytes.into())
    }
}

impl From<Bytes> for Body<'_> {
    fn from(bytes: Bytes) -> Self {
        Body::Owned(bytes)
    }
}

impl<'a> From<&'a Payload> for Body<'a> {
    /// Small ones are copied, wherever they go.
    fn from(payload: &'a Payload) -> Self {
        match &payload.behind {
            None if payload.bytes.len() < LARGE => Body::Slice(&payload.bytes),
            None => Body::Owned(payload.bytes.clone().into_bytes()),
            Some(others) => Body::Parts(payload.bytes.clone().into_bytes(), others.clone()),
        }
    }
}

impl From<Closed> for NotSent {
    fn from(_: Closed) -> Self {
        NotSent::Closed
    }
}

impl From<NotSent> for Error {
    fn from(error: NotSent) -> Self {
        let kind = match error {
            NotSent::Closed => ErrorKind::Died,
            NotSent::TooLarge(_) => ErrorKind::TooLarge,
            NotSent::TooManyDescriptors(_) => ErrorKind::Invalid,
        };
        Error::with_kind(kind, error)
    }
}
