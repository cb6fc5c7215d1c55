//! Copies of bytes to and from memory that another process may write meanwhile.
//!
//! The compiler cannot see into any of them, so it cannot assume that what is copied stays as it is. A copy may be torn; it
//! is never undefined.

type Copier = unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;

/// How many bytes one instruction streams.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 16;

/// Copies bytes by a `memcpy`.
///
/// # Safety
///
/// `from` can be read and `to` be written for `len` bytes, and they do not overlap.
pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the caller.
    unsafe { copier()(to.cast(), from.cast(), len) };
}

/// Copies bytes that another processor is to read, past the caches of this one.
///
/// A line that the reader's cache has must else be asked of it before it is written, and once it is written be asked of this
/// one. Where processors are far apart that takes four times as long as memory does; where they are near it is not quicker.
///
/// # Safety
///
/// That of [`copy`].
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn stream(to: *mut u8, from: *const u8, len: usize) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let mut at = to.align_offset(WIDE).min(len);
    // SAFETY: by the caller, as all that is touched lies within the ranges; where `to` is written to so, it is aligned. Every
    // processor of this kind has these instructions, and what they write is fenced before anything else is done.
    unsafe {
        copy(to, from, at);
        while at + WIDE <= len {
            _mm_stream_si128(to.add(at).cast(), _mm_loadu_si128(from.add(at).cast()));
            at += WIDE;
        }
        copy(to.add(at), from.add(at), len - at);
        _mm_sfence();
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use copy as stream;

/// Asks for the cache line of an address that is to be written soon: the processor that has it lets go of it meanwhile, which
/// the write would wait for, and with it the next atomic operation.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn prefetch(line: *const u8) {
    // SAFETY: it is a hint, whatever the address, and does nothing on a processor that does not know it.
    unsafe { std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly)) };
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prefetch(_: *const u8) {}

/// `memcpy`, as a foreign function. Were it known to the compiler, it could assume that nobody writes the source
/// meanwhile, and read it twice.
fn copier() -> Copier {
    static MEMCPY: Copier = libc::memcpy;
    // SAFETY: a live static is read. Volatile, its value is not known to be what it is.
    unsafe { std::ptr::read_volatile(&raw const MEMCPY) }
}
