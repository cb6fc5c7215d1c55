//! One value on its way from whoever gives it to whoever takes it, in memory that is used again.
//!
//! **Who may touch what.** A spot has a value, a waker, and two words. In `state` each side says what it did, by an exchange
//! that orders all that it did before: the giver once, that it has finished; the taker, once, that it has left, and as often as
//! it likes whether there is a waker.
//!
//! - The value is the giver's until [`GIVEN`] is set, and the taker's after that.
//! - The waker is the taker's while [`WATCHED`] is not set, and once it is seen to be set along with `GIVEN`, the giver's.
//! - Where `GIVEN` finds [`LEFT`], the giver has the spot for itself, and frees it. Where `LEFT` finds `GIVEN`, or the taker
//!   finds `GIVEN` by itself, the giver is about to set `gone`, which is the last that it does: then the taker has the
//!   spot for itself.
//!
//! So in the common case the giver needs one exchange, and the taker, who finds `GIVEN` and `gone`, none. A waker is dropped or
//! woken by whoever has it then, never by freeing the spot: it may be the user's, and either side may hold a lock as it
//! goes.

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

#[cfg(test)]
mod model;

/// The value is there, or there will be none.
const GIVEN: u8 = 1;
/// The taker is gone.
const LEFT: u8 = 2;
/// There is a waker.
const WATCHED: u8 = 4;

/// How often whoever frees a spot looks whether the giver has let go, before it sleeps in between.
const LOOKS: u32 = 100;

/// The atomic words: the processor's, or those of a model.
pub(crate) trait Atom {
    fn new(value: u8) -> Self;
    fn load(&self, order: Ordering) -> u8;
    fn store(&self, value: u8, order: Ordering);
    /// Sets bits; what it held.
    fn set(&self, bits: u8, order: Ordering) -> u8;
    /// Takes bits away; what it held.
    fn clear(&self, bits: u8, order: Ordering) -> u8;
    /// Lets others run, who were looked for so often.
    fn pause(looks: u32);
    /// Whoever holds the spot may have gone on by now: for a model, which sees accesses to the words alone.
    fn meanwhile(&self) {}
}

struct Spot<T, A> {
    state: A,
    gone: A,
    value: UnsafeCell<Option<T>>,
    waker: UnsafeCell<Option<Waker>>,
}

/// Whoever gives. Dropped, it gives nothing.
pub(crate) struct Giver<T, A: Atom = AtomicU8>(NonNull<Spot<T, A>>);

/// Whoever takes.
pub(crate) struct Taker<T, A: Atom = AtomicU8>(NonNull<Spot<T, A>>);

/// Both sides.
pub(crate) type Pair<T, A = AtomicU8> = (Giver<T, A>, Taker<T, A>);

/// A spot for another pair, once the last giver has let go of it.
pub(crate) struct Spare<T, A: Atom = AtomicU8>(NonNull<Spot<T, A>>);

// SAFETY: a value and a waker go from thread to thread, and are used by one at a time.
unsafe impl<T: Send, A: Atom + Send + Sync> Send for Giver<T, A> {}
// SAFETY: as above. By reference it only looks at the words.
unsafe impl<T: Send, A: Atom + Send + Sync> Sync for Giver<T, A> {}
// SAFETY: as above.
unsafe impl<T: Send, A: Atom + Send + Sync> Send for Taker<T, A> {}
// SAFETY: as above.
unsafe impl<T: Send, A: Atom + Send + Sync> Sync for Taker<T, A> {}

impl<T, A: Atom> Spare<T, A> {
    /// Drops what was given and not taken.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the giver has finished, and the taker was made this.
        unsafe { *self.0.as_ref().value.get() = None };
    }

    /// Both sides of it; as it was, where its last giver has not let go of it. `waker`: where it is known whom to wake.
    #[inline]
    pub(crate) fn pair(self, waker: Option<&Waker>) -> Result<Pair<T, A>, Self> {
        let spot = self.0;
        // SAFETY: it lives until it is freed, by whoever has it last: that is this.
        let words = unsafe { spot.as_ref() };
        if words.gone.load(Acquire) == 0 {
            return Err(self);
        }
        // SAFETY: nobody else has it, by the line above.
        unsafe {
            *words.value.get() = None;
            *words.waker.get() = waker.cloned();
        }
        std::mem::forget(self);
        // Nobody else knows of it: whoever hears of it later hears of these as well.
        words.gone.store(0, Relaxed);
        words
            .state
            .store(if waker.is_some() { WATCHED } else { 0 }, Relaxed);
        Ok((Giver(spot), Taker(spot)))
    }
}

impl<T, A: Atom> Default for Spare<T, A> {
    fn default() -> Self {
        Spare(NonNull::from(Box::leak(Box::new(Spot {
            state: A::new(GIVEN),
            gone: A::new(1),
            value: UnsafeCell::new(None),
            waker: UnsafeCell::new(None),
        }))))
    }
}

