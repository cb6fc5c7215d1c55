//! The answer to one call, on its way to whoever waits for it.
//!
//! One side answers, at most once; the other is a future. What lies between them is used again by the next call that the
//! thread makes, so that in the long run a call allocates nothing here.
//!
//! **Promised.** Whoever waits hears the answer; or that there will be none, as its sender was dropped; or that its
//! deadline has passed, whatever comes after that.

use crate::os::handoff::{Giver, Pair, Spare, Taker};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::task::coop::poll_proceed;

use super::conn::Answer;
use super::reuse::{self, Kept};

/// How many spots a thread keeps for its next calls.
const KEPT: usize = 128;

thread_local! {
    static FREE: Kept<Spot> = const { RefCell::new(Vec::new()) };
}

type Spot = Spare<End>;

/// The side that answers. Dropped, it says that there will be no answer.
#[derive(Debug)]
pub(super) struct Sender(Giver<End>);

/// The side that waits.
#[derive(Debug)]
pub(super) struct Receiver(Option<Taker<End>>);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// The deadline has passed.
    Late,
    /// Its sender was dropped.
    Unheard,
}

/// What whoever waits hears.
pub(super) type End = Result<Answer, Silence>;

/// Both sides. Where it is known who will wait, that need not be said later.
#[inline]
pub(super) fn channel(waiter: Option<&Waker>) -> (Sender, Receiver) {
    let (giver, taker) = match reuse::take(&FREE).pair(waiter) {
        Ok(pair) => pair,
        Err(spot) => {
            reuse::keep_for_last(&FREE, spot);
            fresh(waiter)
        }
    };
    (Sender(giver), Receiver(Some(taker)))
}

/// Another thread has not let go of the one that was kept.
#[cold]
fn fresh(waiter: Option<&Waker>) -> Pair<End> {
    Spot::default()
        .pair(waiter)
        .unwrap_or_else(|_| unreachable!("nobody has a new one"))
}

#[inline]
fn keep(spot: Spot) {
    reuse::keep(&FREE, KEPT, spot);
}

impl Sender {
    #[inline]
    pub(super) fn send(self, answer: Answer) {
        wake(self.0.give(Ok(answer)));
    }

    /// Whether nobody waits any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_left()
    }

    /// Says that it is too late. Whom to wake.
    pub(super) fn late(self) -> Option<Waker> {
        self.0.give(Err(Silence::Late))
    }
}

#[inline]
fn wake(waiter: Option<Waker>) {
    if let Some(waiter) = waiter {
        waiter.wake();
    }
}

impl Receiver {
    /// Whether the end is there.
    pub(super) fn is_ended(&self) -> bool {
        self.0.as_ref().is_none_or(Taker::is_given)
    }

    /// Whether the end is there; to be woken otherwise.
    #[inline]
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let budget = ready!(poll_proceed(cx));
        if let Some(taker) = &mut self.0 {
            ready!(taker.poll(cx));
        }
        budget.made_progress();
        Poll::Ready(())
    }

    /// The end, which is there.
    pub(super) fn take(&mut self) -> End {
        self.end(|end| end.take().unwrap_or(Err(Silence::Unheard)))
    }

    /// Nobody waits any more.
    pub(super) fn leave(&mut self) {
        if let Some(mut spot) = self.0.take().and_then(Taker::leave) {
            spot.clear();
            keep(spot);
        }
    }

    /// What `read` makes of the end, which is there; where it lies, as to move it costs more than the rest.
    #[inline]
    pub(super) fn end<T>(&mut self, read: impl FnOnce(&mut Option<End>) -> T) -> T {
        let Some(mut taker) = self.0.take() else {
            return read(&mut None);
        };
        let read = match taker.value() {
            Some(end) => {
                let read = read(end);
                *end = None;
                read
            }
            None => read(&mut None),
        };
        if let Some(spot) = taker.leave() {
            keep(spot);
        }
        read
    }
}

impl Future for Receiver {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.poll_end(cx));
        Poll::Ready(self.take())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::Reply;
    use super::*;
    use crate::wire::attach::Payload;
    use futures::FutureExt;
    use futures::task::noop_waker_ref;
    use std::sync::Arc;

    fn answer(number: u64) -> Answer {
        Answer {
            parts: Vec::new(),
            reply: Reply::Value(Payload::default(), number),
        }
    }

    fn number(end: Option<End>) -> Result<u64, Silence> {
        match end.expect("an end")?.reply {
            Reply::Value(_, number) => Ok(number),
            other => panic!("{other:?}"),
        }
    }

    fn poll(receiver: &mut Receiver) -> Option<End> {
        match receiver.poll_unpin(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(end) => Some(end),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_next_call_has_a_place_of_which_nothing_is_left() {
        for call in 0..100 {
            let (sender, mut receiver) = channel(None);
            assert!(poll(&mut receiver).is_none() && !sender.is_closed());
            match call % 4 {
                0 => drop(sender),
                1 => wake(sender.late()),
                2 => sender.send(answer(call)),
                _ => {
                    drop(receiver);
                    assert!(sender.is_closed());
                    sender.send(answer(call));
                    continue;
                }
            }
            let end = number(poll(&mut receiver));
            let want = [Err(Silence::Unheard), Err(Silence::Late), Ok(call)];
            assert_eq!(end, want[call as usize % 4]);
            assert!(FREE.with_borrow(|free| free.len() <= 1));
        }
    }

    #[test]
    fn what_comes_too_late_changes_nothing() {
        let (sender, mut receiver) = channel(None);
        wake(sender.late());
        assert_eq!(number(poll(&mut receiver)), Err(Silence::Late));
        assert_eq!(number(poll(&mut receiver)), Err(Silence::Unheard));
    }

    #[test]
    fn whoever_leaves_takes_its_waker_along() {
        let (bell, other) = (Arc::new(Bell), Arc::new(Bell));
        let (wakers, n_held) = ([&bell, &other], |bell| Arc::strong_count(bell) - 1);
        for n_polls in 0..3 {
            let (sender, mut receiver) = channel(Some(&bell.clone().into()));
            for bell in wakers.into_iter().cycle().take(n_polls) {
                let waker = bell.clone().into();
                assert!(receiver.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            }
            assert_eq!(n_held(&bell) + n_held(&other), 1);
            drop(receiver);
            assert_eq!(n_held(&bell) + n_held(&other), 0);
            assert!(sender.is_closed());
        }
    }

    struct Bell;

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn an_answer_from_another_thread_is_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for call in 0..2_000 {
            let (sender, receiver) = channel(None);
            let answers = std::thread::spawn(move || match call % 3 {
                0 => drop(sender),
                1 => wake(sender.late()),
                _ => sender.send(answer(call)),
            });
            let end = number(Some(runtime.block_on(receiver)));
            let want = [Err(Silence::Unheard), Err(Silence::Late), Ok(call)];
            assert_eq!(end, want[call as usize % 3]);
            answers.join().unwrap();
        }
    }
}
