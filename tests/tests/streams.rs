//! Streams of actors: no faster than they are read, ended at once, and never silently short.

use futures::Stream;
use futures::future::poll_immediate;
use futures::stream;
use procession::prelude::*;
use procession::{ErrorKind, Sender};
use std::time::Duration;
use tests::{Counts, Fault, Marker, until, within};

/// Yields numbers, and marks what happens.
struct Source {
    made: Marker,
    dropped: Marker,
}

/// Marks its end.
struct Ends(Marker);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.reach();
    }
}

#[actor]
impl Source {
    #[init]
    fn new(made: Marker, dropped: Marker) -> Self {
        Source { made, dropped }
    }
    /// Numbers without end, each marked when it is made.
    fn marked(&self) -> impl Stream<Item = u64> + use<> {
        let (made, ends) = (self.made.clone(), Ends(self.dropped.clone()));
        stream::iter(0..).map(move |n| {
            let _ = &ends;
            made.reach();
            n
        })
    }
    fn upto(&self, n: u64) -> impl Stream<Item = u64> + use<> {
        stream::iter(0..n)
    }
    async fn later(&mut self, n: u64) -> Result<impl Stream<Item = u64> + use<>, String> {
        tokio::task::yield_now().await;
        match n {
            0 => Err("nothing to yield".to_owned()),
            n => Ok(stream::iter(0..n)),
        }
    }
    fn results(&self) -> impl Stream<Item = Result<u64, String>> + use<> {
        stream::iter([Ok(1), Err("two".to_owned()), Ok(3)])
    }
    fn blocks(&self, count: u64, size: usize) -> impl Stream<Item = Vec<u8>> + use<> {
        let made = self.made.clone();
        stream::iter(0..count).map(move |n| {
            made.reach();
            vec![n as u8; size]
        })
    }
    /// Yields some, then strikes.
    fn strikes(&self, after: u64, fault: Fault) -> impl Stream<Item = u64> + use<> {
        stream::iter(0..).map(move |n| {
            if n == after {
                fault.strike();
            }
            n
        })
    }
    fn pending(&self) -> impl Stream<Item = u64> + use<> {
        let ends = Ends(self.dropped.clone());
        stream::pending().map(move |n| {
            let _ = &ends;
            n
        })
    }
    fn touch(&mut self) {}
    async fn linger(&self) -> impl Stream<Item = u64> + use<> {
        std::future::pending::<()>().await;
        stream::empty()
    }
    /// Sends on what it reads.
    async fn relay(&self, mut from: Receiver<u64>, to: Sender<u64>) -> procession::Result<u64> {
        let mut count = 0;
        while let Some(n) = from.recv().await? {
            to.send(n).await?;
            count += 1;
        }
        Ok(count)
    }
}

/// Reads another actor's stream.
#[derive(Default)]
struct Reader;

#[actor]
impl Reader {
    async fn sum(&self, of: SourceRef, upto: u64) -> Result<u64, String> {
        let numbers = of.upto(upto).await.map_err(|error| error.to_string())?;
        Ok(numbers
            .map(|n| n.expect("a number"))
            .fold(0, |sum, n| async move { sum + n })
            .await)
    }
}

struct Setup {
    source: SourceRef,
    made: Marker,
    dropped: Marker,
}

async fn setup() -> Setup {
    let (made, dropped) = (Marker::new(), Marker::new());
    let spec = Source::spec(made.clone(), dropped.clone())
        .backoff(procession::Backoff::none())
        .intensity(10_000, Duration::from_secs(1));
    Setup {
        source: within("spawn", spec.spawn()).await.expect("an actor"),
        made,
        dropped,
    }
}

async fn next<T>(stream: &mut procession::CallStream<T>) -> Option<Result<T, CallError>> {
    within("an item", stream.next()).await
}

