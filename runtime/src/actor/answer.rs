//! The answer to one call, on its way to whoever waits for it.
//!
//! One side answers, at most once; the other is a future. What lies between them is used again by the next call that the
//! thread makes, so that in the long run a call allocates nothing here.
//!
//! **Promised.** Whoever waits hears the answer; or that there will be none, as its sender was dropped; or that its
//! deadline has passed, whatever comes after that.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::task::coop::poll_proceed;

use super::conn::Answer;
use super::reuse::{self, Kept};

/// How many places a thread keeps for its next calls.
const KEPT: usize = 128;

thread_local! {
    static FREE: Kept<Arc<Place>> = const { RefCell::new(Vec::new()) };
}

/// The side that answers. Dropped, it says that there will be no answer.
#[derive(Debug)]
pub(super) struct Sender(Option<Arc<Place>>);

/// The side that waits.
#[derive(Debug)]
pub(super) struct Receiver(Option<Arc<Place>>);

/// The side that says that it is too late.
#[derive(Debug)]
pub(super) struct Late(Arc<Place>);

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

#[derive(Debug, Default)]
struct Place(Mutex<State>);

#[derive(Debug)]
enum State {
    Open(Option<Waker>),
    Ended(End),
    /// Nobody waits any more.
    Left,
}

/// Both sides. Where it is known who will wait, that need not be said later.
pub(super) fn channel(waiter: Option<&Waker>) -> (Sender, Receiver) {
    let mut place = reuse::take(&FREE);
    if let Some(place) = Arc::get_mut(&mut place) {
        *place.owned() = State::Open(waiter.cloned());
    }
    (Sender(Some(place.clone())), Receiver(Some(place)))
}

impl Default for State {
    fn default() -> Self {
        State::Open(None)
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owned(&mut self) -> &mut State {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, unless it has ended. Whom to wake.
    #[inline]
    fn end(&self, end: End) -> Option<Waker> {
        let mut state = self.state();
        let State::Open(waiter) = &mut *state else {
            drop(state);
            drop(end);
            return None;
        };
        let waiter = waiter.take();
        *state = State::Ended(end);
        waiter
    }
}

impl Sender {
    #[inline]
    pub(super) fn send(mut self, answer: Answer) {
        self.end(Ok(answer));
    }

    /// Whether nobody waits any more.
    pub(super) fn is_closed(&self) -> bool {
        let left = |place: &Arc<Place>| matches!(*place.state(), State::Left);
        self.0.as_ref().is_none_or(left)
    }

    /// For whom it may get too late.
    pub(super) fn late(&self) -> Option<Late> {
        self.0.clone().map(Late)
    }

    #[inline]
    fn end(&mut self, end: End) {
        let Some(place) = self.0.take() else { return };
        let waiter = place.end(end);
        // Before the waking: whoever waited finds the place its own, and can keep it.
        drop(place);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end(Err(Silence::Unheard));
    }
}

impl Late {
    pub(super) fn tell(self) {
        if let Some(waiter) = self.0.end(Err(Silence::Late)) {
            waiter.wake();
        }
    }
}

impl Receiver {
    /// The end, if it is there.
    pub(super) fn try_recv(&mut self) -> Option<End> {
        let mut state = self.0.as_ref()?.state();
        match &*state {
            State::Open(_) => None,
            _ => ended(&mut state),
        }
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<End> {
        if let Some(end) = self.recv_alone() {
            return Poll::Ready(end);
        }
        let Some(place) = &self.0 else {
            return Poll::Ready(Err(Silence::Unheard));
        };
        let mut state = place.state();
        if let State::Open(waiter) = &mut *state {
            match waiter {
                Some(waiter) => waiter.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(ended(&mut state).unwrap_or(Err(Silence::Unheard)))
    }

    /// The end where whoever answered has let go of the place, which then needs no lock and can be kept.
    #[inline]
    fn recv_alone(&mut self) -> Option<End> {
        let place = self.0.as_mut().filter(|place| Arc::strong_count(place) == 1)?;
        let end = ended(Arc::get_mut(place)?.owned());
        reuse::keep(&FREE, KEPT, self.0.take()?);
        end
    }
}

/// Takes the end out.
fn ended(state: &mut State) -> Option<End> {
    match std::mem::replace(state, State::Left) {
        State::Ended(end) => Some(end),
        State::Open(_) | State::Left => None,
    }
}

impl Future for Receiver {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let budget = ready!(poll_proceed(cx));
        let end = ready!(self.poll_recv(cx));
        budget.made_progress();
        Poll::Ready(end)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        let unheard = match Arc::get_mut(&mut place) {
            Some(place) => match place.owned() {
                State::Left => State::Left,
                unheard => std::mem::replace(unheard, State::Left),
            },
            None => {
                let unheard = std::mem::replace(&mut *place.state(), State::Left);
                return drop(unheard);
            }
        };
        drop(unheard);
        reuse::keep(&FREE, KEPT, place);
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::Reply;
    use super::*;
    use crate::wire::attach::Payload;
    use futures::FutureExt;
    use futures::task::noop_waker_ref;

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
                1 => sender.late().unwrap().tell(),
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
        let late = sender.late().unwrap();
        late.tell();
        sender.send(answer(1));
        assert_eq!(number(receiver.try_recv()), Err(Silence::Late));
        assert!(receiver.try_recv().is_none());

        let (sender, mut receiver) = channel(None);
        let late = sender.late().unwrap();
        sender.send(answer(2));
        assert_eq!(number(receiver.try_recv()), Ok(2));
        drop(receiver);
        // Its place belongs to no other call while this is there.
        let (_sender, mut other) = channel(None);
        late.tell();
        assert!(other.try_recv().is_none());
    }

    #[test]
    fn an_answer_from_another_thread_is_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for call in 0..2_000 {
            let (sender, receiver) = channel(None);
            let answers = std::thread::spawn(move || match call % 3 {
                0 => drop(sender),
                1 => sender.late().unwrap().tell(),
                _ => sender.send(answer(call)),
            });
            let end = number(Some(runtime.block_on(receiver)));
            let want = [Err(Silence::Unheard), Err(Silence::Late), Ok(call)];
            assert_eq!(end, want[call as usize % 3]);
            answers.join().unwrap();
        }
    }
}
