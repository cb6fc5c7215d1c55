//! Bad input and misuse: each gives a clear error, and costs nothing else.

use futures::{FutureExt, Stream, StreamExt};
use procession::prelude::*;
use procession::private::{Key, Row};
use procession::{CallError, DeadCause, Error, ErrorKind, Never, Result};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;
use std::future::IntoFuture;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tests::{misuse, within};

const LONG: Duration = Duration::from_secs(60);

#[task]
fn double(x: u64) -> u64 {
    2 * x
}

// ---- init

struct Licensed;

#[actor]
impl Licensed {
    #[init]
    fn begin(how: &str) -> Result<Self, String> {
        match how {
            "well" => Ok(Licensed),
            "panic" => panic!("no licence at all"),
            "exit" => std::process::exit(9),
            "abort" => std::process::abort(),
            other => Err(format!("no licence for {other}")),
        }
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn a_spawn_whose_init_fails_says_why() {
    for (how, why) in [
        ("error", "no licence for error"),
        ("panic", "no licence at all"),
        ("exit", "exited with code 9"),
        ("abort", "SIGABRT"),
    ] {
        let error = Licensed::spec(how).name("shop").spawn().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Init, "{error}");
        assert!(error.to_string().contains("`shop`"), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    // Nothing of it is left: the name is free.
    let shop = Licensed::spec("well").name("shop").spawn().await.unwrap();
    assert_ne!(shop.pid().await.unwrap(), std::process::id());
}

struct Diary(PathBuf, String);

#[actor]
impl Diary {
    #[init]
    fn open(path: PathBuf, name: String) -> Self {
        Diary(path, name)
    }
    #[terminate]
    fn close(&mut self) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.0)
            .unwrap();
        writeln!(file, "{}", self.1).unwrap();
    }
}

#[procession::test]
async fn a_supervisor_whose_last_child_does_not_start_stops_the_others_in_reverse_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stopped");
    let diary = |name: &str| Diary::spec(path.clone(), name.to_owned()).name(name);
    let started = Supervisor::new("shelf")
        .child(diary("a"))
        .child(diary("b"))
        .child(Supervisor::new("inner").child(diary("c")))
        .child(Licensed::spec("error").name("shop"))
        .child(diary("never"))
        .start();
    let error = started.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Init, "{error}");
    assert!(error.to_string().contains("`shop`"), "{error}");
    assert!(error.to_string().contains("no licence for error"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "c\nb\na\n");
    assert!(Process::active().await.unwrap().is_empty());
}

// ---- not in the build

/// What a function would be that another build has annotated.
#[derive(Debug, Clone, Copy)]
struct Elsewhere;

static ELSEWHERE: Row = Row::task::<Elsewhere>(Key {
    module: "elsewhere",
    name: "cube",
    file: "elsewhere.rs",
    line: 1,
    column: 1,
    signature: 0,
});

impl Task for Elsewhere {
    type Input = ();
    type Output = ();
    type Error = Never;

    fn row() -> &'static Row {
        &ELSEWHERE
    }
    async fn call((): ()) -> Result<(), Never> {
        Ok(())
    }
    fn encode_input((): &(), _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn decode_input(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }
    fn encode_output((): &(), _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn decode_output(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }
    fn encode_error(error: &Never, _: &mut Vec<u8>) -> Result<()> {
        match *error {}
    }
    fn decode_error(_: &mut &[u8]) -> Result<Never> {
        Err(Error::msg("never"))
    }
}

fn is_not_in_build(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::NotInBuild, "{error}");
    assert!(
        error
            .to_string()
            .contains("`elsewhere::cube` is not in this build"),
        "{error}"
    );
}

#[procession::test]
async fn a_task_that_is_not_in_this_build_is_named() {
    is_not_in_build(&Process::spawn(Elsewhere, ()).await.unwrap_err());
    let pool = Pool::new(1).await.unwrap();
    let TaskError::Other(error) = pool.run(Elsewhere, ()).await.unwrap_err() else {
        panic!("another error")
    };
    is_not_in_build(&error);
    assert_eq!(pool.run(double, 2).await.unwrap(), 4);
}

// ---- values that do not serialise, or not back

/// A value that fails where it is told to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fragile {
    Sound,
    FailsToWrite,
    FailsToRead,
    PanicsWhenRead,
    AbortsWhenRead,
}

