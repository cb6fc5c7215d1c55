//! Descriptors that travel in messages, between real processes.
//!
//! A pipe tells whether one was left open anywhere: its reader comes to the end only when nobody holds the other end.

use futures::{Stream, StreamExt as _};
use procession::prelude::*;
use procession::{CallError, Error, ErrorKind, Fd};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use tests::within;

/// A pipe: what is read from it, and its other end as it is sent.
fn pipe() -> (PipeReader, Fd<File>) {
    let (read, write) = std::io::pipe().unwrap();
    (read, Fd::new(OwnedFd::from(write).into()))
}

/// All that was written into a pipe, once nobody has its other end open.
async fn text(mut read: PipeReader) -> String {
    let all = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        read.read_to_string(&mut text).map(|_| text)
    });
    within("the end of a pipe", all).await.unwrap().unwrap()
}

fn copy(file: &Fd<File>) -> Fd<File> {
    Fd::new(file.try_clone().unwrap())
}

fn write(mut to: &File, what: &str) {
    to.write_all(what.as_bytes()).unwrap();
}

#[derive(Default)]
struct Keeper {
    kept: Vec<Fd<File>>,
    filling: Vec<File>,
}

#[actor]
impl Keeper {
    fn keep(&mut self, file: Fd<File>) {
        write(&file, "kept ");
        self.kept.push(file);
    }

    fn give(&mut self) -> Option<Fd<File>> {
        self.kept.pop()
    }

    fn keep_all(&mut self, files: Vec<Fd<File>>) -> usize {
        self.kept.extend(files);
        self.kept.len()
    }

    async fn look(&self, _file: Fd<File>, times: u64) {
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn crash(&mut self) {
        std::process::abort();
    }

    /// Opens as many files as it may.
    fn fill(&mut self) {
        self.clear();
        self.leave_room_for(10);
        self.filling = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    }

    /// Gives what it has when it has as many files open as it may.
    fn give_in_need(&mut self) -> Option<Fd<File>> {
        self.fill();
        self.kept.pop()
    }

    /// Closes what `fill` opened.
    fn clear(&mut self) {
        self.filling.clear();
    }

    /// Gives what it has to another when it has as many files open as it may; says what came of it, and which processes
    /// the other has before and after.
    async fn hand_over_in_need(&mut self, to: KeeperRef) -> (String, [Result<u32, CallError>; 2]) {
        let file = self.kept.pop().expect("a file");
        let before = to.pid().await;
        self.fill();
        let error = to.keep(file).await.expect_err("a copy too many");
        (error.to_string(), [before, to.pid().await])
    }

    async fn hand_over(&mut self, to: KeeperRef) -> Result<(), CallError> {
        to.keep(self.kept.pop().expect("a file")).await
    }

    /// How many files it may have open: as many as it has, and so many more.
    fn leave_room_for(&mut self, n_files: u64) {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse::<u64>().ok()
        });
        // The number that the folder itself was listed by is free again.
        let first_free = open.max().unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, (first_free + n_files).min(hard), hard).unwrap();
    }
}

#[procession::test]
async fn a_descriptor_goes_into_a_call_and_comes_back_in_its_answer() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    keeper.keep(file).await.unwrap();
    let back = keeper.give().await.unwrap().unwrap();
    write(&back, "and given back");
    drop(back);
    assert_eq!(text(read).await, "kept and given back");
    assert!(keeper.give().await.unwrap().is_none());
}

#[procession::test]
async fn nothing_is_left_open_of_one_that_was_told_once_its_receiver_has_dropped_it() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    keeper.keep(file).tell().await.unwrap();
    drop(keeper.give().await.unwrap());
    assert_eq!(text(read).await, "kept ");
}

#[procession::test]
async fn nothing_is_left_open_of_a_call_that_was_cancelled() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    let call = tokio::spawn(keeper.look(file, u64::MAX).into_future());
    keeper.pid().await.unwrap();
    call.abort();
    assert_eq!(text(read).await, "");
}

#[procession::test]
async fn nothing_is_left_open_of_a_call_whose_actor_died() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    keeper.keep(file).await.unwrap();
    keeper.crash().await.unwrap_err();
    assert_eq!(text(read).await, "kept ");
}

