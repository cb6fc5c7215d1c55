//! The limits: system calls, and nothing in between.
//!
//! Calls go over a tokio Unix socket between two current-thread runtimes, which is what the library builds on; payloads
//! and one-way messages over a blocking one; processes are forked. None of this starts a thread before it has forked.

use crate::kernel::{KernelMemory, emit_memory};
use crate::record::{emit_bytes, emit_calls, emit_millis, emit_rate};
use crate::section::wants;
use crate::workload::{CAST, WINDOW, WORKERS, Workload, buffers, cube, touch};
use crate::{shared, sleep};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const PEER: &str = "raw";
pub(crate) const EXEC: &str = "raw exec";

/// How many items a chunk of one is sent ahead of its answer.
const AHEAD: usize = 64;

/// A forked process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Forked(Pid);

/// All limits but those of `pairs`.
pub(crate) fn main(workload: Workload) {
    if std::env::args().any(|word| word == FIRST_BYTE) {
        return first_byte();
    }
    if wants("calls") {
        calls(workload);
    }
    if wants("casts") {
        casts(workload);
    }
    if wants("payloads") {
        payloads(workload);
    }
    if wants("sleeps") {
        sleep::raw(PEER, workload);
    }
    if wants("shared") {
        shared::raw(PEER, workload);
    }
    if wants("starts") {
        starts(workload);
        starts_by_exec(workload);
    }
    if wants("deaths") {
        deaths(workload);
    }
    if wants("maps") {
        maps(workload);
    }
}

/// Forks a process that runs `child` and ends.
pub(crate) fn fork(child: impl FnOnce()) -> Forked {
    // SAFETY: this process has one thread whenever it forks, as the head of this module says, so the child may do what
    // any process may.
    #[allow(unsafe_code)]
    match unsafe { nix::unistd::fork() }.expect("another process") {
        ForkResult::Parent { child } => Forked(child),
        ForkResult::Child => {
            child();
            std::process::exit(0)
        }
    }
}

impl Forked {
    /// Waits for its end.
    pub(crate) fn wait(self) {
        waitpid(self.0, None).expect("the status of a child");
        std::mem::forget(self);
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGKILL).expect("a child that was not waited for");
        waitpid(self.0, None).expect("the status of a child");
    }
}

// ------------------------------------------------------------------------------------------------ calls and messages

fn calls(workload: Workload) {
    let (ours, theirs) = pair();
    let _echo = fork(move || block_on(echo(theirs)));
    block_on(call(ours, workload));
}

async fn call(socket: UnixStream, workload: Workload) {
    let mut socket = on_tokio(socket);
    let mut times = Vec::with_capacity(workload.calls as usize);
    for x in 0..workload.warm + workload.calls {
        let begin = Instant::now();
        socket
            .write_all(&x.to_le_bytes())
            .await
            .expect("a peer that reads");
        let mut answer = [0; 8];
        socket.read_exact(&mut answer).await.expect("a peer that answers");
        assert_eq!(u64::from_le_bytes(answer), x + 1);
        times.push(begin.elapsed());
    }
    emit_calls(PEER, times.split_off(workload.warm as usize));

    let mut window = vec![0; 8 * WINDOW as usize];
    let mut n_calls = 0;
    let begin = Instant::now();
    socket.write_all(&window).await.expect("a peer that reads");
    while begin.elapsed() < workload.pipelined {
        let n = socket.read(&mut window).await.expect("a peer that answers");
        n_calls += n as u64 / 8;
        socket.write_all(&window[..n]).await.expect("a peer that reads");
    }
    emit_rate(PEER, "pipe_msgs_s", n_calls, begin);
}

/// Sends back each number that is there, plus one.
async fn echo(socket: UnixStream) {
    let mut socket = on_tokio(socket);
    let mut window = vec![0; 8 * WINDOW as usize];
    while let Ok(n @ 1..) = socket.read(&mut window).await {
        for number in window[..n].chunks_exact_mut(8) {
            let x = u64::from_le_bytes((&*number).try_into().expect("8 bytes"));
            number.copy_from_slice(&(x + 1).to_le_bytes());
        }
        if socket.write_all(&window[..n]).await.is_err() {
            return;
        }
    }
}