use Fragile::*;

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FailsToWrite => Err(S::Error::custom("it will not be written")),
            other => serializer.serialize_u8(*other as u8),
        }
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            n if n == FailsToRead as u8 => Err(D::Error::custom("it will not be read")),
            n if n == PanicsWhenRead as u8 => panic!("it panics when read"),
            n if n == AbortsWhenRead as u8 => std::process::abort(),
            _ => Ok(Sound),
        }
    }
}

impl std::fmt::Display for Fragile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// From a number, so that what is given and what is wanted differ.
fn fragile(n: u8) -> Fragile {
    [Sound, FailsToWrite, FailsToRead, PanicsWhenRead, AbortsWhenRead][usize::from(n)]
}

#[task]
fn takes(value: Fragile) -> bool {
    value == Sound
}

#[task]
fn gives(n: u8) -> Fragile {
    fragile(n)
}

#[task]
fn fails_with(n: u8) -> Result<(), Fragile> {
    Err(fragile(n))
}

fn is_codec(error: &Error, why: &str) {
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert!(format!("{error:#}").contains(why), "{error:#}");
    assert!(format!("{error:#}").contains("Fragile"), "{error:#}");
}

/// Whether it is the codec's error, in a task's.
fn other<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, TaskError<E>>) -> Error {
    match outcome {
        Err(TaskError::Other(error)) => error,
        unlike => panic!("expected an error of the library's, got {unlike:?}"),
    }
}

const NOT_WRITTEN: &str = "it will not be written";
const NOT_READ: &str = "it will not be read";

#[procession::test]
async fn a_tasks_value_that_cannot_be_written_or_read_is_an_error_that_names_its_type() {
    is_codec(
        &Process::spawn(takes, FailsToWrite).await.unwrap_err(),
        NOT_WRITTEN,
    );
    is_codec(
        &other(Process::spawn(takes, FailsToRead).await.unwrap().join().await),
        NOT_READ,
    );
    is_codec(
        &other(Process::spawn(gives, 1).await.unwrap().join().await),
        NOT_WRITTEN,
    );
    is_codec(
        &other(Process::spawn(gives, 2).await.unwrap().join().await),
        NOT_READ,
    );
    is_codec(
        &other(Process::spawn(fails_with, 1).await.unwrap().join().await),
        NOT_WRITTEN,
    );
    is_codec(
        &other(Process::spawn(fails_with, 2).await.unwrap().join().await),
        NOT_READ,
    );
    let failed = Process::spawn(fails_with, 0)
        .await
        .unwrap()
        .join()
        .await
        .unwrap_err();
    assert!(matches!(failed, TaskError::Failed(Sound)));
    let died = Process::spawn(takes, PanicsWhenRead)
        .await
        .unwrap()
        .join()
        .await
        .unwrap_err();
    let TaskError::Died {
        reason: ExitReason::Panicked(panic),
        ..
    } = died
    else {
        panic!("{died}")
    };
    assert_eq!(panic.message, "it panics when read");
}

#[procession::test]
async fn in_a_pool_a_value_that_cannot_travel_costs_its_own_item_alone() {
    let pool = Pool::new(2).await.unwrap();
    for chunk_size in [1, 5] {
        let inputs = [
            Sound,
            FailsToWrite,
            Sound,
            FailsToRead,
            Sound,
            PanicsWhenRead,
            Sound,
            AbortsWhenRead,
            Sound,
        ];
        let mut outcomes = pool
            .map(takes, inputs)
            .chunk_size(chunk_size)
            .with_input()
            .stream();
        let mut seen = Vec::new();
        while let Some((input, outcome)) = tokio::time::timeout(LONG, outcomes.next()).await.expect("a hang")
        {
            seen.push(input);
            match input {
                Sound => assert!(outcome.unwrap()),
                FailsToWrite => is_codec(&other(outcome), NOT_WRITTEN),
                FailsToRead => is_codec(&other(outcome), NOT_READ),
                PanicsWhenRead => assert!(outcome.unwrap_err().to_string().contains("it panics when read")),
                AbortsWhenRead => assert!(outcome.unwrap_err().to_string().contains("SIGABRT")),
            }
        }
        assert_eq!(seen, inputs);
        let outcomes: Vec<_> = pool
            .map(gives, [0, 1, 2, 0])
            .chunk_size(chunk_size)
            .stream()
            .collect()
            .await;
        let [first, unwritten, unread, last] = outcomes.try_into().unwrap();
        assert_eq!((first.unwrap(), last.unwrap()), (Sound, Sound));
        is_codec(&other(unwritten), NOT_WRITTEN);
        is_codec(&other(unread), NOT_READ);
        let outcomes: Vec<_> = pool
            .map(fails_with, [0, 1, 2])
            .chunk_size(chunk_size)
            .stream()
            .collect()
            .await;
        let [failed, unwritten, unread] = outcomes.try_into().unwrap();
        assert!(matches!(failed, Err(TaskError::Failed(Sound))));
        is_codec(&other(unwritten), NOT_WRITTEN);
        is_codec(&other(unread), NOT_READ);
    }
}

