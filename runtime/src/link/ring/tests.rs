//! What only a ring does: distrust of its words, memory that is given back, a peer that dies in the middle.

use super::end::KEPT_UP;
use super::lane::{ASLEEP, GONE, Lane, Mapped, Name, SIZE};
use super::reader::Reader;
use super::writer::{Refused, Writer, close};
use super::{CAPACITY, End, Outflow, PART, pair};
use crate::link::outbox::Flushed;
use crate::link::{self, Driver, LinkError, Sender, Transport};
use crate::os::map::Map;
use crate::os::{eventfd, memfd, testing};
use crate::wire::attach::Descriptors;
use crate::wire::frame::{DEFAULT_LIMIT, Head, Kind};
use crate::{Error, ErrorKind};
use bytes::BytesMut;
use std::future::Future;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::task::Poll;
use std::time::Duration;

async fn within_a_minute<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test)
        .await
        .expect("the test hangs")
}

fn open(end: End) -> (Sender, Driver) {
    link::open(end, DEFAULT_LIMIT).unwrap()
}

fn send(sender: &Sender, seq: u64, body: &[u8]) {
    let head = Head {
        seq,
        ..Head::new(Kind::Tell)
    };
    sender.send(head, body, Vec::new()).unwrap();
}

/// A peer by hand: its lanes, and the bell that wakes the other side.
struct Peer {
    outgoing: Mapped,
    incoming: Mapped,
    bell: OwnedFd,
    _side: OwnedFd,
}

impl Peer {
    fn new(end: End) -> Self {
        let map = Map::shared(end.memory.as_fd(), SIZE).unwrap();
        let (outgoing, incoming) = Mapped::claim(map).unwrap();
        Peer {
            outgoing,
            incoming,
            bell: end.peer,
            _side: end.side,
        }
    }

    fn ring(&self) {
        eventfd::ring(self.bell.as_fd()).unwrap();
    }
}

/// A link whose driver has nothing to read, and its peer.
async fn with_peer() -> ((Sender, Driver), Peer) {
    let (here, there) = pair().unwrap();
    let (sender, mut driver) = open(here);
    let peer = Peer::new(there);
    // It goes to sleep.
    while peer.outgoing.word(Name::Reader).load(Relaxed) == 0 {
        let polled = tokio::time::timeout(Duration::ZERO, driver.next()).await;
        assert!(polled.is_err());
    }
    ((sender, driver), peer)
}

#[tokio::test]
async fn a_cursor_that_cannot_be_is_a_fault_and_ends_the_link() {
    let cases = [
        (Name::Told, CAPACITY as u64 + 1),
        (Name::Told, u64::MAX),
        (Name::Written, CAPACITY as u64 + 1),
        (Name::Written, u64::MAX),
        (Name::Closed, 2),
    ];
    for (name, value) in cases {
        let ((sender, mut driver), peer) = with_peer().await;
        peer.outgoing.word(name).store(value, Relaxed);
        peer.ring();
        let error = within_a_minute(driver.next()).await.unwrap().unwrap_err();
        assert!(matches!(error, LinkError::State(_)), "{name:?}: {error}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Protocol);
        assert!(driver.next().await.is_none());
        assert!(sender.is_closed());
    }
}

#[tokio::test]
async fn a_cursor_that_moves_back_is_a_fault() {
    for name in [Name::Told, Name::Written] {
        a_cursor_moves_back(name).await;
    }
}

async fn a_cursor_moves_back(name: Name) {
    let ((_sender, mut driver), peer) = with_peer().await;
    let mut writer = Writer::new(peer.outgoing.clone());
    let head = Head::new(Kind::Tell).to_bytes(4);
    writer
        .write(&[IoSlice::new(&head), IoSlice::new(b"body")])
        .unwrap();
    writer.tell();
    peer.ring();
    within_a_minute(driver.next()).await.unwrap().unwrap();
    peer.outgoing.word(name).store(1, Relaxed);
    peer.ring();
    let error = within_a_minute(driver.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::State(_)), "{error}");
}

#[tokio::test]
async fn a_reader_that_claims_to_have_read_what_was_not_written_is_a_fault() {
    let ((sender, mut driver), peer) = with_peer().await;
    peer.incoming.word(Name::Read).store(2 * CAPACITY as u64, Relaxed);
    // The writer looks when it runs out of room.
    send(&sender, 1, &[0; CAPACITY]);
    let error = within_a_minute(driver.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::State(_)), "{error}");
    assert!(sender.is_closed());
}

