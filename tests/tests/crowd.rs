//! A process in which thousands of messages run at once: what is known of each is as exact as with one.

use futures::StreamExt as _;
use procession::prelude::*;
use procession::{DeadCause, ExitReason, KillCause};
use std::cell::Cell;
use std::time::Duration;
use tests::within;

const CALLS: usize = 3_000;
const TELLS: usize = 50;

/// Lets everybody stay.
#[derive(Default)]
struct Inn {
    guests: Cell<usize>,
}

#[actor]
impl Inn {
    async fn stay(&self) {
        self.guests.set(self.guests.get() + 1);
        std::future::pending().await
    }
    fn guests(&self) -> usize {
        self.guests.get()
    }
    fn spin(&self) {
        loop {
            std::hint::spin_loop();
        }
    }
}

#[procession::test]
async fn of_thousands_that_run_at_once_each_is_told_of_the_death_and_the_one_that_hangs_is_found() {
    let inn = within("spawn", Inn::spawn()).await.unwrap();
    let mut exits = inn.monitor().await.unwrap();
    let guests: Vec<_> = (0..CALLS)
        .map(|_| {
            let inn = inn.clone();
            tokio::spawn(async move { inn.stay().await })
        })
        .collect();
    for _ in 0..TELLS {
        within("tell", inn.stay().tell()).await.unwrap();
    }
    let all = async {
        while inn.guests().await.unwrap() < CALLS + TELLS {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("all begin", all).await;
    let spin = inn
        .spin()
        .timeout(Duration::from_millis(100))
        .kill_after(Duration::from_millis(1));
    assert_eq!(within("the call", spin).await, Err(CallError::Timeout));
    let exit = within("its end", exits.next()).await.unwrap();
    assert_eq!(exit.reason, ExitReason::Killed(KillCause::Deadline));
    for guest in guests {
        let end = within("a guest", guest).await.unwrap();
        assert!(matches!(end, Err(CallError::Died { begun: true, .. })), "{end:?}");
    }
    let dead = within("dead letters", inn.dead_letters()).await.unwrap();
    assert_eq!(dead.len(), TELLS);
    let died = DeadCause::Died(exit.reason);
    assert!(
        dead.iter()
            .all(|letter| letter.method == "stay" && letter.cause == died)
    );
    assert_eq!(within("the next incarnation", inn.guests()).await, Ok(0));
}
