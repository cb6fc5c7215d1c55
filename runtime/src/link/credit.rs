//! Credit: how much one side may send before the other has taken it in. No I/O.
//!
//! A window is counted in messages, in bytes and in descriptors. The sender takes from its [`Window`] before it sends;
//! the receiver notes each message at its [`Granter`] when it arrives and when it has been consumed, and the granter
//! says when to send credit back: not for each message, but when half a window was consumed, or a descriptor.
//!
//! A message counts against admission with at most half the window of bytes, whatever its size, and with at most half
//! that of descriptors. So one that is larger than the window passes too, and a sender that waits is always one whose
//! receiver has, or will have, half a window to give back: the rules together cannot deadlock. What is outstanding is
//! thus at most half the window and one message, or the window, whichever is more.
//!
//! Both sides check: a receiver that gives back what was never taken, and a sender that overruns its window, break the
//! protocol.

use super::Closed;
use crate::wire::attach::Payload;
use crate::wire::frame::{Head, Kind};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How much: of a window, of what is outstanding, or of a grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credit {
    pub(crate) messages: u32,
    pub(crate) bytes: u64,
    pub(crate) fds: u32,
}

/// The peer broke the rules of credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreditFault {
    #[error("the sender overran its window")]
    Overrun,
    #[error("the receiver gave back more credit than was taken")]
    Overgrant,
}

/// Why nothing could be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The window is used up, or others wait for it.
    Full,
    Closed,
}

/// The sender's side; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Window(Arc<Mutex<State>>);

/// The receiver's side.
#[derive(Debug)]
pub(crate) struct Granter {
    size: Credit,
    /// Arrived and not yet given back.
    outstanding: Credit,
    /// Of these, consumed.
    consumed: Credit,
}

/// A place in the line for a [`Window`]; done when the credit has been taken. Dropped before that, it takes nothing.
#[derive(Debug)]
pub(crate) struct Take {
    window: Window,
    cost: Credit,
    place: Option<Arc<Place>>,
}

#[derive(Debug)]
struct State {
    size: Credit,
    outstanding: Credit,
    waiting: VecDeque<Arc<Place>>,
    closed: bool,
}

#[derive(Debug)]
struct Place {
    cost: Credit,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
enum Progress {
    Waiting(Waker),
    Admitted,
    Closed,
}

impl Credit {
    /// As a frame of this kind carries it: a window of bytes is far below 4 GiB.
    pub(crate) fn to_head(self, kind: Kind) -> Head {
        Head {
            method: self.fds,
            aux: (u64::from(self.messages) << 32) | (self.bytes & 0xffff_ffff),
            ..Head::new(kind)
        }
    }

    /// As it came.
    pub(crate) fn of_head(head: &Head) -> Credit {
        Credit {
            messages: (head.aux >> 32) as u32,
            bytes: head.aux & 0xffff_ffff,
            fds: head.method,
        }
    }

    /// What one message takes.
    pub(crate) fn of(n_bytes: usize, n_fds: usize) -> Credit {
        Credit {
            messages: 1,
            bytes: n_bytes as u64,
            fds: n_fds as u32,
        }
    }

    /// What one takes that is to be sent as this.
    pub(crate) fn of_payload(payload: &Payload) -> Credit {
        Credit::of(payload.len(), payload.fds.len())
    }

    /// Whether a message may go when `self` is outstanding of a window of `size`.
    fn admits(self, cost: Credit, size: Credit) -> bool {
        self.messages < size.messages
            && self.bytes + cost.bytes.min(size.bytes / 2) <= size.bytes
            && self.fds + cost.fds.min(size.fds / 2) <= size.fds
    }

    fn add(&mut self, cost: Credit) {
        self.messages += cost.messages;
        self.bytes += cost.bytes;
        self.fds += cost.fds;
    }

    pub(crate) fn checked_sub(self, other: Credit) -> Option<Credit> {
        Some(Credit {
            messages: self.messages.checked_sub(other.messages)?,
            bytes: self.bytes.checked_sub(other.bytes)?,
            fds: self.fds.checked_sub(other.fds)?,
        })
    }
}

impl Window {
    /// A whole window. It has room for at least one message.
    pub(crate) fn new(size: Credit) -> Self {
        Self::resumed(size, Credit::default())
    }