impl<T, A: Atom> Drop for Spare<T, A> {
    fn drop(&mut self) {
        // SAFETY: it lives until it is freed, by this.
        let words = unsafe { self.0.as_ref() };
        // A few instructions of another thread, which may not be running.
        let mut looks = 0;
        while words.gone.load(Acquire) == 0 {
            A::pause(looks);
            looks = looks.saturating_add(1);
        }
        // SAFETY: its last giver is gone and its taker was made this.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T, A: Atom> Giver<T, A> {
    /// Whom to wake for it.
    #[inline]
    pub(crate) fn give(self, value: T) -> Option<Waker> {
        let spot = self.0;
        std::mem::forget(self);
        // SAFETY: it is the giver's until it says so, below. There is none, as a giver gives once.
        unsafe { spot.as_ref().value.get().write(Some(value)) };
        // SAFETY: this is its giver.
        unsafe { finish(spot) }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_left(&self) -> bool {
        // SAFETY: a giver's spot is there until it has finished.
        unsafe { self.0.as_ref() }.state.load(Relaxed) & LEFT != 0
    }
}

impl<T, A: Atom> Drop for Giver<T, A> {
    fn drop(&mut self) {
        // SAFETY: this is its giver, who gives once.
        if let Some(waker) = unsafe { finish(self.0) } {
            waker.wake();
        }
    }
}

/// The last that a giver does. Whom to wake.
///
/// # Safety
///
/// The caller is the giver of the spot, and never touches it again.
#[inline]
unsafe fn finish<T, A: Atom>(spot: NonNull<Spot<T, A>>) -> Option<Waker> {
    // SAFETY: the spot is there until the giver is gone.
    let words = unsafe { spot.as_ref() };
    let before = words.state.set(GIVEN, AcqRel);
    if before & LEFT != 0 {
        // SAFETY: the taker said that it will not touch it again, and this is the giver.
        drop(unsafe { Box::from_raw(spot.as_ptr()) });
        return None;
    }
    let waker = match before & WATCHED != 0 {
        true => {
            words.state.meanwhile();
            // SAFETY: a waker that is there as the value is given is the giver's.
            unsafe { (*words.waker.get()).take() }
        }
        false => None,
    };
    words.gone.store(1, Release);
    waker
}

impl<T, A: Atom> Taker<T, A> {
    /// Whether the giver has finished.
    #[inline]
    pub(crate) fn is_given(&self) -> bool {
        // Pairs with the giver's exchange: the value is there.
        self.words().state.load(Acquire) & GIVEN != 0
    }

    /// Waits until the giver has finished.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.is_given() {
            true => Poll::Ready(()),
            false => self.watch(cx.waker()),
        }
    }

    #[cold]
    fn watch(&mut self, waker: &Waker) -> Poll<()> {
        let Some(slot) = self.unwatch() else {
            return Poll::Ready(());
        };
        match slot {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if self.words().state.set(WATCHED, AcqRel) & GIVEN == 0 {
            return Poll::Pending;
        }
        // SAFETY: the giver did not find the bit, so it is still the taker's.
        unsafe { *self.words().waker.get() = None };
        Poll::Ready(())
    }

    /// Where the waker is, if the giver has not finished: it does not touch that from here on.
    fn unwatch(&mut self) -> Option<&mut Option<Waker>> {
        match self.words().state.clear(WATCHED, AcqRel) & GIVEN == 0 {
            // SAFETY: the giver does not touch it unless it finds the bit, and this borrows the taker.
            true => unsafe { self.words().waker.get().as_mut() },
            false => None,
        }
    }

    /// Where the value is, once the giver has finished; `None` in it: it gave none, or that was taken.
    #[inline]
    pub(crate) fn value(&mut self) -> Option<&mut Option<T>> {
        match self.is_given() {
            // SAFETY: it is the taker's from then on, of which there is one, and this borrows it.
            true => unsafe { self.words().value.get().as_mut() },
            false => None,
        }
    }

    /// Gives up waiting. The spot, where the giver has finished; what it gave is still there.
    #[inline]
    pub(crate) fn leave(mut self) -> Option<Spare<T, A>> {
        let spot = self.0;
        let is_given = self.is_given() || self.walk_out();
        std::mem::forget(self);
        is_given.then(|| Spare(spot))
    }

    /// The same before the giver has finished; whether it has meanwhile.
    #[cold]
    fn walk_out(&mut self) -> bool {
        let waker = self.unwatch().and_then(Option::take);
        let is_given = self.words().state.set(LEFT, AcqRel) & GIVEN != 0;
        // Last, as it may be the user's, who may do anything.
        drop(waker);
        is_given
    }

    fn words(&self) -> &Spot<T, A> {
        // SAFETY: a taker's spot is there until it leaves.
        unsafe { self.0.as_ref() }
    }
}

impl<T, A: Atom> Drop for Taker<T, A> {
    fn drop(&mut self) {
        drop(Taker(self.0).leave());
    }
}

impl Atom for AtomicU8 {
    fn new(value: u8) -> Self {
        AtomicU8::new(value)
    }

    #[inline]
    fn load(&self, order: Ordering) -> u8 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u8, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn set(&self, bits: u8, order: Ordering) -> u8 {
        self.fetch_or(bits, order)
    }

    #[inline]
    fn clear(&self, bits: u8, order: Ordering) -> u8 {
        self.fetch_and(!bits, order)
    }

    #[cold]
    fn pause(looks: u32) {
        // Who sleeps lets those run as well that are less urgent.
        match looks < LOOKS {
            true => thread::yield_now(),
            false => thread::sleep(Duration::from_micros(50)),
        }
    }
}

impl<T, A: Atom> fmt::Debug for Giver<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Giver")
    }
}

impl<T, A: Atom> fmt::Debug for Taker<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taker")
    }
}
