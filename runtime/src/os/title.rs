//! The short name of a process, as `ps -o comm` and `top` show it.

use super::check;
use std::ffi::CStr;

/// A name of at most 15 bytes, and a zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Title([u8; 16]);

impl Title {
    /// That of the calling process.
    pub(crate) fn current() -> Self {
        let mut title = [0; 16];
        // SAFETY: the kernel writes 16 bytes, which outlive the call; where it fails they stay a name, the empty one.
        unsafe { libc::prctl(libc::PR_GET_NAME, title.as_mut_ptr()) };
        Title(title)
    }

    /// Longer ones are cut.
    pub(crate) fn new(name: &CStr) -> Self {
        let mut title = [0; 16];
        for (to, from) in title[..15].iter_mut().zip(name.to_bytes()) {
            *to = *from;
        }
        Title(title)
    }

    /// Gives it to the calling process.
    pub(crate) fn set(self) {
        // SAFETY: the kernel reads up to the zero that is always there; a name is not worth an error.
        let _ = check(unsafe { libc::prctl(libc::PR_SET_NAME, self.0.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_and_cut() {
        let thread = std::thread::spawn(|| {
            Title::new(c"a name that is too long").set();
            Title::current().0
        });
        assert_eq!(&thread.join().unwrap(), b"a name that is \0");
    }
}
