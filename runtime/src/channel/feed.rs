//! Streams that are arguments of a method: an `mpsc` channel whose sender pulls the items out of a stream.
//!
//! The channel has its line before the message is sent, so that a death is told as one however soon it comes: a door without a
//! line would be an empty stream. The line says goodbye only behind the last item. Whatever else ends the feed is told to the reader as
//! an error: an item that cannot be sent, a call that failed or was dropped, a runtime that goes down. A process that dies says
//! nothing, which is an error too.

use crate::actor::feed::{Broken, Feeds};
use crate::error::{Error, ErrorKind, Result};
use crate::wire::attach::Payload;
use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt};
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::coop::poll_proceed;

use super::line::{Line, Unsent};
use super::mpsc::{self, Receiver, Sender};

/// How many items may be under way, as in a stream that a method returns.
const CAPACITY: usize = 64;

/// The receiver of what `items` yields once the call is sent.
pub fn feed<S>(
    feeds: &mut Feeds,
    items: S,
    encode: fn(&S::Item, &mut Vec<u8>) -> Result<()>,
) -> Result<Receiver<S::Item>>
where
    S: Stream + Send + 'static,
    S::Item: Send,
{
    let (sender, receiver) = mpsc::channel(CAPACITY)?;
    let line = sender.line()?;
    let whole = false;
    let feed = Feed { sender, line, whole };
    feeds.push(async move { feed.pull(items, encode).await });
    Ok(receiver)
}

/// The end that the items go into.
struct Feed<T> {
    /// No other line comes while it is there.
    #[expect(dead_code, reason = "dropped")]
    sender: Sender<T>,
    line: Arc<Line>,
    /// All that there is was sent, or nobody reads it.
    whole: bool,
}

impl<T> Feed<T> {
    async fn pull(mut self, items: impl Stream<Item = T>, encode: fn(&T, &mut Vec<u8>) -> Result<()>) {
        let mut items = pin!(items);
        loop {
            let item = tokio::select! {
                biased;
                item = items.next() => item,
                () = self.line.closed() => None,
            };
            let Some(item) = item else {
                self.whole = true;
                return;
            };
            let sent = match Payload::encode(|out| encode(&item, out)) {
                Ok(item) => self.line.send(&item).await,
                Err(error) => Err(Unsent::Other(error)),
            };
            match sent {
                Ok(()) => {}
                Err(Unsent::Other(error)) => {
                    return self.fail(&error.context("an item of a stream cannot be sent"));
                }
                Err(Unsent::Closed | Unsent::Full) => {
                    self.whole = true;
                    return;
                }
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        self.whole = true;
        self.line.fail(error);
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        match self.whole {
            true => {}
            false if std::thread::panicking() => self.line.lose(),
            false => self.fail(&Error::with_kind(
                ErrorKind::Closed,
                "a stream was dropped before its end: the call that it was given to failed or was dropped, or its process ended",
            )),
        }
    }
}

/// The plain items of a stream that is an argument. Where it breaks off it yields nothing more, and the method that reads it is
/// dropped, which is how its caller hears of it.
#[must_use = "a stream does nothing until it is read"]
pub struct Items<T> {
    receiver: Receiver<T>,
    decode: fn(&mut &[u8]) -> Result<T>,
    /// Taken when it is told.
    broken: Option<UnboundedSender<Error>>,
}

impl<T> Items<T> {
    /// Those of the receiver; `broken` hears how they end, if not with the stream.
    pub fn new(receiver: Receiver<T>, decode: fn(&mut &[u8]) -> Result<T>, broken: &Broken) -> Self {
        Items {
            receiver,
            decode,
            broken: Some(broken.teller()),
        }
    }
}

impl<T> Stream for Items<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.broken.is_none() {
            return Poll::Pending;
        }
        let budget = ready!(poll_proceed(cx));
        let item = ready!(self.receiver.poll_item(cx));
        budget.made_progress();
        match item.and_then(|item| item.map(|item| item.decode(self.decode)).transpose()) {
            Ok(item) => Poll::Ready(item),
            Err(error) => {
                let told = self.broken.take().map(|broken| broken.unbounded_send(error));
                if let Some(Err(unheard)) = told {
                    let error = unheard.into_inner();
                    tracing::error!(%error, "a stream broke off that outlived the method which it was given to");
                }
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items")
    }
}