#[procession::test]
async fn a_descriptor_that_was_told_and_had_not_begun_reaches_the_next_incarnation() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    keeper.crash().tell().await.unwrap();
    keeper.keep(file).tell().await.unwrap();
    let back = keeper.give().await.unwrap().unwrap();
    write(&back, "by the next");
    drop(back);
    assert_eq!(text(read).await, "kept by the next");
}

#[procession::test]
async fn as_many_go_with_a_message_as_the_kernel_takes_and_one_more_is_an_error() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    let many = |n| {
        let copies = (0..n).map(|_| copy(&file));
        copies.collect::<Vec<_>>()
    };
    assert_eq!(keeper.keep_all(many(253)).await.unwrap(), 253);
    let error = keeper.keep_all(many(254)).await.unwrap_err();
    assert!(error.to_string().contains("254 descriptors"), "{error}");
    assert_eq!(keeper.keep_all(many(1)).await.unwrap(), 254);
    keeper.stop().await.unwrap();
    drop(file);
    assert_eq!(text(read).await, "");
}

#[procession::test]
async fn sockets_and_bare_descriptors_go_into_calls_and_come_back_in_answers() {
    let exchange = Exchange::spawn().await.unwrap();
    let (mut here, there) = UnixStream::pair().unwrap();
    let back = within("an answer", exchange.greet(there.into())).await.unwrap();
    (&*back).write_all(b"and back").unwrap();
    drop(back);
    let mut heard = String::new();
    here.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "there and back");

    let (read, file) = pipe();
    let bare = Fd::new(OwnedFd::from(file));
    let back = within("an answer", exchange.pass(bare)).await.unwrap();
    write(&File::from(OwnedFd::from(back)), "bare");
    assert_eq!(text(read).await, "bare");
}

#[procession::test]
async fn a_sender_that_can_open_no_more_fails_that_call_alone() {
    let (sender, keeper) = (Keeper::spawn().await.unwrap(), Keeper::spawn().await.unwrap());
    let (read, file) = pipe();
    sender.keep(copy(&file)).await.unwrap();
    sender.keep(file).await.unwrap();
    let pid = keeper.pid().await.unwrap();
    let (error, pids) = within("a call", sender.hand_over_in_need(keeper.clone()))
        .await
        .unwrap();
    assert!(error.contains("cannot be duplicated to be sent"), "{error}");
    assert!(error.contains("RLIMIT_NOFILE"), "{error}");
    assert_eq!(pids, [Ok(pid), Ok(pid)], "the link lives");
    sender.clear().await.unwrap();
    within("a call", sender.hand_over(keeper.clone())).await.unwrap();
    drop(keeper.give().await.unwrap());
    assert_eq!(text(read).await, "kept kept kept ");
}

#[procession::test]
async fn an_actor_that_can_open_no_more_fails_that_answer_alone() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    keeper.keep(copy(&file)).await.unwrap();
    keeper.keep(file).await.unwrap();
    let pid = keeper.pid().await.unwrap();
    let error = within("an answer", keeper.give_in_need()).await.unwrap_err();
    assert!(
        error.to_string().contains("cannot be duplicated to be sent"),
        "{error}"
    );
    assert_eq!(keeper.pid().await, Ok(pid), "the link lives");
    keeper.clear().await.unwrap();
    drop(keeper.give().await.unwrap());
    assert_eq!(text(read).await, "kept kept ");
}

/// Cannot be written down if it is 0, which shows when the rest of it has been.
#[derive(Debug, Serialize, Deserialize)]
struct Halfway(Fd<File>, #[serde(serialize_with = "fails_at_0")] u8);

fn fails_at_0<S: serde::Serializer>(n: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    match n {
        0 => Err(serde::ser::Error::custom("not this one")),
        n => serializer.serialize_u8(*n),
    }
}

impl std::fmt::Display for Halfway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("halfway")
    }
}

/// Takes and gives what may travel or not.
#[derive(Default)]
struct Exchange;

