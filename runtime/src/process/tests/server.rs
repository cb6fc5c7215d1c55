//! The fork server dies.

use super::*;

async fn kill_server(host: &Host) {
    let server = PidFd::open(host.launcher.server_pid().unwrap()).unwrap();
    server.signal(libc::SIGKILL).unwrap();
}

#[test]
fn a_server_that_is_killed_is_replaced_and_living_children_are_untouched() {
    Host::run_both(async |host| {
        let (_, living) = heard(host.start("hello").await).await;
        let before = host.launcher.server_pid();
        kill_server(host).await;
        assert_eq!(host.status_of("exit 4").await, Status::Exited(4));
        while host.launcher.server_pid() == before {
            tokio::task::yield_now().await;
        }
        living.watch.signal(0).unwrap();
        drop(living.control);
        living.watch.ended().await;
        assert_eq!(living.watch.reap(), Status::Exited(0));
    });
}

#[test]
fn starts_that_are_under_way_when_the_server_is_killed_are_repeated_and_none_is_lost() {
    Host::run(StartMode::ForkServer, async |host| {
        for round in 0..5 {
            let starts = (0..50).map(|_| host.start("hello"));
            let killer = async {
                // Somewhere in the middle of them.
                for _ in 0..round * 3 {
                    tokio::task::yield_now().await;
                }
                kill_server(host).await;
            };
            let (children, ()) = futures::join!(futures::future::join_all(starts), killer);
            let mut known = Vec::new();
            for child in children {
                let (hello, child) = heard(child).await;
                assert_eq!(hello, "hello");
                known.push(child);
            }
            // Whatever else the dead server had cloned is gone, and not as a zombie.
            host.is_left_with(known.len() + 1).await;
        }
    });
}

#[test]
fn a_start_that_is_dropped_leaves_no_process() {
    Host::run_both(async |host| {
        for wait in 0..20 {
            let start = host.start("wait");
            tokio::select! {
                biased;
                _ = start => {}
                () = async { for _ in 0..wait { tokio::task::yield_now().await } } => {}
            }
        }
        // The server has seen all of them when it has seen this one.
        assert_eq!(host.status_of("exit 0").await, Status::Exited(0));
        host.is_left_with(1).await;
    });
}

#[test]
fn many_children_survive_a_server_that_must_be_told_of_all_of_them() {
    Host::run(StartMode::ForkServer, async |host| {
        let children = futures::future::join_all((0..300).map(|_| host.start("wait"))).await;
        kill_server(host).await;
        assert_eq!(host.status_of("exit 5").await, Status::Exited(5));
        for child in children {
            child.watch.signal(0).unwrap();
            child.watch.signal(libc::SIGKILL).unwrap();
            child.watch.ended().await;
            child.watch.reap();
        }
    });
}

#[test]
fn servers_that_are_killed_before_they_say_a_word_are_replaced_however_many() {
    Host::run(StartMode::ForkServer, async |host| {
        for _ in 0..5 {
            let pid = host.launcher.server_pid().unwrap();
            kill_server(host).await;
            while host.launcher.server_pid().is_none_or(|now| now == pid) {
                tokio::task::yield_now().await;
            }
        }
        // As it was asked for, which `run` sees to.
        assert_eq!(host.status_of("exit 6").await, Status::Exited(6));
    });
}