    /// A window of which so much was taken elsewhere.
    pub(crate) fn resumed(size: Credit, outstanding: Credit) -> Self {
        let size = Credit {
            messages: size.messages.max(1),
            ..size
        };
        Window(Arc::new(Mutex::new(State {
            size,
            outstanding,
            waiting: VecDeque::new(),
            closed: false,
        })))
    }

    /// Takes credit for one message, if it is there and nobody waits for it.
    pub(crate) fn try_take(&self, cost: Credit) -> Result<(), Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if !state.waiting.is_empty() || !state.outstanding.admits(cost, state.size) {
            return Err(Refused::Full);
        }
        state.outstanding.add(cost);
        Ok(())
    }

    /// Takes credit for one message, behind all who already wait.
    pub(crate) fn take(&self, cost: Credit) -> Take {
        Take {
            window: self.clone(),
            cost,
            place: None,
        }
    }

    /// What was taken and not used is there again.
    pub(crate) fn put_back(&self, cost: Credit) {
        let admitted = self.state().give_back(cost);
        wake(admitted);
    }

    /// The receiver gave credit back: those who wait are served in order.
    pub(crate) fn grant(&self, credit: Credit) -> Result<(), CreditFault> {
        let mut state = self.state();
        let rest = state.outstanding.checked_sub(credit);
        state.outstanding = rest.ok_or(CreditFault::Overgrant)?;
        let admitted = state.admit();
        drop(state);
        wake(admitted);
        Ok(())
    }

    /// What was taken and not given back.
    pub(crate) fn outstanding(&self) -> Credit {
        self.state().outstanding
    }

    /// Ends all waiting: the link is closed.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        wake(
            waiting
                .iter()
                .filter_map(|place| place.progress(Progress::Closed))
                .collect(),
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Admits whom the window has room for, in order.
    fn admit(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(first) = self.waiting.front() {
            if !self.outstanding.admits(first.cost, self.size) {
                break;
            }
            self.outstanding.add(first.cost);
            wakers.extend(first.progress(Progress::Admitted));
            self.waiting.pop_front();
        }
        wakers
    }

    /// What a place took and will not use: nobody has sent it, so the receiver cannot give it back.
    fn give_back(&mut self, unused: Credit) -> Vec<Waker> {
        self.outstanding = self.outstanding.checked_sub(unused).unwrap_or_default();
        self.admit()
    }
}

