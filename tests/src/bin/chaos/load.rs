//! What the host sends: some tasks of its runtime without a pause, and processes that send a little and end.

use procession::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tests::oracle::Oracle;
use tokio::task::JoinSet;

use super::node::{HOST, NodeRef, STOPPING, Sender, TASKS, burst};

const SENDERS: u64 = 6;
/// How many processes that send a little are there at a time, and how much that is.
const BURSTS: u64 = 3;
const BURST: u64 = 20;

/// Those who send, until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load(JoinSet<()>);

pub(crate) fn start(oracle: Oracle, path: &Path, nodes: &[NodeRef], seed: u64) -> Load {
    let mut all = JoinSet::new();
    for number in 0..SENDERS {
        all.spawn(flood(oracle, nodes.to_vec(), HOST + number, seed));
    }
    for first in 0..BURSTS {
        all.spawn(bursts(oracle, path.to_owned(), TASKS + first, seed));
    }
    Load(all)
}

impl Load {
    /// Waits for them: how many do not come to an end.
    pub(crate) async fn end(mut self) -> u64 {
        let joined = async { while self.0.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(30), joined).await;
        self.0.len() as u64
    }
}

async fn flood(oracle: Oracle, nodes: Vec<NodeRef>, number: u64, seed: u64) {
    let mut sender = Sender::new(oracle, (number, 0), seed);
    while oracle.word(STOPPING).load(SeqCst) == 0 {
        sender.send(|to| nodes[to as usize].clone()).await;
    }
}

async fn bursts(oracle: Oracle, path: PathBuf, first: u64, seed: u64) {
    for number in (first..).step_by(BURSTS as usize) {
        if oracle.word(STOPPING).load(SeqCst) == 1 {
            return;
        }
        let sent = Process::spawn(burst, (path.clone(), number, seed, BURST)).await;
        match sent {
            Ok(process) => drop(process.join().await),
            Err(error) => eprintln!("a task could not be started: {error}"),
        }
    }
}
