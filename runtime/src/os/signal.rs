//! Dispositions of signals, and the handler that tells a stack overflow from other faults.
//!
//! A fault near the stack pointer is the stack's end: elsewhere near it, memory is mapped. So the handler needs no
//! table of threads and no limits, and finds the overflow of any thread that has an alternate stack (the main thread
//! gets one here; the standard library gives one to each of its threads where it ran its own `main`). Any other
//! fault goes back to who handled it before us, or to the default action, and so ends with the exact signal.
//!
//! In the handler only: atomic stores, `write`, `prctl`, `sigaction`, `raise`, `abort`.

use super::check;
use std::io;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

const FAULTS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
const ALTERNATE_STACK: usize = 64 * 1024;

/// How far from the stack pointer a frame touches its first new page: below by what a call or a leaf function may
/// write before it moves the pointer, above by a frame that moved it and then wrote at its far end.
const BELOW: usize = 8 * 1024;
const ABOVE: usize = 64 * 1024;

/// Where to note an overflow; null: nowhere. Written with Release before a child's first user code, read in a handler
/// of the same process.
static NOTE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// What handled each fault before us; set once, before the handler that reads it is installed.
static mut BEFORE: [MaybeUninit<libc::sigaction>; 2] = [MaybeUninit::uninit(); 2];

/// Restores the default for the end of a child, which a parent may have inherited as ignored.
pub(crate) fn default_child_signal() {
    set(libc::SIGCHLD, libc::SIG_DFL);
}

/// A write into a closed pipe is then an error, not the end.
pub(crate) fn ignore_broken_pipe() {
    set(libc::SIGPIPE, libc::SIG_IGN);
}

/// Has a hang-up wait. The kernel sends one to whoever was stopped when its parent ended, and lets it go on.
pub(crate) fn block_hangup() {
    let mut hangup = nix::sys::signal::SigSet::empty();
    hangup.add(nix::sys::signal::Signal::SIGHUP);
    let _ = hangup.thread_block();
}

/// Lets all signals through.
pub(crate) fn unblock_all() {
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Notes a stack overflow from now on by storing 1 here, with Release.
pub(crate) fn note_overflow_in(cell: &'static AtomicU64) {
    NOTE.store(std::ptr::from_ref(cell).cast_mut(), Ordering::Release);
}

/// Installs the handler, and the alternate stack of the calling thread if it has none. Once for each process image.
pub(crate) fn watch_faults() -> io::Result<()> {
    alternate_stack()?;
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_fault as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for (i, signal) in FAULTS.into_iter().enumerate() {
        // SAFETY: called once, before any second thread and before the handler, so nobody else touches `BEFORE`.
        let before = unsafe { (&raw mut BEFORE[i]).cast::<libc::sigaction>() };
        // SAFETY: both point to whole sigactions; the handler keeps to what a handler may do.
        check(unsafe { libc::sigaction(signal, &action, before) })?;
    }
    Ok(())
}

fn set(signal: libc::c_int, action: libc::sighandler_t) {
    // SAFETY: only ever the default or ignoring; no handler of ours runs.
    unsafe { libc::signal(signal, action) };
}

fn alternate_stack() -> io::Result<()> {
    // SAFETY: all zeroes is a valid stack_t.
    let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one stack_t, which outlives the call.
    check(unsafe { libc::sigaltstack(std::ptr::null(), &mut now) })?;
    if now.ss_flags & libc::SS_DISABLE == 0 {
        return Ok(());
    }
    // SAFETY: reads the auxiliary vector: what the kernel itself needs for its frame on this processor.
    let size = ALTERNATE_STACK + unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            protection,
            flags | libc::MAP_STACK,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    now = libc::stack_t {
        ss_sp: base,
        ss_flags: 0,
        ss_size: size,
    };
    // SAFETY: the memory is mapped, ours alone, and never freed.
    check(unsafe { libc::sigaltstack(&now, std::ptr::null_mut()) }).map(drop)
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo and context to a handler with SA_SIGINFO.
    let (code, address, stack) = unsafe {
        (
            (*info).si_code,
            (*info).si_addr() as usize,
            stack_pointer(context),
        )
    };
    if code <= 0 {
        // Sent by a process, not caused by an instruction: nothing would run again and fault again.
        set(signal, libc::SIG_DFL);
        // SAFETY: the signal is blocked while its handler runs, and ends the process on return.
        unsafe { libc::raise(signal) };
    } else if near(stack).contains(&address) {
        overflow();
    } else {
        restore(signal);
    }
}

fn near(stack: usize) -> RangeInclusive<usize> {
    stack.saturating_sub(BELOW)..=stack.saturating_add(ABOVE)
}

/// The instruction runs again on return, faults again, and meets whoever was there before us.
fn restore(signal: libc::c_int) {
    for (i, fault) in FAULTS.into_iter().enumerate() {
        if fault == signal {
            // SAFETY: `watch_faults` filled it before this handler could run; nobody writes it after.
            unsafe { libc::sigaction(signal, (&raw const BEFORE[i]).cast(), std::ptr::null_mut()) };
        }
    }
}

fn overflow() -> ! {
    // SAFETY: null or a cell that lives for ever.
    if let Some(note) = unsafe { NOTE.load(Ordering::Acquire).as_ref() } {
        note.store(1, Ordering::Release);
    }
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    // SAFETY: no memory is passed.
    let is_main = unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) };
    let name = if is_main {
        b"main".as_slice()
    } else {
        name.split(|b| *b == 0).next().unwrap_or(&[])
    };
    for part in [
        b"\nthread '".as_slice(),
        name,
        b"' has overflowed its stack\nfatal runtime error: stack overflow, aborting\n",
    ] {
        // SAFETY: the bytes outlive the call.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    set(libc::SIGABRT, libc::SIG_DFL);
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// # Safety
///
/// `context` is what the kernel passed to a handler.
unsafe fn stack_pointer(context: *mut libc::c_void) -> usize {
    // SAFETY: as the caller says.
    let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    return machine.gregs[libc::REG_RSP as usize] as usize;
    #[cfg(target_arch = "aarch64")]
    return machine.sp as usize;
    // Elsewhere an overflow is reported as the signal that it is.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return {
        _ = machine;
        usize::MAX
    };
}
