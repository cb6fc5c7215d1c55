//! A function that runs before `main`: an entry of `.init_array`.
//!
//! The linker gathers the entries of all objects; those of libraries that the program links come in an order that
//! nobody chose. An entry that will not return therefore first runs those behind its own.

use std::ffi::{c_char, c_int};

/// What the C library passes to each entry: the arguments and the environment.
pub(crate) type Entry = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Registers a function to run before `main`. It gets a closure-like value that runs the entries behind its own.
macro_rules! before_main {
    ($function:path) => {
        const _: () = {
            #[used]
            #[allow(unsafe_code)]
            #[unsafe(link_section = ".init_array")]
            static ENTRY: $crate::os::init_array::Entry = entry;

            extern "C" fn entry(
                n: std::ffi::c_int,
                args: *const *const std::ffi::c_char,
                env: *const *const std::ffi::c_char,
            ) {
                $function($crate::os::init_array::Rest::new(&ENTRY, n, args, env));
            }
        };
    };
}
pub(crate) use before_main;

/// The entries behind ours.
#[derive(Debug)]
pub(crate) struct Rest {
    own: *const Entry,
    n: c_int,
    args: *const *const c_char,
    env: *const *const c_char,
}

unsafe extern "C" {
    /// Where the linker ended the array.
    static __init_array_end: Entry;
}

impl Rest {
    pub(crate) fn new(
        own: &'static Entry,
        n: c_int,
        args: *const *const c_char,
        env: *const *const c_char,
    ) -> Self {
        Rest { own, n, args, env }
    }

    /// Runs them, as the C library would have after ours.
    pub(crate) fn run(self) {
        let end = &raw const __init_array_end;
        let mut next = self.own.wrapping_add(1);
        while next < end {
            // SAFETY: between our own entry and the end of the array each word is an entry, relocated by now; 0 and -1
            // stand for none.
            unsafe {
                let bits = next.cast::<usize>().read();
                if bits != 0 && bits != usize::MAX {
                    (*next)(self.n, self.args, self.env);
                }
            }
            next = next.wrapping_add(1);
        }
    }
}
