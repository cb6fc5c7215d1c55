//! One sender, many receivers, each with a line of its own: what `watch` and `broadcast` are made of.
//!
//! The sender keeps the last values. A value is sent on every line that has room, at once; what a slow receiver has no room for it gets
//! from what is kept, once it has, and it misses what is kept no longer. So nobody waits for anybody, and memory is
//! bounded. Values are numbered, so a receiver knows what it missed.
//!
//! A task in the sender's process serves slow receivers, and new ones that come by way of those that there are. It outlives
//! the sender until everybody has all that is kept. Where it cannot, because the process ends, the lines end without a goodbye: a
//! receiver that misses the last values hears of a death, not of an end.

use crate::error::{Error, ErrorKind, Result};
use crate::link::{self, LinkKind, Transport};
use crate::process::control;
use crate::wire::attach::{Attached, Payload};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::item::{self, Packet};
use super::line::{Line, Unsent};

/// Before each value on a line: its number, little-endian.
const NUMBER: usize = size_of::<u64>();

/// The sender's side.
#[derive(Debug)]
pub(super) struct Fan(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The last values, the newest last.
    kept: VecDeque<Payload>,
    keep: usize,
    /// How many values there ever were: the number of the newest.
    last: u64,
    readers: Vec<Reader>,
    /// How much may be under way to each.
    capacity: usize,
    /// The sender is dropped.
    closed: bool,
    /// Wakes the task that serves the readers.
    server: Option<Waker>,
    serves: bool,
}

/// A receiver, as the sender knows it.
#[derive(Debug)]
struct Reader {
    line: Arc<Line>,
    /// The number of the last value that was sent to it, or that it is to miss.
    at: u64,
}

/// A receiver asks for a line for another one, which knows the values up to this number.
#[derive(Serialize, Deserialize)]
struct Another {
    at: u64,
    end: Attached,
}

/// The sender's side on its way to another process.
#[derive(Serialize, Deserialize)]
pub(super) struct PackedFan {
    kept: Vec<Payload>,
    keep: usize,
    last: u64,
    capacity: usize,
    at: Vec<u64>,
    lines: Packet,
}

impl Fan {
    pub(super) fn new(keep: usize, capacity: usize) -> Fan {
        Fan::of(State {
            kept: VecDeque::new(),
            keep,
            last: 0,
            readers: Vec::new(),
            capacity,
            closed: false,
            server: None,
            serves: false,
        })
    }

    fn of(state: State) -> Fan {
        Fan(Arc::new(Mutex::new(state)))
    }

    /// A new receiver of what is sent from now on, and the number of the newest value.
    pub(super) fn subscribe(&self) -> Result<(Arc<Line>, u64)> {
        let mut state = lock(&self.0);
        let (line, far) = super::line::pair(state.capacity)?;
        let at = state.last;
        state.readers.push(Reader { line, at });
        drop(state);
        // Outside a runtime the first value that is sent sees to it.
        let _ = self.serve();
        Ok((far, at))
    }

    /// The newest value and its number.
    pub(super) fn newest(&self) -> Option<(u64, Payload)> {
        let state = lock(&self.0);
        state.kept.back().map(|value| (state.last, value.clone()))
    }

    /// Keeps a value that nobody is told of: those who come know it.
    pub(super) fn begin_with(&self, value: Payload) {
        lock(&self.0).push(value);
    }

    /// Sends a value to all; how many there are.
    pub(super) fn send(&self, value: Payload) -> Result<usize, Unsent> {
        let limit = control::client().settings().frame_limit;
        if value.len() + NUMBER > limit {
            return Err(Unsent::Other(Error::too_large(value.len() + NUMBER, limit)));
        }
        self.serve().map_err(Unsent::Other)?;
        let mut state = lock(&self.0);
        state.push(value);
        state.pump(&mut Context::from_waker(Waker::noop()));
        let server = state.server.take();
        let count = state.readers.len();
        drop(state);
        if let Some(server) = server {
            server.wake();
        }
        Ok(count)
    }

    /// How many receivers there are, as far as is known.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).readers.len()
    }

    /// Sees to it that a task serves the readers.
    fn serve(&self) -> Result<()> {
        let runtime = control::within_runtime("a channel")?;
        if !std::mem::replace(&mut lock(&self.0).serves, true) {
            let serving = Serving(self.0.clone());
            runtime.spawn(async move { poll_fn(|cx| serving.poll(cx)).await });
        }
        Ok(())
    }

    /// All of it, to be sent to another process; it is gone from here.
    pub(super) fn pack(&self) -> Result<PackedFan> {
        let mut state = lock(&self.0);
        let lines = item::pack(state.readers.iter().map(|reader| &*reader.line), &[])?;
        let readers = std::mem::take(&mut state.readers);
        state.closed = true;
        Ok(PackedFan {
            kept: state.kept.drain(..).collect(),
            keep: state.keep,
            last: state.last,
            capacity: state.capacity,
            at: readers.iter().map(|reader| reader.at).collect(),
            lines,
        })
    }

    pub(super) fn unpack(packed: PackedFan) -> Result<Fan> {
        let (lines, _) = item::unpack(packed.lines)?;
        let readers = lines.into_iter().zip(packed.at);
        Ok(Fan::of(State {
            kept: packed.kept.into(),
            keep: packed.keep,
            last: packed.last,
            readers: readers.map(|(line, at)| Reader { line, at }).collect(),
            capacity: packed.capacity,
            closed: false,
            server: None,
            serves: false,
        }))
    }
}