struct Porcelain(u32);

#[actor]
impl Porcelain {
    #[init]
    fn new(value: Fragile) -> Self {
        Porcelain((value != Sound).into())
    }
    fn takes(&mut self, value: Fragile) -> bool {
        self.0 += 1;
        value == Sound
    }
    #[idempotent]
    fn takes_again(&mut self, value: Fragile) -> bool {
        value == Sound
    }
    fn gives(&self, n: u8) -> Fragile {
        fragile(n)
    }
    fn fails_with(&self, n: u8) -> Result<(), Fragile> {
        Err(fragile(n))
    }
    fn taken(&self) -> (u32, u32) {
        (self.0, std::process::id())
    }
}

/// Whether it is the codec's error, in a call's.
fn uncalled<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) -> Error {
    match outcome {
        Err(CallError::Other(error)) => error,
        unlike => panic!("expected an error of the library's, got {unlike:?}"),
    }
}

#[procession::test]
async fn a_value_of_a_call_that_cannot_be_written_or_read_fails_that_call_alone() {
    let porcelain = Porcelain::spawn(Sound).await.unwrap();
    let (_, pid) = porcelain.taken().await.unwrap();
    is_codec(&uncalled(porcelain.takes(FailsToWrite).await), NOT_WRITTEN);
    is_codec(&uncalled(porcelain.takes(FailsToWrite).tell().await), NOT_WRITTEN);
    is_codec(&uncalled(porcelain.takes(FailsToRead).await), NOT_READ);
    is_codec(&uncalled(porcelain.gives(1).await), NOT_WRITTEN);
    is_codec(&uncalled(porcelain.gives(2).await), NOT_READ);
    is_codec(&uncalled(porcelain.fails_with(1).await), NOT_WRITTEN);
    is_codec(&uncalled(porcelain.fails_with(2).await), NOT_READ);
    // A message that cannot be read is accepted: see below what becomes of it.
    porcelain.takes(FailsToRead).tell().await.unwrap();
    assert!(porcelain.takes(Sound).await.unwrap());
    assert_eq!(porcelain.taken().await.unwrap(), (1, pid));
    let died = porcelain.takes(PanicsWhenRead).await.unwrap_err();
    assert!(died.to_string().contains("it panics when read"), "{died}");
    assert_ne!(porcelain.taken().await.unwrap().1, pid);
}

