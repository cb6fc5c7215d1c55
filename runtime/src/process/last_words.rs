//! What a process says of its own end: the report of a panic, and the note of a stack overflow.
//!
//! The hook writes each panic into the status page and then calls the hook that was there before, so the usual
//! message still reaches stderr. Whether a panic was the end is not known in the hook: one that is caught is followed
//! by other work. So the report counts only with a second sign, by which [`reason`](super::reason) judges: the mark of
//! [`final_panic`], which the child's dispatcher makes when a panic arrived there, or a report that says it cannot
//! unwind, after which the standard library aborts.
//!
//! Addresses are given as offsets in the executable; names are for whoever reads them.

use super::page::{Cell, Page};
use crate::exit::{Backtrace, Panic};
use crate::os::{image, signal, unwind};
use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, OnceLock, PoisonError};

const MOST_MESSAGE: usize = 40 * 1024;
const MOST_LOCATION: usize = 1024;
const MOST_THREAD: usize = 256;
const MOST_FRAMES: usize = 256;

/// The page of this process, once it is a child.
static PAGE: OnceLock<Page> = OnceLock::new();
/// One report at a time in the page.
static WRITING: Mutex<()> = Mutex::new(());

thread_local! {
    /// The last panic of this thread: another thread's may have replaced it in the page.
    static LAST: RefCell<Option<Report>> = const { RefCell::new(None) };
}

/// A panic, and whether it can be caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) can_unwind: bool,
    pub(crate) panic: Panic,
}

/// Installs the hook and the fault handlers. Clones of this process have them too; nothing is written before
/// [`write_to`].
pub(crate) fn prepare() -> io::Result<()> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        record(info);
        before(info);
    }));
    signal::watch_faults()
}

/// From now on the last words of this process go here.
pub(crate) fn write_to(page: &Page) {
    signal::note_overflow_in(page.overflow_cell());
    let _ = PAGE.set(page.clone());
}

/// Marks the panic that arrived at the dispatcher as the end of this process, which then exits with
/// [`PANICKED`](super::reason::PANICKED).
pub(crate) fn final_panic(payload: &(dyn Any + Send)) {
    let Some(page) = PAGE.get() else { return };
    let message = message_of(payload);
    let last = LAST.try_with(RefCell::take).ok().flatten();
    // A payload that was thrown on without a hook, or from another thread, has another message.
    let report = last
        .filter(|report| report.panic.message == message)
        .unwrap_or_else(|| Report {
            can_unwind: true,
            panic: Panic {
                message,
                location: "an unknown place".to_owned(),
                thread: thread_name(),
                backtrace: Backtrace::default(),
            },
        });
    write(page, &report);
    page.set(Cell::Final, 1);
}

fn record(info: &PanicHookInfo<'_>) {
    let Some(page) = PAGE.get() else { return };
    let mut report = Report::of(info);
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            report.explain_by(last.take());
            *last = Some(report.clone());
        }
    });
    write(page, &report);
}

fn write(page: &Page, report: &Report) {
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    page.set_last_words(&report.encode());
}

impl Report {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let location = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        Report {
            can_unwind: can_unwind(info),
            panic: Panic {
                message: message_of(info.payload()),
                location: cut(location, MOST_LOCATION),
                thread: cut(thread_name(), MOST_THREAD),
                backtrace: backtrace(),
            },
        }
    }

    /// A panic that only says that another could go no further takes on what the other said.
    fn explain_by(&mut self, earlier: Option<Report>) {
        let says_only_that = [
            "panic in a function that cannot unwind",
            "panic in a destructor during cleanup",
        ];
        let message = &self.panic.message;
        if self.can_unwind || !says_only_that.contains(&message.as_str()) {
            return;
        }
        if let Some(earlier) = earlier {
            let message = format!("{} ({message})", earlier.panic.message);
            self.panic = Panic {
                message,
                ..earlier.panic
            };
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Panic {
            message,
            location,
            thread,
            backtrace,
        } = &self.panic;
        let mut bytes = vec![u8::from(self.can_unwind)];
        for text in [message, location, thread] {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        for offset in &backtrace.offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes
    }

    /// `None`: these bytes are no report.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (flag, mut rest) = bytes.split_first()?;
        let [message, location, thread] = [text(&mut rest)?, text(&mut rest)?, text(&mut rest)?];
        let (offsets, []) = rest.as_chunks() else {
            return None;
        };
        let backtrace = Backtrace {
            build_id: image::build_id(),
            offsets: offsets.iter().map(|offset| u64::from_le_bytes(*offset)).collect(),
        };
        Some(Report {
            can_unwind: *flag != 0,
            panic: Panic {
                message,
                location,
                thread,
                backtrace,
            },
        })
    }
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let (len, behind) = rest.split_first_chunk()?;
    let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = behind;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The accessor is not stable, but the derived `Debug` has the field.
fn can_unwind(info: &PanicHookInfo<'_>) -> bool {
    !cfg!(panic = "abort") && !format!("{info:?}").contains("can_unwind: false")
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "Box<dyn Any>",
    };
    cut(text.to_owned(), MOST_MESSAGE)
}

fn thread_name() -> String {
    let current = std::thread::current();
    let is_first = nix::unistd::gettid() == nix::unistd::getpid();
    current
        .name()
        .unwrap_or(if is_first { "main" } else { "<unnamed>" })
        .to_owned()
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

fn backtrace() -> Backtrace {
    let executable = image::span();
    let inside = unwind::frames(MOST_FRAMES)
        .into_iter()
        .filter(|address| executable.contains(address));
    Backtrace {
        build_id: String::new(),
        offsets: inside
            .map(|address| (address - executable.start) as u64)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(can_unwind: bool, message: &str) -> Report {
        Report {
            can_unwind,
            panic: Panic {
                message: message.to_owned(),
                location: "src/main.rs:7:5".to_owned(),
                thread: "main".to_owned(),
                backtrace: Backtrace {
                    build_id: image::build_id(),
                    offsets: vec![1, 2, 3],
                },
            },
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for report in [report(true, "boom"), report(false, "")] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
    }

    #[test]
    fn a_panic_that_cannot_unwind_says_which_panic_it_was() {
        let mut end = report(false, "panic in a function that cannot unwind");
        end.explain_by(Some(report(true, "boom")));
        assert_eq!(end.panic.message, "boom (panic in a function that cannot unwind)");
        let mut other = report(false, "unsafe precondition(s) violated");
        other.explain_by(Some(report(true, "boom")));
        assert_eq!(other.panic.message, "unsafe precondition(s) violated");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("aéé".to_owned(), 4), "aé");
        assert_eq!(cut("aéé".to_owned(), 5), "aéé");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Report::decode(&bytes);
        }
    }
}
