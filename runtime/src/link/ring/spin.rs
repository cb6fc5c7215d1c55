//! Looking again for a moment before going to sleep: what comes then costs neither side a system call.
//!
//! A wait is spun in goes of [`GO`], each within one poll. Before each the task gives way, so whoever
//! else is ready in its runtime runs before it looks, as those do who were waiting for what came last. Between two goes
//! the runtime looks at its descriptors too, or nobody would hear the bells of other links meanwhile. After [`WHOLE`] it
//! sleeps. That is longer than a wake-up takes on a machine whose idle processors are given away by a hypervisor: with
//! less, two processes of which one was found asleep would never find each other awake.
//!
//! It spins only where it pays. With one processor it never does. Each wait that was spun in vain doubles the number of
//! waits that are slept at once, up to [`RARELY`], and one that was not sets it back; so does a thread that others take
//! the processor from, since more are ready then than there are processors. Where waits usually take longer than
//! [`WORTH`] none is spun: a message in a millisecond gains nothing by it, and who sends it may want the processor. Nor is
//! a wait that begins so long after the one before, where one thing came in all that time: by then the peer sleeps, and
//! wakes sooner on a processor that is given up than on one that has to be had first. A link on which nothing happens
//! sleeps, and does nothing at all.
//!
//! Whom one waits for may itself wait, for this very processor. Where that is likely the thread gives way once, after
//! [`PATIENCE`]: to spin was in vain then, even if what is waited for comes of it. The other sees where both are, see
//! [`place`](super::place).

use crate::os::cpus;
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::task::yield_now;

/// How long one go is.
const GO: Duration = Duration::from_micros(3);

/// How long the first [`FEW`] are where it usually takes more than these: then others are ready that it depends on, who
/// get their turns between two goes.
const BRIEF: Duration = Duration::from_nanos(300);
const FEW: u8 = 2;

/// So often in a row it has to take more.
const USUALLY: u8 = 2;

/// How long a wait is spun altogether.
const WHOLE: Duration = Duration::from_micros(100);

/// So long is spun before whoever waits for this processor may have it.
const PATIENCE: Duration = Duration::from_micros(20);

/// Waits that usually take longer are slept: a multiple of what two that wake each other each time wait.
const WORTH: Duration = Duration::from_micros(500);

/// A wait that takes longer counts as this, so that a few short ones make up for it.
const LONG: Duration = Duration::from_millis(2);

/// At least one of so many waits is spun, to see whether it pays by now.
const RARELY: u32 = 64;

/// After so much spinning the processor's other claimants are looked at: whether there were any since the last look, unless
/// that is older than this.
const UNWATCHED: Duration = Duration::from_millis(1);
const RECENT: Duration = Duration::from_millis(20);

/// A pause between two goes that is longer than this was somebody's work.
const BUSY: Duration = Duration::from_micros(20);

/// How many looks there are for one at the clock.
const LOOKS: u32 = 16;

thread_local! {
    /// When it was looked how often the thread was preempted, and how often it was.
    static LOOKED: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
}

/// Decides for one link and one thing that it waits for.
#[derive(Debug)]
pub(super) struct Spin {
    possible: bool,
    /// How much is to come before the first wait is spun.
    until: u32,
    /// When the present wait began, and the last one did.
    since: Option<Instant>,
    last: Option<Instant>,
    /// How often something came since that.
    n_came: u32,
    /// The present wait began long after the last, and one thing came between them.
    rare: bool,
    /// How long one takes, as a moving average.
    usual: Duration,
    /// When spinning for it began.
    began: Option<Instant>,
    /// The go before ended then: a task that ran between the two shows as a gap.
    rested: Option<Instant>,
    /// How many goes the present wait had, and how often in a row it were more than [`FEW`].
    n_goes: u8,
    n_slow: u8,
    /// Whether what is waited for came as the thread gave way; `None`: it has not yet.
    gave_way: Option<bool>,
    /// Of how many waits one is spun, and how many are still to be slept before the next.
    every: u32,
    skip: u32,
    /// It is spun so seldom as others want the processor.
    contended: bool,
    spun: Duration,
}

