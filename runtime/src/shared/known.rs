//! The shared memory that this process has mapped, by the inode behind it.
//!
//! It is held weakly: when the last handle is dropped it is unmapped. An inode that is in use here is that of no other
//! memory, since what is mapped here keeps it open.
//!
//! What was received is held for a [moment](MOMENT) longer: often the same memory comes again with the next message, and to
//! map it anew costs a fault for all of its pages that are read. A few of them are held, which together are at most as
//! large as one may be.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// A table of less than this many is not searched for what is gone.
const FEW: usize = 64;

/// How long what was received is held, and not twice as long.
const MOMENT: Duration = Duration::from_millis(100);

/// How many are held that were received, and how many bytes.
const HELD: usize = 64;
const HELD_BYTES: usize = 64 << 20;

/// Device and inode.
type Inode = (u64, u64);

/// A table of what is mapped, as `M`.
pub(super) struct Known<M>(LazyLock<Mutex<Table<M>>>);

struct Table<M> {
    mapped: HashMap<Inode, Weak<M>>,
    /// How many there may be before those that are gone are taken out.
    most: usize,
    /// What was received last, the latest at the end.
    held: VecDeque<Held<M>>,
    /// A task sees to it that these are let go.
    watched: bool,
}

struct Held<M> {
    memory: Arc<M>,
    size: usize,
    /// It came since it was last looked at.
    fresh: bool,
}

impl<M: Send + Sync + 'static> Known<M> {
    pub(super) const fn new() -> Self {
        Known(LazyLock::new(|| {
            Mutex::new(Table {
                mapped: HashMap::new(),
                most: FEW,
                held: VecDeque::new(),
                watched: false,
            })
        }))
    }

    /// The memory behind a descriptor: as it is known, or as `map` maps it.
    pub(super) fn get(
        &self,
        fd: Arc<OwnedFd>,
        map: impl FnOnce(Arc<OwnedFd>) -> io::Result<M>,
    ) -> io::Result<Arc<M>> {
        let stat = nix::sys::stat::fstat(&fd)?;
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(known) = self.lock().mapped.get(&inode).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let mapped = Arc::new(map(fd)?);
        self.lock().insert(inode, &mapped);
        Ok(mapped)
    }

    /// The same of `size` bytes that came with a message.
    pub(super) fn receive(
        &'static self,
        fd: Arc<OwnedFd>,
        size: usize,
        map: impl FnOnce(Arc<OwnedFd>) -> io::Result<M>,
    ) -> io::Result<Arc<M>> {
        let memory = self.get(fd, map)?;
        self.hold(&memory, size);
        Ok(memory)
    }

    fn hold(&'static self, memory: &Arc<M>, size: usize) {
        // Nobody else would let it go.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if size > HELD_BYTES {
            return;
        }
        let mut table = self.lock();
        let gone = table.hold(memory, size);
        let is_watched = std::mem::replace(&mut table.watched, true);
        drop(table);
        drop(gone);
        if !is_watched {
            let watch = Watch(self);
            runtime.spawn(async move {
                while watch.0.look() {
                    tokio::time::sleep(MOMENT).await;
                }
                // The next may have begun.
                std::mem::forget(watch);
            });
        }
    }

    /// Lets go of what has not come again since the last look. Whether something is left.
    fn look(&self) -> bool {
        let mut table = self.lock();
        let (fresh, old): (VecDeque<_>, VecDeque<_>) = table.held.drain(..).partition(|held| held.fresh);
        table.held = fresh;
        table.held.iter_mut().for_each(|held| held.fresh = false);
        table.watched = !table.held.is_empty();
        let is_watched = table.watched;
        drop(table);
        // It may be unmapped here, which takes its time.
        drop(old);
        is_watched
    }

    fn lock(&self) -> MutexGuard<'_, Table<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Table<M> {
    fn insert(&mut self, inode: Inode, mapped: &Arc<M>) {
        if self.mapped.len() >= self.most {
            self.mapped.retain(|_, known| known.strong_count() > 0);
            self.most = FEW.max(2 * self.mapped.len());
        }
        self.mapped.insert(inode, Arc::downgrade(mapped));
    }

    /// Holds it as the latest. What is let go for it, to be dropped outside the lock.
    fn hold(&mut self, memory: &Arc<M>, size: usize) -> Vec<Held<M>> {
        let known = self
            .held
            .iter()
            .position(|held| Arc::ptr_eq(&held.memory, memory));
        let known = known.and_then(|at| self.held.remove(at));
        let mut gone = Vec::new();
        while self.held.len() >= HELD || self.n_bytes() + size > HELD_BYTES {
            match self.held.pop_front() {
                Some(oldest) => gone.push(oldest),
                None => break,
            }
        }
        self.held.push_back(Held {
            memory: memory.clone(),
            size,
            fresh: true,
        });
        gone.extend(known);
        gone
    }

    fn n_bytes(&self) -> usize {
        self.held.iter().map(|held| held.size).sum()
    }
}

