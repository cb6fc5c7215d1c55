//! Memory that a thread keeps for what it makes next: to allocate it anew for each message would cost more than the rest.

use std::cell::RefCell;
use std::thread::LocalKey;

/// What a thread keeps.
pub(super) type Kept<T> = RefCell<Vec<T>>;

/// One of those that are kept, or a new one.
#[inline]
pub(super) fn take<T: Default>(all: &'static LocalKey<Kept<T>>) -> T {
    let kept = all.try_with(|all| all.borrow_mut().pop()).ok().flatten();
    kept.unwrap_or_default()
}

/// Keeps it, unless there are so many already or the thread is ending.
#[inline]
pub(super) fn keep<T>(all: &'static LocalKey<Kept<T>>, most: usize, one: T) {
    let _ = all.try_with(|all| {
        let mut all = all.borrow_mut();
        if all.len() < most {
            all.push(one);
        }
    });
}

/// Keeps one that cannot be used yet: it comes behind the others.
#[cold]
pub(super) fn keep_for_last<T>(all: &'static LocalKey<Kept<T>>, one: T) {
    let _ = all.try_with(|all| all.borrow_mut().insert(0, one));
}