#[procession::test]
async fn ten_thousand_items_arrive_in_order_and_then_the_end() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    let mut numbers = source.upto(10_000).await.unwrap();
    for n in 0..10_000 {
        assert_eq!(next(&mut numbers).await, Some(Ok(n)));
    }
    assert_eq!(next(&mut numbers).await, None);
    assert_eq!(next(&mut numbers).await, None);
    assert_eq!(source.in_flight().await.unwrap(), 0);
}

#[procession::test]
async fn a_stream_does_nothing_until_it_is_read_and_yields_no_faster_than_that() {
    let Setup {
        source,
        made,
        dropped: _dropped,
    } = setup().await;
    let mut numbers = source.marked().await.unwrap();
    within("another call", source.touch()).await.unwrap();
    assert_eq!(made.count(), 0);
    for n in 0..200 {
        assert_eq!(next(&mut numbers).await, Some(Ok(n)));
        within("another call", source.touch()).await.unwrap();
        // What was read, and one window.
        assert!(made.count() <= n + 1 + 64, "{} at {n}", made.count());
    }
    let Setup {
        source,
        made,
        dropped: _dropped,
    } = setup().await;
    let mut blocks = source.blocks(1000, 300_000).await.unwrap();
    assert!(next(&mut blocks).await.is_some());
    until("as much as fits is made", || made.count() >= 3).await;
    within("another call", source.touch()).await.unwrap();
    assert!(made.count() <= 6, "{}", made.count());
}

#[procession::test]
async fn large_items_pass_one_by_one() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    let mut blocks = source.blocks(5, 5 << 20).await.unwrap();
    for n in 0..5 {
        let block = next(&mut blocks).await.unwrap().unwrap();
        assert!(block.len() == 5 << 20 && block.iter().all(|byte| *byte == n));
    }
    assert_eq!(next(&mut blocks).await, None);
    // Past the limit of a message: the stream ends with why.
    let mut blocks = source.blocks(5, 65 << 20).await.unwrap();
    let Some(Err(CallError::Other(error))) = next(&mut blocks).await else {
        panic!("an item over the limit");
    };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(next(&mut blocks).await, None);
}

#[procession::test]
async fn a_stream_that_is_dropped_drops_its_producer() {
    let Setup {
        source,
        dropped,
        made: _made,
    } = setup().await;
    let mut numbers = source.marked().await.unwrap();
    assert_eq!(next(&mut numbers).await, Some(Ok(0)));
    let unread = source.marked().await.unwrap();
    let mut pending = source.pending().await.unwrap();
    assert!(poll_immediate(pending.next()).await.is_none());
    assert_eq!(source.in_flight().await.unwrap(), 3);
    drop((numbers, unread, pending));
    // In the order of the data: behind the cancels.
    assert_eq!(source.in_flight().await.unwrap(), 0);
    assert_eq!(dropped.count(), 3);
    // A call whose stream is not there yet.
    let linger = tokio::time::timeout(Duration::from_millis(20), source.linger().into_future());
    assert!(linger.await.is_err());
    assert_eq!(source.in_flight().await.unwrap(), 0);
    let late = source.linger().timeout(Duration::from_millis(20)).await;
    assert!(matches!(late, Err(CallError::Timeout)));
}

#[procession::test]
async fn the_death_of_the_producer_is_the_last_item() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    for (after, fault) in [
        (0, Fault::Panic),
        (100, Fault::Kill),
        (1, Fault::Abort),
        (3, Fault::Exit(0)),
    ] {
        let mut numbers = source.strikes(after, fault).await.unwrap();
        let mut read = 0;
        let last = loop {
            match next(&mut numbers).await {
                Some(Ok(n)) => {
                    assert_eq!(n, read);
                    read += 1;
                }
                last => break last,
            }
        };
        let Some(Err(CallError::Died {
            reason, begun: true, ..
        })) = last
        else {
            panic!("{fault:?}: {last:?}");
        };
        assert!(fault.is_reason(&reason), "{fault:?}: {reason}");
        assert!(read <= after);
        assert_eq!(next(&mut numbers).await, None);
    }
    // At rest.
    let mut pending = source.pending().await.unwrap();
    assert!(poll_immediate(pending.next()).await.is_none());
    within("kill", source.kill()).await.unwrap();
    let last = next(&mut pending).await;
    assert!(
        matches!(last, Some(Err(CallError::Died { begun: true, .. }))),
        "{last:?}"
    );
    assert_eq!(next(&mut pending).await, None);
    // The next incarnation yields anew.
    let numbers = within("a stream", source.upto(3)).await.unwrap();
    assert_eq!(within("all", numbers.count()).await, 3);
}

