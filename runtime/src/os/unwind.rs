//! The addresses of the calling frames, without resolving them: microseconds, where names cost tens of milliseconds.

use std::ffi::{c_int, c_void};

#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

type Callback = extern "C" fn(*mut Context, *mut c_void) -> c_int;

// The unwinder that the standard library links.
unsafe extern "C" {
    fn _Unwind_Backtrace(callback: Callback, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, before_instruction: *mut c_int) -> usize;
}

const GO_ON: c_int = 0;
const STOP: c_int = 4;

struct Frames {
    addresses: Vec<usize>,
    most: usize,
}

/// At most `most` addresses, innermost first, each inside the instruction that called.
pub(crate) fn frames(most: usize) -> Vec<usize> {
    let mut frames = Frames {
        addresses: Vec::with_capacity(64),
        most,
    };
    // SAFETY: `push` is called synchronously, with the pointer that is given here.
    unsafe { _Unwind_Backtrace(push, (&raw mut frames).cast()) };
    frames.addresses
}

extern "C" fn push(context: *mut Context, frames: *mut c_void) -> c_int {
    let mut before = 0;
    // SAFETY: the unwinder passes a valid context, and what `frames` gave it.
    let (ip, frames) = unsafe {
        (
            _Unwind_GetIPInfo(context, &mut before),
            &mut *frames.cast::<Frames>(),
        )
    };
    if ip == 0 || frames.addresses.len() == frames.most {
        return STOP;
    }
    // A return address may be that of the next line, or of the next function.
    frames.addresses.push(if before == 0 { ip - 1 } else { ip });
    GO_ON
}
