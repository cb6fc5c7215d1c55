//! A shared mapping of memory that another process may write at any time.
//!
//! So no Rust reference to its bytes is ever handed out: single words are atomics, and ranges of bytes are copied in
//! and out, word by word with relaxed atomic accesses, or by what the compiler cannot see into (see `copy`). A copy may be
//! torn by a hostile writer; it is never undefined. Every access is checked against the length of the mapping, which
//! cannot shrink (see `memfd`).

use super::{check, copy};
use bytes::{BufMut, BytesMut};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// The bytes of a word.
pub(crate) const WORD: usize = size_of::<u64>();

/// How many bytes are sooner copied one by one than by a `memcpy`.
const FEW: usize = 24;

/// An atomic integer, of which shared memory can hold an array.
///
/// # Safety
///
/// Any bytes are a value of it, it is aligned to its size, and that divides a word.
pub unsafe trait Atomic {}

// SAFETY: integers have no invalid bytes, and atomics are aligned to their size.
unsafe impl Atomic for AtomicU8 {}
// SAFETY: as above.
unsafe impl Atomic for AtomicU16 {}
// SAFETY: as above.
unsafe impl Atomic for AtomicU32 {}
// SAFETY: as above.
unsafe impl Atomic for AtomicU64 {}

/// An owned mapping, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Map {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is plain memory of the process, and all access to it is atomic.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `size` bytes of a file that has at least as many and cannot shrink.
    pub(crate) fn shared(fd: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => Ok(Map {
                base: base.cast(),
                words: size / WORD,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Memory of this process alone, for tests.
    #[cfg(test)]
    pub(crate) fn private(size: usize) -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => Ok(Map {
                base: base.cast(),
                words: size / WORD,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The bytes that it has.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.words * WORD
    }

    /// The word at `index`; panics if there is none, since indices are ours and never a peer's.
    #[inline]
    pub(crate) fn cell(&self, index: usize) -> &AtomicU64 {
        assert!(
            index < self.words,
            "word {index} of a mapping of {} words",
            self.words
        );
        // SAFETY: in bounds by the line above, aligned since mappings are, and alive as long as `self`.
        unsafe { self.base.add(index).as_ref() }
    }

    /// The integer at `index`, if all of the mapping is an array of such; panics if there is none.
    pub(crate) fn at<A: Atomic>(&self, index: usize) -> &A {
        let len = self.len() / size_of::<A>();
        assert!(index < len, "index {index} of a mapping of {len}");
        // SAFETY: in bounds by the line above, aligned since mappings are, and alive as long as `self`; any bytes are a
        // value of it by the contract of `Atomic`.
        unsafe { self.base.cast::<A>().add(index).as_ref() }
    }

    /// Copies bytes in at `offset`; `false`, and nothing done, if they do not fit. One writer at a time.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.has(offset, bytes.len()) {
            return false;
        }
        let within = offset % WORD;
        let to_word = if within == 0 {
            0
        } else {
            bytes.len().min(WORD - within)
        };
        let (first, bytes) = bytes.split_at(to_word);
        self.copy_part(offset / WORD, within, first);
        let words = bytes.chunks_exact(WORD);
        let last = words.remainder();
        let mut index = offset.div_ceil(WORD);
        for word in words {
            self.cell(index)
                .store(u64::from_ne_bytes(word.try_into().expect("a word")), Relaxed);
            index += 1;
        }
        self.copy_part(index, 0, last);
        true
    }

    /// Copies bytes in at `offset` that were written just now; `false`, and nothing done, if they do not fit.
    ///
    /// A few go byte by byte, but a number behind two bytes in one piece: what is read before the stores that wrote it have left
    /// the processor waits until they have, unless one of them wrote it all.
    #[inline]
    pub(crate) fn copy_fresh_in(&self, offset: usize, bytes: &[u8]) -> bool {
        if bytes.len() > FEW {
            return self.put(offset, bytes);
        }
        let fits = self.has(offset, bytes.len());
        if fits {
            match bytes.len() {
                10 => self.copy_pieces::<8>(offset, bytes),
                6 => self.copy_pieces::<4>(offset, bytes),
                4 => self.copy_pieces::<2>(offset, bytes),
                _ => self.copy_pieces::<1>(offset, bytes),
            }
        }
        fits
    }

    /// Copies two bytes, and those behind them `N` at a time; the range is within the mapping.
    #[inline]
    fn copy_pieces<const N: usize>(&self, offset: usize, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(2));
        let to = self.pointer(offset).cast::<u8>();
        let (pieces, []) = rest.as_chunks::<N>() else {
            return;
        };
        // SAFETY: callers have checked that the range is within the mapping. No other thread of this process touches it, and what
        // another process does is nothing to the compiler: these are stores, of which none is read back.
        unsafe {
            for (idx, byte) in first.iter().enumerate() {
                AtomicU8::from_ptr(to.add(idx)).store(*byte, Relaxed);
            }
            for (idx, piece) in pieces.iter().enumerate() {
                to.add(2 + N * idx).copy_from_nonoverlapping(piece.as_ptr(), N);
            }
        }
    }

    /// Copies less than a word into one, and keeps what is beside it. By shifts: a `memcpy` of a few bytes is slower.
    fn copy_part(&self, index: usize, within: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let cell = self.cell(index);
        let part = bytes
            .iter()
            .rev()
            .fold(0, |part, byte| part << 8 | u64::from(*byte));
        let mask = u64::MAX >> (64 - 8 * bytes.len()) << (8 * within);
        let word = u64::from_le(cell.load(Relaxed)) & !mask | part << (8 * within);
        cell.store(word.to_le(), Relaxed);
    }

    /// Copies `len` bytes out from `offset`; `None` if there are not as many.
    pub(crate) fn copy_out(&self, offset: usize, len: usize) -> Option<Vec<u8>> {
        if !self.has(offset, len) {
            return None;
        }
        let mut bytes = Vec::with_capacity(len + 2 * WORD);
        let end = offset + len;
        for index in offset / WORD..end.div_ceil(WORD) {
            bytes.extend_from_slice(&self.cell(index).load(Relaxed).to_ne_bytes());
        }
        bytes.drain(..offset % WORD);
        bytes.truncate(len);
        Some(bytes)
    }

    /// Copies bytes in at `offset`, as fast as memory goes; `false`, and nothing done, if they do not fit.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) -> bool {
        let fits = self.has(offset, bytes.len());
        if fits {
            // SAFETY: the range is within the mapping, by the line above, and cannot overlap memory of our own.
            unsafe { copy::copy(self.pointer(offset).cast(), bytes.as_ptr(), bytes.len()) };
        }
        fits
    }

    /// Asks for the cache line around `offset`, which is to be written soon.
    #[inline]
    pub(crate) fn prefetch(&self, offset: usize) {
        if self.has(offset, 1) {
            copy::prefetch(self.pointer(offset).cast());
        }
    }

    /// The same past the caches of this processor: for many bytes that another is to read.
    pub(crate) fn stream(&self, offset: usize, bytes: &[u8]) -> bool {
        let fits = self.has(offset, bytes.len());
        if fits {
            // SAFETY: as for `put`.
            unsafe { copy::stream(self.pointer(offset).cast(), bytes.as_ptr(), bytes.len()) };
        }
        fits
    }

    /// Appends `len` bytes from `offset` on, as fast as memory goes; `false`, and nothing done, if there are not as
    /// many or no room for them.
    pub(crate) fn take(&self, offset: usize, len: usize, out: &mut BytesMut) -> bool {
        let fits = self.has(offset, len) && len <= out.capacity() - out.len();
        if fits {
            let spare = out.spare_capacity_mut().as_mut_ptr();
            // SAFETY: the range is within the mapping and the spare capacity has as many bytes, both by the line above;
            // they are written when the call returns.
            unsafe {
                copy::copy(spare.cast(), self.pointer(offset).cast(), len);
                out.advance_mut(len);
            }
        }
        fits
    }

    /// Gives a range of whole pages back to the kernel: for every process that maps them, they are zeros again.
    pub(crate) fn release(&self, offset: usize, len: usize) -> io::Result<()> {
        if !self.has(offset, len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the range is within the mapping; whoever reads it from now on reads zeros, which any bytes may be.
        check(unsafe { libc::madvise(self.pointer(offset), len, libc::MADV_REMOVE) }).map(drop)
    }

    /// The address of a byte within the mapping.
    fn pointer(&self, offset: usize) -> *mut libc::c_void {
        // SAFETY: callers have checked that the offset is within the mapping.
        unsafe { self.base.as_ptr().cast::<libc::c_void>().byte_add(offset) }
    }

    fn has(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is the one that was mapped, and no reference into it outlives `self`.
        let _ = check(unsafe { libc::munmap(self.base.as_ptr().cast(), self.len()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memfd;
    use std::os::fd::AsFd;

    fn map(size: usize) -> Map {
        let fd = memfd::create(c"map-test", size).unwrap();
        Map::shared(fd.as_fd(), size).unwrap()
    }

    #[test]
    fn bytes_come_out_as_they_went_in_at_any_offset() {
        let map = map(4096);
        let bytes: Vec<u8> = (0..100).collect();
        for offset in 0..40 {
            for len in [0, 1, 7, 8, 9, 63, 100] {
                assert!(map.copy_in(offset, &bytes[..len]));
                assert_eq!(map.copy_out(offset, len).unwrap(), &bytes[..len]);
            }
        }
    }

    #[test]
    fn bytes_put_are_taken_and_those_that_do_not_fit_are_refused() {
        let map = map(4096);
        let bytes: Vec<u8> = (0..100).collect();
        let mut out = BytesMut::with_capacity(100);
        let room = out.capacity();
        assert!(map.put(3, &bytes));
        assert!(map.take(3, 50, &mut out) && map.take(53, 50, &mut out));
        assert_eq!(out, bytes);
        assert!(!map.put(4000, &bytes) && !map.take(4000, 100, &mut BytesMut::with_capacity(200)));
        assert!(!map.take(0, room - 99, &mut out));
        assert_eq!(out, bytes);
    }

    #[test]
    fn bytes_streamed_arrive_whole_and_change_nothing_beside_them() {
        let map = map(4096);
        let bytes: Vec<u8> = (0..300).map(|n| n as u8 | 1).collect();
        for offset in [0, 1, 15, 16, 63, 64, 100] {
            for len in [0, 1, 63, 64, 65, 128, 300] {
                assert!(map.put(0, &[0; 500]) && map.stream(offset, &bytes[..len]));
                let whole = [&vec![0; offset], &bytes[..len], &vec![0; 500 - offset - len]].concat();
                assert_eq!(map.copy_out(0, 500).unwrap(), whole, "{len} bytes at {offset}");
            }
        }
        assert!(!map.stream(4000, &bytes));
    }

    #[test]
    fn a_released_page_is_zeros_and_its_neighbours_stay() {
        let map = map(3 * 4096);
        assert!(map.put(4000, &[7; 5000]));
        map.release(4096, 4096).unwrap();
        assert_eq!(map.copy_out(4090, 8).unwrap(), [7, 7, 7, 7, 7, 7, 0, 0]);
        assert_eq!(map.copy_out(8190, 4).unwrap(), [0, 0, 7, 7]);
        assert!(map.release(4096, 3 * 4096).is_err());
    }

    #[test]
    fn a_copy_keeps_what_is_beside_it() {
        let map = map(4096);
        assert!(map.copy_in(0, &[1; 24]));
        assert!(map.copy_in(5, &[2; 6]));
        assert_eq!(
            map.copy_out(0, 24).unwrap(),
            [[1; 5].as_slice(), &[2; 6], &[1; 13]].concat()
        );
    }

    #[test]
    fn a_range_beyond_the_end_is_refused() {
        let map = map(4096);
        assert!(!map.copy_in(4090, &[0; 7]));
        assert!(map.copy_in(4090, &[0; 6]));
        assert_eq!(map.copy_out(usize::MAX, 2), None);
        assert_eq!(map.copy_out(4096, 1), None);
        assert_eq!(map.copy_out(4096, 0), Some(vec![]));
    }
}