fn casts(workload: Workload) {
    let n_bytes = workload.casts as usize * CAST;
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let _sink = fork(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut left = n_bytes;
        while left > 0 {
            left -= theirs.read(&mut buffer).expect("a peer that writes");
        }
        theirs.write_all(&[1]).expect("a peer that reads");
    });
    let begin = Instant::now();
    let mut writer = BufWriter::with_capacity(64 << 10, &ours);
    for _ in 0..workload.casts {
        writer.write_all(&[7; CAST]).expect("a peer that reads");
    }
    writer.flush().expect("a peer that reads");
    drop(writer);
    ours.read_exact(&mut [0]).expect("an acknowledgement");
    emit_rate(PEER, "cast_msgs_s", workload.casts, begin);
}

fn payloads(workload: Workload) {
    for (metric, size, n) in workload.payloads {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let _reader = fork(move || {
            let mut payload = vec![0; size];
            while theirs.read_exact(&mut payload).is_ok() {
                theirs
                    .write_all(&touch(&payload).to_le_bytes())
                    .expect("a peer that reads");
            }
        });
        let mut send = |payload: &[u8]| {
            ours.write_all(payload).expect("a peer that reads");
            ours.read_exact(&mut [0; 8]).expect("an acknowledgement");
        };
        let payloads = buffers(size, n);
        send(&payloads[0]);
        let begin = Instant::now();
        payloads.iter().for_each(|payload| send(payload));
        emit_bytes(PEER, metric, size * n, begin);
        emit_bytes(PEER, &format!("{metric}_as_bytes"), size * n, begin);
    }
}

// ------------------------------------------------------------------------------------------------ processes

fn starts(workload: Workload) {
    let kernel = KernelMemory::now();
    let mut siblings = Vec::new();
    let mut times = Vec::new();
    for _ in 0..workload.siblings {
        let begin = Instant::now();
        siblings.push(forked());
        times.push(begin.elapsed());
    }
    let pids: Vec<u32> = siblings
        .iter()
        .map(|(child, _)| child.0.as_raw() as u32)
        .collect();
    emit_millis(PEER, "spawn_ms", times);
    emit_memory(PEER, &pids, kernel);
}

/// A forked process that has said its first byte.
fn forked() -> (Forked, UnixStream) {
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let child = fork(move || {
        theirs.write_all(&[1]).expect("a peer that reads");
        nix::unistd::pause();
    });
    ours.read_exact(&mut [0]).expect("a first byte");
    (child, ours)
}

const FIRST_BYTE: &str = "--first-byte";

fn starts_by_exec(workload: Workload) {
    let kernel = KernelMemory::now();
    let mut siblings = Vec::new();
    let mut times = Vec::new();
    for _ in 0..workload.siblings {
        let begin = Instant::now();
        siblings.push(executed());
        times.push(begin.elapsed());
    }
    let pids: Vec<u32> = siblings.iter().map(Child::id).collect();
    emit_millis(EXEC, "spawn_ms", times);
    emit_memory(EXEC, &pids, kernel);
    for mut child in siblings {
        child.kill().expect("a child that lives");
        child.wait().expect("the status of a child");
    }
}

