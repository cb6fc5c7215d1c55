//! The child that is kept ready.

use super::super::spare;
use super::hosts::{Other, dismissed, say};
use super::*;

/// The pid of the spare, once it is there; `but`: that one is not meant.
async fn idle(host: &Host, but: i32) -> i32 {
    loop {
        match host.launcher.spare_pid() {
            Some(pid) if pid != but && title(pid) == spare::NAME.to_str().unwrap() => return pid,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

fn title(pid: i32) -> String {
    let title = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    title.trim_end().to_owned()
}

fn kill(pid: i32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn a_start_takes_the_spare_and_the_next_one_is_made() {
    Host::run_with_spare(async |host| {
        let (_, first) = heard(host.start("hello").await).await;
        let pid = idle(host, 0).await;
        assert_ne!(pid, first.pid, "it is nobody");
        let (hello, second) = heard(host.start("hello").await).await;
        assert_eq!((hello.as_str(), second.pid), ("hello", pid));
        let next = idle(host, pid).await;
        assert_eq!(host.children(), 4, "the server, two children and the spare");
        drop(second);
        drop(first);
        assert_eq!(host.status_of("exit 3").await, Status::Exited(3));
        assert!(
            !procfs::children_of(nix::unistd::gettid().as_raw())
                .unwrap()
                .contains(&next)
        );
    });
}

#[test]
fn a_spare_that_is_still_to_be_cloned_is_one() {
    Host::run_with_spare(async |host| {
        for n in 0..100 {
            // One after another, without a pause in which the next could come.
            assert_eq!(
                host.status_of(&format!("exit {}", n % 7)).await,
                Status::Exited(n % 7)
            );
        }
        idle(host, 0).await;
        host.is_left_with(2).await;
    });
}

#[test]
fn a_spare_that_dies_is_nobodys_death_and_is_reaped() {
    Host::run_with_spare(async |host| {
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGABRT] {
            let pid = idle(host, 0).await;
            kill(pid, signal);
            host.is_left_with(1).await;
            assert_eq!(host.launcher.spare_pid(), None);
            let (hello, child) = heard(host.start("hello").await).await;
            assert_eq!(hello, "hello");
            assert_ne!(child.pid, pid);
        }
    });
}

#[test]
fn a_start_does_not_take_a_spare_that_is_dead_and_not_yet_mourned() {
    Host::run_with_spare(async |host| {
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
        for _ in 0..20 {
            let pid = idle(host, 0).await;
            let held = PidFd::open(pid).unwrap();
            held.signal(libc::SIGKILL).unwrap();
            assert!(ends_within(&held, LONG));
            // This thread has not looked at anything since.
            let child = host.start("hello").await;
            assert_ne!(child.pid, pid);
            assert_eq!(heard(child).await.0, "hello");
        }
    });
}

#[test]
fn a_child_with_an_outbox_is_no_spare() {
    Host::run_with_spare(async |host| {
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
        let pid = idle(host, 0).await;
        let child = host.launcher.start(b"wait", &[], 4096).await.unwrap();
        assert_ne!(child.pid, pid);
        assert_eq!(host.launcher.spare_pid(), Some(pid));
    });
}

#[test]
fn a_server_that_is_stopped_or_killed_does_not_hold_up_the_start_that_has_a_spare() {
    Host::run_with_spare(async |host| {
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
        let (pid, server) = (idle(host, 0).await, host.launcher.server_pid().unwrap());
        kill(server, libc::SIGSTOP);
        let (hello, child) = heard(host.start("hello").await).await;
        assert_eq!((hello.as_str(), child.pid), ("hello", pid));
        // The next one is on its way, and is cloned by nobody.
        kill(server, libc::SIGKILL);
        assert_eq!(heard(host.start("hello").await).await.0, "hello");
        child.watch.signal(0).unwrap();
    });
}

#[test]
fn starts_in_the_middle_of_which_the_server_dies_are_repeated_with_spares_too() {
    Host::run_with_spare(async |host| {
        for round in 0..12 {
            let starts = (0..20).map(|_| host.start("hello"));
            let killer = async {
                for _ in 0..round * 2 {
                    tokio::task::yield_now().await;
                }
                if let Some(server) = host.launcher.server_pid() {
                    kill(server, libc::SIGKILL);
                }
            };
            let (children, ()) = futures::join!(futures::future::join_all(starts), killer);
            let mut known = Vec::new();
            for child in children {
                let (hello, child) = heard(child).await;
                assert_eq!(hello, "hello");
                known.push(child);
            }
            // The server and a spare, and nothing else.
            host.is_left_with(known.len() + 2).await;
        }
    });
}

#[test]
fn a_start_that_is_dropped_leaves_no_process_with_spares_either() {
    Host::run_with_spare(async |host| {
        for wait in 0..20 {
            let start = host.start("wait");
            tokio::select! {
                biased;
                _ = start => {}
                () = async { for _ in 0..wait { tokio::task::yield_now().await } } => {}
            }
        }
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
        host.is_left_with(2).await;
    });
}

/// A host that says who its spare is, and is killed.
pub(super) async fn alone(host: &Host) {
    assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
    say("spare", idle(host, 0).await);
    dismissed().await;
}

#[test]
fn a_spare_dies_with_its_host() {
    for well in [true, false] {
        let mut host = Other::play("spare", StartMode::ForkServer);
        let spare = PidFd::open(host.says("spare").parse().unwrap()).unwrap();
        if well {
            drop(host.process.stdin.take());
            host.rest();
        } else {
            host.kill();
        }
        assert!(ends_within(&spare, Duration::from_secs(1)));
    }
}

#[test]
fn a_child_that_was_a_spare_has_the_hosts_current_directory_environment_and_mask() {
    Other::play("moves-with-spare", StartMode::ForkServer).rest();
}
