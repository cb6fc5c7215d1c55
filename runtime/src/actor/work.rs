//! Work that can be taken back at once.
//!
//! A cancel counts from the moment in which it is read: the destructors of what it ends have run before the message
//! behind it is looked at. To abort a task of the runtime does not do that, as it drops the future only in its turn.

use crate::local::{Task, spawn_local};
use futures::future::LocalBoxFuture;
use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::room::guarded;

/// A future that runs beside the others of this thread.
pub(crate) struct Work {
    /// `None`: it is done, or was cancelled.
    future: RefCell<Option<LocalBoxFuture<'static, ()>>>,
    task: OnceCell<Task>,
}

impl Work {
    /// Runs it as far as it goes without waiting. What is left of it then; `None`: it is done.
    pub(crate) fn start(future: impl Future<Output = ()> + 'static) -> Option<Rc<Work>> {
        let mut future: LocalBoxFuture<'static, ()> = Box::pin(future);
        // The task polls it anew, whoever would have been woken until then.
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(Work::run(future)),
        }
    }

    pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> Rc<Work> {
        Work::run(Box::pin(future))
    }

    fn run(future: LocalBoxFuture<'static, ()>) -> Rc<Work> {
        let work = Rc::new(Work {
            future: RefCell::new(Some(future)),
            task: OnceCell::new(),
        });
        let runs = Runs(work.clone());
        let task = spawn_local(poll_fn(move |cx| {
            let mut future = runs.0.future.borrow_mut();
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
        let left = self.take();
        guarded(|| drop(left));
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn take(&self) -> Option<LocalBoxFuture<'static, ()>> {
        // Borrowed: it is cancelled from within, and ends in its turn.
        let mut future = self.future.try_borrow_mut().ok()?;
        future.take()
    }
}

/// What its task holds: dropped with that, it lets go of the future, which may lead back to the work.
struct Runs(Rc<Work>);

impl Drop for Runs {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
