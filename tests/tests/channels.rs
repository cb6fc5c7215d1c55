//! Ends of pipes and channels in other processes: through every door, handed on, and what each side hears of the other's end.

use futures::future::{join, poll_immediate};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{Backoff, ErrorKind, SendError, broadcast, channel, oneshot, pipe, watch};
use serde::{Deserialize, Serialize};
use std::future::IntoFuture as _;
use std::pin::pin;
use std::time::Duration;
use tests::{Counts, Fault, Marker, within};

type Numbers = Connection<u64, u64>;

/// Doubles what it receives, until the end.
#[task]
async fn doubler(mut end: Numbers) -> procession::Result<u64> {
    let mut count = 0;
    while let Some(n) = end.recv().await? {
        end.send(2 * n).await?;
        count += 1;
    }
    Ok(count)
}

/// Makes a pipe there, uses it, and gives one end back.
#[task]
async fn gives_back() -> procession::Result<(Numbers, u64)> {
    let (mut a, b) = pipe()?;
    b.send(1).await?;
    b.send(2).await?;
    let first = a.recv().await?.expect("a number");
    tokio::spawn(async move {
        // Keeps the other end until the one that was given back is gone.
        b.closed().await;
    });
    Ok((a, first))
}

#[task]
async fn answers(to: oneshot::Sender<u64>, n: u64) -> procession::Result<()> {
    Ok(to.send(n).await?)
}

#[task]
async fn awaits(from: oneshot::Receiver<u64>) -> procession::Result<u64> {
    from.await
}

/// Holds an end, and strikes when it is told to.
#[task]
async fn strikes(mut end: Connection<Vec<u8>, ()>, fault: Fault, size: usize) -> procession::Result<()> {
    if size > 0 {
        end.send(vec![7; size]).await?;
    }
    end.recv().await?;
    fault.strike();
    Ok(())
}

/// Sends an item that nobody reads, so that it stays in the middle of it.
#[task]
async fn stuck(end: Connection<Vec<u8>, ()>, at: Marker) -> procession::Result<()> {
    let item = vec![7; 8 << 20];
    let send = end.send(item);
    let reach = async {
        tokio::task::yield_now().await;
        at.reach();
    };
    join(send, reach).await.0?;
    Ok(())
}

/// Keeps ends.
#[derive(Default)]
struct Keeper {
    end: Option<Numbers>,
}

#[actor]
impl Keeper {
    #[init]
    fn new(end: Option<Numbers>) -> Self {
        Keeper { end }
    }
    fn keep(&mut self, end: Numbers) {
        self.end = Some(end);
    }
    async fn next(&mut self) -> procession::Result<Option<u64>> {
        match &mut self.end {
            Some(end) => end.recv().await,
            None => Err(procession::Error::msg("no end")),
        }
    }
    async fn send(&mut self, n: u64) -> procession::Result<()> {
        match &self.end {
            Some(end) => Ok(end.send(n).await?),
            None => Err(procession::Error::msg("no end")),
        }
    }
    fn give(&mut self) -> Option<Numbers> {
        self.end.take()
    }
}

/// An end in a struct in an enum.
#[derive(Debug, Serialize, Deserialize)]
enum Parcel {
    Ends { ends: Vec<Numbers>, label: String },
    None,
}

async fn recv<S, R: procession::Wire>(end: &mut Connection<S, R>) -> procession::Result<Option<R>> {
    within("an item", end.recv()).await
}

#[procession::test]
async fn an_end_works_as_the_input_of_a_task() {
    let (mut here, there) = pipe().unwrap();
    let process = within("spawn", Process::spawn(doubler, there)).await.unwrap();
    for n in 0..1000 {
        within("send", here.send(n)).await.unwrap();
        assert_eq!(recv(&mut here).await.unwrap(), Some(2 * n));
    }
    drop(here);
    assert_eq!(within("join", process.join()).await.unwrap(), 1000);
}

#[procession::test]
async fn an_end_that_a_task_gives_back_has_what_it_had_not_received() {
    let process = Process::spawn(gives_back, ()).await.unwrap();
    let (mut end, first) = within("join", process.join()).await.unwrap();
    assert_eq!(first, 1);
    assert_eq!(recv(&mut end).await.unwrap(), Some(2));
    // What the runtime of the task held was dropped at its end.
    assert_eq!(recv(&mut end).await.unwrap(), None);
}

#[procession::test]
async fn an_end_works_as_the_item_of_a_pool() {
    let pool = Pool::new(2).await.unwrap();
    let (ends, theirs): (Vec<_>, Vec<_>) = (0..5).map(|_| pipe::<u64, u64>().unwrap()).unzip();
    let mapped = tokio::spawn(async move { pool.map(doubler, theirs).await });
    for (n, mut end) in ends.into_iter().enumerate() {
        within("send", end.send(n as u64)).await.unwrap();
        assert_eq!(recv(&mut end).await.unwrap(), Some(2 * n as u64));
    }
    assert_eq!(within("map", mapped).await.unwrap().unwrap(), [1; 5]);
}

