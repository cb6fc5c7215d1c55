//! What `#[procession::main]` sets up: events go to stderr, filtered by `RUST_LOG`.
//!
//! `RUST_LOG` holds directives like `info,my_crate=debug`; the default is `info`. Those that name spans or
//! fields are ignored, with a warning: they need a subscriber of the program's own.
//!
//! A program that sets a global subscriber, before or at any time in `main`, is heard by its own from then
//! on, and its `init()` does not fail: how, and the one exception, is told in
//! [`stand_in`](super::stand_in).

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::stand_in::{self, Whose};

const DEFAULT: &str = "info";

/// What the library's subscriber lets pass.
static DIRECTIVES: OnceLock<String> = OnceLock::new();

/// Sets up logging for a host, unless the program did. To be called on the main thread, before any other
/// thread of the library starts.
pub(crate) fn init() {
    let (targets, refused) = directives(&std::env::var("RUST_LOG").unwrap_or_default());
    DIRECTIVES.get_or_init(|| targets.to_string());
    let installed = stand_in::install(|| to_stderr(targets));
    if installed && !refused.is_empty() {
        tracing::warn!(
            "RUST_LOG: ignored `{}`: not of the form `target=level`",
            refused.join(",")
        );
    }
}

/// Lets the library's subscriber hear the calling thread. To be called first on each thread that the
/// library starts, those of the runtimes (`on_thread_start`) included.
pub(crate) fn adopt_thread() {
    stand_in::adopt_thread();
}

/// Takes the library out of this thread's way once the program has set its own subscriber, so that what asks
/// for that one by type finds it. Without this all else works. Good places: between two polls of
/// `main`'s body, and where a thread parks. Not to be called from within a subscriber.
pub(crate) fn step_aside() {
    stand_in::step_aside();
}

/// What a child that starts now need not send, as directives for [`child::install`](super::child::install).
pub(crate) fn filter() -> String {
    let most = || LevelFilter::current().to_string();
    stand_in::with_current(|_, whose| match whose {
        Whose::Library => DIRECTIVES.get().cloned().unwrap_or_else(most),
        Whose::Program => most(),
    })
}

fn to_stderr(targets: Targets) -> Dispatch {
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let lines = fmt::layer().with_writer(stderr).with_ansi(colours);
    Dispatch::new(tracing_subscriber::registry().with(lines).with(targets))
}

/// The directives, and those among them which mean nothing here.
fn directives(text: &str) -> (Targets, Vec<String>) {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (good, refused): (Vec<_>, Vec<_>) = parts.partition(|part| part.parse::<Targets>().is_ok());
    let good = if good.is_empty() {
        DEFAULT.to_owned()
    } else {
        good.join(",")
    };
    (
        good.parse().unwrap_or_default(),
        refused.into_iter().map(str::to_owned).collect(),
    )
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, warn};

    use super::super::testing::scene;
    use super::*;

    fn printed(test: &str, rust_log: &str) -> String {
        scene(
            &format!("setup::tests::{test}"),
            &[("RUST_LOG", rust_log)],
            || {
                init();
                debug!("a debug");
                info!("an info");
                warn!(target: "bank", "of the bank");
            },
        )
    }

    #[test]
    fn infos_go_to_stderr_if_nothing_else_is_said() {
        let text = printed("infos_go_to_stderr_if_nothing_else_is_said", "");
        assert!(
            text.contains("INFO") && text.contains("an info") && !text.contains("a debug"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn rust_log_says_what_goes_to_stderr() {
        let text = printed("rust_log_says_what_goes_to_stderr", "debug,bank=off");
        assert!(
            text.contains("a debug") && !text.contains("of the bank"),
            "{text}"
        );
    }

    #[test]
    fn rust_log_off_is_silent() {
        assert_eq!(printed("rust_log_off_is_silent", "off"), "");
    }

    #[test]
    fn a_directive_that_means_nothing_here_is_named_and_the_others_hold() {
        let test = "a_directive_that_means_nothing_here_is_named_and_the_others_hold";
        let text = printed(test, "debug,[span{a=1}]=trace");
        assert!(
            text.contains("ignored `[span{a=1}]=trace`") && text.contains("a debug"),
            "{text}"
        );
    }
}