/// The task that lets go of what is held, which its runtime may drop.
struct Watch<M: Send + Sync + 'static>(&'static Known<M>);

impl<M: Send + Sync + 'static> Drop for Watch<M> {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        if !table.watched {
            return;
        }
        table.watched = false;
        let held = std::mem::take(&mut table.held);
        drop(table);
        drop(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memfd;

    fn some_memory() -> Arc<OwnedFd> {
        Arc::new(memfd::create(c"known", 10).unwrap())
    }

    #[test]
    fn the_same_memory_is_mapped_once_while_it_is_held() {
        static KNOWN: Known<u32> = Known::new();
        let fd = some_memory();
        let again = Arc::new(fd.try_clone().unwrap());
        let first = KNOWN.get(fd.clone(), |_| Ok(1)).unwrap();
        assert_eq!(*KNOWN.get(again.clone(), |_| Ok(2)).unwrap(), 1);
        drop(first);
        assert_eq!(*KNOWN.get(again, |_| Ok(3)).unwrap(), 3);
    }

    #[test]
    fn what_is_gone_does_not_fill_the_table() {
        static MANY: Known<u32> = Known::new();
        for n in 0..10 * FEW as u32 {
            MANY.get(some_memory(), |_| Ok(n)).unwrap();
        }
        assert!(MANY.lock().mapped.len() <= FEW);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_received_is_held_while_it_comes_again_and_a_moment_longer() {
        static AGAIN: Known<u32> = Known::new();
        let fd = some_memory();
        for n in 0..10 {
            let memory = AGAIN.receive(fd.clone(), 10, |_| Ok(n)).unwrap();
            assert_eq!(*memory, 0);
            drop(memory);
            tokio::time::sleep(MOMENT * 9 / 10).await;
        }
        tokio::time::sleep(MOMENT * 2).await;
        assert!(!AGAIN.lock().watched);
        assert_eq!(*AGAIN.receive(fd, 10, |_| Ok(10)).unwrap(), 10);
        assert!(AGAIN.lock().watched);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_was_said() {
        static FULL: Known<u32> = Known::new();
        let receive = |size| FULL.receive(some_memory(), size, |_| Ok(0)).unwrap();
        let last = HELD + 1;
        for size in (1..=last).chain([HELD_BYTES + 1]) {
            let memory = Arc::downgrade(&receive(size));
            assert_eq!(memory.strong_count(), usize::from(size <= HELD_BYTES));
        }
        let sizes = || FULL.lock().held.iter().map(|held| held.size).collect::<Vec<_>>();
        assert_eq!(sizes(), (2..=last).collect::<Vec<_>>());
        receive(HELD_BYTES - last);
        assert_eq!(sizes(), [last, HELD_BYTES - last]);
        receive(HELD_BYTES);
        assert_eq!(sizes(), [HELD_BYTES]);
    }

    #[test]
    fn nothing_is_held_where_no_runtime_would_let_it_go() {
        static ALONE: Known<u32> = Known::new();
        let receive = || Arc::downgrade(&ALONE.receive(some_memory(), 10, |_| Ok(0)).unwrap());
        assert_eq!(receive().strong_count(), 0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let memory = runtime.block_on(async { receive() });
        assert_eq!(memory.strong_count(), 1);
        drop(runtime);
        assert_eq!(memory.strong_count(), 0);
    }
}
