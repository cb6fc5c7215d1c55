//! The word that the process at the other end of a link is dead, on its way to who talks to it.
//!
//! Whether it was given can be seen at once by whoever is about to send, at the price of a load.

use crate::wire::control::Fate;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The side that gives the word.
#[derive(Debug)]
pub(crate) struct Teller {
    word: oneshot::Sender<Fate>,
    told: Arc<AtomicBool>,
}

/// The side that waits for it.
#[derive(Debug)]
pub(crate) struct Hearer {
    word: Mutex<oneshot::Receiver<Fate>>,
    told: Arc<AtomicBool>,
}

/// Both sides.
pub(crate) fn channel() -> (Teller, Hearer) {
    let (teller, hearer) = oneshot::channel();
    let told = Arc::new(AtomicBool::new(false));
    let teller = Teller {
        word: teller,
        told: told.clone(),
    };
    let word = Mutex::new(hearer);
    (teller, Hearer { word, told })
}

impl Teller {
    pub(crate) fn tell(self, fate: Fate) {
        // Before anybody can hear of it and send what is meant for the next incarnation.
        self.told.store(true, Ordering::Release);
        // Whoever talked to it may be gone too.
        let _ = self.word.send(fate);
    }
}

impl Hearer {
    pub(crate) fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Completes with the word; `None`: it will never come.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Fate>> {
        let mut word = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *word).poll(cx).map(Result::ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExitReason;
    use futures::task::noop_waker_ref;

    #[test]
    fn a_word_is_known_to_be_given_before_it_is_heard() {
        let fate = Fate {
            reason: ExitReason::Shutdown,
            begun: 3,
            unfinished: None,
            salvage: None,
        };
        let cx = &mut Context::from_waker(noop_waker_ref());
        let (teller, hearer) = channel();
        assert!(!hearer.is_told() && hearer.poll(cx).is_pending());
        teller.tell(fate);
        assert!(hearer.is_told());
        assert!(matches!(
            hearer.poll(cx),
            Poll::Ready(Some(Fate { begun: 3, .. }))
        ));

        let (teller, hearer) = channel();
        drop(teller);
        assert!(!hearer.is_told());
        assert!(matches!(hearer.poll(cx), Poll::Ready(None)));
    }
}