impl Place {
    /// Makes progress, and returns whom to tell.
    fn progress(&self, progress: Progress) -> Option<Waker> {
        match std::mem::replace(&mut *self.lock(), progress) {
            Progress::Waiting(waker) => Some(waker),
            Progress::Admitted | Progress::Closed => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Take {
    fn join_line(&mut self, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
        match self.window.try_take(self.cost) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(Refused::Closed) => return Poll::Ready(Err(Closed)),
            Err(Refused::Full) => {}
        }
        let place = Arc::new(Place {
            cost: self.cost,
            progress: Mutex::new(Progress::Waiting(cx.waker().clone())),
        });
        let mut state = self.window.state();
        state.waiting.push_back(place.clone());
        // Credit or a close may have come since the look above.
        let closed = state.closed;
        let admitted = state.admit();
        drop(state);
        self.place = Some(place);
        wake(admitted);
        match closed {
            true => Poll::Ready(Err(Closed)),
            false => Poll::Pending,
        }
    }
}

impl Future for Take {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(place) = &self.place else {
            return self.join_line(cx);
        };
        let mut progress = place.lock();
        let result = match &mut *progress {
            Progress::Waiting(waker) => {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            Progress::Admitted => Ok(()),
            Progress::Closed => Err(Closed),
        };
        drop(progress);
        self.place = None;
        Poll::Ready(result)
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut state = self.window.state();
        let admitted = match &*place.lock() {
            Progress::Admitted => state.give_back(self.cost),
            Progress::Waiting(_) | Progress::Closed => {
                state.waiting.retain(|other| !Arc::ptr_eq(other, &place));
                // It may have been what those behind it waited for.
                state.admit()
            }
        };
        drop(state);
        wake(admitted);
    }
}

impl Granter {
    /// The other side of a [`Window`] of the same size.
    pub(crate) fn new(size: Credit) -> Self {
        let size = Credit {
            messages: size.messages.max(1),
            ..size
        };
        Granter {
            size,
            outstanding: Credit::default(),
            consumed: Credit::default(),
        }
    }

    /// A granter that goes on where another was: so much had arrived and was not given back, and of that so much was
    /// consumed.
    pub(crate) fn resumed(size: Credit, outstanding: Credit, consumed: Credit) -> Self {
        Granter {
            outstanding,
            consumed,
            ..Granter::new(size)
        }
    }

    /// What has arrived and was not given back, and how much of that was consumed.
    pub(crate) fn state(&self) -> (Credit, Credit) {
        (self.outstanding, self.consumed)
    }

    /// A message arrived.
    pub(crate) fn arrived(&mut self, cost: Credit) -> Result<(), CreditFault> {
        if !self.outstanding.admits(cost, self.size) {
            return Err(CreditFault::Overrun);
        }
        self.outstanding.add(cost);
        Ok(())
    }

    /// A message that had arrived was consumed: the credit to send now, if it is time.
    pub(crate) fn consumed(&mut self, cost: Credit) -> Option<Credit> {
        self.consumed.add(cost);
        let due = self.consumed.messages >= self.size.messages.div_ceil(2)
            || self.consumed.bytes >= (self.size.bytes / 2).max(1)
            // Their sender keeps its own of them open until it hears of this.
            || self.consumed.fds > 0;
        due.then(|| self.settle())
    }

    /// The credit for all that was consumed, to send along with something that is sent anyway.
    pub(crate) fn settle(&mut self) -> Credit {
        let credit = std::mem::take(&mut self.consumed);
        self.outstanding = self.outstanding.checked_sub(credit).unwrap_or_default();
        credit
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::task::noop_waker;
    use proptest::prelude::*;

    const SIZE: Credit = Credit {
        messages: 4,
        bytes: 100,
        fds: 10,
    };

    fn bytes(n_bytes: usize) -> Credit {
        Credit::of(n_bytes, 0)
    }

    fn poll(take: &mut Take) -> Poll<Result<(), Closed>> {
        take.poll_unpin(&mut Context::from_waker(&noop_waker()))
    }

    #[test]
    fn who_came_first_is_served_first() {
        let window = Window::new(SIZE);
        window.try_take(bytes(100)).unwrap();
        let (mut large, mut small) = (window.take(bytes(90)), window.take(bytes(1)));
        assert!(poll(&mut large).is_pending());
        assert!(poll(&mut small).is_pending());
        assert_eq!(window.try_take(bytes(0)), Err(Refused::Full));
        window
            .grant(Credit {
                messages: 1,
                bytes: 100,
                fds: 0,
            })
            .unwrap();
        assert_eq!(poll(&mut large), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut small), Poll::Ready(Ok(())));
    }

    #[test]
    fn whoever_gives_up_lets_the_next_one_in() {
        let window = Window::new(SIZE);
        window.try_take(bytes(90)).unwrap();
        let (mut first, mut second) = (window.take(bytes(50)), window.take(bytes(10)));
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        drop(first);
        assert_eq!(poll(&mut second), Poll::Ready(Ok(())));
    }

    #[test]
    fn admitted_but_dropped_takes_nothing() {
        let window = Window::new(SIZE);
        window.try_take(bytes(100)).unwrap();
        let mut take = window.take(bytes(50));
        assert!(poll(&mut take).is_pending());
        window
            .grant(Credit {
                messages: 1,
                bytes: 100,
                fds: 0,
            })
            .unwrap();
        assert_eq!(window.outstanding().bytes, 50);
        drop(take);
        assert_eq!(window.outstanding(), Credit::default());
    }

    #[test]
    fn a_close_ends_the_waiting() {
        let window = Window::new(SIZE);
        window.try_take(bytes(100)).unwrap();
        let mut take = window.take(bytes(50));
        assert!(poll(&mut take).is_pending());
        window.close();
        assert_eq!(poll(&mut take), Poll::Ready(Err(Closed)));
        assert_eq!(window.try_take(bytes(0)), Err(Refused::Closed));
    }

    #[test]
    fn credit_that_was_never_taken_cannot_be_given_back() {
        let window = Window::new(SIZE);
        window.try_take(bytes(10)).unwrap();
        let grant = |messages, bytes| {
            window.grant(Credit {
                messages,
                bytes,
                fds: 0,
            })
        };
        assert_eq!(grant(1, 11), Err(CreditFault::Overgrant));
        assert_eq!(grant(2, 10), Err(CreditFault::Overgrant));
        assert_eq!(grant(1, 10), Ok(()));
    }

    #[test]
    fn a_sender_that_overruns_its_window_is_caught() {
        let mut granter = Granter::new(SIZE);
        for _ in 0..4 {
            granter.arrived(bytes(1)).unwrap();
        }
        assert_eq!(granter.arrived(bytes(1)), Err(CreditFault::Overrun));
        let mut granter = Granter::new(SIZE);
        granter.arrived(bytes(70)).unwrap();
        assert_eq!(granter.arrived(bytes(31)), Err(CreditFault::Overrun));
    }

    #[test]
    fn descriptors_that_have_not_been_taken_in_keep_more_from_coming() {
        let window = Window::new(SIZE);
        window.try_take(Credit::of(0, 8)).unwrap();
        assert_eq!(window.try_take(Credit::of(0, 3)), Err(Refused::Full));
        window.try_take(Credit::of(0, 2)).unwrap();
        let (mut waits, mut granter) = (window.take(Credit::of(0, 200)), Granter::new(SIZE));
        assert!(poll(&mut waits).is_pending());
        granter.arrived(Credit::of(0, 8)).unwrap();
        assert_eq!(granter.arrived(Credit::of(0, 3)), Err(CreditFault::Overrun));
        window.grant(granter.consumed(Credit::of(0, 8)).unwrap()).unwrap();
        assert_eq!(poll(&mut waits), Poll::Ready(Ok(())));
    }

    proptest! {
        /// Whatever the sizes: a sender that waits is let in once the receiver has consumed all, an honest sender is
        /// never caught, and what is outstanding stays within its bound.
        #[test]
        fn an_honest_pair_neither_deadlocks_nor_overruns(
            messages in 1u32..20,
            n_bytes in 0u64..200,
            n_fds in 0u32..20,
            costs in prop::collection::vec((0_usize..500, 0_usize..30), 1..200),
            lags in prop::collection::vec(0usize..30, 200),
        ) {
            let size = Credit { messages, bytes: n_bytes, fds: n_fds };
            let (window, mut granter) = (Window::new(size), Granter::new(size));
            let mut unconsumed = VecDeque::new();
            for (&(n_bytes, n_fds), &lag) in costs.iter().zip(&lags) {
                let cost = Credit::of(n_bytes, n_fds);
                while window.try_take(cost).is_err() {
                    let oldest = unconsumed.pop_front();
                    prop_assert!(oldest.is_some(), "deadlock: all is consumed and the window is not open");
                    if let Some(credit) = oldest.and_then(|cost| granter.consumed(cost)) {
                        window.grant(credit).unwrap();
                    }
                }
                granter.arrived(cost).unwrap();
                unconsumed.push_back(cost);
                let out = window.outstanding();
                prop_assert!(out.messages <= size.messages);
                prop_assert!(out.bytes <= size.bytes.max(size.bytes.div_ceil(2) + cost.bytes));
                prop_assert!(out.fds <= size.fds.max(size.fds.div_ceil(2) + cost.fds));
                while unconsumed.len() > lag {
                    let oldest = unconsumed.pop_front().unwrap();
                    if let Some(credit) = granter.consumed(oldest) {
                        window.grant(credit).unwrap();
                    }
                }
            }
        }
    }
}
