//! The line in which messages wait to begin.
//!
//! Whoever joins first is first, in whatever order the runtime runs the tasks of those who wait. Who is first stays so
//! until its [`Place`] is dropped, because it has begun or was taken back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Their numbers, which grow, and who is to be told when it is first.
    waiting: RefCell<VecDeque<(u64, Option<Waker>)>>,
    last: Cell<u64>,
}

/// A place in the line, left when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    queue: Rc<Queue>,
    number: u64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    pub(super) fn join(self: &Rc<Self>) -> Place {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.waiting.borrow_mut().push_back((number, None));
        Place {
            queue: self.clone(),
            number,
        }
    }

    /// Takes that number out. Whoever is first for it is told.
    fn leave(&self, number: u64) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting
            .binary_search_by_key(&number, |(number, _)| *number)
            .ok()?;
        waiting.remove(at);
        match at {
            0 => waiting.front_mut()?.1.take(),
            _ => None,
        }
    }
}

impl Place {
    /// Waits until nobody is before it.
    pub(super) async fn first(&self) {
        poll_fn(|cx| self.poll_first(cx)).await;
    }

    fn poll_first(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.queue.waiting.borrow_mut();
        if waiting.front().is_none_or(|(first, _)| *first == self.number) {
            return Poll::Ready(());
        }
        if let Ok(at) = waiting.binary_search_by_key(&self.number, |(number, _)| *number) {
            waiting[at].1 = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(next) = self.queue.leave(self.number) {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn who_joins_first_is_first_whoever_asks_first() {
        let queue = Rc::new(Queue::default());
        let (first, second, third) = (queue.join(), queue.join(), queue.join());
        let mut third_is_first = pin!(third.first());
        assert!(poll!(&mut third_is_first).is_pending());
        assert!(poll!(pin!(second.first())).is_pending());
        assert!(poll!(pin!(first.first())).is_ready());
        drop(second);
        assert!(poll!(&mut third_is_first).is_pending(), "the first has not left");
        drop(first);
        third_is_first.await;
        assert!(!queue.is_empty(), "the third has not left");
    }
}