#[actor]
impl Exchange {
    fn greet(&self, stream: Fd<UnixStream>) -> Fd<UnixStream> {
        (&*stream).write_all(b"there ").unwrap();
        stream
    }
    fn pass(&self, bare: Fd<OwnedFd>) -> Fd<OwnedFd> {
        bare
    }
    fn takes(&self, label: String, halfway: Halfway) -> Fd<File> {
        write(&halfway.0, &label);
        halfway.0
    }
    fn gives(&self, file: Fd<File>, n: u8) -> (String, Halfway) {
        ("label".to_owned(), Halfway(file, n))
    }
    fn fails(&self, file: Fd<File>, n: u8) -> Result<(), Halfway> {
        Err(Halfway(file, n))
    }
    fn yields(&self, file: Fd<File>, down_to: u8) -> impl Stream<Item = Halfway> + use<> {
        let items = (down_to..3).rev();
        futures::stream::iter(items).map(move |n| Halfway(copy(&file), n))
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

fn is_halfway<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) {
    match outcome {
        Err(CallError::Other(error)) => {
            let text = format!("{error:#}");
            assert_eq!(error.kind(), ErrorKind::Codec, "{text}");
            assert!(
                text.contains("Halfway") && text.contains("not this one"),
                "{text}"
            );
        }
        other => panic!("expected an error of the codec, got {other:?}"),
    }
}

#[procession::test]
async fn a_value_of_a_call_that_fails_to_be_encoded_halfway_costs_that_call_alone_and_leaves_nothing_open() {
    let exchange = Exchange::spawn().await.unwrap();
    let pid = exchange.pid().await.unwrap();
    for _ in 0..3 {
        let (read, file) = pipe();
        let copy = || copy(&file);
        let label = || "taken ".to_owned();
        is_halfway(within("a call", exchange.takes(label(), Halfway(copy(), 0))).await);
        is_halfway(within("a tell", exchange.takes(label(), Halfway(copy(), 0)).tell()).await);
        is_halfway(within("an answer", exchange.gives(copy(), 0)).await);
        is_halfway(within("an error", exchange.fails(copy(), 0)).await);
        let mut items = within("a stream", exchange.yields(copy(), 0)).await.unwrap();
        for n in [2, 1] {
            let item = within("an item", items.next()).await.unwrap().unwrap();
            assert_eq!(item.1, n);
        }
        is_halfway(within("an item", items.next()).await.unwrap());
        assert!(within("the end", items.next()).await.is_none());
        // Those behind them have what is theirs.
        let taken = exchange.takes(label(), Halfway(copy(), 1));
        write(&within("a call", taken).await.unwrap(), "and back ");
        let (_, given) = within("an answer", exchange.gives(copy(), 1)).await.unwrap();
        write(&given.0, "given ");
        match within("an error", exchange.fails(copy(), 1)).await {
            Err(CallError::Failed(failed)) => write(&failed.0, "failed"),
            other => panic!("{other:?}"),
        }
        drop((file, given, items));
        assert_eq!(text(read).await, "taken and back given failed");
    }
    assert_eq!(exchange.pid().await, Ok(pid));
}

#[task]
fn takes(_halfway: Halfway) {}

#[procession::test]
async fn a_value_that_fails_to_be_encoded_halfway_leaves_nothing_open() {
    let (read, file) = pipe();
    let error = Process::spawn(takes, Halfway(file, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("not this one"), "{error}");
    assert_eq!(text(read).await, "");
}

#[procession::test]
async fn a_process_that_can_open_no_more_fails_that_message_alone() {
    let keeper = Keeper::spawn().await.unwrap();
    let (read, file) = pipe();
    let pid = keeper.pid().await.unwrap();
    keeper.leave_room_for(1).await.unwrap();
    let two = vec![
        Fd::new(file.try_clone().unwrap()),
        Fd::new(file.try_clone().unwrap()),
    ];
    let error = keeper.keep_all(two).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Other(error) if error.kind() == ErrorKind::Codec),
        "{error:?}"
    );
    assert!(error.to_string().contains("limit of open files"), "{error}");
    keeper.keep(file).await.unwrap();
    assert_eq!(keeper.pid().await.unwrap(), pid);
    keeper.stop().await.unwrap();
    assert_eq!(text(read).await, "kept ");
}

