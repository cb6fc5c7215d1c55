//! How much memory there is to be had.
//!
//! Shared memory is reserved page by page, and where the last is gone the kernel does not say no: it looks for a process
//! to kill. So what cannot be there is refused before it is asked for. Memory of a process's own can be refused as well, where
//! its address space is limited: whoever asks for much of it asks here, where that is an error.

use super::procfs;
use std::collections::TryReserveError;
use std::hint::black_box;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Pages may be larger than this; then nothing is asked for.
const PAGE: usize = 4096;

/// So much has at least one large page. What is smaller the allocator mostly has in pages that are there.
const LARGE: usize = 4 << 20;

/// Less than this is reserved without a look: that would cost more than it spares.
const SMALL: usize = 16 << 20;

/// A heap that has grown by more than this since it was watched is not looked through for what is free.
const SMALL_HEAP: usize = 1 << 20;

/// Where the heap ended when it began to be watched; 0: it is not.
static HEAP: AtomicUsize = AtomicUsize::new(0);

/// So many bytes, if they are to be had.
pub(crate) fn try_vec(len: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut room = Vec::new();
    room.try_reserve_exact(len)?;
    Ok(room)
}

/// Room for so many more bytes, if they are to be had: with some to spare, or else without.
pub(crate) fn try_reserve(buf: &mut Vec<u8>, more: usize) -> Result<(), TryReserveError> {
    buf.try_reserve(more).or_else(|_| buf.try_reserve_exact(more))
}

/// Whether so many bytes are to be had, for whoever then asks for them in a way that cannot fail.
pub(crate) fn has(len: usize) -> bool {
    // What is not looked at would not be asked for.
    try_vec(len).map(|room| black_box(room.as_ptr())).is_ok()
}

/// An error where so many bytes are more than this machine, or the control group of this process, has left.
pub(crate) fn has_room_for(len: usize) -> io::Result<()> {
    if len < SMALL {
        return Ok(());
    }
    match procfs::available_memory() {
        Some(available) if len as u64 > available => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("{len} bytes of shared memory are more than the {available} that are available"),
        )),
        _ => Ok(()),
    }
}

/// Asks for large pages in place of those that were not touched so far, where this system gives them to whoever asks: each is
/// one fault instead of hundreds. Nothing is done for little.
pub(crate) fn prefer_large_pages(room: &mut [MaybeUninit<u8>]) {
    if room.len() < LARGE {
        return;
    }
    let skipped = room.as_ptr().align_offset(PAGE).min(room.len());
    let whole = &mut room[skipped..];
    let len = whole.len() / PAGE * PAGE;
    // SAFETY: the range is within memory of the caller's, of which no byte is changed. Without them all works as well.
    unsafe { libc::madvise(whole.as_mut_ptr().cast(), len, libc::MADV_HUGEPAGE) };
}

/// From now on this process lets its allocator [give back](give_back) what it has too much of.
pub(crate) fn watch_heap() {
    HEAP.store(end_of_heap(), Relaxed);
}

/// Gives back what the allocator keeps of memory that was freed, which is 128 KiB and more. Only in a process that has asked
/// for it, and while its heap is small: to look through a large one takes time.
pub(crate) fn give_back() {
    let begin = HEAP.load(Relaxed);
    if begin != 0 && end_of_heap().saturating_sub(begin) <= SMALL_HEAP {
        trim();
    }
}

fn end_of_heap() -> usize {
    // SAFETY: the heap is left as it is.
    unsafe { libc::sbrk(0) as usize }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it frees what nobody holds.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_are_asked_for_within_the_room_and_no_byte_is_changed() {
        for (from, to) in [(0, 0), (1, 5000), (1, LARGE + 1), (0, LARGE), (100, 8 << 20)] {
            let mut bytes: Vec<u8> = (0..8 << 20).map(|n| (n / 100) as u8).collect();
            let before = bytes.clone();
            bytes.truncate(from);
            prefer_large_pages(&mut bytes.spare_capacity_mut()[..to - from]);
            bytes.extend_from_slice(&before[from..]);
            assert_eq!(bytes, before);
        }
    }

    #[test]
    fn memory_that_was_asked_for_them_is_marked() {
        let mut room: Vec<u8> = Vec::with_capacity(64 << 20);
        let Ok(_) = std::fs::metadata("/sys/kernel/mm/transparent_hugepage") else {
            return;
        };
        prefer_large_pages(room.spare_capacity_mut());
        let middle = room.as_ptr() as usize + (32 << 20);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_it = maps.lines().skip_while(|line| !is_map_with(line, middle));
        let flags = of_it.skip(1).find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
    }

    fn is_map_with(line: &str, address: usize) -> bool {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let Some((begin, end)) = range else { return false };
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        number(begin).is_some_and(|begin| begin <= address) && number(end).is_some_and(|end| address < end)
    }
}