#[procession::test]
async fn a_one_way_message_that_cannot_be_read_is_a_dead_letter() {
    let porcelain = Porcelain::spawn(Sound).await.unwrap();
    porcelain.takes(FailsToRead).tell().await.unwrap();
    porcelain.takes_again(FailsToRead).tell().await.unwrap();
    assert!(porcelain.takes(Sound).await.unwrap());
    let both = async {
        loop {
            let dead = porcelain.dead_letters().await.unwrap();
            if dead.len() == 2 {
                break dead;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let dead = within("two dead letters", both).await;
    for (letter, method) in dead.iter().zip(["takes", "takes_again"]) {
        let is_unread = matches!(&letter.cause, DeadCause::Unread(why) if why.contains(NOT_READ));
        assert!(letter.method == method && is_unread, "{letter:?}");
    }
    assert_eq!(porcelain.taken().await.unwrap().0, 1);
}

#[procession::test]
async fn an_argument_of_init_that_cannot_travel_fails_the_spawn() {
    is_codec(&Porcelain::spawn(FailsToWrite).await.unwrap_err(), NOT_WRITTEN);
    let error = Porcelain::spawn(FailsToRead).await.unwrap_err();
    assert!(error.to_string().contains(NOT_READ), "{error}");
    let error = Porcelain::spawn(PanicsWhenRead).await.unwrap_err();
    assert!(error.to_string().contains("it panics when read"), "{error}");
    let error = Supervisor::new("shelf")
        .child(Porcelain::spec(FailsToWrite))
        .start()
        .await
        .unwrap_err();
    is_codec(&error, NOT_WRITTEN);
}

#[task]
fn path_length(path: &Path) -> Result<usize, String> {
    Ok(path.as_os_str().len())
}

#[procession::test]
async fn a_path_that_is_not_utf_8_costs_its_own_item_alone() {
    let odd = PathBuf::from(OsStr::from_bytes(b"caf\xe9"));
    let pool = Pool::new(1).await.unwrap();
    let paths = [PathBuf::from("a"), odd, PathBuf::from("abc")];
    let outcomes: Vec<_> = pool.map(path_length, paths).with_input().stream().collect().await;
    assert_eq!(outcomes[0].1, Ok(1));
    let Err(TaskError::Other(error)) = &outcomes[1].1 else {
        panic!("{:?}", outcomes[1])
    };
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert!(format!("{error:#}").contains("UTF-8"), "{error:#}");
    assert_eq!(outcomes[2].1, Ok(3));
}

// ---- outside a runtime

/// The error of work that is done where there is no runtime.
fn without_runtime<T: std::fmt::Debug>(work: impl Future<Output = Result<T>>) {
    let error = futures::executor::block_on(work).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRuntime, "{error}");
    assert!(error.to_string().contains("outside a tokio runtime"), "{error}");
    assert!(error.to_string().contains("`#[procession::main]`"), "{error}");
}

#[test]
fn what_is_started_outside_a_runtime_says_so() {
    without_runtime(Process::spawn(double, 1));
    without_runtime(Pool::new(1));
    without_runtime(Licensed::spawn("well"));
    without_runtime(Supervisor::new("shelf").start());
}

#[test]
fn what_is_called_outside_a_runtime_says_so() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (porcelain, pool) = runtime
        .block_on(async { Ok::<_, Error>((Porcelain::spawn(Sound).await?, Pool::new(1).await?)) })
        .unwrap();
    without_runtime(async { Ok(porcelain.taken().await?) });
    without_runtime(async { Ok(porcelain.takes(Sound).tell().await?) });
    without_runtime(async { Ok(pool.run(double, 1).await?) });
    // Whoever has a runtime is not disturbed.
    runtime.block_on(async {
        assert_eq!(porcelain.taken().await.unwrap().0, 0);
        assert_eq!(pool.run(double, 1).await.unwrap(), 2);
        porcelain.stop().await.unwrap();
    });
}

// ---- pools

#[procession::test]
async fn a_pool_of_no_workers_is_refused() {
    for refused in [Pool::new(0).await, Pool::builder().workers(0).build().await] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("one or more"), "{error}");
    }
}

#[procession::test]
async fn a_panic_of_the_input_iterator_reaches_the_caller_and_the_pool_goes_on() {
    let pool = Pool::new(2).await.unwrap();
    for _ in 0..5 {
        for panics_at in [0, 1, 7, 40] {
            let inputs = (0..100).inspect(move |n| assert_ne!(*n, panics_at, "no such input"));
            let mapped = AssertUnwindSafe(pool.map(double, inputs).into_future())
                .catch_unwind()
                .await;
            let message = *mapped.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains("no such input"), "{message}");
            assert_eq!(pool.map(double, 0..4).await.unwrap(), [0, 2, 4, 6]);
        }
    }
}

/// Panics where it is written down.
#[derive(Clone, Copy)]
struct Explosive(u64);

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        assert_ne!(self.0, 7, "not this one");
        (self.0, "some text").serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        <(u64, String)>::deserialize(deserializer).map(|(n, _)| Explosive(n))
    }
}

#[task]
fn defuse(explosive: Explosive) -> u64 {
    explosive.0
}

