//! Every way to end, and what is said of it.

use super::*;
use crate::exit::Panic;

#[track_caller]
fn panic_of(reason: ExitReason) -> Panic {
    match reason {
        ExitReason::Panicked(panic) => *panic,
        other => panic!("expected a panic, got {other}"),
    }
}

#[test]
fn each_end_has_its_exact_reason_in_both_modes() {
    let signal = |signal| ExitReason::Signaled { signal, core: false };
    Host::run_both(async |host| {
        assert_eq!(host.reason_of("exit 0").await, ExitReason::Exited(0));
        assert_eq!(host.reason_of("exit 3").await, ExitReason::Exited(3));
        assert_eq!(host.reason_of("abort").await, signal(libc::SIGABRT));
        assert_eq!(host.reason_of("fault").await, signal(libc::SIGSEGV));
        assert_eq!(
            host.reason_of("overflow").await,
            ExitReason::StackOverflow { core: false }
        );
        assert_eq!(host.reason_of("caught-then-exit").await, ExitReason::Exited(101));
        assert_eq!(host.reason_of("caught-then-abort").await, signal(libc::SIGABRT));
        for n in [
            libc::SIGKILL,
            libc::SIGTERM,
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGUSR2,
            libc::SIGUSR1,
        ] {
            assert_eq!(host.reason_of(&format!("raise {n}")).await, signal(n));
        }
        // A real-time signal, which has no name.
        assert_eq!(host.reason_of("kill-own-thread 40").await, signal(40));
    });
}

#[test]
fn a_panic_says_its_message_its_place_and_its_thread() {
    Host::run_both(async |host| {
        let panic = panic_of(host.reason_of("panic as asked").await);
        assert_eq!(
            (panic.message.as_str(), panic.thread.as_str()),
            ("as asked", "main")
        );
        assert!(panic.location.contains("tests/child.rs:"), "{}", panic.location);
        assert!(panic.backtrace.offsets.len() > 3);
        let panic = panic_of(host.reason_of("panic-with").await);
        assert_eq!(panic.message, "Box<dyn Any>");
    });
}

#[test]
#[cfg(feature = "backtrace")]
fn the_backtrace_of_a_panic_is_resolved_in_the_host() {
    Host::run_both(async |host| {
        let panic = panic_of(host.reason_of("panic as asked").await);
        let text = panic.backtrace.to_string();
        assert!(
            text.contains("act\n") && text.contains("tests/child.rs:"),
            "{text}"
        );
        assert!(!text.contains("panicking"), "{text}");
    });
}

#[test]
fn a_panic_that_was_thrown_on_keeps_its_own_message() {
    Host::run_both(async |host| {
        assert_eq!(panic_of(host.reason_of("throw on").await).message, "on");
        assert_eq!(
            panic_of(host.reason_of("caught-then-panic").await).message,
            "boom"
        );
    });
}

#[test]
fn a_panic_that_cannot_unwind_is_a_panic_though_it_aborts() {
    Host::run_both(async |host| {
        let panic = panic_of(host.reason_of("no-unwind").await);
        assert_eq!(panic.message, "from c (panic in a function that cannot unwind)");
        assert!(panic.location.contains("tests/child.rs:"), "{}", panic.location);
        let panic = panic_of(host.reason_of("panic-in-drop").await);
        assert!(
            panic.message.contains("panic in a destructor during cleanup"),
            "{}",
            panic.message
        );
    });
}

#[test]
fn a_message_larger_than_the_page_is_cut() {
    Host::run_both(async |host| {
        let panic = panic_of(host.reason_of(&format!("panic {}", "x".repeat(32_000))).await);
        assert_eq!(panic.message.len(), 32_000);
    });
}

#[test]
fn a_signal_by_pidfd_reaches_the_child_and_a_reaped_child_no_more() {
    Host::run_both(async |host| {
        let (hello, child) = heard(host.start("hello").await).await;
        assert_eq!(hello, "hello");
        child.watch.signal(libc::SIGTERM).unwrap();
        child.watch.ended().await;
        let status = Status::Signaled {
            signal: libc::SIGTERM,
            core: false,
        };
        assert_eq!((child.watch.reap(), child.watch.reap()), (status.clone(), status));
        assert_eq!(
            child.watch.signal(0).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    });
}

#[test]
fn what_a_child_started_ends_with_it() {
    Host::run_both(async |host| {
        let (pid, child) = heard(host.start("grandchild").await).await;
        let grandchild = PidFd::open(pid.parse().unwrap()).unwrap();
        child.watch.signal(libc::SIGKILL).unwrap();
        child.watch.ended().await;
        child.watch.reap();
        ended(grandchild).await;
    });
}

#[test]
fn a_watch_that_is_dropped_leaves_no_process() {
    Host::run_both(async |host| {
        let (_, child) = heard(host.start("hello").await).await;
        let (pid, pidfd) = (child.pid, PidFd::open(child.pid).unwrap());
        drop(child);
        ended(pidfd).await;
        while crate::os::group::exists(pid) {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_child_is_untouched_by_its_hosts_silence_and_sees_the_end_of_its_socket() {
    Host::run_both(async |host| {
        let child = host.start("wait").await;
        drop(child.control);
        child.watch.ended().await;
        assert_eq!(child.watch.reap(), Status::Exited(0));
    });
}
