//! The work done with the library.

use crate::kernel::{KernelMemory, emit_memory};
use crate::record::{emit_bytes, emit_calls, emit_micros, emit_millis, emit_rate};
use crate::section::wants;
use crate::workload::{self, MIB, WINDOW, WORKERS, Workload, buffers, touch};
use crate::{links, shared, sleep};
use bytes::Bytes;
use procession::prelude::*;
use procession::{Config, Error, StartMode};
use std::time::{Duration, Instant};

pub(crate) const PEER: &str = "procession";
pub(crate) const MULTI: &str = "procession (multi-thread)";
pub(crate) const EXEC: &str = "procession (exec)";

#[derive(Debug, Default)]
pub(crate) struct Echo {
    heard: u64,
}

#[actor]
impl Echo {
    fn next(&mut self, x: u64) -> u64 {
        x + 1
    }
    fn hear(&mut self, words: &[u8]) {
        self.heard += u64::from(words[0] & 1);
    }
    fn heard(&self) -> u64 {
        self.heard
    }
    fn vector(&mut self, payload: Vec<u8>) -> u64 {
        touch(&payload)
    }
    fn bytes(&mut self, payload: Bytes) -> u64 {
        touch(&payload)
    }
    fn process(&self) -> u32 {
        std::process::id()
    }
    async fn hang(&self) {
        std::future::pending().await
    }
}

#[task]
fn cube(x: u64) -> u64 {
    workload::cube(x)
}

#[procession::main(flavor = "current_thread")]
pub(crate) async fn current_thread() {
    measured(all(PEER, Workload::chosen()).await);
}

#[procession::main]
pub(crate) async fn multi_thread() {
    measured(all(MULTI, Workload::chosen()).await);
}

#[procession::main(flavor = "current_thread")]
pub(crate) async fn exec() {
    measured(started_by_exec(Workload::chosen()).await);
}

fn measured(result: procession::Result<()>) {
    result.expect("the benchmark runs to its end");
}

async fn all(peer: &str, workload: Workload) -> procession::Result<()> {
    Config::new().frame_limit(128 * MIB).init()?;
    if wants("calls") {
        calls(peer, workload).await?;
    }
    if wants("pipelined") {
        pipelined(peer, workload).await?;
    }
    if wants("casts") {
        casts(peer, workload).await?;
    }
    if wants("payloads") {
        payloads(peer, workload).await?;
    }
    if wants("sleeps") {
        sleep::ours(peer, workload).await?;
    }
    if wants("shared") {
        shared::ours(peer, workload).await?;
    }
    if wants("starts") {
        starts(peer, workload).await?;
    }
    if wants("deaths") {
        deaths(peer, workload).await?;
    }
    if wants("maps") {
        maps(peer, workload).await?;
    }
    // Last, as its many children share what others are to be charged with.
    if wants("links") {
        links::ours(peer, workload).await?;
    }
    Ok(())
}

async fn started_by_exec(workload: Workload) -> procession::Result<()> {
    Config::new().start_mode(StartMode::Exec).init()?;
    starts(EXEC, workload).await
}

async fn calls(peer: &str, workload: Workload) -> procession::Result<()> {
    let echo = Echo::spawn().await?;
    for x in 0..workload.warm {
        assert_eq!(echo.next(x).await?, x + 1);
    }
    let mut times = Vec::with_capacity(workload.calls as usize);
    for x in 0..workload.calls {
        let begin = Instant::now();
        assert_eq!(echo.next(x).await?, x + 1);
        times.push(begin.elapsed());
    }
    emit_calls(peer, times);
    Ok(())
}

async fn pipelined(peer: &str, workload: Workload) -> procession::Result<()> {
    let echo = Echo::spawn().await?;
    echo.next(0).await?;
    let begin = Instant::now();
    let callers: Vec<_> = (0..WINDOW)
        .map(|x| tokio::spawn(call_on(echo.clone(), x, begin + workload.pipelined)))
        .collect();
    let mut n_calls = 0;
    for caller in callers {
        n_calls += caller.await.map_err(Error::new)??;
    }
    emit_rate(peer, "pipe_msgs_s", n_calls, begin);
    Ok(())
}

/// One of many callers: how often it called.
async fn call_on(echo: EchoRef, from: u64, until: Instant) -> procession::Result<u64> {
    let mut x = from;
    while Instant::now() < until {
        for _ in 0..workload::UNTIMED {
            x = echo.next(x).await?;
        }
    }
    Ok(x - from)
}

