//! The shared memory that this process has mapped, by the inode behind it.
//!
//! It is held weakly: when the last handle is dropped it is unmapped. An inode that is in use here is that of no other
//! memory, since what is mapped here keeps it open.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// A table of less than this many is not searched for what is gone.
const FEW: usize = 64;

/// Device and inode.
type Inode = (u64, u64);

/// A table of what is mapped, as `M`.
pub(super) struct Known<M>(LazyLock<Mutex<Table<M>>>);

struct Table<M> {
    mapped: HashMap<Inode, Weak<M>>,
    /// How many there may be before those that are gone are taken out.
    most: usize,
}

impl<M> Known<M> {
    pub(super) const fn new() -> Self {
        Known(LazyLock::new(|| {
            Mutex::new(Table {
                mapped: HashMap::new(),
                most: FEW,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memfd;

    static KNOWN: Known<u32> = Known::new();

    #[test]
    fn the_same_memory_is_mapped_once_while_it_is_held() {
        let fd = Arc::new(memfd::create(c"known", 10).unwrap());
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
            let fd = Arc::new(memfd::create(c"known", 10).unwrap());
            MANY.get(fd, |_| Ok(n)).unwrap();
        }
        assert!(MANY.lock().mapped.len() <= FEW);
    }
}