/// How a go went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    /// What was waited for is there.
    Hit,
    /// Not yet looked for: others go first. Otherwise as `Again`.
    Aside,
    /// Not yet: the task is to return, and is polled again.
    Again,
    /// It is to sleep.
    Over,
}

impl Spin {
    pub(super) fn new() -> Self {
        Spin::on(cpus::allowed())
    }

    /// For what does not come one after another yet: nothing is spun for before so much has come.
    pub(super) fn after(n: u32) -> Self {
        Spin {
            until: n,
            ..Spin::new()
        }
    }

    fn on(n_cpus: usize) -> Self {
        Spin {
            possible: n_cpus > 1,
            until: 0,
            since: None,
            last: None,
            n_came: 0,
            rare: false,
            usual: Duration::ZERO,
            began: None,
            rested: None,
            n_goes: 0,
            n_slow: 0,
            gave_way: None,
            every: 1,
            skip: 0,
            contended: false,
            spun: Duration::ZERO,
        }
    }

    /// Looks for a moment, unless it does not pay. `is_beside`: whether who is waited for is likely to wait for this processor.
    pub(super) fn go(
        &mut self,
        cx: &mut Context<'_>,
        is_there: impl Fn() -> bool,
        is_beside: impl Fn() -> bool,
    ) -> Go {
        if !self.possible || self.until > 0 {
            return Go::Over;
        }
        let now = Instant::now();
        if self.since.is_none() {
            self.since = Some(now);
            let n_came = std::mem::take(&mut self.n_came);
            let last = self.last.replace(now);
            self.rare = n_came <= 1 && last.is_some_and(|last| now - last > WORTH);
        }
        if self.began.is_none() && (self.rare || self.usual > WORTH || self.is_skipped()) {
            return Go::Over;
        }
        let Some(began) = self.began else {
            self.began = Some(now);
            self.n_goes = 0;
            if is_there() {
                return Go::Hit;
            }
            cx.waker().wake_by_ref();
            return Go::Aside;
        };
        let began = match self.rested {
            Some(_) => began,
            None => *self.began.insert(now),
        };
        if self.gave_way == Some(true) {
            // It was something else that came.
            self.gave_way = Some(false);
        }
        if self.is_preempted(now) {
            return self.over(RARELY);
        }
        if self.rested.is_some_and(|rested| now - rested > BUSY) {
            return self.over(2 * self.every);
        }
        let is_brief = self.n_slow >= USUALLY && self.n_goes < FEW;
        self.n_goes = self.n_goes.saturating_add(1);
        let Some(ended) = look(now + if is_brief { BRIEF } else { GO }, &is_there) else {
            return Go::Hit;
        };
        self.spun += ended - now;
        if ended - began >= WHOLE {
            return self.over(2 * self.every);
        }
        if ended - began >= PATIENCE && self.gave_way.is_none() && is_beside() {
            cpus::yield_now();
            if *self.gave_way.insert(is_there()) {
                return Go::Hit;
            }
        }
        self.rested = Some(ended);
        give_way(cx);
        Go::Again
    }

    /// Looks for so long, in one go and without giving way to other tasks, unless it does not pay; whether it is there.
    pub(super) fn hold(
        &mut self,
        most: Duration,
        elsewhere: Duration,
        is_there: impl Fn() -> bool,
        is_beside: impl Fn() -> bool,
    ) -> bool {
        if !self.possible || self.is_skipped() {
            return false;
        }
        let now = Instant::now();
        if self.is_preempted(now) {
            self.over(RARELY);
            return false;
        }
        let mut ended = look(now + most, &is_there);
        let is_beside = ended.is_some() && is_beside();
        if ended.is_some() && !is_beside && elsewhere > most {
            ended = look(now + elsewhere, &is_there);
        }
        let Some(ended) = ended else {
            self.every = 1;
            self.contended = false;
            return true;
        };
        self.spun += ended - now;
        self.over(2 * self.every);
        is_beside && {
            cpus::yield_now();
            is_there()
        }
    }