#[tokio::test]
async fn rubbish_in_a_sleepers_word_rings_a_bell_too_often_and_no_more() {
    let (here, there) = pair().unwrap();
    let lane = {
        let map = Map::shared(here.memory.as_fd(), SIZE).unwrap();
        let lane = Mapped::claim(map).unwrap().0;
        // Not opened yet, as far as the two ends know.
        let map = Map::shared(here.memory.as_fd(), SIZE).unwrap();
        (0..SIZE / 8)
            .filter(|word| map.cell(*word).load(Relaxed) == 1)
            .for_each(|word| map.cell(word).store(0, Relaxed));
        lane
    };
    let (a, mut a_driver) = open(here);
    let (_b, mut b_driver) = open(there);
    for seq in 0..100 {
        lane.word(Name::Reader).store(u64::MAX, Relaxed);
        lane.word(Name::Writer).store(77, Relaxed);
        lane.say_place(Some(usize::MAX - 1 - seq as usize));
        send(&a, seq, b"x");
        let frame = within_a_minute(b_driver.next()).await.unwrap().unwrap();
        assert_eq!(frame.head.seq, seq);
    }
    assert!(
        tokio::time::timeout(Duration::ZERO, a_driver.next())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn something_else_than_descriptors_beside_the_ring_is_a_fault() {
    let (here, there) = pair().unwrap();
    let (_sender, mut driver) = open(here);
    crate::os::socket::send::<OwnedFd>(there.side.as_fd(), &[IoSlice::new(b"GET /")], &[]).unwrap();
    let error = within_a_minute(driver.next()).await.unwrap().unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_ring_that_two_have_opened_or_that_is_of_another_size_is_refused() {
    let (here, there) = pair().unwrap();
    let third = End {
        memory: here.memory.try_clone().unwrap(),
        bell: eventfd::create().unwrap(),
        peer: eventfd::create().unwrap(),
        side: here.side.try_clone().unwrap(),
    };
    let small = End {
        memory: memfd::create(c"small", 4096).unwrap(),
        bell: eventfd::create().unwrap(),
        peer: eventfd::create().unwrap(),
        side: here.side.try_clone().unwrap(),
    };
    let _open = (open(here), open(there));
    assert!(link::open(third, DEFAULT_LIMIT).is_err());
    assert!(link::open(small, DEFAULT_LIMIT).is_err());
}

#[tokio::test]
async fn what_a_killed_process_has_published_is_read_before_its_end() {
    let (here, there) = pair().unwrap();
    let (sender, mut driver) = open(here);
    // It holds what the kernel closes at its death, and nothing says that the ring is closed.
    let mut process = Command::new("sleep")
        .arg("600")
        .stdin(there.side.try_clone().unwrap())
        .stdout(there.peer.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let Peer { outgoing, bell, .. } = Peer::new(there);
    let mut writer = Writer::new(outgoing.clone());
    let whole = [&Head::new(Kind::Tell).to_bytes(5)[..], b"whole"].concat();
    writer.write(&[IoSlice::new(&whole)]).unwrap();
    writer.tell();
    eventfd::ring(bell.as_fd()).unwrap();
    let read = within_a_minute(driver.next()).await;
    // Published and not told of, and a frame that was cut short.
    writer.write(&[IoSlice::new(&whole)]).unwrap();
    writer.write(&[IoSlice::new(&whole[..30])]).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(&read.unwrap().unwrap().body[..], b"whole");
    assert_eq!(
        &within_a_minute(driver.next()).await.unwrap().unwrap().body[..],
        b"whole"
    );
    assert!(within_a_minute(driver.next()).await.is_none());
    let _ = sender.send(Head::new(Kind::Tell), Vec::new(), Vec::new());
    assert!(driver.next().await.is_none());
    assert!(sender.is_closed());
    assert_ne!(outgoing.word(Name::Writer).load(Relaxed), GONE);
}

#[tokio::test]
async fn an_idle_ring_gives_its_pages_back_after_it_has_wrapped() {
    let (here, there) = pair().unwrap();
    let memory = here.memory.try_clone().unwrap();
    let (a, mut a_driver) = open(here);
    let (_b, mut b_driver) = open(there);
    let listening = tokio::spawn(async move {
        while let Some(frame) = a_driver.next().await {
            frame.unwrap();
        }
    });
    for seq in 0..20 {
        send(&a, seq, &[1; CAPACITY / 8]);
        within_a_minute(b_driver.next()).await.unwrap().unwrap();
    }
    assert!(allocated(&memory) >= CAPACITY as u64);
    let idle = tokio::spawn(async move { b_driver.next().await.map(drop) });
    within_a_minute(async {
        while allocated(&memory) > 4096 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // It works as before.
    send(&a, 99, b"again");
    within_a_minute(idle).await.unwrap().unwrap();
    listening.abort();
}

/// How many bytes of a file in memory there are.
fn allocated(memory: &OwnedFd) -> u64 {
    nix::sys::stat::fstat(memory.as_fd()).unwrap().st_blocks as u64 * 512
}

#[tokio::test]
async fn no_bell_is_rung_while_the_reader_is_awake() {
    let ((_sender, mut driver), peer) = with_peer().await;
    let mut writer = Writer::new(peer.outgoing.clone());
    let frame = [&Head::new(Kind::Tell).to_bytes(1)[..], b"x"].concat();
    let rung: Vec<bool> = (0..100)
        .map(|_| {
            writer.write(&[IoSlice::new(&frame)]).unwrap();
            writer.tell()
        })
        .collect();
    assert!(rung[0], "it slept");
    assert!(rung[1..].iter().all(|rung| !rung), "one bell is enough");
    peer.ring();
    for _ in 0..100 {
        within_a_minute(driver.next()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_sleeper_is_woken_by_a_large_frame_while_it_is_written() {
    let (here, there) = pair().unwrap();
    let bell = here.peer.try_clone().unwrap();
    let (_inflow, mut outflow) = super::open(here).unwrap();
    outflow.has_one_processor(false);
    let mut reader = Reader::new(Peer::new(there).incoming);
    let is_rung = || nix::unistd::read(&bell, &mut [0; 8]).is_ok();
    for (len, rings) in [(100, false), (PART, true), (PART - 1, true)] {
        assert!(reader.sleep());
        outflow
            .write(&[IoSlice::new(&vec![1; len])], &mut Descriptors::new())
            .unwrap();
        assert_eq!(is_rung(), rings, "{len} bytes");
        outflow.ring();
        assert_ne!(is_rung(), rings, "once for each sleep");
        let mut out = BytesMut::with_capacity(len);
        reader.read(&mut out).unwrap();
        assert_eq!(out.len(), len);
    }
}

#[tokio::test]
async fn where_there_is_one_processor_a_sleeper_is_not_woken_for_each_part() {
    let (here, there) = pair().unwrap();
    let bell = here.peer.try_clone().unwrap();
    let (_inflow, mut outflow) = super::open(here).unwrap();
    outflow.has_one_processor(true);
    let mut reader = Reader::new(Peer::new(there).incoming);
    let n_rung = || {
        let mut n = [0; 8];
        nix::unistd::read(&bell, &mut n).map_or(0, |_| u64::from_ne_bytes(n))
    };
    let part = vec![1; PART];
    let write = |outflow: &mut Outflow| outflow.write(&[IoSlice::new(&part)], &mut Descriptors::new());
    for _ in 0..2 {
        assert!(reader.sleep());
        assert_eq!(write(&mut outflow).unwrap(), PART);
        assert_eq!(n_rung(), 0, "there is room for more");
        for _ in 1..CAPACITY / PART {
            assert_eq!(write(&mut outflow).unwrap(), PART);
        }
        assert_eq!(n_rung(), 1);
        let mut out = BytesMut::with_capacity(CAPACITY);
        while reader.read_untold(&mut out).unwrap().len > 0 {}
        assert_eq!(out.len(), CAPACITY);
    }
    // What is the last waits for nothing.
    assert!(reader.sleep());
    write(&mut outflow).unwrap();
    assert!(outflow.is_due());
    outflow.ring();
    assert_eq!(n_rung(), 1);
}

#[tokio::test]
async fn a_reader_that_reads_little_by_little_does_not_keep_the_writer() {
    let (here, there) = pair().unwrap();
    let (_inflow, mut outflow) = super::open(here).unwrap();
    let incoming = Peer::new(there).incoming;
    let is_written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = || {
            while !is_written.load(Relaxed) {
                let read = incoming.word(Name::Read).load(Relaxed);
                let is_there = incoming.word(Name::Written).load(Relaxed) > read;
                incoming
                    .word(Name::Read)
                    .store(read + u64::from(is_there), Release);
            }
        };
        scope.spawn(reading);
        let bytes = vec![1; 2 * KEPT_UP];
        let written = outflow.write(&[IoSlice::new(&bytes)], &mut Descriptors::new());
        is_written.store(true, Relaxed);
        assert!((CAPACITY..KEPT_UP).contains(&written.unwrap()));
    });
}

#[test]
fn a_lane_that_was_closed_ends_behind_what_its_reader_was_not_told_of() {
    let (here, there) = pair().unwrap();
    let (ours, theirs) = (Peer::new(here), Peer::new(there));
    let (mut writer, mut reader) = (Writer::new(ours.outgoing), Reader::new(theirs.incoming));
    writer.write(&[IoSlice::new(b"last")]).unwrap();
    close(writer.lane());
    assert!(!reader.is_ended().unwrap());
    let mut out = BytesMut::with_capacity(9);
    reader.read_untold(&mut out).unwrap();
    assert_eq!(&out[..], b"last");
    assert!(reader.is_ended().unwrap());
}

#[tokio::test]
async fn what_is_large_goes_and_comes_in_parts() {
    let (here, there) = pair().unwrap();
    let (ours, theirs) = (Peer::new(here), Peer::new(there));
    let (mut writer, mut reader) = (Writer::new(ours.outgoing), Reader::new(theirs.incoming));
    let bytes: Vec<u8> = (0..CAPACITY).map(|n| (n / 7) as u8).collect();
    let mut out = BytesMut::with_capacity(2 * CAPACITY);
    // From where a part goes over the end of the area.
    writer.write(&[IoSlice::new(&bytes[..1000])]).unwrap();
    assert_eq!(reader.read_untold(&mut out).unwrap().len, 1000);
    out.clear();
    for part in bytes.chunks(PART) {
        let front = [
            IoSlice::new(&part[..5]),
            IoSlice::new(&part[5..]),
            IoSlice::new(&bytes),
        ];
        assert_eq!(writer.write(&front).unwrap(), PART);
    }
    assert_eq!(writer.write(&[IoSlice::new(b"x")]), Err(Refused::Full));
    while out.len() < CAPACITY {
        assert_eq!(reader.read_untold(&mut out).unwrap().len, PART);
        assert_eq!(writer.write(&[IoSlice::new(&bytes)]).unwrap(), PART);
    }
    assert_eq!(out, bytes);
}

#[test]
fn an_end_is_four_descriptors() {
    let (here, _there) = pair().unwrap();
    assert_eq!(Transport::from(here).into_descriptors().len(), 4);
}

/// How many rings there are, and what each may cost: both ends of it, in user memory.
const MANY: u64 = 1000;
const COST: u64 = 20_000;

#[test]
fn a_thousand_idle_rings_cost_little_and_wake_nobody() {
    // In a process of its own, as it is measured whole.
    let test = [
        "--exact",
        "link::ring::tests::many_idle_rings",
        "--ignored",
        "--nocapture",
    ];
    let played = Command::new(std::env::current_exe().unwrap())
        .args(test)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&played.stdout);
    assert!(
        played.status.success() && printed.contains("a ring costs"),
        "{printed}"
    );
}

#[test]
#[ignore = "played by another test, in a process of its own"]
fn many_idle_rings() {
    crate::os::limits::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = proportional_set();
        let mut senders = Vec::new();
        for _ in 0..MANY {
            let (here, there) = pair().unwrap();
            for end in [here, there] {
                let (sender, mut driver) = open(end);
                senders.push(sender);
                tokio::spawn(async move {
                    while let Some(frame) = driver.next().await {
                        frame.unwrap();
                    }
                });
            }
        }
        // Each goes round.
        for seq in 0..9 {
            for sender in &senders {
                send(sender, seq, &[1; CAPACITY / 8]);
            }
            for sender in &senders {
                within_a_minute(sender.drained()).await.unwrap();
            }
        }
        assert!(proportional_set() - before > MANY * CAPACITY as u64);
        within_a_minute(async {
            while proportional_set().saturating_sub(before) > MANY * COST {
                tokio::time::sleep(Duration::from_millis(20)).await;
                // What the allocator keeps for its next use is not the rings'.
                testing::trim();
            }
        })
        .await;
        let slept = n_sleeps();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(n_sleeps() - slept <= 3, "something wakes");
        println!(
            "a ring costs {} bytes",
            proportional_set().saturating_sub(before) / MANY
        );
        // They work as before.
        senders.iter().for_each(|sender| send(sender, 99, b"again"));
        for sender in &senders {
            within_a_minute(sender.drained()).await.unwrap();
        }
    });
}

/// What memory of this process counts as its own, in bytes.
fn proportional_set() -> u64 {
    field("/proc/self/smaps_rollup", "Pss:") * 1024
}

/// How often this thread has waited for something.
fn n_sleeps() -> u64 {
    field("/proc/thread-self/status", "voluntary_ctxt_switches:")
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn room_that_comes_as_the_writer_falls_asleep_is_seen() {
    let (here, there) = pair().unwrap();
    let (mut inflow, _outflow) = super::end::open(here).unwrap();
    let peer = Peer::new(there);
    let flushed = std::future::poll_fn(|cx| {
        let is_asleep = || peer.incoming.word(Name::Writer).load(Relaxed) == ASLEEP;
        let flush = || match is_asleep() {
            true => Flushed::All,
            false => Flushed::Blocked,
        };
        match inflow.flush_when_writable(cx, flush) {
            Flushed::Blocked => {
                assert!(!is_asleep(), "it sleeps though there is room");
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    });
    within_a_minute(flushed).await;
}
