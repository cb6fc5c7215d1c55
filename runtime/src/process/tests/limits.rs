//! At the limits: descriptors, processes; and what is left after many starts.

use super::hosts::Other;
use super::*;
use crate::error::ErrorKind;
use crate::os::procfs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn set_soft(resource: Resource, soft: u64) {
    let (_, hard) = getrlimit(resource).unwrap();
    setrlimit(resource, soft, hard).unwrap();
}

/// Descriptors and children before and after.
pub(super) async fn leaks(host: &Host) {
    assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
    let before = procfs::descriptors().len();
    let children = futures::future::join_all((0..50).map(|_| host.start("wait"))).await;
    assert_eq!(
        procfs::descriptors().len(),
        before + 2 * children.len(),
        "two for each idle child"
    );
    drop(children);
    for _ in 0..150 {
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
    }
    host.is_left_with(1).await;
    while procfs::descriptors().len() > before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let server = host.launcher.server_pid().unwrap();
    let held = || std::fs::read_dir(format!("/proc/{server}/fd")).unwrap().count();
    while held() > 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn two_hundred_starts_leave_no_zombie_and_no_descriptor_in_host_and_server() {
    for mode in MODES {
        Other::play("leaks", mode).rest();
    }
}

/// Starts until one fails for want of descriptors, and then goes on.
pub(super) async fn few_descriptors(host: &Host) {
    let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap().0;
    set_soft(Resource::RLIMIT_NOFILE, procfs::descriptors().len() as u64 + 20);
    let mut children = Vec::new();
    let error = loop {
        match host.launcher.start(b"wait", &[], 0).await {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Spawn);
    assert!(error.to_string().contains("RLIMIT_NOFILE is "), "{error}");
    assert!(children.len() >= 4, "{}", children.len());
    children.pop();
    tokio::time::timeout(LONG, async {
        while host.launcher.start(b"wait", &[], 0).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    set_soft(Resource::RLIMIT_NOFILE, before);
    assert_eq!(host.status_of("exit 6").await, Status::Exited(6));
}

#[test]
fn out_of_descriptors_a_start_fails_and_names_the_limit_and_the_host_goes_on() {
    for mode in MODES {
        Other::play("few-descriptors", mode).rest();
    }
}

pub(super) async fn few_processes(host: &Host) {
    let mut children = Vec::new();
    let error = loop {
        match host.launcher.start(b"wait", &[], 0).await {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Spawn);
    assert!(error.to_string().contains("RLIMIT_NPROC is 15"), "{error}");
    for child in children {
        child.watch.signal(libc::SIGKILL).unwrap();
        child.watch.ended().await;
        child.watch.reap();
    }
    assert_eq!(host.status_of("exit 7").await, Status::Exited(7));
}

#[test]
fn out_of_processes_a_start_fails_and_names_the_limit_and_the_host_goes_on() {
    for mode in MODES {
        // The limit does not bind root, and counts all processes of a user: one that nobody else is.
        let change = |command: &mut Command| {
            if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
                command.uid(54_321 + mode as u32);
            }
            crate::os::testing::limit_processes(command, 15);
        };
        Other::play_in("few-processes", mode, change).rest();
    }
}