#[procession::test]
async fn an_end_works_in_init_in_calls_and_in_replies_and_is_handed_on_after_use() {
    let (mut here, there) = pipe().unwrap();
    let first = within("spawn", Keeper::spawn(Some(there))).await.unwrap();
    for n in 0..10 {
        here.send(n).await.unwrap();
    }
    assert_eq!(first.next().await.unwrap(), Some(0));
    // From its actor to here, on to another, and back again: each takes one.
    let mut end = first.give().await.unwrap().expect("the end");
    assert_eq!(recv(&mut end).await.unwrap(), Some(1));
    let second = within("spawn", Keeper::spawn(None)).await.unwrap();
    second.keep(end).await.unwrap();
    assert_eq!(second.next().await.unwrap(), Some(2));
    second.send(100).await.unwrap();
    assert_eq!(recv(&mut here).await.unwrap(), Some(100));
    let end = second.give().await.unwrap().expect("the end");
    first.keep(end).tell().await.unwrap();
    for n in 3..10 {
        assert_eq!(first.next().await.unwrap(), Some(n));
    }
    drop(here);
    assert_eq!(first.next().await.unwrap(), None);
}

#[procession::test]
async fn ends_travel_in_values_and_through_other_ends() {
    let (carrier, mut carried) = pipe::<Parcel, Parcel>().unwrap();
    let (a, mut b) = pipe::<u64, u64>().unwrap();
    a.send(1).await.unwrap();
    let ends = vec![a];
    let label = "one".to_owned();
    carrier.send(Parcel::Ends { ends, label }).await.unwrap();
    carrier.send(Parcel::None).await.unwrap();
    let Some(Parcel::Ends { mut ends, label }) = recv(&mut carried).await.unwrap() else {
        panic!("no ends");
    };
    assert_eq!(label, "one");
    let a = ends.pop().unwrap();
    b.send(2).await.unwrap();
    a.send(3).await.unwrap();
    assert_eq!(recv(&mut b).await.unwrap(), Some(1));
    assert_eq!(recv(&mut b).await.unwrap(), Some(3));
    assert!(matches!(recv(&mut carried).await.unwrap(), Some(Parcel::None)));
    drop(a);
    assert_eq!(recv(&mut b).await.unwrap(), None);
}

#[procession::test]
async fn what_was_read_and_what_was_not_written_goes_along() {
    let (mut here, there) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
    let (carrier, mut carried) = pipe::<Blocks, ()>().unwrap();
    let mut there = there;
    for round in 0..5_u8 {
        for n in 0..20 {
            here.try_send(vec![10 * round + n % 10; 30_000]).unwrap();
        }
        // Only some of it fits onto the transport.
        for n in 0..20 {
            there.try_send(vec![n; 50_000]).unwrap();
        }
        for n in 0..20 {
            let item = recv(&mut there).await.unwrap().unwrap();
            assert_eq!(item, vec![10 * round + n % 10; 30_000]);
            if n % 7 == 3 {
                let (sent, next) = join(carrier.send(there), carried_next(&mut carried)).await;
                sent.unwrap();
                there = next;
            }
        }
        let flush = async {
            let sent = there.send(vec![99]).await;
            sent.unwrap();
        };
        let read = async {
            for n in 0..20 {
                assert_eq!(recv(&mut here).await.unwrap(), Some(vec![n; 50_000]));
            }
            assert_eq!(recv(&mut here).await.unwrap(), Some(vec![99]));
        };
        within("both", join(flush, read)).await;
    }
}

type Blocks = Connection<Vec<u8>, Vec<u8>>;

async fn carried_next(carried: &mut Connection<(), Blocks>) -> Blocks {
    within("an end", carried.recv()).await.unwrap().unwrap()
}

#[procession::test]
async fn an_end_whose_process_is_killed_is_an_error_and_then_the_end() {
    for fault in [Fault::Kill, Fault::Panic, Fault::Exit(0), Fault::Abort] {
        for size in [0, 100, 4 << 20] {
            let (mut here, there) = pipe::<(), Vec<u8>>().unwrap();
            let process = Process::spawn(strikes, (there, fault, size)).await.unwrap();
            if size > 0 {
                assert_eq!(recv(&mut here).await.unwrap().map(|item| item.len()), Some(size));
            }
            here.send(()).await.unwrap();
            let error = recv(&mut here).await.unwrap_err();
            assert!(
                error.kind() == ErrorKind::Died && error.is_gone(),
                "{fault:?}: {error}"
            );
            assert_eq!(recv(&mut here).await.unwrap(), None);
            assert!(matches!(
                within("send", here.send(())).await,
                Err(SendError::Closed(()))
            ));
            within("wait", process.wait()).await;
        }
    }
}