#[procession::test]
async fn what_came_before_a_panic_of_the_inputs_is_there_for_who_polls_again() {
    let pool = Pool::new(2).await.unwrap();
    let inputs = || (0..).inspect(|n| assert_ne!(*n, 40, "no such input"));
    let mut ordered = pool.map(double, inputs()).stream();
    let mut unordered = pool.map(double, inputs()).unordered();
    let mut unwritten = pool.map(defuse, (0..100).map(Explosive)).stream();
    let ordered = survivors(&mut ordered, "no such input").await;
    assert_eq!(ordered, (0..40).map(|n| 2 * n).collect::<Vec<_>>());
    let mut unordered = survivors(&mut unordered, "no such input").await;
    unordered.sort();
    assert_eq!(unordered, ordered);
    assert_eq!(
        survivors(&mut unwritten, "not this one").await,
        (0..7).collect::<Vec<_>>()
    );

    let mut awaited = pool.map(double, inputs()).into_future();
    let panicked = AssertUnwindSafe(&mut awaited).catch_unwind().await;
    assert!(panicked.is_err());
    let error = within("the map again", &mut awaited).await.unwrap_err();
    assert!(error.to_string().contains("a panic ended the inputs"), "{error}");
}

/// All that a stream yields, which panics once.
async fn survivors<S>(outcomes: &mut S, message: &str) -> Vec<u64>
where
    S: Stream<Item = std::result::Result<u64, TaskError>> + Unpin,
{
    let (mut all, mut n_panics) = (Vec::new(), 0);
    loop {
        match within("an outcome", AssertUnwindSafe(outcomes.next()).catch_unwind()).await {
            Ok(Some(outcome)) => all.push(outcome.unwrap()),
            Ok(None) => break,
            Err(panic) => {
                let said = panic.downcast::<String>().unwrap();
                assert!(said.contains(message), "{said}");
                n_panics += 1;
            }
        }
    }
    assert_eq!(n_panics, 1);
    all
}

#[task]
async fn doubles_by_a_pool_of_its_own(n: u64) -> Result<u64> {
    let pool = Pool::new(2).await?;
    Ok(pool.map(double, 0..n).await?.into_iter().sum())
}

#[task]
async fn nests(depth: u32) -> Result<u32> {
    if depth == 0 {
        return Ok(0);
    }
    let pool = Pool::new(1).await?;
    Ok(1 + Box::pin(pool.run(self::nests, depth - 1)).await?)
}

#[procession::test]
async fn pools_nest() {
    let pool = Pool::new(2).await.unwrap();
    assert_eq!(
        pool.map(doubles_by_a_pool_of_its_own, [3, 4, 5]).await.unwrap(),
        [6, 12, 20]
    );
    assert_eq!(pool.run(nests, 3).await.unwrap(), 3);
}

#[task]
async fn has_children() -> Result<(u32, u64)> {
    let process = Process::spawn(double, 4).await?;
    let shop = Licensed::spawn("well").await?;
    let pid = shop.pid().await?;
    let error = Licensed::spawn("error").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Init);
    Ok((pid, process.join().await?))
}

#[procession::test]
async fn a_task_starts_processes_of_its_own_which_end_with_it() {
    let process = Process::spawn(has_children, ()).await.unwrap();
    let (parent, (child, doubled)) = (process.pid(), process.join().await.unwrap());
    assert_eq!(doubled, 8);
    assert_ne!(parent, child);
    let ended = async {
        while Process::active()
            .await
            .unwrap()
            .iter()
            .any(|info| info.pid == Some(child))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended)
        .await
        .expect("what it started lives on");
}

// ---- ends and garbage

#[task]
fn leaves_with(code: i32) -> u64 {
    std::process::exit(code);
}

