//! Streams that are arguments: what makes their items where the call is made, and what a method hears of their end.
//!
//! [`channel::feed`](crate::channel) moves the items. Here is when: from the moment that a call is sent, until the stream ends,
//! its reader is dropped, or the call fails. A call that succeeds lets go of them: the method may have kept the reader.

use crate::error::Error;
use futures::StreamExt;
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::future::{BoxFuture, FutureExt, poll_fn, select};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::task::AbortHandle;

/// What feeds the streams among the arguments of one call.
#[derive(Default)]
pub struct Feeds {
    /// Behind a lock that nobody shares, since they cannot be.
    made: Mutex<Vec<BoxFuture<'static, ()>>>,
    running: Vec<AbortHandle>,
}

impl Feeds {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, which begins with the call.
    pub(crate) fn push(&mut self, feed: impl Future<Output = ()> + Send + 'static) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner);
        made.push(feed.boxed());
    }

    /// The call is sent, in this runtime.
    pub(super) fn start(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner);
        let begun = made.drain(..).map(|feed| tokio::spawn(feed).abort_handle());
        self.running.extend(begun);
    }

    /// The call has succeeded.
    pub(super) fn let_go(mut self) {
        self.running.clear();
    }
}

impl Drop for Feeds {
    /// The call has failed, or nobody waits for it any more.
    fn drop(&mut self) {
        self.running.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feeds")
    }
}

/// Why a stream of plain items among the arguments of a method broke off: whoever reads such a stream cannot be told, so what
/// reads it ends.
#[derive(Debug)]
pub struct Broken {
    told: UnboundedReceiver<Error>,
    tell: UnboundedSender<Error>,
}

impl Broken {
    /// Of one message.
    pub fn new() -> Self {
        let (tell, told) = mpsc::unbounded();
        Broken { told, tell }
    }

    /// Where a reader says that its stream broke off.
    pub(crate) fn teller(&self) -> UnboundedSender<Error> {
        self.tell.clone()
    }

    /// What the method comes to, unless one of its streams breaks off first: then it is dropped.
    pub async fn around<T>(&mut self, method: impl Future<Output = T>) -> Result<T, Error> {
        let method = pin!(method);
        match select(method, poll_fn(|cx| self.poll(cx))).await {
            futures::future::Either::Left((value, _)) => Ok(value),
            futures::future::Either::Right((error, _)) => Err(error),
        }
    }

    /// Ready when a stream broke off.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.told.poll_next_unpin(cx) {
            Poll::Ready(Some(error)) => Poll::Ready(error),
            // It never ends: a sender is here.
            _ => Poll::Pending,
        }
    }
}

impl Default for Broken {
    fn default() -> Self {
        Self::new()
    }
}