impl Drop for Fan {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        // What a panic takes with it was not done in order.
        if std::thread::panicking() {
            state.lose_all();
        }
        state.closed = true;
        let server = state.server.take();
        // Where nobody serves them they are told here.
        let left = match state.serves {
            true => Vec::new(),
            false => state.let_go(),
        };
        drop(state);
        drop(left);
        if let Some(server) = server {
            server.wake();
        }
    }
}

/// The task that serves the readers.
struct Serving(Arc<Mutex<State>>);

impl Serving {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        state.pump(cx);
        if state.closed {
            let last = state.last;
            state.readers.retain(|reader| reader.at < last);
            if state.readers.is_empty() {
                return Poll::Ready(());
            }
        }
        state.server = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Serving {
    /// Its runtime is going down, or it is done.
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.serves = false;
        let left = match state.closed {
            true => state.let_go(),
            false => Vec::new(),
        };
        drop(state);
        drop(left);
    }
}

impl State {
    fn push(&mut self, value: Payload) {
        if self.kept.len() == self.keep {
            self.kept.pop_front();
        }
        self.kept.push_back(value);
        self.last += 1;
    }

    /// Hears the readers, and sends to each what it has room for.
    fn pump(&mut self, cx: &mut Context<'_>) {
        let mut come = Vec::new();
        let mut readers = std::mem::take(&mut self.readers);
        readers.retain_mut(|reader| self.hear(reader, &mut come, cx) && self.send_to(reader));
        for mut reader in come {
            // Looked at once, so that the task hears of it from here on.
            if self.hear(&mut reader, &mut Vec::new(), cx) && self.send_to(&mut reader) {
                readers.push(reader);
            }
        }
        self.readers = readers;
    }

    /// Whether the reader is still there.
    fn hear(&self, reader: &mut Reader, come: &mut Vec<Reader>, cx: &mut Context<'_>) -> bool {
        loop {
            match reader.line.poll_recv(cx) {
                Poll::Pending => return true,
                Poll::Ready(Ok(Some(asked))) => come.extend(self.take_in(asked).ok()),
                Poll::Ready(Ok(None) | Err(_)) => return false,
            }
        }
    }

    fn take_in(&self, asked: Payload) -> Result<Reader> {
        let (Another { at, end }, _) = asked.unpack()?;
        let transport = Transport::from_descriptors(vec![end.into_owned()?])?;
        Ok(Reader {
            line: Arc::new(Line::new(transport, self.capacity)),
            at: at.min(self.last),
        })
    }

    fn send_to(&self, reader: &mut Reader) -> bool {
        let oldest = self.last - self.kept.len() as u64;
        while reader.at < self.last {
            let at = reader.at.max(oldest);
            let value = &self.kept[(at - oldest) as usize];
            match reader.line.try_send(&numbered(at + 1, value)) {
                Ok(()) => reader.at = at + 1,
                Err(Unsent::Full) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// The readers, to be dropped: those that miss something without a goodbye.
    fn let_go(&mut self) -> Vec<Reader> {
        let last = self.last;
        let readers = std::mem::take(&mut self.readers);
        let behind = readers.iter().filter(|reader| reader.at < last);
        behind.for_each(|reader| reader.line.lose());
        readers
    }

    fn lose_all(&mut self) {
        self.readers.drain(..).for_each(|reader| reader.line.lose());
    }
}

fn numbered(number: u64, value: &Payload) -> Payload {
    let mut bytes = Vec::with_capacity(NUMBER + value.len());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&value.bytes);
    Payload {
        bytes: bytes.into(),
        behind: value.behind.clone(),
        fds: value.fds.clone(),
    }
}

/// The number of a value that arrived, and the value.
pub(super) fn split(mut item: Payload) -> Result<(u64, Payload)> {
    let Some((number, _)) = item.bytes.split_first_chunk() else {
        return Err(Error::with_kind(
            ErrorKind::Protocol,
            "a value without its number",
        ));
    };
    let number = u64::from_le_bytes(*number);
    item.bytes = item.bytes.skip(NUMBER);
    Ok((number, item))
}

/// A line for another receiver, which knows the values up to `at`, asked for over the line of one.
pub(super) fn another(line: &Arc<Line>, at: u64, capacity: usize) -> Result<Line> {
    let (near, far) = link::pair(LinkKind::Socket)?;
    let end = far
        .into_descriptors()
        .pop()
        .ok_or_else(|| Error::msg("a socket is a descriptor"))?;
    let end = Attached(Arc::new(end));
    let asked = Payload::pack(&Another { at, end })?;
    match line.try_send(&asked) {
        // One whose sender is gone hears so on its line.
        Ok(()) | Err(Unsent::Closed) => Ok(Line::new(near, capacity)),
        Err(unsent) => Err(unsent.of(()).into()),
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