#[procession::test]
async fn an_item_that_was_cut_short_by_a_kill_is_an_error() {
    let (mut here, there) = pipe::<(), Vec<u8>>().unwrap();
    let at = Marker::new();
    let process = Process::spawn(stuck, (there, at.clone())).await.unwrap();
    at.reached(1).await;
    within("kill", process.kill()).await.unwrap();
    let error = recv(&mut here).await.unwrap_err();
    assert!(error.to_string().contains("in the middle of an item"), "{error}");
    assert_eq!(recv(&mut here).await.unwrap(), None);
}

#[procession::test]
async fn a_receiver_that_never_reads_bounds_what_is_sent_to_it() {
    let (here, there) = pipe::<u64, u64>().unwrap();
    let at = Marker::new();
    let process = Process::spawn(idles, (there, at.clone())).await.unwrap();
    at.reached(1).await;
    let mut sent = 0;
    while here.try_send(sent).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 256);
    assert!(matches!(here.try_send(0), Err(SendError::Full(0))));
    let waits = tokio::time::timeout(Duration::from_millis(50), here.send(0));
    assert!(waits.await.is_err());
    within("kill", process.kill()).await.unwrap();
    assert!(matches!(
        within("send", here.send(7)).await,
        Err(SendError::Closed(7))
    ));
}

#[task]
async fn idles(end: Numbers, at: Marker) {
    at.reach();
    std::future::pending::<()>().await;
    drop(end);
}

#[procession::test]
async fn a_full_end_that_is_dropped_still_says_goodbye() {
    let (mut here, there) = pipe::<(), Vec<u8>>().unwrap();
    let mut count = 0;
    while there.try_send(vec![0; 1000]).is_ok() {
        count += 1;
    }
    assert_eq!(count, 256);
    drop(there);
    for _ in 0..count {
        assert_eq!(recv(&mut here).await.unwrap().map(|item| item.len()), Some(1000));
    }
    assert_eq!(recv(&mut here).await.unwrap(), None);
    // As much as the transport takes, and no more.
    let (mut here, there) = pipe::<(), Vec<u8>>().unwrap();
    let mut count = 0;
    let fill = |there: Connection<Vec<u8>, ()>| async move {
        while tokio::time::timeout(Duration::from_millis(20), there.send(vec![0; 8000]))
            .await
            .is_ok_and(|sent| sent.is_ok())
        {
            count += 1;
        }
        (there, count)
    };
    let (there, count) = fill(there).await;
    assert!(count > 10, "{count}");
    drop(there);
    for _ in 0..count {
        assert_eq!(recv(&mut here).await.unwrap().map(|item| item.len()), Some(8000));
    }
    let last = recv(&mut here).await;
    // The send that was given up was in its item or behind it.
    assert!(matches!(last, Ok(Some(_)) | Err(_)), "{last:?}");
}

#[procession::test]
async fn a_oneshot_works_both_ways_and_tells_who_did_not_answer() {
    let (sender, receiver) = oneshot::channel().unwrap();
    Process::spawn(answers, (sender, 42)).await.unwrap();
    assert_eq!(within("an answer", receiver).await.unwrap(), 42);

    let (sender, receiver) = oneshot::channel().unwrap();
    let process = Process::spawn(awaits, receiver).await.unwrap();
    sender.send(7).await.unwrap();
    assert_eq!(within("join", process.join()).await.unwrap(), 7);

    let (sender, receiver) = oneshot::channel::<u64>().unwrap();
    drop(sender);
    assert_eq!(
        within("an end", receiver).await.unwrap_err().kind(),
        ErrorKind::Closed
    );

    let (sender, receiver) = oneshot::channel::<u64>().unwrap();
    let at = Marker::new();
    let process = Process::spawn(keeps_silent, (sender, at.clone())).await.unwrap();
    at.reached(1).await;
    process.kill().await.unwrap();
    assert_eq!(
        within("an end", receiver).await.unwrap_err().kind(),
        ErrorKind::Died
    );

    let (mut sender, receiver) = oneshot::channel::<u64>().unwrap();
    assert!(!sender.is_closed());
    drop(receiver);
    within("an end", sender.closed()).await;
    assert!(matches!(sender.send(1).await, Err(SendError::Closed(1))));
}

#[task]
async fn keeps_silent(to: oneshot::Sender<u64>, at: Marker) {
    at.reach();
    std::future::pending::<()>().await;
    drop(to);
}

#[procession::test]
async fn an_end_in_init_is_for_the_first_incarnation() {
    let (here, there) = pipe().unwrap();
    let spec = Keeper::spec(Some(there)).intensity(3, Duration::from_secs(5));
    let keeper = within("spawn", spec.spawn()).await.unwrap();
    here.send(1).await.unwrap();
    assert_eq!(keeper.next().await.unwrap(), Some(1));
    within("kill", keeper.kill()).await.unwrap();
    let ended = within("an end", keeper.next()).await.unwrap_err();
    assert!(!matches!(ended, CallError::Timeout), "{ended}");
}

/// Sends its share of numbers, in order.
#[task]
async fn produces(who: u64, count: u64, to: Sender<(u64, u64)>) -> procession::Result<()> {
    for n in 0..count {
        to.send((who, n)).await?;
    }
    Ok(())
}