fn executed() -> Child {
    let this = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this);
    command
        .args(["--section", "raw", FIRST_BYTE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("another process");
    let stdout = child.stdout.as_mut().expect("it is piped");
    stdout.read_exact(&mut [0]).expect("a first byte");
    child
}

/// A started process that says one byte and waits for its end.
fn first_byte() {
    io::stdout()
        .write_all(b"\n")
        .and_then(|()| io::stdout().flush())
        .expect("a parent that reads");
    // The end of file: the parent is gone.
    io::stdin().read_exact(&mut [0]).expect_err("nobody writes");
}

fn deaths(workload: Workload) {
    let mut heard = Vec::new();
    let mut replaced = Vec::new();
    for _ in 0..workload.kills {
        let (child, mut socket) = forked();
        let begin = Instant::now();
        kill(child.0, Signal::SIGKILL).expect("a child that lives");
        assert_eq!(socket.read(&mut [0]).expect("an end of file"), 0);
        heard.push(begin.elapsed());
        drop(child);
        let (_child, _socket) = forked();
        replaced.push(begin.elapsed());
    }
    emit_millis(PEER, "detect_ms", heard);
    emit_millis(PEER, "recover_ms", replaced);
}

// ------------------------------------------------------------------------------------------------ a pool

fn maps(workload: Workload) {
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        workers.push((fork(move || serve(theirs)), ours));
    }
    let links: Vec<&UnixStream> = workers.iter().map(|(_, link)| link).collect();
    let n_items = workload.map_items;
    let want: Vec<u64> = (0..n_items).map(cube).collect();
    let own = n_items / (4 * WORKERS as u64);
    for (metric, chunk, ahead) in [("map_def_items_s", own, 1), ("map_c1_items_s", 1, AHEAD)] {
        let begin = Instant::now();
        let got = map(&links, n_items, chunk, ahead);
        emit_rate(PEER, metric, n_items, begin);
        assert_eq!(got, want);
    }
}

/// A thread for each worker takes chunks from a shared counter; a chunk is a count and that many numbers.
fn map(links: &[&UnixStream], n_items: u64, chunk: u64, ahead: usize) -> Vec<u64> {
    let next = AtomicU64::new(0);
    let mut parts = std::thread::scope(|scope| {
        let threads: Vec<_> = links
            .iter()
            .map(|link| scope.spawn(|| feed(link, &next, n_items, chunk, ahead)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a thread that ends"))
            .collect::<Vec<_>>()
    });
    parts.sort_unstable_by_key(|(from, _)| *from);
    parts.into_iter().flat_map(|(_, results)| results).collect()
}

fn feed(
    mut link: &UnixStream,
    next: &AtomicU64,
    n_items: u64,
    chunk: u64,
    ahead: usize,
) -> Vec<(u64, Vec<u64>)> {
    let mut reader = BufReader::with_capacity(64 << 10, link);
    let mut sent = std::collections::VecDeque::new();
    let mut done = Vec::new();
    let mut message = Vec::new();
    loop {
        while sent.len() < ahead {
            let from = next.fetch_add(chunk, Ordering::Relaxed);
            if from >= n_items {
                break;
            }
            let n = chunk.min(n_items - from);
            message.extend_from_slice(&n.to_le_bytes());
            (from..from + n).for_each(|x| message.extend_from_slice(&x.to_le_bytes()));
            sent.push_back((from, n));
        }
        link.write_all(&message).expect("a worker that reads");
        message.clear();
        while let Some((from, n)) = sent.pop_front() {
            done.push((
                from,
                (0..n)
                    .map(|_| number(&mut reader).expect("a worker that answers"))
                    .collect(),
            ));
            if reader.buffer().is_empty() {
                break;
            }
        }
        if sent.is_empty() && next.load(Ordering::Relaxed) >= n_items {
            return done;
        }
    }
}

fn serve(mut link: UnixStream) {
    let mut reader = BufReader::with_capacity(64 << 10, link.try_clone().expect("another descriptor"));
    let mut answer = Vec::new();
    while let Ok(n) = number(&mut reader) {
        for _ in 0..n {
            let Ok(x) = number(&mut reader) else { return };
            answer.extend_from_slice(&cube(x).to_le_bytes());
        }
        if reader.buffer().is_empty() || answer.len() > 32 << 10 {
            if link.write_all(&answer).is_err() {
                return;
            }
            answer.clear();
        }
    }
}

fn number(reader: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
}

// ------------------------------------------------------------------------------------------------ tokio

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).expect("a socket");
    }
    (ours, theirs)
}

fn on_tokio(socket: UnixStream) -> tokio::net::UnixStream {
    tokio::net::UnixStream::from_std(socket).expect("a runtime")
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work);
}
