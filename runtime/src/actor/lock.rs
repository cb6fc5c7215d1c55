//! The lock of an actor: one writer, or any number of readers, on one thread.
//!
//! It has no order of its own: that is the [`Queue`](super::queue::Queue)'s, of which only the first asks. So at most one
//! waits at a time.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::task::{Poll, Waker};

pub(super) struct Lock<T> {
    value: RefCell<T>,
    /// Who waits.
    waits: Cell<Option<Waker>>,
}

/// The value, lent. Dropped, whoever waits looks again.
pub(super) struct Guard<'a, B> {
    /// Taken when it is dropped: before whoever waits is told.
    borrowed: Option<B>,
    waits: &'a Cell<Option<Waker>>,
}

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Lock {
            value: RefCell::new(value),
            waits: Cell::default(),
        }
    }

    /// Beside other readers, unless there is a writer.
    #[inline]
    pub(super) fn try_read(&self) -> Option<Guard<'_, Ref<'_, T>>> {
        self.value.try_borrow().ok().map(|value| self.guard(value))
    }

    /// Alone, unless there is somebody.
    #[inline]
    pub(super) fn try_write(&self) -> Option<Guard<'_, RefMut<'_, T>>> {
        self.value.try_borrow_mut().ok().map(|value| self.guard(value))
    }

    pub(super) async fn read(&self) -> Guard<'_, Ref<'_, T>> {
        self.wait(Self::try_read).await
    }

    pub(super) async fn write(&self) -> Guard<'_, RefMut<'_, T>> {
        self.wait(Self::try_write).await
    }

    async fn wait<'a, B>(&'a self, lend: fn(&'a Self) -> Option<Guard<'a, B>>) -> Guard<'a, B> {
        poll_fn(|cx| match lend(self) {
            Some(guard) => Poll::Ready(guard),
            None => {
                self.waits.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn guard<B>(&self, value: B) -> Guard<'_, B> {
        Guard {
            borrowed: Some(value),
            waits: &self.waits,
        }
    }
}

impl<B: Deref> Deref for Guard<'_, B> {
    type Target = B::Target;

    fn deref(&self) -> &B::Target {
        self.borrowed.as_ref().expect("it is there until the drop")
    }
}

impl<B: DerefMut> DerefMut for Guard<'_, B> {
    fn deref_mut(&mut self) -> &mut B::Target {
        self.borrowed.as_mut().expect("it is there until the drop")
    }
}

impl<B> Drop for Guard<'_, B> {
    #[inline]
    fn drop(&mut self) {
        self.borrowed = None;
        if let Some(waits) = self.waits.take() {
            waits.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn readers_share_and_a_writer_is_alone() {
        let lock = Lock::new(1);
        let (first, second) = (lock.try_read().unwrap(), lock.read().await);
        let mut writes = pin!(lock.write());
        assert!(poll!(&mut writes).is_pending() && lock.try_write().is_none());
        drop(first);
        assert!(poll!(&mut writes).is_pending(), "there is a reader");
        drop(second);
        let mut writer = writes.await;
        *writer += 1;
        assert!(lock.try_read().is_none());
        let mut reads = pin!(lock.read());
        assert!(poll!(&mut reads).is_pending());
        drop(writer);
        assert_eq!(*reads.await, 2);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let lock = std::rc::Rc::new(Lock::new(0));
        let writer = lock.try_write().unwrap();
        let local = tokio::task::LocalSet::new();
        let waits = local.spawn_local({
            let lock = lock.clone();
            async move { *lock.read().await }
        });
        local.run_until(tokio::task::yield_now()).await;
        drop(writer);
        assert_eq!(local.run_until(waits).await.unwrap(), 0);
    }
}