/// Sends one, and drops its sender; ends when it is told to.
#[task]
async fn sends_one_and_stays(to: Sender<u64>) -> procession::Result<()> {
    to.send(1).await?;
    drop(to);
    std::future::pending().await
}

/// Sums what it receives, and hands the receiver on half-way.
#[task]
async fn sums(
    mut from: Receiver<u64>,
    upto: u64,
    on: oneshot::Sender<Receiver<u64>>,
) -> procession::Result<u64> {
    let mut sum = 0;
    while let Some(n) = from.recv().await? {
        sum += n;
        if n == upto {
            on.send(from).await?;
            break;
        }
    }
    Ok(sum)
}

/// Sends what it is told to, for as long as it lives and lives again.
struct Publisher {
    to: Sender<u64>,
}

#[actor]
impl Publisher {
    #[init]
    fn new(to: Sender<u64>) -> Self {
        Publisher { to }
    }
    async fn publish(&self, n: u64) -> procession::Result<()> {
        Ok(self.to.send(n).await?)
    }
    async fn produce(&self, to: Sender<u64>, count: u64) -> procession::Result<()> {
        for n in 0..count {
            to.send(n).await?;
        }
        Ok(())
    }
}

#[procession::test]
async fn ten_thousand_items_of_each_of_several_processes_arrive_in_order() {
    let (sender, mut receiver) = channel(64).unwrap();
    for who in 0..3 {
        let input = (who, 10_000, sender.clone());
        within("spawn", Process::spawn(produces, input)).await.unwrap();
    }
    drop(sender);
    let mut next = [0; 3];
    while let Some(item) = within("an item", receiver.next()).await {
        let (who, n) = item.unwrap();
        assert_eq!(n, next[who as usize]);
        next[who as usize] += 1;
    }
    assert_eq!(next, [10_000; 3]);
}

#[procession::test]
async fn the_end_comes_when_the_last_sender_is_dropped_wherever_it_is() {
    let (sender, mut receiver) = channel::<u64>(4).unwrap();
    let process = Process::spawn(sends_one_and_stays, sender.clone()).await.unwrap();
    assert_eq!(within("an item", receiver.recv()).await.unwrap(), Some(1));
    sender.send(2).await.unwrap();
    assert_eq!(within("an item", receiver.recv()).await.unwrap(), Some(2));
    drop(sender);
    // The process lives on, its argument does not.
    assert_eq!(within("the end", receiver.recv()).await.unwrap(), None);
    assert!(process.is_alive());
    within("kill", process.kill()).await.unwrap();
}

#[procession::test]
async fn a_sender_works_in_messages_and_ends_with_them() {
    let (sender, mut receiver) = channel::<u64>(4).unwrap();
    let publisher = within("spawn", Publisher::spawn(sender)).await.unwrap();
    for told in [false, true] {
        let (to, mut from) = channel::<u64>(4).unwrap();
        let call = publisher.produce(to, 1000);
        let produce = async {
            match told {
                true => call.tell().await.unwrap(),
                false => call.await.unwrap(),
            }
        };
        let read = async {
            let mut count = 0;
            while let Some(n) = from.recv().await.unwrap() {
                assert_eq!(n, count);
                count += 1;
            }
            count
        };
        assert_eq!(within("all", join(produce, read)).await.1, 1000);
    }
    publisher.publish(7).await.unwrap();
    assert_eq!(receiver.recv().await.unwrap(), Some(7));
}

#[procession::test]
async fn a_sender_in_init_works_for_every_incarnation_and_its_death_is_told() {
    let (sender, mut receiver) = channel::<u64>(4).unwrap();
    let spec = Publisher::spec(sender)
        .backoff(Backoff::none())
        .intensity(100, Duration::from_secs(1));
    let publisher = within("spawn", spec.spawn()).await.unwrap();
    for n in 0..5 {
        within("publish", publisher.publish(n)).await.unwrap();
        assert_eq!(within("an item", receiver.recv()).await.unwrap(), Some(n));
        within("kill", publisher.kill()).await.unwrap();
        let error = within("word of the death", receiver.recv()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Died);
    }
    within("stop", publisher.stop()).await.unwrap();
    assert_eq!(within("the end", receiver.recv()).await.unwrap(), None);
}

#[procession::test]
async fn a_receiver_is_handed_on_in_the_middle_and_nothing_is_lost_or_doubled() {
    let (sender, receiver) = channel(32).unwrap();
    let (on, next) = oneshot::channel().unwrap();
    let first = Process::spawn(sums, (receiver, 500, on)).await.unwrap();
    let send = async {
        for n in 0..=1000_u64 {
            sender.send(n).await.unwrap();
        }
        drop(sender);
    };
    let read = async {
        let mut receiver: Receiver<u64> = within("a receiver", next).await.unwrap();
        let (on, next) = oneshot::channel().unwrap();
        assert_eq!(receiver.recv().await.unwrap(), Some(501));
        let second = Process::spawn(sums, (receiver, 1000, on)).await.unwrap();
        let mut rest = within("what is left", next).await.unwrap();
        assert_eq!(within("the end", rest.recv()).await.unwrap(), None);
        within("join", second.join()).await.unwrap()
    };
    let ((), second) = join(send, read).await;
    let first = within("join", first.join()).await.unwrap();
    assert_eq!((first, second), ((0..=500).sum(), (502..=1000).sum()));
}

