//! A stream that a method returned, in the actor's process.
//!
//! The method is over when it returns the stream: the actor's lock is free then, and the stream borrows nothing of it. The
//! message goes on until the stream ends, so that a death in between is one of a message that had begun, and a cancel drops the
//! stream at once. Nothing is asked of the stream before there is room for what it yields, which the reader gives: none
//! before it reads, so a stream that nobody reads does nothing.
//!
//! | frame | from | means |
//! | --- | --- | --- |
//! | `Part`, `aux` = [`BEGUN`](super::stream::BEGUN) | the actor | the stream is there |
//! | `Part` | the actor | an item |
//! | `Part`, `aux` = credit | the reader | room for more |
//! | `Reply` | the actor | the end of the stream |
//! | `Fault` | the actor | its end, because an item could not be sent, or the actor stops |
//! | `Cancel` | the reader | nobody reads it any more |

use crate::error::{Error, ErrorKind, Result};
use crate::link::credit::Credit;
use crate::process::page::Running;
use crate::wire::attach::Payload;
use futures::stream::{LocalBoxStream, poll_fn};
use futures::{Stream, StreamExt};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::task::coop::consume_budget;

use super::contract::Outcome;
use super::feed::Broken;
use super::port::Message;
use super::room::{guarded, unwound};

/// The items, encoded as they come.
pub struct Source(LocalBoxStream<'static, Result<Payload>>);

impl Source {
    pub(super) fn new<S: Stream + 'static>(
        items: S,
        encode: fn(&S::Item, &mut Vec<u8>) -> Result<()>,
    ) -> Source {
        let encode = move |item: S::Item| Payload::encode(|out| encode(&item, out));
        Source(items.map(encode).boxed_local())
    }

    /// The same, that ends where one of the streams that it was made of breaks off.
    pub(super) fn while_whole(self, mut broken: Broken) -> Source {
        let mut items = self.0;
        let next = move |cx: &mut Context<'_>| match items.poll_next_unpin(cx) {
            // What was made before is sent before.
            Poll::Ready(Some(item)) => Poll::Ready(Some(item)),
            ended => match broken.poll(cx) {
                Poll::Ready(error) => Poll::Ready(Some(Err(error))),
                Poll::Pending => ended,
            },
        };
        Source(poll_fn(next).boxed_local())
    }
}

/// An item of whatever size.
const ANY: Credit = Credit {
    messages: 1,
    bytes: 0,
    fds: 0,
};

/// The message that is answered by a stream, until that ends.
struct Open<'m>(&'m Message);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.end_stream();
    }
}

/// Sends the items as there is room for them, to the end.
pub(super) async fn send(message: &Message, source: Source, running: Running) {
    let _running = running;
    if message.answered {
        let end = items(message, source).await;
        message.settle(end);
    }
}

async fn items(message: &Message, source: Source) -> Outcome {
    // Dropped guarded: it is the user's.
    let mut source = Guarded(Some(source));
    let window = message.begin_stream();
    let _open = Open(message);
    loop {
        // Room for an item of whatever size, before there is one.
        if window.take(ANY).await.is_err() {
            return Outcome::Value(Payload::default());
        }
        window.put_back(ANY);
        let item = match unwound(source.next()).await {
            None => return Outcome::Value(Payload::default()),
            Some(Err(error)) => return Outcome::Fault(error),
            Some(Ok(item)) => item,
        };
        if let Err(error) = message.allows(&item) {
            return Outcome::Fault(error);
        }
        // The window is never closed: this task is dropped first.
        let _ = window.take(Credit::of_payload(&item)).await;
        message.part(item);
        consume_budget().await;
    }
}

struct Guarded(Option<Source>);

impl Guarded {
    async fn next(&mut self) -> Option<Result<Payload>> {
        match &mut self.0 {
            Some(source) => source.0.next().await,
            None => None,
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        guarded(|| drop(self.0.take()));
    }
}

/// Ends the streams of an actor that stops: their producers are dropped, and their readers told.
pub(super) fn stop(streams: Vec<Rc<Message>>) {
    for message in streams {
        message.cancel();
        message.settle(stopped());
    }
}

/// The end of a stream whose actor stops.
pub(super) fn stopped() -> Outcome {
    Outcome::Fault(Error::with_kind(ErrorKind::Stopped, "the actor has stopped"))
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}
