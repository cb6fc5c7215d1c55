//! One direction of a connection between two processes: what was written is on its way for a while, and arrives in parts
//! that are cut anywhere.
//!
//! A process writes into a buffer that may fill, the line takes from that and writes, later, into the one that the other
//! process reads. When the writer dies, what it had written is there to be read at once by whoever hears of its death,
//! as with a socket or a ring; or, where the seed says so, it died in the middle of writing it. Whoever waits for it is
//! woken in his turn, which may be after he heard of the death.

use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Sleep;

use super::rng::Rng;
use crate::link::memory::End;

/// How much is taken at once.
const AT_ONCE: usize = 16 << 10;

/// How slow lines are: of a thousand parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    /// So many come only after some milliseconds.
    pub(super) late: usize,
    /// So many are cut.
    pub(super) cut: usize,
}

#[derive(Debug)]
pub(super) struct Line {
    from: Rc<End>,
    to: Rc<End>,
    transit: RefCell<BytesMut>,
    held: RefCell<Option<Pin<Box<Sleep>>>>,
    /// Nothing more is taken from the writer.
    ended: Cell<bool>,
    done: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    pub(super) fn new(from: Rc<End>, to: Rc<End>) -> Self {
        Line {
            from,
            to,
            transit: RefCell::default(),
            held: RefCell::default(),
            ended: Cell::new(false),
            done: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// Carries one part; ready when there will be no more.
    pub(super) fn poll(&self, cx: &mut Context<'_>, rng: &Rng, manners: Manners) -> Poll<()> {
        self.waker.replace(Some(cx.waker().clone()));
        if self.done.get() {
            self.to.notice();
            return Poll::Ready(());
        }
        let mut transit = self.transit.borrow_mut();
        if transit.is_empty() && !self.ended.get() {
            transit.reserve(AT_ONCE);
            match ready!(self.from.take(cx, &mut transit)) {
                Ok(n) if n > 0 => {
                    if rng.chance(manners.late) {
                        let sleep = tokio::time::sleep(Duration::from_millis(rng.between(1, 40)));
                        self.held.replace(Some(Box::pin(sleep)));
                    }
                }
                _ => self.ended.set(true),
            }
        }
        if let Some(sleep) = &mut *self.held.borrow_mut() {
            ready!(sleep.as_mut().poll(cx));
        }
        self.held.replace(None);
        if transit.is_empty() {
            self.to.end();
            self.done.set(true);
            return Poll::Ready(());
        }
        let part = match rng.chance(manners.cut) {
            true => 1 + rng.below(transit.len()),
            false => transit.len(),
        };
        match ready!(self.to.give(cx, &transit[..part])) {
            Ok(n) => transit.advance(n),
            // Nobody reads.
            Err(_) => {
                self.done.set(true);
                return Poll::Ready(());
            }
        }
        // The next part is for another turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The writer is dead: what it writes from here on is not seen. With `cut` it died in the middle of writing.
    pub(super) fn freeze(&self, cut: Option<&Rng>) {
        let mut transit = self.transit.borrow_mut();
        while !self.ended.get() {
            transit.reserve(AT_ONCE);
            if !self.from.take_now(&mut transit).is_ok_and(|n| n > 0) {
                self.ended.set(true);
            }
        }
        if let Some(rng) = cut
            && !transit.is_empty()
        {
            let left = rng.below(transit.len() + 1);
            transit.truncate(left);
        }
        drop(transit);
        self.wake();
    }

    /// The writer is dead: what is on its way is there, and is noticed in its turn.
    pub(super) fn deliver(&self) {
        if self.done.replace(true) {
            return;
        }
        self.to.give_last(&self.transit.take());
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