#[task]
fn shout(to: Fd<File>, what: &str) -> Fd<File> {
    write(&to, &what.to_uppercase());
    to
}

#[task]
fn fails_with(file: Fd<File>) -> std::result::Result<(), Kept> {
    Err(Kept(file))
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept(Fd<File>);

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it was kept")
    }
}

#[procession::test]
async fn a_descriptor_goes_into_a_task_and_comes_out_of_it() {
    let (read, file) = pipe();
    let process = Process::spawn(shout, (file, "a task".to_owned())).await.unwrap();
    let back = process.join().await.unwrap();
    write(&back, " and its host");
    drop(back);
    assert_eq!(text(read).await, "A TASK and its host");
}

#[procession::test]
async fn a_descriptor_comes_out_of_a_task_in_its_error() {
    let (read, file) = pipe();
    let process = Process::spawn(fails_with, file).await.unwrap();
    match process.join().await {
        Err(TaskError::Failed(Kept(file))) => write(&file, "failed"),
        other => panic!("{other:?}"),
    }
    assert_eq!(text(read).await, "failed");
}

#[task]
fn holds(_file: Fd<File>) {
    loop {
        std::thread::park();
    }
}

#[task]
fn closes(file: Fd<File>) {
    drop(file);
    loop {
        std::thread::park();
    }
}

#[procession::test]
async fn the_host_keeps_nothing_open_that_it_gave_to_a_task() {
    let (read, file) = pipe();
    let process = Process::spawn(closes, file).await.unwrap();
    assert_eq!(text(read).await, "");
    assert!(process.is_alive());
    process.kill().await.unwrap();
    let (read, file) = pipe();
    let process = Process::spawn(holds, file).await.unwrap();
    process.kill().await.unwrap();
    assert_eq!(text(read).await, "");
}

#[procession::test]
async fn what_nobody_joins_for_is_closed() {
    let (read, file) = pipe();
    let process = Process::spawn(shout, (file, "x".to_owned())).await.unwrap();
    process.wait().await;
    drop(process);
    assert_eq!(text(read).await, "X");
}

struct Logger {
    files: Vec<Fd<File>>,
}

#[actor]
impl Logger {
    #[init]
    fn new(files: Vec<Fd<File>>) -> Self {
        write(&files[0], "begun ");
        Logger { files }
    }

    fn count(&self) -> usize {
        self.files.len()
    }

    fn crash(&mut self) {
        std::process::abort();
    }
}

#[procession::test]
async fn every_incarnation_gets_the_descriptors_of_init() {
    let (read, file) = pipe();
    let logger = Logger::spec(vec![file]).intensity(100, std::time::Duration::from_secs(60));
    let logger = logger.spawn().await.unwrap();
    for _ in 0..3 {
        logger.crash().await.unwrap_err();
        assert_eq!(logger.count().await.unwrap(), 1);
    }
    logger.stop().await.unwrap();
    assert_eq!(text(read).await, "begun begun begun begun ");
}

#[procession::test]
async fn init_takes_as_many_descriptors_as_any_message() {
    let (read, file) = pipe();
    let files = (0..253).map(|_| Fd::new(file.try_clone().unwrap())).collect();
    drop(file);
    let logger = Logger::spawn(files).await.unwrap();
    assert_eq!(logger.count().await.unwrap(), 253);
    logger.stop().await.unwrap();
    assert_eq!(text(read).await, "begun ");
}

#[procession::test]
async fn a_tree_gives_each_of_its_children_its_own() {
    let (first, one) = pipe();
    let (second, two) = pipe();
    let tree = Supervisor::new("loggers")
        .child(Logger::spec(vec![one]))
        .child(Logger::spec(vec![two]))
        .start()
        .await
        .unwrap();
    tree.stop().await.unwrap();
    assert_eq!(
        (text(first).await, text(second).await),
        ("begun ".into(), "begun ".into())
    );
}

/// Starts a task in the host by way of another process.
#[task]
async fn delegates(file: Fd<File>) -> procession::Result<Fd<File>> {
    let process = Process::spawn(shout, (file, "by another".to_owned())).await?;
    process
        .join()
        .await
        .map_err(|error| Error::msg(error.to_string()))
}

