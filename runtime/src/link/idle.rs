//! When a link has been idle for so long that memory kept for the next message is better given back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long nothing must have come or gone.
const AFTER: Duration = Duration::from_millis(100);

/// Asked whenever a link has nothing to do, it wakes its task once after the last message, and then no more.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Runs from the first rest after a message.
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
    /// How much had come and gone when the timer was set.
    traffic: u64,
}

impl Idle {
    /// Ready once, when `traffic` has been the same for a while and has not been before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, traffic: u64) -> Poll<()> {
        if !self.running {
            if traffic == self.traffic {
                return Poll::Pending;
            }
            self.start(traffic);
        }
        loop {
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().poll(cx));
            if traffic == self.traffic {
                self.running = false;
                return Poll::Ready(());
            }
            self.start(traffic);
        }
    }

    /// Whether it will wake its task.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    fn start(&mut self, traffic: u64) {
        self.running = true;
        self.traffic = traffic;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + AFTER),
            none => *none = Some(Box::pin(tokio::time::sleep(AFTER))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn it_tells_once_when_nothing_has_moved_for_a_while() {
        let mut idle = Idle::default();
        let begin = Instant::now();
        poll_fn(|cx| idle.poll(cx, 10)).await;
        assert!(begin.elapsed() >= AFTER);
        let again = tokio::time::timeout(10 * AFTER, poll_fn(|cx| idle.poll(cx, 10)));
        assert!(again.await.is_err());
        poll_fn(|cx| idle.poll(cx, 11)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_puts_it_off() {
        let mut idle = Idle::default();
        for traffic in 1..10 {
            assert!(futures::poll!(std::pin::pin!(poll_fn(|cx| idle.poll(cx, traffic)))).is_pending());
            tokio::time::advance(AFTER * 2 / 3).await;
        }
        let begin = Instant::now();
        poll_fn(|cx| idle.poll(cx, 9)).await;
        assert!(begin.elapsed() >= AFTER / 3);
    }
}