async fn casts(peer: &str, workload: Workload) -> procession::Result<()> {
    let echo = Echo::spawn().await?;
    echo.heard().await?;
    let begin = Instant::now();
    for _ in 0..workload.casts {
        echo.hear(&[7; workload::CAST]).tell().await?;
    }
    assert_eq!(echo.heard().await?, workload.casts);
    emit_rate(peer, "cast_msgs_s", workload.casts, begin);
    Ok(())
}

async fn payloads(peer: &str, workload: Workload) -> procession::Result<()> {
    let echo = Echo::spawn().await?;
    for (metric, size, n) in workload.payloads {
        echo.vector(vec![1; size]).await?;
        let vectors = buffers(size, n);
        let begin = Instant::now();
        for vector in vectors {
            echo.vector(vector).await?;
        }
        emit_bytes(peer, metric, size * n, begin);
        let blocks: Vec<_> = buffers(size, n).into_iter().map(Bytes::from).collect();
        let begin = Instant::now();
        for block in blocks {
            echo.bytes(block).await?;
        }
        emit_bytes(peer, &format!("{metric}_as_bytes"), size * n, begin);
    }
    Ok(())
}

async fn starts(peer: &str, workload: Workload) -> procession::Result<()> {
    // What is started once for all children is there before the clock starts.
    Echo::spawn().await?.process().await?;
    let kernel = KernelMemory::now();
    let mut siblings = Vec::new();
    let mut times = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..workload.siblings {
        let begin = Instant::now();
        let echo = Echo::spawn().await?;
        pids.push(echo.process().await?);
        times.push(begin.elapsed());
        siblings.push(echo);
    }
    emit_rate_of(peer, &times);
    emit_millis(peer, "spawn_ms", times);
    emit_memory(peer, &pids, kernel);
    for echo in siblings {
        echo.kill().await?;
    }
    Ok(())
}

fn emit_rate_of(peer: &str, times: &[Duration]) {
    let total: Duration = times.iter().sum();
    crate::record::emit(peer, "procs_s", times.len() as f64 / total.as_secs_f64());
}

async fn deaths(peer: &str, workload: Workload) -> procession::Result<()> {
    let mut heard = Vec::new();
    let mut recovered = Vec::new();
    let intensity = workload.kills as u32 * 3;
    let echo = Echo::spec()
        .intensity(intensity, Duration::from_secs(60))
        .backoff(Backoff::none())
        .spawn()
        .await?;
    for _ in 0..workload.kills {
        let pid = echo.process().await?;
        let hanging = tokio::spawn(echo.hang().into_future());
        // The call behind it is answered once it runs.
        echo.process().await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begin = Instant::now();
        kill(pid);
        hanging
            .await
            .map_err(Error::new)?
            .expect_err("a call of an actor that was killed");
        heard.push(begin.elapsed());

        let pid = echo.process().await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begin = Instant::now();
        kill(pid);
        // One that was sent before the death was known dies with it.
        while echo.next(1).await.is_err() {}
        recovered.push(begin.elapsed());
    }
    emit_millis(peer, "detect_ms", heard);
    emit_millis(peer, "recover_ms", recovered);
    Ok(())
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("a child that lives");
}

async fn maps(peer: &str, workload: Workload) -> procession::Result<()> {
    let pool = Pool::new(WORKERS).await?;
    pool.map(cube, 0..1000).await?;
    let mut times = Vec::with_capacity(workload.calls as usize);
    for x in 0..workload.calls {
        let begin = Instant::now();
        assert_eq!(pool.run(cube, x).await?, workload::cube(x));
        times.push(begin.elapsed());
    }
    emit_micros(peer, "pool_run_us", times);
    let want: Vec<u64> = (0..workload.map_items).map(workload::cube).collect();
    let begin = Instant::now();
    let got = pool.map(cube, 0..workload.map_items).await?;
    emit_rate(peer, "map_def_items_s", workload.map_items, begin);
    assert_eq!(got, want);
    let begin = Instant::now();
    let got = pool.map(cube, 0..workload.map_items).chunk_size(1).await?;
    emit_rate(peer, "map_c1_items_s", workload.map_items, begin);
    assert_eq!(got, want);
    Ok(())
}
