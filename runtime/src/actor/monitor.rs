//! [`Monitor`]: the ends of a child's incarnations, as a stream.

use crate::error::{Error, Result};
use crate::process::control::{self, Client};
use crate::wire::control::{Exit, Request, Target};
use futures::Stream;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// The exits of one child: an item for each end of an incarnation, none after the last.
///
/// Its supervisor has decided what to do before an exit is heard here. Dropped, it watches no more.
///
/// ```
/// use procession::prelude::*;
///
/// #[service]
/// async fn sleeper() {
///     std::future::pending().await
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let service = sleeper.spawn().await?;
/// let mut exits = service.monitor().await?;
/// service.kill().await?;
/// let exit = exits.next().await.expect("an exit");
/// assert_eq!(exit.to_string(), "killed by SIGKILL");
/// assert!(!exit.last); // it is started again
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Monitor {
    client: &'static Client,
    id: u64,
    exits: mpsc::UnboundedReceiver<Exit>,
    ended: bool,
}

impl Monitor {
    pub(crate) async fn of(target: Target) -> Result<Monitor> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (client, id) = (control::client(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (answered, exits) = client.monitor(Request::Monitor { target, monitor: id }, id);
        let monitor = Monitor {
            client,
            id,
            exits,
            ended: false,
        };
        answered
            .await
            .unwrap_or_else(|_| Err(Error::msg("the host is going down")))?;
        Ok(monitor)
    }
}

impl Stream for Monitor {
    type Item = Exit;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Exit>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let exit = ready!(self.exits.poll_recv(cx));
        self.ended = exit.as_ref().is_none_or(|exit| exit.last);
        Poll::Ready(exit)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.client.unmonitor(self.id);
    }
}