#[procession::test]
async fn senders_hear_of_the_end_of_the_receiver_and_of_a_full_channel() {
    let (sender, receiver) = channel::<u64>(3).unwrap();
    for n in 0..3 {
        sender.try_send(n).unwrap();
    }
    assert!(matches!(sender.try_send(3), Err(SendError::Full(3))));
    assert_eq!(channel::<u64>(0).unwrap_err().kind(), ErrorKind::Invalid);
    let waits = sender.send(3);
    let (sent, ()) = within("both", join(waits, async { drop(receiver) })).await;
    assert!(matches!(sent, Err(SendError::Closed(3))));
    within("the end", sender.closed()).await;
    // One that never sent does not know better.
    let (sender, receiver) = channel::<u64>(3).unwrap();
    drop(receiver);
    assert!(matches!(sender.try_send(1), Err(SendError::Closed(1))));
}

#[procession::test]
async fn more_senders_than_are_taken_in_at_once_wait_for_the_receiver() {
    let (sender, mut receiver) = channel::<u64>(1).unwrap();
    let (carrier, mut carried) = pipe::<Sender<u64>, Sender<u64>>().unwrap();
    let mut sends = Vec::new();
    for n in 0..400 {
        carrier.send(sender.clone()).await.unwrap();
        let copy = recv(&mut carried).await.unwrap().unwrap();
        sends.push(tokio::spawn(async move { copy.send(n).await.unwrap() }));
    }
    drop(sender);
    let mut numbers = Vec::new();
    while let Some(n) = within("an item", receiver.recv()).await.unwrap() {
        numbers.push(n);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
}

/// All that it hears, until the end.
#[task]
async fn hears(mut from: broadcast::Receiver<u64>, at: Marker) -> procession::Result<Vec<u64>> {
    at.reach();
    let mut heard = Vec::new();
    loop {
        match from.recv().await {
            Ok(n) => heard.push(n),
            Err(broadcast::RecvError::Closed) => return Ok(heard),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for a level, and sends one of its own.
#[task]
async fn waits_for(mut level: watch::Receiver<u64>, at: u64) -> procession::Result<u64> {
    while *level.borrow()? < at {
        level.changed().await?;
    }
    Ok(*level.borrow()?)
}

#[task]
async fn raises(level: watch::Sender<u64>, to: u64, fault: Option<Fault>) -> procession::Result<()> {
    for n in 2..=to {
        level.send(n)?;
    }
    if let Some(fault) = fault {
        fault.strike();
    }
    Ok(())
}

#[task]
async fn broadcasts(to: broadcast::Sender<u64>, from: u64, upto: u64) -> procession::Result<()> {
    for n in from..upto {
        to.send(n)?;
    }
    Ok(())
}

#[procession::test]
async fn a_broadcast_reaches_every_process_in_order_and_ends_with_its_sender() {
    let sender = broadcast::channel(2000).unwrap();
    let at = Marker::new();
    let mut processes = Vec::new();
    for _ in 0..3 {
        let input = (sender.subscribe().unwrap(), at.clone());
        processes.push(within("spawn", Process::spawn(hears, input)).await.unwrap());
    }
    assert_eq!(sender.receiver_count(), 3);
    for n in 0..1000 {
        assert_eq!(sender.send(n).unwrap(), 3);
    }
    drop(sender);
    for process in processes {
        assert_eq!(
            within("join", process.join()).await.unwrap(),
            (0..1000).collect::<Vec<_>>()
        );
    }
}

#[procession::test]
async fn a_slow_receiver_of_a_broadcast_is_told_what_it_missed_and_holds_up_nobody() {
    let sender = broadcast::channel::<u64>(4).unwrap();
    let (mut slow, mut quick) = (sender.subscribe().unwrap(), sender.subscribe().unwrap());
    for n in 0..100 {
        sender.send(n).unwrap();
        assert_eq!(within("a value", quick.recv()).await.unwrap(), n);
    }
    let (mut heard, mut missed) = (Vec::new(), 0);
    while heard.len() < 8 {
        match within("a value", slow.recv()).await {
            Ok(n) => heard.push(n),
            Err(broadcast::RecvError::Lagged(n)) => missed += n,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((heard, missed), (vec![0, 1, 2, 3, 96, 97, 98, 99], 92));
    // One more of what this one has not received, by way of it.
    let mut again = slow.resubscribe().unwrap();
    sender.send(100).unwrap();
    for receiver in [&mut slow, &mut again, &mut quick] {
        assert_eq!(within("a value", receiver.recv()).await.unwrap(), 100);
    }
    drop(sender);
    for receiver in [&mut slow, &mut again, &mut quick] {
        assert_eq!(
            within("the end", receiver.recv()).await,
            Err(broadcast::RecvError::Closed)
        );
    }
}

#[procession::test]
async fn the_sender_of_a_broadcast_moves() {
    let sender = broadcast::channel::<u64>(100).unwrap();
    let mut receiver = sender.subscribe().unwrap();
    for n in 0..12 {
        sender.send(n).unwrap();
    }
    let process = Process::spawn(broadcasts, (sender, 12, 15)).await.unwrap();
    for n in 0..15 {
        assert_eq!(within("a value", receiver.recv()).await.unwrap(), n);
    }
    assert_eq!(
        within("the end", receiver.recv()).await,
        Err(broadcast::RecvError::Closed)
    );
    within("join", process.join()).await.unwrap();
}

#[procession::test]
async fn a_receiver_that_misses_the_last_values_of_a_process_that_ended_hears_of_it() {
    let sender = broadcast::channel::<u64>(4).unwrap();
    let mut receiver = sender.subscribe().unwrap();
    let process = Process::spawn(broadcasts, (sender, 0, 100)).await.unwrap();
    within("join", process.join()).await.unwrap();
    for n in 0..4 {
        assert_eq!(within("a value", receiver.recv()).await.unwrap(), n);
    }
    let Err(broadcast::RecvError::Other(error)) = within("the end", receiver.recv()).await else {
        panic!("values are missing");
    };
    assert_eq!(error.kind(), ErrorKind::Died);
}

#[procession::test]
async fn a_watch_shows_the_newest_value_to_every_process_and_to_those_that_come_later() {
    let (sender, mut receiver) = watch::channel(1).unwrap();
    let first = Process::spawn(waits_for, (receiver.clone(), 1000)).await.unwrap();
    for n in 2..=999 {
        sender.send(n).unwrap();
    }
    let second = Process::spawn(waits_for, (receiver.clone(), 1000)).await.unwrap();
    assert!(first.is_alive() && second.is_alive());
    sender.send(1000).unwrap();
    assert_eq!(within("join", first.join()).await.unwrap(), 1000);
    assert_eq!(within("join", second.join()).await.unwrap(), 1000);
    let third = Process::spawn(waits_for, (receiver.clone(), 1000)).await.unwrap();
    assert_eq!(within("join", third.join()).await.unwrap(), 1000);
    let mut clone = receiver.clone();
    for receiver in [&mut receiver, &mut clone] {
        until_shown(receiver, 1000).await;
    }
    drop(sender);
    for receiver in [&mut receiver, &mut clone] {
        assert_eq!(
            within("the end", receiver.changed()).await.unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert_eq!(*receiver.borrow().unwrap(), 1000);
    }
}

async fn until_shown(receiver: &mut watch::Receiver<u64>, value: u64) {
    while *receiver.borrow().unwrap() < value {
        within("a change", receiver.changed()).await.unwrap();
    }
    // What it was not told of.
    while let Some(Ok(())) = poll_immediate(pin!(receiver.changed())).await {}
}

#[procession::test]
async fn the_sender_of_a_watch_moves_and_its_death_is_told() {
    for fault in [None, Some(Fault::Kill), Some(Fault::Panic)] {
        let (sender, mut receiver) = watch::channel(1).unwrap();
        let process = Process::spawn(raises, (sender, 10, fault)).await.unwrap();
        let end = loop {
            if let Err(end) = within("a change", receiver.changed()).await {
                break end;
            }
        };
        assert_eq!(*receiver.borrow().unwrap(), 10);
        let kind = if fault.is_some() {
            ErrorKind::Died
        } else {
            ErrorKind::Closed
        };
        assert_eq!(end.kind(), kind);
        within("wait", process.wait()).await;
    }
}

#[procession::test]
async fn ends_leave_no_descriptor_behind() {
    // What is made once stays.
    let (here, there) = pipe::<u64, u64>().unwrap();
    within(
        "join",
        Process::spawn(doubler, there)
            .await
            .map(|p| (drop(here), p))
            .unwrap()
            .1
            .join(),
    )
    .await
    .unwrap();
    let before = Counts::now();
    for _ in 0..20 {
        let (mut here, there) = pipe().unwrap();
        let process = Process::spawn(doubler, there).await.unwrap();
        here.send(1).await.unwrap();
        assert_eq!(recv(&mut here).await.unwrap(), Some(2));
        let (sender, receiver) = oneshot::channel::<u64>().unwrap();
        let (carrier, carried) = pipe::<oneshot::Sender<u64>, oneshot::Sender<u64>>().unwrap();
        carrier.send(sender).await.unwrap();
        drop((carrier, carried));
        assert_eq!(
            within("an end", receiver).await.unwrap_err().kind(),
            ErrorKind::Died
        );
        drop(here);
        within("join", process.join()).await.unwrap();
        let sender = broadcast::channel::<u64>(4).unwrap();
        let mut receivers: Vec<_> = (0..4).map(|_| sender.subscribe().unwrap()).collect();
        sender.send(1).unwrap();
        receivers.push(receivers[0].resubscribe().unwrap());
        let (level, shown) = watch::channel(1).unwrap();
        let process = Process::spawn(waits_for, (shown.clone(), 2)).await.unwrap();
        level.send(2).unwrap();
        within("join", process.join()).await.unwrap();
    }
    before.return_to().await;
}

// ---- two hops, and death at the end of them

/// Ends of every kind of channel.
#[derive(Debug, Serialize, Deserialize)]
struct Ends {
    answer: oneshot::Sender<u64>,
    asked: oneshot::Receiver<u64>,
    raise: watch::Sender<u64>,
    level: watch::Receiver<u64>,
    say: broadcast::Sender<u64>,
    heard: broadcast::Receiver<u64>,
    to: Sender<u64>,
    from: Receiver<u64>,
}

/// The other ends of these.
struct Others {
    answer: oneshot::Receiver<u64>,
    asked: oneshot::Sender<u64>,
    raise: watch::Receiver<u64>,
    level: watch::Sender<u64>,
    say: broadcast::Receiver<u64>,
    heard: broadcast::Sender<u64>,
    to: Receiver<u64>,
    from: Sender<u64>,
}

fn ends() -> (Ends, Others) {
    let (answer, answer_of) = oneshot::channel().unwrap();
    let (asked_of, asked) = oneshot::channel().unwrap();
    let (raise, raise_of) = watch::channel(0).unwrap();
    let (level_of, level) = watch::channel(0).unwrap();
    let say = broadcast::channel(4).unwrap();
    let heard_of = broadcast::channel(4).unwrap();
    let (to, to_of) = channel(4).unwrap();
    let (from_of, from) = channel(4).unwrap();
    let others = Others {
        answer: answer_of,
        asked: asked_of,
        raise: raise_of,
        level: level_of,
        say: say.subscribe().unwrap(),
        heard: heard_of,
        to: to_of,
        from: from_of,
    };
    (
        Ends {
            answer,
            asked,
            raise,
            level,
            say,
            heard: others.heard.subscribe().unwrap(),
            to,
            from,
        },
        others,
    )
}

/// Hands ends on, or uses them, or holds them.
#[derive(Default)]
struct Porter;

#[actor]
impl Porter {
    async fn carry(&self, to: PorterRef, ends: Ends) -> procession::Result<u64> {
        to.play(ends).await.map_err(procession::Error::new)
    }
    async fn carry_to_hold(&self, to: PorterRef, ends: Ends, at: Marker) -> procession::Result<()> {
        to.hold(ends, at).await.map_err(procession::Error::new)
    }
    /// Sends on each what it received on the other.
    async fn play(&self, ends: Ends) -> procession::Result<u64> {
        let Ends {
            mut level,
            mut heard,
            mut from,
            ..
        } = ends;
        ends.answer.send(ends.asked.await?).await?;
        while *level.borrow()? < 3 {
            level.changed().await?;
        }
        ends.raise.send(*level.borrow()?)?;
        for _ in 0..2 {
            ends.say.send(heard.recv().await?)?;
        }
        let mut count = 0;
        while let Some(n) = from.recv().await? {
            ends.to.send(n).await?;
            count += 1;
        }
        Ok(count)
    }
    /// Sends something wherever it can but once, and goes no further.
    async fn hold(&self, ends: Ends, at: Marker) -> procession::Result<()> {
        ends.raise.send(1)?;
        ends.say.send(1)?;
        ends.to.send(1).await?;
        at.reach();
        std::future::pending::<()>().await;
        drop(ends);
        Ok(())
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn ends_of_every_channel_are_handed_on_over_two_hops_with_what_was_sent_before_and_after() {
    let first = within("spawn", Porter::spawn()).await.unwrap();
    let second = within("spawn", Porter::spawn()).await.unwrap();
    let (ends, mut others) = ends();
    others.asked.send(2).await.unwrap();
    others.heard.send(5).unwrap();
    for n in 0..4 {
        others.from.try_send(n).unwrap();
    }
    let play = tokio::spawn(first.carry(second, ends).into_future());
    others.level.send(3).unwrap();
    others.heard.send(6).unwrap();
    assert_eq!(within("an answer", others.answer).await.unwrap(), 2);
    until_shown(&mut others.raise, 3).await;
    for n in [5, 6] {
        assert_eq!(within("a value", others.say.recv()).await.unwrap(), n);
    }
    for n in 4..100 {
        within("send", others.from.send(n)).await.unwrap();
        assert_eq!(within("an item", others.to.recv()).await.unwrap(), Some(n - 4));
    }
    drop(others.from);
    for n in 96..100 {
        assert_eq!(within("an item", others.to.recv()).await.unwrap(), Some(n));
    }
    assert_eq!(within("the play", play).await.unwrap().unwrap(), 100);
    // All of it was dropped there, in order.
    assert_eq!(within("the end", others.to.recv()).await.unwrap(), None);
    let end = within("the end", others.raise.changed()).await.unwrap_err();
    assert_eq!(end.kind(), ErrorKind::Closed);
    let end = within("the end", others.say.recv()).await.unwrap_err();
    assert_eq!(end, broadcast::RecvError::Closed);
}

#[procession::test]
async fn the_death_of_a_process_that_holds_ends_of_every_channel_is_told_at_each_other_end() {
    let first = within("spawn", Porter::spawn()).await.unwrap();
    let second = within("spawn", Porter::spawn()).await.unwrap();
    for through_another in [false, true] {
        let at = Marker::new();
        let (ends, mut others) = ends();
        let pid = within("a call", second.pid()).await.unwrap();
        let hold = match through_another {
            false => tokio::spawn(has_failed(second.hold(ends, at.clone()))),
            true => tokio::spawn(has_failed(first.carry_to_hold(second.clone(), ends, at.clone()))),
        };
        at.reached(1).await;
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        // Those that receive, after what was sent.
        let end = within("an answer", others.answer).await.unwrap_err();
        assert_eq!(end.kind(), ErrorKind::Died);
        until_shown(&mut others.raise, 1).await;
        let end = within("a change", others.raise.changed()).await.unwrap_err();
        assert_eq!(end.kind(), ErrorKind::Died);
        assert_eq!(within("a value", others.say.recv()).await, Ok(1));
        match within("a value", others.say.recv()).await {
            Err(broadcast::RecvError::Other(error)) => assert_eq!(error.kind(), ErrorKind::Died),
            other => panic!("{other:?}"),
        }
        assert_eq!(within("an item", others.to.recv()).await.unwrap(), Some(1));
        let end = within("an item", others.to.recv()).await.unwrap_err();
        assert_eq!(end.kind(), ErrorKind::Died);
        assert_eq!(within("the end", others.to.recv()).await.unwrap(), None);
        // Those that send.
        within("the end", others.asked.closed()).await;
        let sent = within("send", others.asked.send(1)).await;
        assert!(matches!(sent, Err(SendError::Closed(1))), "{sent:?}");
        within("the end", others.from.closed()).await;
        let sent = within("send", others.from.send(1)).await;
        assert!(matches!(sent, Err(SendError::Closed(1))), "{sent:?}");
        others.level.send(1).unwrap();
        tests::until("nobody hears", || others.heard.send(1).unwrap() == 0).await;
        assert_eq!(others.heard.receiver_count(), 0);
        let ended = within("the hold", hold).await.unwrap();
        assert!(ended, "through another {through_another}");
    }
}

/// Whether it came to an error.
async fn has_failed(call: procession::Call<(), procession::Error>) -> bool {
    call.await.is_err()
}

#[procession::test]
async fn a_sender_of_large_items_waits_before_more_than_four_mib_are_under_way() {
    for size in [1 << 20, 3 << 20, 16 << 20] {
        let (sender, mut receiver) = channel::<String>(1000).unwrap();
        // Text goes as one block.
        let item = |n: u8| char::from(b'a' + n).to_string().repeat(size);
        let mut count = 0;
        let back = loop {
            match sender.try_send(item(count)) {
                Ok(()) => count += 1,
                Err(SendError::Full(back)) => break back,
                Err(other) => panic!("{other}"),
            }
            assert!(count < 20, "without a bound");
        };
        assert_eq!(back.len(), size, "what found no room comes back");
        let under_way = size * usize::from(count);
        assert!(under_way <= (4 << 20).max(size), "{under_way} bytes");
        let waits = sender.send(back);
        let read = async {
            for n in 0..=count {
                let came = within("an item", receiver.recv()).await.unwrap().unwrap();
                assert!(came == item(n), "not number {n}");
            }
        };
        let (sent, ()) = within("all of them", join(waits, read)).await;
        sent.unwrap();
    }
}

#[task]
async fn reads_nothing(from: Receiver<String>, at: Marker) {
    at.reach();
    std::future::pending::<()>().await;
    drop(from);
}

#[procession::test]
async fn a_sender_that_waits_for_room_hears_of_the_death_of_the_receiver() {
    let (sender, receiver) = channel::<String>(1000).unwrap();
    let at = Marker::new();
    let process = within("spawn", Process::spawn(reads_nothing, (receiver, at.clone())))
        .await
        .unwrap();
    at.reached(1).await;
    let item = "x".repeat(1 << 20);
    while sender.try_send(item.clone()).is_ok() {}
    let mut waits = pin!(sender.send(item.clone()));
    assert!(poll_immediate(&mut waits).await.is_none(), "there is room");
    within("kill", process.kill()).await.unwrap();
    match within("the end", waits).await {
        Err(SendError::Closed(back)) => assert!(back == item),
        other => panic!("{other:?}"),
    }
}
