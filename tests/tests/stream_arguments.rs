//! Streams that are given to methods of actors: pulled no faster than they are read, dropped when nobody reads them, and never
//! silently short.

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{CallError, DeadCause, Error, ErrorKind};
use serde::{Deserialize, Serialize, Serializer};
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tests::{Marker, until, within};

/// As many as may be under way, the one that waits, and the one that is read.
const MOST: u64 = 64 + 2;

#[derive(Default)]
struct Reader {
    kept: Option<BoxStream<'static, procession::Result<u64>>>,
}

#[actor]
impl Reader {
    async fn sum(&self, numbers: impl Stream<Item = u64>) -> u64 {
        numbers.fold(0, |sum, n| async move { sum + n }).await
    }
    /// The same, and says so when it begins, and of each that it has read.
    async fn tally(&self, read: Marker, numbers: impl Stream<Item = u64>) -> u64 {
        let read = &read;
        read.reach();
        numbers
            .fold(0, |sum, n| async move {
                read.reach();
                sum + n
            })
            .await
    }
    async fn count(&self, numbers: impl Stream<Item = procession::Result<u64>>) -> (u64, Option<ErrorKind>) {
        count(numbers).await
    }
    async fn both(&self, a: impl Stream<Item = u64>, times: u64, b: impl Stream<Item = u64>) -> Vec<u64> {
        a.zip(b).map(|(a, b)| times * (a + b)).collect().await
    }
    /// Reads so many and drops the rest.
    async fn first(&self, n: usize, numbers: impl Stream<Item = u64>) -> Vec<u64> {
        numbers.take(n).collect().await
    }
    /// Reads so many, then no more, for ever.
    async fn stall(&self, n: usize, read: Marker, numbers: impl Stream<Item = u64>) {
        let mut numbers = std::pin::pin!(numbers);
        for _ in 0..n {
            numbers.next().await;
            read.reach();
        }
        std::future::pending().await
    }
    async fn fail(&self, numbers: impl Stream<Item = u64> + Unpin) -> Result<u64, String> {
        let mut numbers = numbers;
        Err(format!("after {:?}", numbers.next().await))
    }
    fn keep(&mut self, numbers: impl Stream<Item = procession::Result<u64>> + Send + 'static) {
        self.kept = Some(numbers.boxed());
    }
    async fn kept(&mut self) -> (u64, Option<ErrorKind>) {
        count(self.kept.take().expect("a stream")).await
    }
    fn doubled(&self, numbers: impl Stream<Item = u64>) -> impl Stream<Item = u64> + use<> {
        numbers.map(|n| 2 * n)
    }
    async fn doubled_or_not(
        &self,
        numbers: impl Stream<Item = Result<u64, Error>>,
    ) -> Result<impl Stream<Item = Result<u64, Error>> + use<>, String> {
        Ok(numbers.map(|n| n.map(|n| 2 * n)))
    }
    async fn look(&self, values: impl Stream<Item = Fragile>) -> usize {
        values.count().await
    }
    async fn look_closely(
        &self,
        values: impl Stream<Item = procession::Result<Fragile>>,
    ) -> (usize, Option<ErrorKind>) {
        let (mut count, mut kind) = (0, None);
        let mut values = std::pin::pin!(values);
        while let Some(value) = values.next().await {
            match value {
                Ok(_) => count += 1,
                Err(error) => kind = Some(error.kind()),
            }
        }
        (count, kind)
    }
    fn hang(&mut self, begun: Marker) {
        begun.reach();
        loop {
            std::thread::park();
        }
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// How many numbers there are from 0 on, and how they end where that is no end.
async fn count(numbers: impl Stream<Item = procession::Result<u64>>) -> (u64, Option<ErrorKind>) {
    let mut numbers = std::pin::pin!(numbers);
    let (mut count, mut kind) = (0, None);
    while let Some(number) = numbers.next().await {
        match number {
            Ok(n) => {
                assert_eq!((n, kind), (count, None));
                count += 1;
            }
            Err(error) => kind = Some(error.kind()),
        }
    }
    (count, kind)
}

#[derive(Deserialize)]
enum Fragile {
    Sound,
    Broken,
}

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Fragile::Sound => serializer.serialize_unit_variant("Fragile", 0, "Sound"),
            Fragile::Broken => Err(serde::ser::Error::custom("it is broken")),
        }
    }
}

