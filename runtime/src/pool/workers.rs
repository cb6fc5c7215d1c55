//! The workers of a pool, as the process sees them that holds it.

use crate::actor::child;
use crate::actor::conn::Answer;
use crate::actor::handle::{Handle, unexpected};
use crate::actor::ledger::Letter;
use crate::actor::row::NO_ROW;
use crate::error::{Error, Result};
use crate::exit::KillCause;
use crate::process::control;
use crate::supervise::builder::encode;
use crate::supervise::node::{self, Node, Work};
use crate::supervise::spec::Policy;
use crate::supervise::{Backoff, Intensity};
use crate::wire::attach::Payload;
use crate::wire::control::{self as wire, Body, BodyKind, Request, Target};
use futures::future::try_join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::sizing::DEPTH;

/// Shared memory for the results of a chunk that were not sent yet.
const OUTBOX: usize = 256 << 10;

/// Workers die of their items, as often as there are items: only one that cannot even start is given up.
const INTENSITY: Intensity = Intensity::new(10_000, Duration::from_secs(1));

#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
    turns: Arc<Semaphore>,
    freed: Arc<Notify>,
    pub(super) task_timeout: Option<Duration>,
}

#[derive(Debug)]
struct Worker {
    handle: Arc<Handle>,
    /// Chunks that it has, or is about to.
    load: Arc<AtomicUsize>,
}

/// The right to give a worker one chunk.
#[derive(Debug)]
pub(super) struct Turn {
    handle: Arc<Handle>,
    load: Arc<AtomicUsize>,
    freed: Arc<Notify>,
    /// None of one that was taken beyond what all maps share.
    permit: Option<OwnedSemaphorePermit>,
}

impl Workers {
    pub(super) async fn start(
        n_workers: usize,
        name: Option<String>,
        timeout: Option<Duration>,
    ) -> Result<Workers> {
        let name = name.unwrap_or_else(unnamed);
        // Collected before the first await: a failed start drops, and so kills, those that came up.
        let started = (0..n_workers).map(|idx| Worker::start(format!("{name}/{idx}"), timeout));
        let workers = try_join_all(started).await?;
        let turns = Arc::new(Semaphore::new(n_workers * DEPTH));
        Ok(Workers {
            workers,
            turns,
            freed: Arc::default(),
            task_timeout: timeout,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.workers.len()
    }

    /// The right to give a chunk to the worker that has the fewest, if one can take it.
    pub(super) fn try_turn(&self) -> Result<Turn, TryAcquireError> {
        let permit = self.turns.clone().try_acquire_owned()?;
        Ok(self.give(Some(permit)))
    }

    /// Completes when a turn is given back after this was first polled, or the pool is dropped.
    pub(super) async fn freed(self: Arc<Self>) {
        self.freed.notified().await;
    }

    /// One more for a map whose chunks are so short that nobody else has to wait for them.
    pub(super) fn extra_turn(&self) -> Turn {
        self.give(None)
    }

    /// The fewest chunks that any worker has.
    pub(super) fn least_load(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.load.load(Ordering::Relaxed))
            .min()
            .unwrap_or(0)
    }

    fn give(&self, permit: Option<OwnedSemaphorePermit>) -> Turn {
        let load = |worker: &&Worker| worker.load.load(Ordering::Relaxed);
        let idlest = self.workers.iter().min_by_key(load).expect("a pool has a worker");
        idlest.load.fetch_add(1, Ordering::Relaxed);
        Turn {
            handle: idlest.handle.clone(),
            load: idlest.load.clone(),
            freed: self.freed.clone(),
            permit,
        }
    }

    pub(super) async fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for worker in &self.workers {
            let target = worker.handle.target().clone();
            match control::client().ask(Request::Inspect { target }).await?.answer {
                wire::Answer::Info(info) => pids.extend(info.pid),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(pids)
    }

    /// Ends the workers; nobody waits for that.
    pub(super) fn kill(&self) {
        self.turns.close();
        self.freed.notify_waiters();
        self.workers.iter().for_each(Worker::end);
    }
}

impl Worker {
    async fn start(name: String, timeout: Option<Duration>) -> Result<Worker> {
        let policy = Policy {
            backoff: Backoff::none(),
            intensity: Some(INTENSITY),
            shutdown: Some(Duration::ZERO),
            ..Policy::default()
        };
        let input = vec![u8::from(timeout.is_some())].into();
        let process = node::Process {
            body: Body {
                kind: BodyKind::Worker,
                row: NO_ROW,
                input,
            },
            label: "worker".to_owned(),
            mailbox: None,
            outbox: OUTBOX,
            item_timeout: timeout,
            joined: false,
        };
        let node = Node {
            name: Some(name),
            policy,
            work: Work::Process(process),
        };
        let spec = encode(&node)?;
        let request = |ticket| Request::Spawn {
            spec,
            link: true,
            ticket,
        };
        let mut answered = control::client().start(request).await?;
        let wire::Answer::Started {
            child,
            cap,
            link: Some(link),
            ..
        } = answered.answer
        else {
            return Err(unexpected(&answered.answer));
        };
        let handle = Handle::new(Target::Child(child, cap), NO_ROW);
        let worker = Worker {
            handle,
            load: Arc::default(),
        };
        answered.answer = wire::Answer::Introduced(link);
        worker.handle.peer()?.adopt(answered)?;
        Ok(worker)
    }

    fn end(&self) {
        let target = self.handle.target().clone();
        control::client().tell(Request::Stop { target });
    }
}

impl Drop for Worker {
    /// Also where the pool did not come up whole.
    fn drop(&mut self) {
        self.end();
    }
}

impl Turn {
    /// Sends a chunk and waits for what becomes of it.
    pub(super) async fn send(&self, row: u32, body: Payload) -> Result<Answer> {
        loop {
            let mut letter = Letter::request(row, body.clone());
            letter.keep = false;
            // Returned before it had begun: its replacement gets it.
            if let Some(answer) = self.handle.peer()?.call(letter, None).await? {
                return Ok(answer);
            }
        }
    }
}

/// Also one that came up for a pool that then did not.
impl Drop for Turn {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        drop(self.permit.take());
        self.freed.notify_waiters();
    }
}

/// The name of a pool that was given none: no other process has one of it, nor an earlier life of this actor.
fn unnamed() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    match child::identity() {
        None => format!("pool-{number}"),
        Some(_) => format!("pool-{}-{number}", std::process::id()),
    }
}

pub(super) fn closed() -> Error {
    Error::with_kind(crate::ErrorKind::Stopped, "the pool was dropped")
}

/// What a timeout looks like at the end of a worker.
pub(super) fn is_timeout(reason: &crate::ExitReason) -> bool {
    matches!(reason, crate::ExitReason::Killed(KillCause::Timeout))
}
