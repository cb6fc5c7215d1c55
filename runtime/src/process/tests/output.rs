//! What children write reaches the host.

use super::hosts::{Other, say};
use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Children that write at once, and one that aborts behind its last line.
pub(super) async fn prints(host: &Host) {
    let children: Vec<Child> =
        futures::future::join_all((0..8).map(|_| host.start("print-then-abort 200"))).await;
    for child in &children {
        child.watch.ended().await;
        assert_eq!(
            child.watch.reap(),
            Status::Signaled {
                signal: libc::SIGABRT,
                core: false
            }
        );
        host.relay.drained(child.pid).await;
        // Whatever is said here comes behind the last line of that child.
        say("ended", child.pid);
    }
    let child = host.start("write without an end").await;
    child.watch.ended().await;
    child.watch.reap();
    host.relay.drained(child.pid).await;
    say("", "");
    // Written by a process that the child started, which nobody tells of.
    let child = host.start("by-shell printf 'by another'").await;
    child.watch.ended().await;
    child.watch.reap();
    host.relay.drained(child.pid).await;
    say("", "");
}

#[test]
fn lines_come_whole_and_in_order_to_the_last_before_an_abort() {
    for mode in MODES {
        let text = Other::play("prints", mode).rest();
        let lines: Vec<&str> = text.lines().collect();
        let ends = lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| Some((at, line.split_once("<ended>")?.1)));
        let mut seen = 0;
        for (at, pid) in ends {
            let own = lines[..at]
                .iter()
                .filter_map(|line| line.strip_prefix(&format!("{pid} out ")));
            let own: Vec<usize> = own.map(|n| n.parse().unwrap()).collect();
            assert_eq!(own, (0..200).collect::<Vec<_>>());
            seen += 1;
        }
        assert_eq!(seen, 8);
        assert!(lines.contains(&"without an end<>"), "{text}");
        assert!(lines.contains(&"by another<>"), "{text}");
    }
}

static RECORDS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn count_record(_: i32, record: &[u8]) {
    RECORDS.fetch_add(usize::from(!record.is_empty()), Ordering::SeqCst);
}

/// Nobody reads its stdout any more; its log goes on.
pub(super) async fn closed_stdout(host: &Host) {
    crate::os::testing::close_stdout();
    let child = host.start("print 5000").await;
    child.watch.ended().await;
    assert_eq!(child.watch.reap(), Status::Exited(0));
    host.relay.drained(child.pid).await;
    let child = host.start("log a b c").await;
    child.watch.ended().await;
    child.watch.reap();
    host.relay.drained(child.pid).await;
    assert_eq!(RECORDS.load(Ordering::SeqCst), 3);
    // The test harness would not survive to say so.
    std::process::exit(0);
}

#[test]
fn a_host_whose_stdout_is_a_closed_pipe_loses_that_stream_alone() {
    for mode in MODES {
        Other::play_in("closed-stdout", mode, |command| {
            command.stderr(std::process::Stdio::null());
        })
        .rest();
    }
}

static LOGGED: Mutex<Vec<(i32, Vec<u8>)>> = Mutex::new(Vec::new());

#[test]
fn log_records_come_whole_with_the_pid_of_their_writer() {
    for mode in MODES {
        let sink = |pid: i32, record: &[u8]| LOGGED.lock().unwrap().push((pid, record.to_vec()));
        Host::run_with(mode, sink, async |host| {
            let child = host.start("log one two").await;
            child.watch.ended().await;
            child.watch.reap();
            host.relay.drained(child.pid).await;
            let mut logged = std::mem::take(&mut *LOGGED.lock().unwrap());
            logged.retain(|(pid, _)| *pid == child.pid);
            // The last one says that nothing more will come.
            let expected = [&b"one"[..], b"two", b""].map(|record| (child.pid, record.to_vec()));
            assert_eq!(logged, expected);
        });
    }
}