    /// What was waited for is there. It counts if it was spun for. Whether it was slept for, where waits are short.
    pub(super) fn came(&mut self) -> bool {
        self.until = self.until.saturating_sub(1);
        self.n_came = self.n_came.saturating_add(1);
        let Some(since) = self.since.take() else {
            return false;
        };
        let spun = self.began.take().is_some();
        let took = if spun {
            Duration::ZERO
        } else {
            since.elapsed().min(LONG)
        };
        self.usual = (self.usual + took) / 2;
        match self.gave_way {
            Some(true) => {
                self.over(2 * self.every);
            }
            _ if spun => {
                self.n_slow = match self.n_goes > FEW {
                    true => (self.n_slow + 1).min(USUALLY),
                    false => self.n_slow.saturating_sub(1),
                };
                self.rested = None;
                self.gave_way = None;
                self.contended = false;
                self.encourage();
            }
            _ => {}
        }
        !spun && self.usual <= WORTH
    }

    /// The next wait is spun, whatever became of the last ones, unless others want the processor.
    pub(super) fn encourage(&mut self) {
        if !self.contended {
            self.every = 1;
            self.skip = 0;
        }
    }

    fn is_skipped(&mut self) -> bool {
        let skipped = self.skip > 0;
        self.skip -= u32::from(skipped);
        skipped
    }

    /// Whether others wanted this processor while it was spun on.
    fn is_preempted(&mut self, now: Instant) -> bool {
        if self.spun < UNWATCHED {
            return false;
        }
        self.spun = Duration::ZERO;
        let n_preempted = cpus::n_preempted();
        let looked = LOOKED.replace(Some((now, n_preempted)));
        let is_preempted = looked.is_some_and(|(at, before)| now - at < RECENT && before != n_preempted);
        self.contended |= is_preempted;
        is_preempted
    }

    /// It sleeps, and spins one of `every` waits from now on.
    fn over(&mut self, every: u32) -> Go {
        self.began = None;
        self.rested = None;
        self.gave_way = None;
        self.every = every.min(RARELY);
        self.skip = self.every - 1;
        Go::Over
    }
}

/// Wakes the task once the runtime has looked at its descriptors, which it puts off for as long as a task is ready.
fn give_way(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}

