//! Where a process panicked: [`Backtrace`].

use crate::os::image;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The frames of a panicked process, resolved to names by whoever reads them.
///
/// A child gives addresses relative to its executable; turning them into names costs tens of milliseconds, so that
/// is done when the backtrace is printed, in the process that prints it. That takes the feature `backtrace` and the
/// same build; otherwise the offsets are printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backtrace {
    /// The build id of the executable, as hexadecimal digits.
    pub build_id: String,
    /// Offsets from the base of the executable.
    pub offsets: Vec<u64>,
}

impl fmt::Display for Backtrace {
    /// One frame on each line, innermost first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = if self.build_id == image::build_id() {
            resolve(&self.offsets)
        } else {
            vec![]
        };
        if frames.is_empty() {
            return self.fmt_offsets(f);
        }
        for (i, frame) in of_the_user(&frames).iter().enumerate() {
            writeln!(f, "{i:4}: {}", frame.name)?;
            if let Some(place) = &frame.place {
                writeln!(f, "      at {place}")?;
            }
        }
        Ok(())
    }
}

impl Backtrace {
    fn fmt_offsets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |(i, offset): (usize, &u64)| writeln!(f, "{i:4}: executable + {offset:#x}");
        self.offsets.iter().enumerate().try_for_each(each)
    }
}

/// One function; an address stands for several where some are inlined.
#[derive(Debug)]
struct Frame {
    name: String,
    place: Option<String>,
}

/// Without what ran after the panic began, and what ran before the user's code.
fn of_the_user(frames: &[Frame]) -> &[Frame] {
    let is = |frame: &Frame, names: &[&str]| names.iter().any(|name| frame.name.contains(name));
    let machinery = [
        "__rust_end_short_backtrace",
        "rust_begin_unwind",
        "core::panicking::",
        "std::panicking::",
    ];
    let start = frames
        .iter()
        .rposition(|frame| is(frame, &machinery[..1]))
        .map_or(0, |at| at + 1);
    let more = frames[start..]
        .iter()
        .take_while(|frame| is(frame, &machinery))
        .count();
    let frames = &frames[start + more..];
    let end = frames
        .iter()
        .position(|frame| is(frame, &["__rust_begin_short_backtrace", "entry::be_born"]));
    &frames[..end.unwrap_or(frames.len())]
}

#[cfg(feature = "backtrace")]
fn resolve(offsets: &[u64]) -> Vec<Frame> {
    let base = image::span().start;
    let mut frames = Vec::new();
    for offset in offsets {
        let address = base.wrapping_add(*offset as usize);
        ::backtrace::resolve(address as *mut _, |symbol| {
            let Some(name) = symbol.name() else { return };
            let place = symbol.filename().zip(symbol.lineno());
            frames.push(Frame {
                name: format!("{name:#}"),
                place: place.map(|(file, line)| format!("{}:{line}", file.display())),
            });
        });
    }
    frames
}

#[cfg(not(feature = "backtrace"))]
fn resolve(_: &[u64]) -> Vec<Frame> {
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_build_is_printed_as_offsets() {
        let backtrace = Backtrace {
            build_id: "of another".to_owned(),
            offsets: vec![0x10, 0xabc],
        };
        assert_eq!(
            backtrace.to_string(),
            "   0: executable + 0x10\n   1: executable + 0xabc\n"
        );
    }

    #[test]
    fn the_frames_of_the_panic_and_of_the_dispatch_are_left_out() {
        let names = [
            "hook",
            "std::sys::backtrace::__rust_end_short_backtrace",
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_fmt",
            "app::work",
            "app::main",
            "std::sys::backtrace::__rust_begin_short_backtrace",
            "main",
        ];
        let frames = names.map(|name| Frame {
            name: name.to_owned(),
            place: None,
        });
        let left: Vec<&str> = of_the_user(&frames)
            .iter()
            .map(|frame| frame.name.as_str())
            .collect();
        assert_eq!(left, ["app::work", "app::main"]);
    }
}
