//! The production code under loom, which tries every order that the memory model allows.
//!
//! The value counts in loom's memory, without an order of its own: what the words do not order comes out wrong in some
//! execution. A taker waits in loom: a waker that is not woken is a deadlock, and what is never dropped a leak, both of
//! which loom reports.

use super::{Atom, Giver, Pair, Spare, Taker};
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;
use std::task::{Context, Poll, Wake, Waker};

type Value = Arc<AtomicU64>;

impl Atom for AtomicU8 {
    fn new(value: u8) -> Self {
        AtomicU8::new(value)
    }

    fn load(&self, order: Ordering) -> u8 {
        self.load(order)
    }

    fn store(&self, value: u8, order: Ordering) {
        self.store(value, order);
    }

    fn set(&self, bits: u8, order: Ordering) -> u8 {
        self.fetch_or(bits, order)
    }

    fn clear(&self, bits: u8, order: Ordering) -> u8 {
        self.fetch_and(!bits, order)
    }

    fn pause(_: u32) {
        thread::yield_now();
    }

    fn meanwhile(&self) {
        self.load(Ordering::Relaxed);
    }
}

/// What a taker waits on.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

fn bell() -> (std::sync::Arc<Bell>, Waker) {
    let bell = std::sync::Arc::new(Bell(Notify::new()));
    (bell.clone(), bell.into())
}

/// How many wakers there are that ring it.
fn n_wakers(bell: &std::sync::Arc<Bell>) -> usize {
    std::sync::Arc::strong_count(bell) - 1
}

fn pair(waker: Option<&Waker>) -> Pair<Value, AtomicU8> {
    let Ok(pair) = Spare::default().pair(waker) else {
        panic!("nobody has a new one");
    };
    pair
}

/// Gives a value that holds `number`.
fn give(giver: Giver<Value, AtomicU8>, number: u64) {
    let value = Value::new(AtomicU64::new(0));
    value.store(number, Ordering::Relaxed);
    if let Some(waker) = giver.give(value) {
        waker.wake();
    }
}

fn wait(taker: &mut Taker<Value, AtomicU8>, bell: &Bell, waker: &Waker) {
    while taker.poll(&Context::from_waker(waker)) == Poll::Pending {
        bell.0.wait();
    }
}

/// The number in what was given; `None`: nothing was.
fn take(taker: &mut Taker<Value, AtomicU8>) -> Option<u64> {
    let value = taker.value().expect("the giver has finished").take();
    value.map(|value| value.load(Ordering::Relaxed))
}

#[test]
fn what_is_given_is_taken() {
    loom::model(|| {
        let (bell, waker) = bell();
        let (giver, mut taker) = pair(Some(&waker));
        let gives = thread::spawn(move || give(giver, 7));
        while !taker.is_given() {
            bell.0.wait();
        }
        assert_eq!(take(&mut taker), Some(7));
        drop(taker);
        gives.join().unwrap();
    });
}

#[test]
fn whoever_waits_with_another_waker_is_woken() {
    loom::model(|| {
        let (other, first) = bell();
        let (bell, waker) = bell();
        let (giver, mut taker) = pair(Some(&first));
        let gives = thread::spawn(move || give(giver, 7));
        wait(&mut taker, &bell, &waker);
        assert_eq!(take(&mut taker), Some(7));
        let spare = taker.leave();
        gives.join().unwrap();
        assert_eq!((n_wakers(&other), n_wakers(&bell)), (1, 1), "a spot keeps none");
        drop(spare);
    });
}

#[test]
fn a_giver_that_is_dropped_is_heard() {
    loom::model(|| {
        let (bell, waker) = bell();
        let (giver, mut taker) = pair(None);
        let drops = thread::spawn(move || drop(giver));
        wait(&mut taker, &bell, &waker);
        assert_eq!(take(&mut taker), None);
        drops.join().unwrap();
    });
}

#[test]
fn what_nobody_takes_is_dropped_once() {
    loom::model(|| {
        let (bell, waker) = bell();
        let (giver, taker) = pair(Some(&waker));
        let gives = thread::spawn(move || give(giver, 7));
        match taker.leave() {
            Some(spare) => drop(spare),
            None => assert_eq!(n_wakers(&bell), 1, "the giver is left none"),
        }
        gives.join().unwrap();
    });
}

#[test]
fn whoever_waits_with_another_waker_and_leaves_leaves_none() {
    loom::model(|| {
        let (other, first) = bell();
        let (bell, waker) = bell();
        let (giver, mut taker) = pair(Some(&first));
        let gives = thread::spawn(move || give(giver, 7));
        let _ = taker.poll(&Context::from_waker(&waker));
        let spare = taker.leave();
        if spare.is_none() {
            assert_eq!((n_wakers(&other), n_wakers(&bell)), (1, 1));
        }
        gives.join().unwrap();
        assert_eq!((n_wakers(&other), n_wakers(&bell)), (1, 1), "a spot keeps none");
        drop(spare);
    });
}

#[test]
fn a_spot_is_used_again_when_its_giver_has_let_go_of_it() {
    loom::model(|| {
        let (first_bell, first) = bell();
        let (giver, mut taker) = pair(Some(&first));
        let gives = thread::spawn(move || give(giver, 7));
        wait(&mut taker, &first_bell, &first);
        assert_eq!(take(&mut taker), Some(7));
        let spare = taker.leave().expect("the giver has finished");
        let (bell, waker) = bell();
        if let Ok((giver, mut taker)) = spare.pair(Some(&waker)) {
            let gives = thread::spawn(move || give(giver, 8));
            // By the waker that it was made with, which nobody else may take.
            while !taker.is_given() {
                bell.0.wait();
            }
            assert_eq!(take(&mut taker), Some(8));
            gives.join().unwrap();
        }
        gives.join().unwrap();
    });
}