/// Looks until it is there or the time has come: then, when that was.
fn look(until: Instant, is_there: impl Fn() -> bool) -> Option<Instant> {
    loop {
        for _ in 0..LOOKS {
            if is_there() {
                return None;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now >= until {
            return Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;
    use std::future::poll_fn;
    use std::task::Poll;

    /// One whole wait for what never comes: how many goes it took.
    fn in_vain(spin: &mut Spin) -> u32 {
        let cx = &mut Context::from_waker(noop_waker_ref());
        (0..)
            .find(|_| spin.go(cx, || false, || false) == Go::Over)
            .unwrap()
    }

    #[test]
    fn with_one_processor_nothing_is_spun() {
        let mut spin = Spin::on(1);
        assert_eq!(
            spin.go(&mut Context::from_waker(noop_waker_ref()), || true, || false),
            Go::Over
        );
    }

    #[test]
    fn what_is_spun_for_in_vain_is_spun_for_less_and_less() {
        let mut spin = Spin::on(2);
        let n_spun = (0..1000).filter(|_| in_vain(&mut spin) > 0).count();
        assert!((15..=25).contains(&n_spun), "{n_spun} of 1,000 waits");
    }

    #[test]
    fn what_comes_in_time_makes_the_next_wait_spin() {
        let mut spin = Spin::on(2);
        let cx = &mut Context::from_waker(noop_waker_ref());
        (0..10).for_each(|_| assert!(in_vain(&mut spin) < 100));
        while spin.go(cx, || true, || false) == Go::Over {}
        spin.came();
        assert_eq!((spin.every, spin.skip), (1, 0));
        // One alone is rare, where the machine made all of this last.
        spin.came();
        assert_eq!(spin.go(cx, || true, || false), Go::Hit);
    }

    #[test]
    fn what_comes_after_long_waits_is_not_spun_for_until_a_few_were_short() {
        let mut spin = Spin::on(2);
        let wait = |spin: &mut Spin, long: Duration| {
            let n_goes = in_vain(spin);
            spin.since = spin.since.map(|since| since - long);
            spin.came();
            n_goes
        };
        for _ in 0..3 {
            wait(&mut spin, 2 * LONG);
        }
        // One at once, as of two messages that come together, is not enough.
        for _ in 0..100 {
            assert_eq!(wait(&mut spin, Duration::ZERO), 0);
            assert_eq!(wait(&mut spin, LONG), 0);
        }
        assert!((0..RARELY).any(|_| wait(&mut spin, Duration::ZERO) > 0));
    }

    #[test]
    fn nothing_is_spun_for_before_enough_has_come() {
        let mut spin = Spin {
            until: 2,
            ..Spin::on(2)
        };
        for _ in 0..2 {
            (0..10).for_each(|_| assert_eq!(in_vain(&mut spin), 0));
            spin.came();
        }
        assert!(in_vain(&mut spin) > 0);
    }

    #[test]
    fn what_is_held_for_in_vain_is_held_for_less_and_less() {
        let mut spin = Spin::on(2);
        let looked = std::cell::Cell::new(0);
        let mut held = |there| {
            let is_there = || {
                looked.set(looked.get() + 1);
                there
            };
            spin.hold(GO, GO, is_there, || false)
        };
        assert!(held(true) && !held(false) && !held(true));
        (0..200).for_each(|_| assert!(!held(false)));
        let before = looked.replace(0);
        assert!((0..RARELY).any(|_| held(true)) && before > 0);
        assert!(held(true));
    }

    #[test]
    fn others_go_first() {
        let cx = &mut Context::from_waker(noop_waker_ref());
        // A wait that the machine cut short is followed by another.
        let comes = (0..1000).any(|_| {
            let mut spin = Spin::on(2);
            assert_eq!(spin.go(cx, || false, || false), Go::Aside);
            // What they do meanwhile is not held against it.
            spin.began = spin.began.map(|began| began - 2 * WHOLE);
            let is_again = spin.go(cx, || false, || false) == Go::Again;
            spin.came();
            is_again && spin.go(cx, || true, || false) == Go::Hit
        });
        assert!(comes);
    }

    #[tokio::test]
    async fn the_bell_of_another_link_is_heard_meanwhile() {
        let (bell, peer) = tokio::net::UnixStream::pair().unwrap();
        let heard = tokio::spawn(async move { bell.readable().await });
        yield_now().await;
        peer.try_write(b"!").unwrap();
        let (mut n_goes, mut spin) = (0, Spin::on(2));
        let spinning = tokio::spawn(poll_fn(move |cx| {
            n_goes += 1;
            // A wait that the machine cut short is followed by another.
            while spin.go(cx, || false, || false) == Go::Over {
                spin = Spin::on(2);
            }
            match heard.is_finished() {
                true => Poll::Ready(n_goes),
                false => Poll::Pending,
            }
        }));
        let n_goes = spinning.await.unwrap();
        assert!(n_goes < 20, "{n_goes}");
    }

    #[test]
    fn a_go_is_short_and_a_wait_ends() {
        let mut spin = Spin::on(2);
        let n_goes = in_vain(&mut spin);
        // One go is no look.
        assert!(n_goes as u128 <= WHOLE.as_nanos() / GO.as_nanos() + 1, "{n_goes}");
    }

    #[test]
    fn what_comes_only_as_the_thread_gives_way_was_spun_for_in_vain() {
        let mut spin = Spin::on(2);
        let cx = &mut Context::from_waker(noop_waker_ref());
        let mut comes_as_it_gives_way = |spin: &mut Spin| {
            let asked = Cell::new(false);
            let came = loop {
                match spin.go(cx, || asked.get(), || !asked.replace(true)) {
                    Go::Hit => break true,
                    Go::Over => break false,
                    Go::Aside | Go::Again => {}
                }
            };
            spin.came();
            came
        };
        assert!((0..10_000).any(|_| comes_as_it_gives_way(&mut spin)));
        let n_spun = (0..200).filter(|_| comes_as_it_gives_way(&mut spin)).count();
        assert!(n_spun < 20, "{n_spun} of 200 waits");
    }

    #[test]
    fn where_others_want_the_processor_nobody_is_encouraged() {
        let mut spin = Spin::on(2);
        (0..10).for_each(|_| assert!(in_vain(&mut spin) < 100));
        spin.contended = true;
        let skip = spin.skip;
        spin.encourage();
        assert_eq!(spin.skip, skip);
        spin.contended = false;
        spin.encourage();
        assert_eq!((spin.skip, spin.every), (0, 1));
    }
}
