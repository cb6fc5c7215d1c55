//! The plan of faults, and how it is carried out.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use tests::proc;

use super::Asked;
use super::node::{Dice, N_NODES, NodeRef};

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub killed: u64,
    pub crashed: u64,
    pub paused: u64,
    pub servers: u64,
    /// There was no process at the time.
    pub missed: u64,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill(u64),
    Crash(u64),
    Pause(u64, Duration),
    Server,
}

/// What comes next, and how long after the last.
fn next(dice: &mut Dice) -> (Duration, Fault) {
    let after = Duration::from_millis(10 + dice.below(90));
    let node = dice.below(N_NODES);
    let fault = match dice.below(20) {
        0..10 => Fault::Kill(node),
        10..13 => Fault::Crash(node),
        13..19 => Fault::Pause(node, Duration::from_millis(dice.below(300))),
        _ => Fault::Server,
    };
    (after, fault)
}

/// Carries out the plan of that seed for so long.
pub(crate) async fn inject(asked: Asked, nodes: &[NodeRef]) -> Done {
    let (mut dice, mut done, begin) = (Dice::new(asked.seed), Done::default(), Instant::now());
    let mut at = Duration::ZERO;
    loop {
        let (after, fault) = next(&mut dice);
        at += after;
        if at > Duration::from_secs(asked.seconds) {
            return done;
        }
        tokio::time::sleep_until((begin + at).into()).await;
        strike(fault, nodes, &mut done).await;
    }
}

async fn strike(fault: Fault, nodes: &[NodeRef], done: &mut Done) {
    let struck = match fault {
        Fault::Kill(node) => send(&nodes[node as usize], Signal::SIGKILL)
            .await
            .map(|_| &mut done.killed),
        Fault::Crash(node) => send(&nodes[node as usize], Signal::SIGSEGV)
            .await
            .map(|_| &mut done.crashed),
        Fault::Pause(node, time) => send(&nodes[node as usize], Signal::SIGSTOP).await.map(|pid| {
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                signal(pid, Signal::SIGCONT);
            });
            &mut done.paused
        }),
        Fault::Server => {
            let server = procession::in_use().await.ok().and_then(|used| used.fork_server);
            server
                .and_then(|pid| signal(pid, Signal::SIGKILL))
                .map(|_| &mut done.servers)
        }
    };
    *struck.unwrap_or(&mut done.missed) += 1;
}

async fn send(node: &NodeRef, kind: Signal) -> Option<u32> {
    signal(node.pid().await.ok()??, kind)
}

/// Only to a child of this process: a number may have been given to another since.
fn signal(pid: u32, kind: Signal) -> Option<u32> {
    proc::entry(pid).filter(|entry| entry.parent == std::process::id())?;
    kill(Pid::from_raw(pid as i32), kind).ok().map(|()| pid)
}