/// Gives streams to a reader, in a process of its own.
#[derive(Default)]
struct Maker;

#[actor]
impl Maker {
    /// Gives it so many numbers, and no end; returns when it has the stream.
    async fn give(&self, reader: ReaderRef, n: u64, made: Marker) -> Result<u32, CallError> {
        reader.keep(endless(n, made)).await?;
        Ok(std::process::id())
    }
    /// The same in a message that nobody waits for; returns when it is accepted, which is before anybody has it.
    async fn tell(&self, reader: ReaderRef, n: u64, read: Marker) -> Result<u32, CallError> {
        reader.tally(read, endless(n, Marker::new())).tell().await?;
        Ok(std::process::id())
    }
    /// Gives it a stream in a call that has no end.
    async fn call(&self, reader: ReaderRef, read: Marker) -> Result<(), CallError> {
        reader.stall(3, read, stream::iter(0..)).await
    }
}

fn endless(n: u64, made: Marker) -> impl Stream<Item = u64> + Send + 'static {
    let numbers = stream::iter(0..n).map(move |n| {
        made.reach();
        n
    });
    numbers.chain(stream::pending())
}

/// Numbers without end; how many were pulled, and whether they were dropped.
fn watched() -> (
    impl Stream<Item = u64> + Send + 'static,
    Arc<AtomicU64>,
    Arc<AtomicBool>,
) {
    struct Ends(Arc<AtomicBool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let (pulled, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counter, ends) = (pulled.clone(), Ends(dropped.clone()));
    let numbers = stream::iter(0..).map(move |n| {
        let _ = &ends;
        counter.fetch_add(1, SeqCst);
        n
    });
    (numbers, pulled, dropped)
}

async fn reader() -> ReaderRef {
    let spec = Reader::spec()
        .backoff(procession::Backoff::none())
        .intensity(10_000, Duration::from_secs(1));
    within("spawn", spec.spawn()).await.expect("an actor")
}

async fn is_dropped(dropped: &AtomicBool) {
    until("the stream was dropped", || dropped.load(SeqCst)).await;
}

#[procession::test]
async fn ten_thousand_numbers_are_read_in_order_and_then_the_end() {
    let reader = reader().await;
    let sum = within("a sum", reader.sum(stream::iter(0..10_000))).await;
    assert_eq!(sum, Ok(9_999 * 10_000 / 2));
    let counted = within("a count", reader.count(stream::iter(0..10_000))).await;
    assert_eq!(counted, Ok((10_000, None)));
    let none = within("a count", reader.count(stream::empty())).await;
    assert_eq!(none, Ok((0, None)));
    let both = within(
        "two streams",
        reader.both(stream::iter(0..3), 2, stream::iter([10, 20])),
    )
    .await;
    assert_eq!(both, Ok(vec![20, 42]));
}

#[procession::test]
async fn a_stream_is_pulled_no_faster_than_it_is_read() {
    let reader = reader().await;
    let (read, (numbers, pulled, dropped)) = (Marker::new(), watched());
    let call = reader.stall(5, read.clone(), numbers).into_future();
    assert_eq!(pulled.load(SeqCst), 0);
    let call = tokio::spawn(call);
    read.reached(5).await;
    until("as many were pulled as may be", || pulled.load(SeqCst) >= 64).await;
    for _ in 0..100 {
        within("a call", reader.pid()).await.expect("a pid");
    }
    assert!(pulled.load(SeqCst) <= 5 + MOST, "{pulled:?}");
    assert!(!dropped.load(SeqCst));
    // And it ends with the call.
    call.abort();
    is_dropped(&dropped).await;
    assert!(pulled.load(SeqCst) <= 5 + MOST, "{pulled:?}");
}

#[procession::test]
async fn a_stream_is_dropped_with_its_reader() {
    let reader = reader().await;
    let (numbers, _, dropped) = watched();
    let first = within("a call", reader.first(3, numbers)).await;
    assert_eq!(first, Ok(vec![0, 1, 2]));
    is_dropped(&dropped).await;
    // Also where it has nothing to yield.
    let (numbers, _, dropped) = watched();
    let numbers = numbers.take(3).chain(stream::pending());
    let first = within("a call", reader.first(3, numbers)).await;
    assert_eq!(first, Ok(vec![0, 1, 2]));
    is_dropped(&dropped).await;
}

#[procession::test]
async fn a_stream_is_dropped_where_its_call_comes_to_nothing() {
    let reader = reader().await;
    let (numbers, pulled, dropped) = watched();
    drop(reader.sum(numbers));
    is_dropped(&dropped).await;
    assert_eq!(pulled.load(SeqCst), 0);
    let (numbers, _, dropped) = watched();
    let late = reader
        .stall(0, Marker::new(), numbers)
        .timeout(Duration::from_millis(20));
    assert_eq!(within("a call", late).await, Err(CallError::Timeout));
    is_dropped(&dropped).await;
    let (numbers, _, dropped) = watched();
    let failed = within("a call", reader.fail(numbers)).await;
    assert_eq!(failed, Err(CallError::Failed("after Some(0)".to_owned())));
    is_dropped(&dropped).await;
    within("a stop", reader.stop()).await.expect("it stops");
    let (numbers, pulled, dropped) = watched();
    assert_eq!(
        within("a call", reader.sum(numbers)).await,
        Err(CallError::Stopped)
    );
    is_dropped(&dropped).await;
    assert!(pulled.load(SeqCst) <= MOST);
}

#[procession::test]
async fn a_stream_outlives_the_call_that_it_was_given_to() {
    let reader = reader().await;
    within("a call", reader.keep(stream::iter(0..1000)))
        .await
        .expect("an answer");
    assert_eq!(within("a call", reader.kept()).await, Ok((1000, None)));
    within("a message", reader.keep(stream::iter(0..1000)).tell())
        .await
        .expect("it is accepted");
    assert_eq!(within("a call", reader.kept()).await, Ok((1000, None)));
    reader
        .keep(stream::iter(0..1000))
        .try_tell()
        .expect("it is accepted");
    assert_eq!(within("a call", reader.kept()).await, Ok((1000, None)));
    // To its reader's death.
    let (numbers, _, dropped) = watched();
    within("a call", reader.keep(numbers)).await.expect("an answer");
    let pid = within("a call", reader.pid()).await.expect("a pid");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a process");
    is_dropped(&dropped).await;
}

#[procession::test]
async fn a_stream_whose_maker_is_killed_ends_with_an_error() {
    let reader = reader().await;
    for n in [0, 1, 63, 64] {
        let (maker, made) = (
            within("spawn", Maker::spawn()).await.expect("an actor"),
            Marker::new(),
        );
        let pid = within("a call", maker.give(reader.clone(), n, made.clone()))
            .await
            .expect("a pid");
        made.reached(n).await;
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a process");
        let (count, kind) = within("a call", reader.kept()).await.expect("an answer");
        assert_eq!(kind, Some(ErrorKind::Died));
        // The last may not have been sent.
        assert!((n.saturating_sub(1)..=n).contains(&count), "{count} of {n}");
    }
}

#[procession::test]
async fn a_method_that_reads_plain_items_is_dropped_where_they_break_off() {
    let reader = reader().await;
    for (before, n) in [0, 3].into_iter().enumerate() {
        let (maker, read) = (
            within("spawn", Maker::spawn()).await.expect("an actor"),
            Marker::new(),
        );
        let pid = within("a call", maker.tell(reader.clone(), n, read.clone()))
            .await
            .expect("a pid");
        read.reached(1 + n).await;
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a process");
        let dead = async {
            loop {
                let mut letters = reader.dead_letters().await.expect("dead letters");
                if letters.len() > before {
                    break letters.pop().expect("a letter");
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let letter = within("a dead letter", dead).await;
        assert_eq!(letter.method, "tally");
        assert!(
            matches!(&letter.cause, DeadCause::Unread(why) if why.contains("died")),
            "{letter:?}"
        );
    }
    assert_eq!(within("a sum", reader.sum(stream::iter(0..4))).await, Ok(6));
}

#[procession::test]
async fn a_call_whose_caller_is_killed_is_cancelled_with_its_stream() {
    let reader = reader().await;
    let (maker, read) = (
        within("spawn", Maker::spawn()).await.expect("an actor"),
        Marker::new(),
    );
    let called = tokio::spawn(maker.call(reader.clone(), read.clone()).into_future());
    read.reached(3).await;
    within("a kill", maker.kill()).await.expect("it is killed");
    within("the end of a call", called)
        .await
        .expect("a task")
        .expect_err("it was killed");
    let none = async {
        while reader.in_flight().await.expect("a count") > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("an end", none).await;
}

#[procession::test]
async fn a_stream_that_is_made_of_another_ends_as_that_does() {
    let reader = reader().await;
    let doubled = within("a stream", reader.doubled(stream::iter(0..5000)))
        .await
        .expect("a stream");
    let numbers: Vec<_> = within("its items", doubled.collect()).await;
    assert_eq!(numbers, (0..5000).map(|n| Ok(2 * n)).collect::<Vec<_>>());
    let doubled = within("a stream", reader.doubled_or_not(stream::iter(0..100)))
        .await
        .expect("a stream");
    let numbers: Vec<_> = within("its items", doubled.collect()).await;
    assert_eq!(numbers, (0..100).map(|n| Ok(Ok(2 * n))).collect::<Vec<_>>());
    // Both are read in step, and dropped together.
    let (numbers, pulled, dropped) = watched();
    let mut doubled = within("a stream", reader.doubled(numbers))
        .await
        .expect("a stream");
    for n in 0..10 {
        assert_eq!(within("an item", doubled.next()).await, Some(Ok(2 * n)));
    }
    for _ in 0..50 {
        within("a call", reader.pid()).await.expect("a pid");
    }
    assert!(pulled.load(SeqCst) <= 10 + 64 + MOST, "{pulled:?}");
    drop(doubled);
    is_dropped(&dropped).await;
}

#[procession::test]
async fn an_item_that_cannot_be_sent_is_an_error_where_it_is_read() {
    let reader = reader().await;
    let values = || stream::iter([Fragile::Sound, Fragile::Sound, Fragile::Broken, Fragile::Sound]);
    let seen = within("a call", reader.look_closely(values())).await;
    assert_eq!(seen, Ok((2, Some(ErrorKind::Codec))));
    match within("a call", reader.look(values())).await {
        Err(CallError::Other(error)) => {
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert!(format!("{error:#}").contains("it is broken"), "{error:#}");
        }
        other => panic!("expected an error, got {other:?}"),
    }
}

#[procession::test]
async fn a_stream_goes_with_a_call_to_the_next_incarnation() {
    let reader = reader().await;
    let pid = within("a call", reader.pid()).await.expect("a pid");
    let begun = Marker::new();
    let hangs = tokio::spawn(reader.hang(begun.clone()).into_future());
    begun.reached(1).await;
    let mut sum = reader.sum(stream::iter(0..1000)).into_future();
    assert_eq!((&mut sum).now_or_never(), None);
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a process");
    assert_eq!(within("a sum", sum).await, Ok(999 * 1000 / 2));
    within("the end of a call", hangs)
        .await
        .expect("a task")
        .expect_err("it was killed");
}
