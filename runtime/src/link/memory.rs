//! The transport within one process: two bounded buffers of bytes.
//!
//! It behaves as a socket pair does, descriptors included, so that what works over one works over the other. It costs
//! no system calls and no descriptors of its own.

use crate::os::socket::Received;
use crate::wire::attach::{Attached, Descriptors};
use bytes::{BufMut, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How many bytes one direction holds before the writer has to wait: as much as a socket.
const CAPACITY: usize = 208 << 10;

/// One of two connected ends. Dropping it closes both directions.
#[derive(Debug)]
pub(crate) struct End {
    incoming: Arc<Channel>,
    outgoing: Arc<Channel>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Channel(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Descriptors, each lot with the count of bytes that were written before it.
    fds: VecDeque<(u64, Vec<OwnedFd>)>,
    n_read: u64,
    capacity: usize,
    writer_gone: bool,
    reader_gone: bool,
    /// What is there is not known yet to who waits for it.
    #[cfg(test)]
    unnoticed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Two connected ends.
pub(crate) fn pair() -> (End, End) {
    pair_of(CAPACITY)
}

/// Two connected ends with room for so many bytes in each direction.
pub(crate) fn pair_of(capacity: usize) -> (End, End) {
    let (there, back) = (Channel::new(capacity), Channel::new(capacity));
    let here = End {
        incoming: back.clone(),
        outgoing: there.clone(),
    };
    (
        here,
        End {
            incoming: there,
            outgoing: back,
        },
    )
}

impl End {
    pub(super) fn outgoing(&self) -> Arc<Channel> {
        self.outgoing.clone()
    }

    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        fds: &mut VecDeque<OwnedFd>,
    ) -> Poll<io::Result<Received>> {
        let mut state = self.incoming.state();
        #[cfg(test)]
        if state.unnoticed {
            register(&mut state.reader, cx);
            return Poll::Pending;
        }
        match state.read(buf, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                register(&mut state.reader, cx);
                Poll::Pending
            }
            read => Poll::Ready(read),
        }
    }

    pub(super) fn read(&self, buf: &mut BytesMut, fds: &mut VecDeque<OwnedFd>) -> io::Result<Received> {
        self.incoming.state().read(buf, fds)
    }

    /// Ready when the outgoing direction is not full.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.outgoing.state();
        if state.room() > 0 || state.reader_gone {
            return Poll::Ready(());
        }
        register(&mut state.writer, cx);
        Poll::Pending
    }
}

/// What stands between two pairs and carries bytes from one to the other.
#[cfg(test)]
impl End {
    /// Reads what is there, as far as `buf` has room.
    pub(crate) fn take(&self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut fds = VecDeque::new();
        self.poll_read(cx, buf, &mut fds).map_ok(|received| received.len)
    }

    /// The same at once.
    pub(crate) fn take_now(&self, buf: &mut BytesMut) -> io::Result<usize> {
        self.read(buf, &mut VecDeque::new()).map(|received| received.len)
    }

    /// Writes what fits.
    pub(crate) fn give(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_writable(cx));
        Poll::Ready(
            self.outgoing
                .write(&[IoSlice::new(bytes)], &mut Descriptors::new()),
        )
    }

    /// Writes the end of file.
    pub(crate) fn end(&self) {
        self.outgoing.finish();
    }

    /// Writes the last of it, however full the direction is, and the end of file. Whoever looks finds it; whoever waits
    /// for it hears of it with [`notice`](End::notice), as with a kernel that says later what is there.
    pub(crate) fn give_last(&self, bytes: &[u8]) {
        let mut state = self.outgoing.state();
        if !state.reader_gone && !state.writer_gone {
            state.bytes.extend(bytes);
        }
        state.writer_gone = true;
        state.unnoticed = true;
    }

    pub(crate) fn notice(&self) {
        let mut state = self.outgoing.state();
        state.unnoticed = false;
        let waker = state.reader.take();
        drop(state);
        wake(waker);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.outgoing.finish();
        self.incoming.abandon();
    }
}

impl Channel {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Channel(Mutex::new(State {
            capacity,
            ..State::default()
        })))
    }

    /// Writes what fits, and with its first byte the descriptors.
    pub(super) fn write(&self, bytes: &[IoSlice<'_>], fds: &mut Descriptors) -> io::Result<usize> {
        let mut state = self.state();
        let n = state.write(bytes, fds)?;
        let waker = state.reader.take();
        drop(state);
        wake(waker);
        Ok(n)
    }

    /// The reader will see the end of file after what was written.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        state.writer_gone = true;
        let waker = state.reader.take();
        drop(state);
        wake(waker);
    }

    fn abandon(&self) {
        let mut state = self.state();
        state.reader_gone = true;
        let unread = (std::mem::take(&mut state.bytes), std::mem::take(&mut state.fds));
        let waker = state.writer.take();
        drop(state);
        drop(unread);
        wake(waker);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    fn write(&mut self, bytes: &[IoSlice<'_>], fds: &mut Descriptors) -> io::Result<usize> {
        if self.reader_gone || self.writer_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.room() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !fds.is_empty() {
            let position = self.n_read + self.bytes.len() as u64;
            // As a socket does it: what is read is the reader's own.
            let read = std::mem::take(fds)
                .into_iter()
                .map(|fd| Attached(fd).into_owned());
            self.fds.push_back((position, read.collect::<io::Result<_>>()?));
        }
        let before = self.bytes.len();
        for slice in bytes {
            let fitting = slice.len().min(self.room());
            self.bytes.extend(&slice[..fitting]);
        }
        Ok(self.bytes.len() - before)
    }

    fn read(&mut self, buf: &mut BytesMut, fds: &mut VecDeque<OwnedFd>) -> io::Result<Received> {
        if self.bytes.is_empty() && !self.writer_gone {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.bytes.len().min(buf.capacity() - buf.len());
        self.copy_out(len, buf);
        self.n_read += len as u64;
        while self
            .fds
            .front()
            .is_some_and(|(position, _)| *position < self.n_read)
        {
            fds.extend(self.fds.pop_front().into_iter().flat_map(|(_, lot)| lot));
        }
        wake(self.writer.take());
        Ok(Received {
            len,
            control: false,
            truncated: false,
        })
    }

    fn copy_out(&mut self, len: usize, buf: &mut BytesMut) {
        let (front, back) = self.bytes.as_slices();
        let split = len.min(front.len());
        buf.put_slice(&front[..split]);
        buf.put_slice(&back[..len - split]);
        self.bytes.drain(..len);
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