#[procession::test]
async fn a_child_starts_another_with_a_descriptor_and_gets_one_back() {
    let (read, file) = pipe();
    let back = Process::spawn(delegates, file)
        .await
        .unwrap()
        .join()
        .await
        .unwrap();
    drop(back);
    assert_eq!(text(read).await, "BY ANOTHER");
}

#[task]
fn number(to: Fd<File>, n: u64) -> (u64, Fd<File>) {
    write(&to, ".");
    (n, to)
}

#[task]
fn number_or_die(to: Fd<File>, n: u64, once: tests::Marker) -> u64 {
    if n == 400 && once.reach() == 0 {
        std::process::abort();
    }
    write(&to, ".");
    n
}

#[procession::test]
async fn descriptors_go_through_a_pool() {
    let pool = Pool::new(2).await.unwrap();
    let (read, file) = pipe();
    let items = (0..600).map(move |n| (Fd::new(file.try_clone().unwrap()), n));
    let came = within("a map", pool.map(number, items)).await.unwrap();
    assert!(came.iter().map(|(n, _)| *n).eq(0..600));
    drop(came);
    assert_eq!(text(read).await.len(), 600);
}

#[procession::test]
async fn a_pool_sends_the_descriptors_of_items_again_whose_worker_died() {
    let pool = Pool::new(2).await.unwrap();
    let (read, file) = pipe();
    let marker = tests::Marker::new();
    let mark = marker.clone();
    let items = (0..800).map(move |n| (Fd::new(file.try_clone().unwrap()), n, mark.clone()));
    let map = pool.map(number_or_die, items).retries(1);
    let came = within("a map", map).await.unwrap();
    assert!(came.into_iter().eq(0..800));
    assert_eq!(marker.count(), 2);
    assert_eq!(text(read).await.len(), 800);
}

#[task]
fn greets(listener: Fd<TcpListener>) {
    let (mut stream, _) = listener.accept().unwrap();
    write!(stream, "hello from {}", std::process::id()).unwrap();
}

#[procession::test]
async fn a_listener_accepts_in_the_other_process() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let process = Process::spawn(greets, Fd::new(listener)).await.unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        let mut heard = String::new();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.read_to_string(&mut heard).map(|_| heard)
    });
    let heard = within("a greeting", heard).await.unwrap().unwrap();
    assert_eq!(heard, format!("hello from {}", process.pid()));
    process.join().await.unwrap();
}

/// Blocks its process until its file is at the end.
#[derive(Default)]
struct Blocked;

#[actor]
impl Blocked {
    fn until_the_end(&mut self, file: Fd<File>) {
        let mut file = file.into_inner();
        file.read_to_end(&mut Vec::new()).unwrap();
    }

    fn take(&mut self, _file: Fd<File>) {}
}

#[procession::test]
async fn a_sender_waits_where_too_many_of_its_descriptors_wait_at_a_receiver() {
    let actor = Blocked::spawn().await.unwrap();
    let (gate, release) = std::io::pipe().unwrap();
    let gate = Fd::new(File::from(OwnedFd::from(gate)));
    actor.until_the_end(gate).tell().await.unwrap();
    let (read, file) = pipe();
    let (sent, mut count) = tokio::sync::watch::channel(0);
    let sender = tokio::spawn(async move {
        for _ in 0..2000 {
            let file = Fd::new(file.try_clone().unwrap());
            actor.take(file).tell().await.unwrap();
            sent.send_modify(|n| *n += 1);
        }
        actor
    });
    within("as many as may wait", count.wait_for(|n| *n >= 511))
        .await
        .unwrap();
    // Others get their turns, and so would the sender.
    let other = Keeper::spawn().await.unwrap();
    for _ in 0..100 {
        other.pid().await.unwrap();
    }
    let sent_while_it_waits = *count.borrow();
    assert!(sent_while_it_waits <= 512, "{sent_while_it_waits}");
    drop(release);
    let actor = within("all of them", sender).await.unwrap();
    actor.stop().await.unwrap();
    assert_eq!(text(read).await, "");
}
