//! The deadlines of the calls that a runtime makes: one timer for all of them.
//!
//! Nearly every call ends long before its deadline, and a timer for each would cost more than the rest of the call. So
//! the alarm knows the earliest deadline that anybody had when it was last looked at, and when that has passed it asks
//! the peers of its runtime: they tell whoever is late, and which deadline is the earliest now.
//!
//! A call that is entered while the peers are asked is either found by that, or sees that the alarm is not set: it is
//! unset before their books are locked one after another, and a call is in the books before it sets the alarm.

use crate::local::{self, Local, RuntimeId};
use crate::os::clock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// It is not set.
const NEVER: u64 = u64::MAX;

static ALARMS: Local<Alarms> = Local::new();

type Alarms = Mutex<Vec<(RuntimeId, Weak<Alarm>)>>;

/// The alarm of a runtime. Its task ends with that.
#[derive(Debug)]
pub(super) struct Alarm {
    runtime: RuntimeId,
    /// In nanoseconds of the monotonic clock.
    earliest: AtomicU64,
    /// It was set to sooner than before.
    sooner: Notify,
}

impl Alarm {
    /// That of the current runtime. `late` tells whoever is late by now, and gives the earliest deadline of the others.
    pub(super) fn of(runtime: RuntimeId, late: fn(RuntimeId, u64) -> Option<u64>) -> Arc<Alarm> {
        let mut alarms = alarms();
        let known = alarms.iter().find(|(other, _)| *other == runtime);
        if let Some(alarm) = known.and_then(|(_, alarm)| alarm.upgrade()) {
            return alarm;
        }
        let alarm = Arc::new(Alarm {
            runtime,
            earliest: AtomicU64::new(NEVER),
            sooner: Notify::new(),
        });
        alarms.retain(|(other, _)| *other != runtime);
        alarms.push((runtime, Arc::downgrade(&alarm)));
        drop(alarms);
        local::spawn(alarm.clone().run(late));
        alarm
    }

    /// Rings at this deadline at the latest.
    #[inline]
    pub(super) fn set(&self, deadline: u64) {
        if deadline < self.earliest.load(Relaxed) {
            self.earliest.fetch_min(deadline, Relaxed);
            self.sooner.notify_one();
        }
    }

    async fn run(self: Arc<Self>, late: fn(RuntimeId, u64) -> Option<u64>) {
        loop {
            let earliest = self.earliest.load(Relaxed);
            let now = clock::monotonic();
            if earliest == NEVER {
                self.sooner.notified().await;
            } else if now < earliest {
                let left = Duration::from_nanos(earliest - now);
                // Whatever ends it, the rest is looked at anew.
                let _ = tokio::time::timeout(left, self.sooner.notified()).await;
            } else {
                self.earliest.store(NEVER, Relaxed);
                if let Some(next) = late(self.runtime, now) {
                    self.earliest.fetch_min(next, Relaxed);
                }
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        alarms().retain(|(_, alarm)| alarm.strong_count() > 0);
    }
}

fn alarms() -> MutexGuard<'static, Vec<(RuntimeId, Weak<Alarm>)>> {
    let alarms = ALARMS.get_or_init(Mutex::default);
    alarms.lock().unwrap_or_else(PoisonError::into_inner)
}