#[procession::test]
async fn a_task_that_calls_exit_is_told_from_one_that_returned() {
    let pool = Pool::new(1).await.unwrap();
    for code in [0, 1, 3, 70, 101, 255] {
        let alone = Process::spawn(leaves_with, code)
            .await
            .unwrap()
            .join()
            .await
            .unwrap_err();
        let pooled = pool.run(leaves_with, code).await.unwrap_err();
        for error in [alone, pooled] {
            let TaskError::Died { reason, begun, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(reason, ExitReason::Exited(code));
            assert!(begun);
        }
    }
    assert_eq!(pool.run(double, 2).await.unwrap(), 4);
}

#[task]
fn exits_slowly() -> u64 {
    misuse::exit_slowly();
    7
}

#[procession::test]
async fn a_process_that_has_said_how_it_ends_may_take_its_time_to_exit() {
    let process = Process::spawn(exits_slowly, ()).await.unwrap();
    assert_eq!(process.join().await, Ok(7));
}

#[derive(Default)]
struct Vandal;

/// The log and the control socket of a child, in one order or the other.
const TO_THE_HOST: [i32; 2] = [3, 4];

#[actor]
impl Vandal {
    fn pid(&self) -> u32 {
        std::process::id()
    }
    /// Writes garbage on whatever is no descriptor of the standard three, the log or the control socket.
    fn babbles(&self) {
        misuse::write_garbage(&misuse::talking_descriptors(5));
    }
    /// Leaves no memory that it shares with others, nor any descriptor, as it was.
    fn scribbles_and_hangs(&self) {
        misuse::scribble(&misuse::rings());
        if misuse::rings().is_empty() {
            misuse::write_garbage(&misuse::talking_descriptors(5));
        }
        loop {
            std::thread::park();
        }
    }
    async fn babbles_and_waits(&self) {
        misuse::write_garbage(&misuse::talking_descriptors(5));
        std::future::pending().await
    }
    async fn babbles_to_the_host(&self) {
        misuse::write_garbage(&TO_THE_HOST);
        std::future::pending().await
    }
    async fn hangs_up_on_the_host(&self) {
        misuse::close_descriptors(3, 4);
        std::future::pending().await
    }
    fn hangs_up(&self) {
        misuse::close_descriptors(3, u32::MAX);
    }
    /// As a client of another actor.
    async fn babbles_to(&self, other: VandalRef) -> Result<u32, CallError> {
        let before = misuse::talking_descriptors(5);
        other.pid().await?;
        let mut links = misuse::talking_descriptors(5);
        links.retain(|fd| !before.contains(fd));
        misuse::write_garbage(&links);
        std::future::pending().await
    }
}

fn protocol_error<T: std::fmt::Debug, E: std::fmt::Display>(outcome: Result<T, CallError<E>>) {
    match outcome {
        Err(CallError::Died {
            reason: ExitReason::ProtocolError(what),
            ..
        }) => assert!(!what.is_empty()),
        Err(error) => panic!("expected a protocol error, got: {error}"),
        Ok(value) => panic!("expected a protocol error, got {value:?}"),
    }
}

#[procession::test]
async fn garbage_on_a_link_ends_the_child_that_wrote_it_and_nothing_else() {
    let (vandal, bystander) = (Vandal::spawn().await.unwrap(), Vandal::spawn().await.unwrap());
    let (was, unmoved) = (vandal.pid().await.unwrap(), bystander.pid().await.unwrap());
    let mut exits = vandal.monitor().await.unwrap();
    protocol_error(
        tokio::time::timeout(LONG, vandal.babbles_and_waits())
            .await
            .expect("a hang"),
    );
    let exit = exits.next().await.unwrap();
    assert!(matches!(exit.reason, ExitReason::ProtocolError(_)), "{exit}");
    assert_eq!(exit.pid, was);
    assert_ne!(vandal.pid().await.unwrap(), was);
    protocol_error(
        tokio::time::timeout(LONG, vandal.babbles_to_the_host())
            .await
            .expect("a hang"),
    );
    assert_eq!(bystander.pid().await.unwrap(), unmoved);
}

#[procession::test]
async fn a_child_that_scribbles_over_what_it_shares_is_ended_for_it() {
    let (vandal, bystander) = (Vandal::spawn().await.unwrap(), Vandal::spawn().await.unwrap());
    let unmoved = bystander.pid().await.unwrap();
    protocol_error(
        tokio::time::timeout(LONG, vandal.scribbles_and_hangs())
            .await
            .expect("a hang"),
    );
    assert_ne!(vandal.pid().await.unwrap(), std::process::id());
    assert_eq!(bystander.pid().await.unwrap(), unmoved);
}

#[procession::test]
async fn an_answer_behind_garbage_is_not_believed() {
    if procession::in_use().await.unwrap().link == procession::LinkKind::Ring {
        // Descriptors go beside a ring: garbage there is before no answer and behind none.
        return;
    }
    let vandal = Vandal::spawn().await.unwrap();
    protocol_error(
        tokio::time::timeout(LONG, vandal.babbles())
            .await
            .expect("a hang"),
    );
    assert_ne!(vandal.pid().await.unwrap(), std::process::id());
}

#[procession::test]
async fn garbage_to_an_actor_ends_the_client_that_wrote_it_and_not_the_actor() {
    let (vandal, actor) = (Vandal::spawn().await.unwrap(), Vandal::spawn().await.unwrap());
    let unmoved = actor.pid().await.unwrap();
    protocol_error(
        tokio::time::timeout(LONG, vandal.babbles_to(actor.clone()))
            .await
            .expect("a hang"),
    );
    assert_eq!(actor.pid().await.unwrap(), unmoved);
}

#[procession::test]
async fn a_child_that_closes_its_control_socket_is_ended_for_it() {
    let vandal = Vandal::spawn().await.unwrap();
    protocol_error(
        tokio::time::timeout(LONG, vandal.hangs_up_on_the_host())
            .await
            .expect("a hang"),
    );
    assert_ne!(vandal.pid().await.unwrap(), std::process::id());
}

#[procession::test]
async fn a_child_that_closes_all_its_descriptors_ends_and_nothing_hangs() {
    let vandal = Vandal::spawn().await.unwrap();
    let outcome = tokio::time::timeout(LONG, vandal.hangs_up())
        .await
        .expect("a hang");
    // Over a ring its answer needs no descriptor to be found after its end.
    assert!(
        matches!(outcome, Err(CallError::Died { begun: true, .. }) | Ok(())),
        "{outcome:?}"
    );
    assert_ne!(vandal.pid().await.unwrap(), std::process::id());
}

#[task]
fn closes_all_descriptors() -> u64 {
    misuse::close_descriptors(3, u32::MAX);
    7
}

#[procession::test]
async fn a_task_that_closes_all_its_descriptors_ends_and_costs_one_item() {
    let process = Process::spawn(closes_all_descriptors, ()).await.unwrap();
    let outcome = tokio::time::timeout(LONG, process.join()).await.expect("a hang");
    assert!(
        matches!(outcome, Err(TaskError::Died { begun: true, .. })),
        "{outcome:?}"
    );
    let pool = Pool::new(1).await.unwrap();
    let outcome = tokio::time::timeout(LONG, pool.run(closes_all_descriptors, ()))
        .await
        .expect("a hang");
    assert!(
        matches!(outcome, Err(TaskError::Died { begun: true, .. }) | Ok(7)),
        "{outcome:?}"
    );
    assert_eq!(pool.run(double, 2).await.unwrap(), 4);
}

// ---- odds and ends

static IN_THE_HOST: AtomicU32 = AtomicU32::new(0);

#[task]
fn in_the_child() -> u32 {
    IN_THE_HOST.load(Ordering::Relaxed)
}

#[procession::test]
async fn a_static_that_the_host_set_is_not_set_in_a_child() {
    IN_THE_HOST.store(7, Ordering::Relaxed);
    assert_eq!(
        Process::spawn(in_the_child, ())
            .await
            .unwrap()
            .join()
            .await
            .unwrap(),
        0
    );
}

#[derive(Default)]
struct Sleeper;

#[actor]
impl Sleeper {
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn a_call_to_a_stopped_process_ends_at_its_deadline() {
    let sleeper = Sleeper::spawn().await.unwrap();
    let pid = nix::unistd::Pid::from_raw(sleeper.pid().await.unwrap() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let outcome = sleeper.pid().timeout(Duration::from_millis(50)).await;
    assert!(matches!(outcome, Err(CallError::Timeout)), "{outcome:?}");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert_eq!(sleeper.pid().await.unwrap(), pid.as_raw() as u32);
}

#[procession::test]
async fn a_message_over_the_frame_limit_is_refused_with_its_size_and_the_limit() {
    let size = (64 << 20) + 1;
    let huge = vec![0_u8; size];
    let error = Process::spawn(counts_bytes, huge).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    assert!(text.contains("67108864"), "{text}");
    let said = text.split_whitespace().find_map(|word| word.parse().ok());
    // What else is in the message is small.
    assert!(
        said.is_some_and(|said| (size..size + 64).contains(&said)),
        "{text}"
    );
}

#[task]
fn counts_bytes(bytes: Vec<u8>) -> usize {
    bytes.len()
}