#[procession::test]
async fn a_stop_ends_streams_and_says_so() {
    let Setup {
        source,
        dropped,
        made: _made,
    } = setup().await;
    let mut numbers = source.marked().await.unwrap();
    let mut pending = source.pending().await.unwrap();
    assert_eq!(next(&mut numbers).await, Some(Ok(0)));
    assert!(poll_immediate(pending.next()).await.is_none());
    within("stop", source.stop()).await.unwrap();
    assert_eq!(next(&mut pending).await, Some(Err(CallError::Stopped)));
    let last = within(
        "the end",
        numbers.filter(|n| std::future::ready(n.is_err())).next(),
    )
    .await;
    assert_eq!(last, Some(Err(CallError::Stopped)));
    assert_eq!(dropped.count(), 2);
    assert!(matches!(
        within("a call", source.upto(1)).await,
        Err(CallError::Stopped)
    ));
}

#[procession::test]
async fn a_stream_holds_the_actor_only_while_its_method_runs() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    let mut numbers = source.marked().await.unwrap();
    assert_eq!(next(&mut numbers).await, Some(Ok(0)));
    within("an exclusive method", source.touch()).await.unwrap();
    let mut others = Vec::new();
    for n in 1..20 {
        others.push(within("another stream", source.later(n)).await.unwrap());
    }
    for (n, other) in (1..).zip(others) {
        assert_eq!(within("all", other.count()).await, n);
    }
    assert_eq!(next(&mut numbers).await, Some(Ok(1)));
}

#[procession::test]
async fn a_method_may_fail_before_there_is_a_stream_and_items_may_be_results() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    let failed = within("a call", source.later(0)).await.unwrap_err();
    assert_eq!(failed, CallError::Failed("nothing to yield".to_owned()));
    let results: Vec<_> = source
        .results()
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(results, [Ok(1), Err("two".to_owned()), Ok(3)]);
}

#[procession::test]
async fn an_actor_reads_the_stream_of_another() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    let reader = within("spawn", Reader::spawn()).await.unwrap();
    let sum = within("sum", reader.sum(source, 10_000)).await.unwrap();
    assert_eq!(sum, (0..10_000).sum());
}

#[procession::test]
async fn a_stream_goes_in_as_a_receiver() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    let (to, from) = procession::channel(8).unwrap();
    let (back, mut returned) = procession::channel(8).unwrap();
    let relay = source.relay(from, back);
    let send = async {
        for n in 0..1000 {
            to.send(n).await.unwrap();
        }
        drop(to);
    };
    let read = async {
        for n in 0..1000 {
            assert_eq!(returned.recv().await.unwrap(), Some(n));
        }
        assert_eq!(returned.recv().await.unwrap(), None);
    };
    let all = futures::future::join3(relay.into_future(), send, read);
    assert_eq!(within("all", all).await.0.unwrap(), 1000);
}

#[procession::test]
async fn streams_leave_nothing_behind() {
    let Setup {
        source,
        made: _made,
        dropped: _dropped,
    } = setup().await;
    within("a call", source.touch()).await.unwrap();
    let before = Counts::now();
    for n in 0..200 {
        let mut numbers = source.marked().await.unwrap();
        if n % 2 == 0 {
            assert_eq!(next(&mut numbers).await, Some(Ok(0)));
        }
        let all = source.upto(n).await.unwrap();
        assert_eq!(within("all", all.count()).await as u64, n);
    }
    assert_eq!(source.in_flight().await.unwrap(), 0);
    before.return_to().await;
}
