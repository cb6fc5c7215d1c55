//! What a link holds when it is taken apart, and how it goes on elsewhere.
//!
//! **Promised.** What was read and not parsed, and what was queued and not written, a frame that is half written
//! included, goes along. Who holds the other end sees nothing of it.

use super::outbox::{Batch, Flushed, Queue};
use super::port::Sink;
use super::sender::flushed_by;
use super::{Driver, Sender, Transport, open};
use crate::wire::attach::Descriptors;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What was on one side of the transport.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Read, and not parsed.
    pub(crate) unread: BytesMut,
    pub(crate) unread_fds: VecDeque<OwnedFd>,
    /// Queued, and not written; descriptors go with the first byte of their part.
    pub(crate) unwritten: Vec<(Bytes, Descriptors)>,
}

/// Opens one end of a connection, as [`open`] does, and goes on where it was taken apart.
pub(crate) fn reopen(transport: Transport, rest: Rest, limit: usize) -> io::Result<(Sender, Driver)> {
    let (sender, mut driver) = open(transport, limit)?;
    driver.resume(rest);
    Ok((sender, driver))
}

impl Rest {
    /// The end of a connection that is not open: writes what is left and these bytes, as [`Driver::end`] does.
    pub(crate) fn end(self, transport: Transport, last: Vec<u8>) {
        let Some(sink) = sink(transport) else { return };
        let mut queue = Queue::default();
        for (bytes, fds) in self.unwritten {
            queue.push_unwritten(bytes, fds);
        }
        queue.push_unwritten(last.into(), Descriptors::new());
        let mut batch = Batch::new(sink);
        batch.refill(&mut queue);
        if write_out(&mut batch) == Some(Flushed::Blocked) {
            if let Some(sink) = &batch.sink {
                sink.make_room();
            }
            write_out(&mut batch);
        }
    }
}

/// Why it stopped, if not because all was written.
fn write_out(batch: &mut Batch) -> Option<Flushed> {
    while !batch.is_empty() {
        if let Err(error) = batch.write()
            && let Some(flushed) = flushed_by(&error)
        {
            return Some(flushed);
        }
    }
    None
}

fn sink(transport: Transport) -> Option<Sink> {
    match transport {
        Transport::Socket(fd) => Some(Sink::Socket(Arc::new(fd))),
        _ => None,
    }
}
