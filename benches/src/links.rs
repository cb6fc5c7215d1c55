//! Links on which nothing happens.
//!
//! A link belongs to a runtime and a peer, so threads with a runtime each have one to each actor. What processes hold
//! more than before is divided among them.

use crate::kernel::{KernelMemory, Switches, held_by};
use crate::record::emit;
use crate::workload::Workload;
use procession::prelude::*;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::Barrier;

/// Longer than memory is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(1);
/// So many messages of a KiB go around in the ring, whatever it has; few at a time, so that it is the link that is
/// measured and not what an allocator keeps of a crowd.
const AROUND: usize = 2048;
const AT_A_TIME: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Peer;

#[actor]
impl Peer {
    fn hear(&mut self, words: &[u8]) {
        std::hint::black_box(words);
    }
    fn process(&self) -> u32 {
        std::process::id()
    }
}

pub(crate) async fn ours(peer: &str, workload: Workload) -> procession::Result<()> {
    let (n_threads, n_actors) = workload.links;
    let mut actors = Vec::new();
    let mut pids = vec![std::process::id()];
    for _ in 0..n_actors {
        let actor = Peer::spawn().await?;
        pids.push(actor.process().await?);
        actors.push(actor);
    }
    let barrier = Arc::new(Barrier::new(n_threads + 1));
    let threads: Vec<_> = (0..n_threads)
        .map(|_| {
            let (actors, barrier) = (actors.clone(), barrier.clone());
            thread::spawn(move || use_links(&actors, &barrier))
        })
        .collect();
    let n_links = (n_threads * n_actors) as f64;
    barrier.wait().await;
    let (before, kernel) = (held_by(&pids), KernelMemory::now());
    for metric in ["link_idle_kib", "link_wrapped_kib"] {
        barrier.wait().await;
        barrier.wait().await;
        tokio::time::sleep(IDLE).await;
        give_back();
        emit(peer, metric, (held_by(&pids) - before) / n_links);
    }
    emit(
        peer,
        "link_kernel_kib",
        KernelMemory::now().since(kernel) / n_links,
    );
    let switches = Switches::of(&pids);
    thread::sleep(IDLE);
    let woken = Switches::of(&pids).since(switches);
    emit(peer, "link_wakeups_s", woken as f64 / IDLE.as_secs_f64());
    barrier.wait().await;
    for thread in threads {
        thread.join().expect("a thread that ends")?;
    }
    Ok(())
}

/// Has the allocator let go of what is free: it keeps what was held once, whoever asked for it.
fn give_back() {
    // SAFETY: it frees what nobody holds.
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn use_links(actors: &[PeerRef], barrier: &Barrier) -> procession::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        barrier.wait().await;
        barrier.wait().await;
        for actor in actors {
            actor.process().await?;
        }
        barrier.wait().await;
        barrier.wait().await;
        for actor in actors {
            for _ in 0..AROUND / AT_A_TIME {
                for _ in 0..AT_A_TIME {
                    actor.hear(&[7; 1024]).tell().await?;
                }
                actor.process().await?;
            }
        }
        barrier.wait().await;
        barrier.wait().await;
        Ok(())
    })
}
