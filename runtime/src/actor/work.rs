//! Work that can be taken back at once.
//!
//! A cancel counts from the moment in which it is read: the destructors of what it ends have run before the message
//! behind it is looked at. To abort a task of the runtime does not do that, as it drops the future only in its turn.

use crate::local::{Task, spawn_local};
use futures::future::LocalBoxFuture;
use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use super::room::guarded;

/// A future that runs beside the others of this thread.
pub(crate) struct Work {
    /// `None`: it is done, or was cancelled.
    future: RefCell<Option<LocalBoxFuture<'static, ()>>>,
    task: OnceCell<Task>,
}

impl Work {
    pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> Rc<Work> {
        let work = Rc::new(Work {
            future: RefCell::new(Some(Box::pin(future))),
            task: OnceCell::new(),
        });
        let runs = work.clone();
        let task = spawn_local(poll_fn(move |cx| {
            let mut future = runs.future.borrow_mut();
            if let Some(left) = future.as_mut() {
                ready!(left.as_mut().poll(cx));
            }
            *future = None;
            Poll::Ready(())
        }));
        let _ = work.task.set(task);
        work
    }

    /// Drops what is left of it, now.
    pub(crate) fn cancel(&self) {
        // Borrowed: it is cancelled from within, and ends in its turn.
        let left = self
            .future
            .try_borrow_mut()
            .ok()
            .and_then(|mut future| future.take());
        guarded(|| drop(left));
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}
