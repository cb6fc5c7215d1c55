//! What it means to drop a handle, and what ends with the process that started it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::Tree;
use procession::prelude::*;
use tests::{Marker, proc, until, within};

#[task]
fn forever(at: Marker) {
    at.reach();
    loop {
        std::thread::park();
    }
}

#[derive(Default)]
struct Idle;

#[actor]
impl Idle {
    fn process(&self) -> u32 {
        std::process::id()
    }
}

#[service]
async fn idle() -> procession::Result<()> {
    std::future::pending().await
}

/// Starts one of each, says which processes they are, and goes on or ends.
#[task]
async fn starts_one_of_each(at: Marker, detached: bool, goes_on: bool) -> procession::Result<Vec<u32>> {
    let process = Process::builder(forever, at)
        .shutdown(std::time::Duration::ZERO)
        .spawn()
        .await?;
    let actor = Idle::spawn().await?;
    let service = idle.spawn().await?;
    let tree = Supervisor::new(format!("tree-{}", std::process::id()))
        .child(Idle::spec().name(format!("leaf-{}", std::process::id())))
        .start()
        .await?;
    let leaf = IdleRef::lookup(&format!("leaf-{}", std::process::id())).await?;
    if detached {
        process.detach().await?;
        actor.detach().await?;
        service.detach().await?;
        tree.detach().await?;
    }
    let service = service
        .pid()
        .await?
        .ok_or_else(|| procession::Error::msg("no pid"))?;
    let pids = vec![
        process.pid(),
        actor.process().await?,
        service,
        leaf.process().await?,
    ];
    if goes_on {
        std::future::pending::<()>().await;
    }
    Ok(pids)
}

async fn pids_of_all() -> Vec<u32> {
    let active = within("a list", Process::active()).await.expect("a list");
    active.into_iter().filter_map(|info| info.pid).collect()
}

/// The list, once it is that long: a start or an end is in it a moment after it happened.
async fn listed(n: usize) -> Vec<u32> {
    within(format!("a list of {n} processes"), async {
        loop {
            let pids = pids_of_all().await;
            if pids.len() == n {
                return pids;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[procession::test]
async fn to_drop_a_process_stops_nothing() {
    let at = Marker::new();
    let process = within("spawn", Process::spawn(forever, at.clone()))
        .await
        .expect("a process");
    let pid = process.pid();
    at.reached(1).await;
    drop(process);
    assert_eq!(pids_of_all().await, [pid]);
    assert!(proc::is_alive(pid));
}

#[procession::test]
async fn to_drop_a_ref_or_a_tree_stops_nothing() {
    let actor = within("spawn", Idle::spec().name("alone").spawn())
        .await
        .expect("an actor");
    let service = within("spawn", idle.spawn()).await.expect("a service");
    let tree = Supervisor::new("tree").child(Idle::spec().name("leaf")).start();
    let tree: Tree = within("start", tree).await.expect("a tree");
    let before = pids_of_all().await;
    assert_eq!(before.len(), 3);
    drop((actor, service, tree));
    let again = within("look-up", IdleRef::lookup("alone"))
        .await
        .expect("an actor");
    let leaf = within("look-up", IdleRef::lookup("leaf"))
        .await
        .expect("an actor");
    let called = (
        within("a call", again.process()).await,
        within("a call", leaf.process()).await,
    );
    assert!(
        called.0.is_ok_and(|pid| before.contains(&pid)) && called.1.is_ok_and(|pid| before.contains(&pid))
    );
    assert_eq!(pids_of_all().await, before);
}

#[procession::test]
async fn to_drop_a_pool_kills_its_workers() {
    let at = Marker::new();
    let pool = within("build", Pool::new(2)).await.expect("a pool");
    let pids = within("pids", pool.pids()).await.expect("pids");
    {
        // They go in the middle of their work, too.
        let mut mapped = std::pin::pin!(pool.map(forever, [at.clone(), at.clone()]).into_future());
        assert!(futures::future::poll_immediate(&mut mapped).await.is_none());
        at.reached(1).await;
    }
    drop(pool);
    until("the workers are gone", || {
        !pids.iter().any(|pid| proc::is_alive(*pid))
    })
    .await;
}

#[procession::test]
async fn a_supervisor_that_was_not_started_starts_nothing() {
    drop(Supervisor::new("never").child(Idle::spec().name("nobody")));
    drop(Idle::spec().name("nobody"));
    drop(Process::builder(forever, Marker::new()));
    assert_eq!(pids_of_all().await, []);
}

#[procession::test]
async fn what_a_task_started_ends_with_it() {
    let at = Marker::new();
    let task = within(
        "spawn",
        Process::spawn(starts_one_of_each, (at.clone(), false, false)),
    )
    .await
    .expect("a task");
    let pids = within("join", task.join()).await.expect("pids");
    assert_eq!(pids.len(), 4);
    until("they are gone", || !pids.iter().any(|pid| proc::is_alive(*pid))).await;
    listed(0).await;
}

#[procession::test]
async fn what_a_task_started_ends_with_it_however_it_ends() {
    let at = Marker::new();
    let task = within(
        "spawn",
        Process::spawn(starts_one_of_each, (at.clone(), false, true)),
    )
    .await
    .expect("a task");
    let pids = listed(5).await;
    kill(Pid::from_raw(task.pid() as i32), Signal::SIGKILL).expect("a kill");
    until("they are gone", || !pids.iter().any(|pid| proc::is_alive(*pid))).await;
    listed(0).await;
}

#[procession::test]
async fn what_was_detached_outlives_the_task_that_started_it() {
    let at = Marker::new();
    let task = within(
        "spawn",
        Process::spawn(starts_one_of_each, (at.clone(), true, false)),
    )
    .await
    .expect("a task");
    let pids = within("join", task.join()).await.expect("pids");
    let mut living = listed(4).await;
    living.sort_unstable();
    let mut expected = pids.clone();
    expected.sort_unstable();
    assert_eq!(living, expected);
    assert!(pids.iter().all(|pid| proc::is_alive(*pid)));
}

/// A task that starts one that starts one.
#[task]
async fn starts_a_line_of(n: u32, at: Marker) -> procession::Result<()> {
    at.reach();
    if n > 0 {
        Process::spawn(self::starts_a_line_of, (n - 1, at)).await?;
    }
    std::future::pending().await
}

#[procession::test]
async fn a_whole_line_of_descendants_ends_with_its_first() {
    let at = Marker::new();
    let first = within("spawn", Process::spawn(starts_a_line_of, (4, at.clone())))
        .await
        .expect("a task");
    at.reached(5).await;
    let pids = listed(5).await;
    within("kill", first.kill()).await.expect("an end");
    until("they are gone", || !pids.iter().any(|pid| proc::is_alive(*pid))).await;
}
