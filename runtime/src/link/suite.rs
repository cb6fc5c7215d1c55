//! The tests that every transport passes, and those of what only some can do.

use super::driver::Drained;
use super::sender::{Body, INLINE, NotSent, ROOM};
use super::*;
use crate::os::socket::MAX_DESCRIPTORS;
use crate::wire::attach::Descriptors;
use crate::wire::behind::{BLOCK, Block};
use crate::wire::frame::{DEFAULT_LIMIT, Flags, HEADER, Kind};
use bytes::{Bytes, BytesMut};
use port::{Port, Sink};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;

macro_rules! on_every_transport {
    ($($name:ident)*) => {
        on_every_transport! { @mod ring Ring: $($name)* }
        on_every_transport! { @mod socket Socket: $($name)* }
        on_every_transport! { @mod pipe Pipe: $($name)* }
        on_every_transport! { @mod memory Memory: $($name)* }
    };
    (@mod $kind:ident $Kind:ident: $($name:ident)*) => {
        mod $kind {
            use super::LinkKind::$Kind;
            $(
                #[tokio::test]
                async fn $name() {
                    super::within_a_minute(super::$name($Kind)).await;
                }
            )*
        }
    };
}

on_every_transport! {
    frames_arrive_in_order_with_heads_and_bodies
    frames_of_many_threads_arrive_whole_and_in_the_order_of_each
    a_hundred_thousand_small_frames_arrive
    a_frame_cut_anywhere_is_put_together_again
    a_body_of_exactly_the_limit_arrives_and_one_byte_more_is_refused
    a_small_frame_is_lent_and_passed_or_taken_or_still_to_come
    large_and_small_frames_alternate
    a_body_of_several_parts_arrives_in_order
    a_block_at_the_end_of_a_frame_is_read_into_memory_of_its_own
    a_block_that_is_cut_short_is_dropped_with_its_frame
    a_header_over_the_limit_is_a_fault
    garbage_is_a_fault_and_ends_the_link
    the_end_of_file_comes_after_all_that_was_sent
    a_frame_that_the_end_of_file_cut_short_is_dropped
    a_closed_side_still_reads
    a_close_from_another_thread_is_never_missed
    after_a_close_nothing_more_can_be_sent
    dropping_a_driver_closes_the_link_for_both
    what_is_queued_when_a_driver_is_dropped_still_goes_out
    a_reader_that_never_reads_makes_the_sender_wait
    drained_means_that_the_transport_has_it
    drained_fails_when_the_peer_is_gone
    a_frame_from_another_thread_wakes_the_driver
    a_large_frame_from_another_thread_is_never_stuck
    what_is_said_in_answer_to_one_read_goes_out_in_one_write
    what_a_dead_peer_has_said_is_drained
    a_fault_found_while_draining_keeps_what_came_before
    a_view_that_is_kept_does_not_change
}

async fn within_a_minute<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test)
        .await
        .expect("the test hangs")
}

type Half = (Sender, Driver);

fn connect(kind: LinkKind, limit: usize) -> (Half, Half) {
    let (here, there) = pair(kind).unwrap();
    (open(here, limit).unwrap(), open(there, limit).unwrap())
}

/// Reads a driver to its end in a task of its own.
fn listen(mut driver: Driver) -> JoinHandle<Vec<Incoming>> {
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(incoming) = driver.next().await {
            all.push(incoming.unwrap());
        }
        all
    })
}

fn tell(seq: u64) -> Head {
    Head {
        seq,
        ..Head::new(Kind::Tell)
    }
}

fn send(sender: &Sender, seq: u64, body: &[u8]) {
    sender.send(tell(seq), body, Vec::new()).unwrap();
}

async fn receive(driver: &mut Driver) -> Incoming {
    driver.next().await.expect("the end of file").unwrap()
}

fn frame(head: Head, body: &[u8]) -> Vec<u8> {
    [&head.to_bytes(body.len()), body].concat()
}

/// A body that differs from others in each byte.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (seed * 31 + i * 7) as u8).collect()
}

/// The bare transport: a peer that may write anything.
struct Raw {
    port: RefCell<Port>,
    sink: RefCell<Sink>,
}

impl Raw {
    fn new(transport: Transport) -> Self {
        let (port, sink) = port::open(transport).unwrap();
        Raw {
            port: port.into(),
            sink: sink.into(),
        }
    }

    async fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.write_once(bytes, &mut Descriptors::new()) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn write_once(&self, bytes: &[u8], fds: &mut Descriptors) -> io::Result<usize> {
        self.sink.borrow_mut().write(&[IoSlice::new(bytes)], fds)
    }

    async fn read(&self, room: usize) -> BytesMut {
        let mut buf = BytesMut::with_capacity(room);
        let mut fds = VecDeque::new();
        std::future::poll_fn(|cx| self.port.borrow_mut().poll_read(cx, &mut buf, &mut fds))
            .await
            .unwrap();
        buf
    }
}

fn with_raw(kind: LinkKind, limit: usize) -> (Half, Raw) {
    let (here, there) = pair(kind).unwrap();
    (open(here, limit).unwrap(), Raw::new(there))
}

async fn frames_arrive_in_order_with_heads_and_bodies(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    for seq in 0..100 {
        let head = Head {
            kind: Kind::Request,
            flags: Flags::END,
            method: seq as u32 + 1,
            aux: u64::MAX - seq,
            ..tell(seq)
        };
        let body = pattern(seq, 700 * seq as usize);
        match seq % 2 {
            0 => a.send(head, &*body, Vec::new()).unwrap(),
            _ => a.send(head, body, Vec::new()).unwrap(),
        }
    }
    for seq in 0..100 {
        let Incoming { head, body, fds, .. } = receive(&mut b).await;
        assert_eq!(
            (head.seq, head.method, head.aux),
            (seq, seq as u32 + 1, u64::MAX - seq)
        );
        assert_eq!((head.kind, head.flags), (Kind::Request, Flags::END));
        assert_eq!(body, pattern(seq, 700 * seq as usize));
        assert!(fds.is_empty());
    }
}

async fn frames_of_many_threads_arrive_whole_and_in_the_order_of_each(kind: LinkKind) {
    const THREADS: u64 = 4;
    const FRAMES: u64 = 300;
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    for thread in 0..THREADS {
        let a = a.clone();
        std::thread::spawn(move || {
            for n in 0..FRAMES {
                let head = Head {
                    aux: thread,
                    ..tell(n)
                };
                let body = pattern(thread + n, (n * 37 % 40_000) as usize);
                a.send(head, body, Vec::new()).unwrap();
            }
        });
    }
    let mut next = [0; THREADS as usize];
    for _ in 0..THREADS * FRAMES {
        let Incoming { head, body, .. } = receive(&mut b).await;
        let expected = &mut next[head.aux as usize];
        assert_eq!(head.seq, *expected);
        assert_eq!(
            body,
            pattern(head.aux + head.seq, (head.seq * 37 % 40_000) as usize)
        );
        *expected += 1;
    }
}

async fn a_small_frame_is_lent_and_passed_or_taken_or_still_to_come(kind: LinkKind) {
    async fn unlent(driver: &mut Driver) -> Option<Incoming> {
        let next = std::future::poll_fn(|cx| driver.poll_next_unlent(cx)).await;
        next.expect("the end of file").unwrap()
    }
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    assert!(b.lend().is_none(), "nothing was sent");
    (1..=3).for_each(|seq| send(&a, seq, &pattern(seq, 100)));
    for seq in 1..=3 {
        assert!(unlent(&mut b).await.is_none());
        let (head, body) = b.lend().unwrap();
        assert_eq!((head.seq, body), (seq, &pattern(seq, 100)[..]));
        match seq {
            1 => b.pass(100),
            2 => assert_eq!(b.take(100), pattern(2, 100)),
            _ => assert_eq!(receive(&mut b).await.body, pattern(3, 100)),
        }
    }
    a.send(tell(4), &b"beside"[..], vec![a_file("x")]).unwrap();
    a.send(tell(5), vec![7; BLOCK], Vec::new()).unwrap();
    let beside = unlent(&mut b).await.expect("descriptors are not lent");
    assert_eq!((beside.head.seq, beside.fds.len()), (4, 1));
    let large = unlent(&mut b).await.expect("what is large is not lent");
    assert_eq!((large.head.seq, large.cost().bytes), (5, BLOCK as u64));
}

async fn a_hundred_thousand_small_frames_arrive(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    tokio::spawn(async move {
        for seq in 0..100_000_u64 {
            if a.room().await.is_err() {
                return;
            }
            send(&a, seq, &seq.to_le_bytes());
        }
    });
    for seq in 0..100_000_u64 {
        let incoming = receive(&mut b).await;
        assert_eq!(
            (incoming.head.seq, &*incoming.body),
            (seq, &seq.to_le_bytes()[..])
        );
    }
}

async fn a_frame_cut_anywhere_is_put_together_again(kind: LinkKind) {
    let ((_a, mut a), raw) = with_raw(kind, DEFAULT_LIMIT);
    let stream = [
        frame(tell(1), b"first"),
        frame(tell(2), b""),
        frame(tell(3), b"third"),
    ]
    .concat();
    for cut in 1..stream.len() {
        raw.write(&stream[..cut]).await;
        // It sees the first part before the second is written.
        let mut got: Vec<u64> = Vec::new();
        while let Poll::Ready(incoming) = poll_once(&mut a) {
            got.push(incoming.unwrap().unwrap().head.seq);
        }
        raw.write(&stream[cut..]).await;
        while got.len() < 3 {
            got.push(receive(&mut a).await.head.seq);
        }
        assert_eq!(got, [1, 2, 3], "cut at {cut}");
    }
    for byte in &stream {
        raw.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(&*receive(&mut a).await.body, b"first");
}

fn poll_once(driver: &mut Driver) -> Poll<Option<Result<Incoming, LinkError>>> {
    driver.poll_next(&mut Context::from_waker(&futures::task::noop_waker()))
}

async fn a_body_of_exactly_the_limit_arrives_and_one_byte_more_is_refused(kind: LinkKind) {
    const LIMIT: usize = 3 << 20;
    let ((a, a_driver), (_b, mut b)) = connect(kind, LIMIT);
    listen(a_driver);
    let body = Bytes::from(pattern(5, LIMIT + 1));
    let error = a.send(tell(0), body.clone(), Vec::new()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("3145729 bytes") && text.contains("limit of 3145728"),
        "{text}"
    );
    assert_eq!(Error::from(error).kind(), ErrorKind::TooLarge);
    a.send(tell(1), body.slice(..LIMIT), Vec::new()).unwrap();
    send(&a, 2, &body[..LIMIT]);
    for seq in [1, 2] {
        let incoming = receive(&mut b).await;
        assert_eq!(incoming.head.seq, seq);
        assert_eq!(incoming.body, body[..LIMIT]);
    }
}

async fn large_and_small_frames_alternate(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    let sizes = [
        0, 1_000_000, 8, 65_508, 65_509, 65_536, 3, 16_384, 16_383, 200_000, 200_000, 1,
    ];
    for (seq, size) in sizes.into_iter().enumerate() {
        a.send(tell(seq as u64), pattern(seq as u64, size), Vec::new())
            .unwrap();
    }
    for (seq, size) in sizes.into_iter().enumerate() {
        assert_eq!(receive(&mut b).await.body, pattern(seq as u64, size));
    }
}

async fn a_body_of_several_parts_arrives_in_order(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    let shapes: [&[usize]; 6] = [
        &[0, 1],
        &[5, 70_000],
        &[20_000, 3, 0, 100_000],
        &[3, 2 << 20, 4],
        &[9],
        &[1, 2, 3],
    ];
    let parts = |seq: usize| -> Vec<Bytes> {
        let sizes = shapes[seq % shapes.len()].iter().zip(0..);
        sizes
            .map(|(size, n)| pattern(seq as u64 + n, *size).into())
            .collect()
    };
    for seq in 0..12 {
        let mut parts = parts(seq).into_iter();
        let first = parts.next().unwrap_or_default();
        let others: Box<[Block]> = parts.map(Block::from).collect();
        a.send(tell(seq as u64), Body::Parts(first, others), Vec::new())
            .unwrap();
    }
    for seq in 0..12 {
        let incoming = receive(&mut b).await;
        assert_eq!(incoming.head.seq, seq as u64);
        assert_eq!(joined(&incoming), parts(seq).concat());
    }
}

async fn a_block_at_the_end_of_a_frame_is_read_into_memory_of_its_own(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    let fronts = [7, 3 * BLOCK, 9, 100];
    let blocks = [BLOCK, 2 << 20, BLOCK - 1, 5 * BLOCK];
    for (seq, (front, block)) in fronts.into_iter().zip(blocks).enumerate() {
        let block = Bytes::from(pattern(1, block)).into();
        let body = Body::Parts(pattern(2, front).into(), Box::new([block]));
        a.send(tell(seq as u64), body, Vec::new()).unwrap();
    }
    for (front, len) in fronts.into_iter().zip(blocks) {
        let Incoming { body, block, .. } = receive(&mut b).await;
        let Some(block) = block else {
            assert_eq!((len, body.len()), (BLOCK - 1, front + len));
            continue;
        };
        assert_eq!(
            (&body[..], &block[..]),
            (&pattern(2, front)[..], &pattern(1, len)[..])
        );
        let read_into = block.as_ptr();
        let owned = Vec::from(block);
        assert_eq!(owned.as_ptr(), read_into);
    }
}

async fn a_block_that_is_cut_short_is_dropped_with_its_frame(kind: LinkKind) {
    let ((_a, mut a), raw) = with_raw(kind, DEFAULT_LIMIT);
    let head = Head {
        block: 2 * BLOCK as u32,
        ..tell(1)
    };
    let frame = frame(head, &pattern(1, 2 * BLOCK + 3));
    raw.write(&frame[..HEADER + BLOCK / 2]).await;
    drop(raw);
    assert!(a.next().await.is_none());
    assert!(a.is_cut());
}

fn joined(incoming: &Incoming) -> Vec<u8> {
    [&incoming.body[..], incoming.block.as_deref().unwrap_or_default()].concat()
}

async fn a_header_over_the_limit_is_a_fault(kind: LinkKind) {
    let ((_a, mut a), raw) = with_raw(kind, 1000);
    raw.write(&frame(tell(0), &[1; 1000])).await;
    raw.write(&tell(1).to_bytes(1001)).await;
    assert_eq!(receive(&mut a).await.body.len(), 1000);
    let error = a.next().await.unwrap().unwrap_err();
    let too_large = FrameError::TooLarge {
        size: 1001,
        limit: 1000,
    };
    assert!(
        matches!(error, LinkError::Frame(ref error) if *error == too_large),
        "{error}"
    );
}

async fn garbage_is_a_fault_and_ends_the_link(kind: LinkKind) {
    let ((sender, mut a), raw) = with_raw(kind, DEFAULT_LIMIT);
    raw.write(&frame(tell(1), b"ok")).await;
    raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(receive(&mut a).await.head.seq, 1);
    let error = a.next().await.unwrap().unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Protocol);
    raw.write(&frame(tell(2), b"too late")).await;
    assert!(a.next().await.is_none());
    assert!(a.drain().frames.is_empty());
    assert_eq!(sender.send(tell(3), &b""[..], Vec::new()), Err(NotSent::Closed));
}

async fn the_end_of_file_comes_after_all_that_was_sent(kind: LinkKind) {
    let ((a, mut a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    for seq in 0..100 {
        send(&a, seq, &pattern(seq, 300));
    }
    a_driver.flush_now();
    drop((a, a_driver));
    for seq in 0..100 {
        assert_eq!(receive(&mut b).await.body, pattern(seq, 300));
    }
    assert!(b.next().await.is_none());
    assert!(b.next().await.is_none());
}

async fn a_frame_that_the_end_of_file_cut_short_is_dropped(kind: LinkKind) {
    let ((_a, mut a), raw) = with_raw(kind, DEFAULT_LIMIT);
    raw.write(&frame(tell(1), b"whole")).await;
    let second = frame(tell(2), b"cut short");
    raw.write(&second[..second.len() - 1]).await;
    drop(raw);
    assert_eq!(receive(&mut a).await.head.seq, 1);
    assert!(a.next().await.is_none());
}

async fn a_closed_side_still_reads(kind: LinkKind) {
    let ((a, mut a_driver), (b, mut b_driver)) = connect(kind, DEFAULT_LIMIT);
    send(&a, 1, b"question");
    a.close();
    let reply = async {
        assert_eq!(receive(&mut b_driver).await.head.seq, 1);
        assert!(b_driver.next().await.is_none());
        send(&b, 2, b"answer");
        b.close();
        // After the end of file it writes when polled.
        assert!(b_driver.next().await.is_none());
    };
    let ask = async {
        assert_eq!(&*receive(&mut a_driver).await.body, b"answer");
        assert!(a_driver.next().await.is_none());
    };
    tokio::join!(ask, reply);
}

async fn a_close_from_another_thread_is_never_missed(kind: LinkKind) {
    for _ in 0..50 {
        let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
        listen(a_driver);
        let closing = std::thread::spawn(move || a.close());
        assert!(b.next().await.is_none());
        closing.join().unwrap();
    }
}

async fn after_a_close_nothing_more_can_be_sent(kind: LinkKind) {
    let ((a, _a_driver), _b) = connect(kind, DEFAULT_LIMIT);
    assert!(!a.is_closed());
    a.clone().close();
    assert!(a.is_closed());
    assert_eq!(a.send(tell(0), Vec::new(), Vec::new()), Err(NotSent::Closed));
}

async fn dropping_a_driver_closes_the_link_for_both(kind: LinkKind) {
    let ((a, a_driver), (b, mut b_driver)) = connect(kind, DEFAULT_LIMIT);
    drop(a_driver);
    assert_eq!(a.send(tell(0), Vec::new(), Vec::new()), Err(NotSent::Closed));
    assert!(b_driver.next().await.is_none());
    // It learns that nobody reads when it writes.
    let _ = b.send(tell(0), Vec::new(), Vec::new());
    assert!(b_driver.next().await.is_none());
    assert_eq!(b.send(tell(1), Vec::new(), Vec::new()), Err(NotSent::Closed));
}

async fn what_is_queued_when_a_driver_is_dropped_still_goes_out(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    send(&a, 1, b"last words");
    drop(a_driver);
    assert_eq!(&*receive(&mut b).await.body, b"last words");
}

async fn a_reader_that_never_reads_makes_the_sender_wait(kind: LinkKind) {
    const SIZE: usize = 100_000;
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    let mut n = 0;
    while futures::FutureExt::now_or_never(a.room()).is_some() {
        send(&a, n, &pattern(n, SIZE));
        n += 1;
        tokio::task::yield_now().await;
    }
    assert!(
        (ROOM..ROOM + HEADER + SIZE).contains(&a.queued()),
        "{}",
        a.queued()
    );
    let mut waiting = Box::pin(a.room());
    assert!(futures::poll!(&mut waiting).is_pending());
    for seq in 0..n {
        assert_eq!(receive(&mut b).await.body, pattern(seq, SIZE));
    }
    waiting.await.unwrap();
    a.drained().await.unwrap();
    assert_eq!(a.queued(), 0);
}

async fn drained_means_that_the_transport_has_it(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    a.drained().await.unwrap();
    listen(a_driver);
    send(&a, 1, b"x");
    send(&a, 2, b"y");
    a.drained().await.unwrap();
    assert_eq!(a.queued(), 0);
    let frames = b.drain().frames;
    assert_eq!(
        frames.iter().map(|frame| frame.head.seq).collect::<Vec<_>>(),
        [1, 2]
    );
}

async fn drained_fails_when_the_peer_is_gone(kind: LinkKind) {
    let ((a, a_driver), b) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    // More than any transport holds.
    a.send(tell(1), vec![0; 2 << 20], Vec::new()).unwrap();
    let mut draining = Box::pin(a.drained());
    assert!(futures::poll!(&mut draining).is_pending());
    drop(b);
    assert_eq!(draining.await, Err(Closed));
    assert_eq!(a.room().await, Err(Closed));
}

async fn a_frame_from_another_thread_wakes_the_driver(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    for seq in 0..100 {
        // Both drivers are at rest when it is sent.
        tokio::task::yield_now().await;
        let a = a.clone();
        let sending = std::thread::spawn(move || send(&a, seq, b"x"));
        assert_eq!(receive(&mut b).await.head.seq, seq);
        sending.join().unwrap();
    }
}

async fn a_large_frame_from_another_thread_is_never_stuck(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    let (next, turns) = std::sync::mpsc::channel();
    // It writes by itself until the transport is full, while the driver goes to rest.
    let sending = std::thread::spawn(move || {
        while let Ok(seq) = turns.recv() {
            a.send(tell(seq), vec![1; 300_000], Vec::new()).unwrap();
        }
    });
    for seq in 0..100 {
        next.send(seq).unwrap();
        assert_eq!(receive(&mut b).await.head.seq, seq);
    }
    drop(next);
    sending.join().unwrap();
}

async fn what_is_said_in_answer_to_one_read_goes_out_in_one_write(kind: LinkKind) {
    let ((a, mut a_driver), raw) = with_raw(kind, DEFAULT_LIMIT);
    let requests: Vec<u8> = (0..64).flat_map(|seq| frame(tell(seq), b"question")).collect();
    raw.write(&requests).await;
    for _ in 0..64 {
        let seq = receive(&mut a_driver).await.head.seq;
        send(&a, seq, b"answers");
    }
    // Where a write costs nothing they are not gathered.
    assert_eq!(
        a.queued(),
        if kind == LinkKind::Ring {
            0
        } else {
            64 * (HEADER + 7)
        }
    );
    assert!(poll_once(&mut a_driver).is_pending());
    assert_eq!(a.queued(), 0);
    assert_eq!(raw.read(INLINE).await.len(), 64 * (HEADER + 7));
}

async fn what_a_dead_peer_has_said_is_drained(kind: LinkKind) {
    let ((a, mut a_driver), raw) = with_raw(kind, DEFAULT_LIMIT);
    // It dies without having read this, which a socket reports as an error.
    send(&a, 0, b"unread");
    a_driver.flush_now();
    raw.write(&frame(tell(1), b"reply")).await;
    raw.write(&frame(tell(2), &pattern(2, 40_000))).await;
    raw.write(&frame(tell(3), b"cut short")[..30]).await;
    drop(raw);
    let Drained { frames, fault } = a_driver.drain();
    assert!(fault.is_none());
    assert_eq!(
        frames.iter().map(|frame| frame.head.seq).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(frames[1].body, pattern(2, 40_000));
    assert!(a_driver.next().await.is_none());
}

async fn a_fault_found_while_draining_keeps_what_came_before(kind: LinkKind) {
    let ((_a, mut a), raw) = with_raw(kind, DEFAULT_LIMIT);
    raw.write(&frame(tell(1), b"reply")).await;
    raw.write(&[0xff; 64]).await;
    let Drained { frames, fault } = a.drain();
    assert_eq!(frames.len(), 1);
    assert!(matches!(fault, Some(LinkError::Frame(_))));
}

async fn a_view_that_is_kept_does_not_change(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    let mut kept = Vec::new();
    for seq in 0..500 {
        send(&a, seq, &pattern(seq, 500));
        let body = receive(&mut b).await.body;
        if seq % 3 == 0 {
            kept.push((seq, body));
        }
    }
    for (seq, body) in kept {
        assert_eq!(body, pattern(seq, 500));
    }
}

// What only some transports can do.

const ALL: [LinkKind; 4] = [LinkKind::Ring, LinkKind::Socket, LinkKind::Pipe, LinkKind::Memory];

/// Those that leave a process.
const BETWEEN: [LinkKind; 3] = [LinkKind::Ring, LinkKind::Socket, LinkKind::Pipe];

fn a_file(text: &str) -> Arc<OwnedFd> {
    let (read, write) = nix::unistd::pipe().unwrap();
    File::from(write).write_all(text.as_bytes()).unwrap();
    Arc::new(read)
}

fn text_of(fd: OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).unwrap();
    text
}

async fn descriptors_arrive(kind: LinkKind) {
    let ((a, a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
    listen(a_driver);
    for seq in 0..50 {
        let fds: Descriptors = (0..seq % 4).map(|n| a_file(&format!("{seq}.{n}"))).collect();
        // Bodies of all kinds: glued, large, and more than a transport takes at once.
        a.send(tell(seq), pattern(seq, (seq * seq * 200) as usize), fds)
            .unwrap();
    }
    for seq in 0..50 {
        let incoming = receive(&mut b).await;
        assert_eq!(incoming.head.seq, seq);
        let texts: Vec<_> = incoming.fds.into_iter().map(text_of).collect();
        assert_eq!(
            texts,
            (0..seq % 4).map(|n| format!("{seq}.{n}")).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn descriptors_arrive_with_their_frames() {
    for kind in ALL {
        within_a_minute(descriptors_arrive(kind)).await;
    }
}

#[tokio::test]
async fn descriptors_are_close_on_exec_when_they_arrive() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    for kind in BETWEEN {
        let ((a, mut a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
        a.send(tell(0), Vec::new(), vec![a_file("x")]).unwrap();
        a_driver.flush_now();
        let incoming = receive(&mut b).await;
        let flags = fcntl(incoming.fds[0].as_fd(), FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_truncate(flags).contains(FdFlag::FD_CLOEXEC));
    }
}

#[tokio::test]
async fn as_many_descriptors_as_the_kernel_takes_go_with_a_frame_and_no_more() {
    let one = a_file("x");
    let many = |n| vec![one.clone(); n];
    for kind in BETWEEN {
        let ((a, mut a_driver), (_b, mut b)) = connect(kind, DEFAULT_LIMIT);
        let error = a
            .send(tell(0), Vec::new(), many(MAX_DESCRIPTORS + 1))
            .unwrap_err();
        assert_eq!(error, NotSent::TooManyDescriptors(254));
        a.send(tell(1), Vec::new(), many(MAX_DESCRIPTORS)).unwrap();
        a_driver.flush_now();
        assert_eq!(receive(&mut b).await.fds.len(), MAX_DESCRIPTORS);
    }
}

#[tokio::test]
async fn other_descriptors_than_a_frame_states_are_a_fault() {
    for kind in ALL {
        // Where descriptors come beside the frames, one lot may be early.
        let beside = matches!(kind, LinkKind::Ring | LinkKind::Pipe);
        for (stated, sent) in [(1, 0), (2, 1), (1, 2), (0, 1)]
            .into_iter()
            .take(4 - usize::from(beside))
        {
            for body in [&b""[..], b"body"] {
                let ((_a, mut a), raw) = with_raw(kind, DEFAULT_LIMIT);
                let head = Head {
                    fds: stated,
                    ..tell(0)
                };
                let mut fds = (0..sent).map(|_| a_file("x")).collect();
                raw.write_once(&frame(head, body), &mut fds).unwrap();
                let fault = match a.next().await.unwrap() {
                    Err(error) => error,
                    // A surplus shows behind the frame.
                    Ok(_) => a.next().await.unwrap().unwrap_err(),
                };
                assert!(
                    matches!(fault, LinkError::Descriptors { .. }),
                    "{stated} {sent}: {fault}"
                );
            }
        }
    }
}

#[tokio::test]
async fn descriptors_that_come_in_the_middle_of_a_frame_are_a_fault() {
    let ((_a, mut a), raw) = with_raw(LinkKind::Socket, DEFAULT_LIMIT);
    let bytes = frame(tell(0), b"body");
    raw.write(&bytes[..30]).await;
    raw.write_once(&bytes[30..], &mut vec![a_file("x")].into())
        .unwrap();
    let mut last = a.next().await;
    if let Some(Ok(_)) = last {
        last = a.next().await;
    }
    assert!(matches!(last, Some(Err(LinkError::Descriptors { .. }))));
}

/// Runs the named test again in a process of its own, where it finds the variable set.
fn in_a_process_of_its_own(test: &str) -> bool {
    const INSIDE: &str = "PROCESSION_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("link::suite::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{test} is not its name"
    );
    false
}

#[test]
fn a_frame_whose_descriptors_this_process_cannot_take_comes_without_and_the_link_goes_on() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if !in_a_process_of_its_own(
        "a_frame_whose_descriptors_this_process_cannot_take_comes_without_and_the_link_goes_on",
    ) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ((a, mut a_driver), (_b, mut b)) = connect(LinkKind::Socket, DEFAULT_LIMIT);
        let two = || vec![a_file("x"), a_file("y")];
        send(&a, 0, b"none");
        a.send(tell(1), vec![7; 100_000], two()).unwrap();
        a.send(tell(2), Vec::new(), two()).unwrap();
        send(&a, 3, b"none");
        a.send(tell(4), Vec::new(), two()).unwrap();
        a_driver.flush_now();
        let later = two();
        // The lowest free number is the only one that may be taken.
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let limit = a_file("z").as_raw_fd() as u64 + 1;
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
        for (seq, stated) in [(0, 0), (1, 2), (2, 2), (3, 0), (4, 2)] {
            let Incoming { head, body, fds, .. } = receive(&mut b).await;
            assert_eq!((head.seq, head.fds, fds.len()), (seq, stated, 0));
            assert!(seq != 1 || body == [7; 100_000][..]);
        }
        a.send(tell(5), Vec::new(), later).unwrap();
        a_driver.flush_now();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(receive(&mut b).await.fds.len(), 2);
    });
}

/// A process that holds the other end and does nothing.
fn held_by_a_process(transport: &Transport) -> std::process::Child {
    let mut command = Command::new("sleep");
    command.arg("600").stdout(Stdio::null());
    match transport {
        Transport::Socket(fd) => command.stdin(fd.try_clone().unwrap()),
        Transport::Pipe(pipe) => command
            .stdin(pipe.read.try_clone().unwrap())
            .stdout(pipe.write.try_clone().unwrap()),
        Transport::Ring(_) | Transport::Memory(_) => unreachable!("it is not held by descriptors alone"),
    };
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_peer_that_is_killed_in_the_middle_of_a_frame_is_an_end_of_file() {
    // A ring that is dropped says so: see its own tests.
    for kind in [LinkKind::Socket, LinkKind::Pipe] {
        let (here, there) = pair(kind).unwrap();
        let mut process = held_by_a_process(&there);
        let (a, mut driver) = open(here, DEFAULT_LIMIT).unwrap();
        let raw = Raw::new(there);
        raw.write(&frame(tell(1), b"whole")).await;
        raw.write(&frame(tell(2), &[0; 100_000])[..50_000]).await;
        drop(raw);
        send(&a, 3, b"never read");
        assert_eq!(receive(&mut driver).await.head.seq, 1);
        assert!(poll_once(&mut driver).is_pending());
        process.kill().unwrap();
        assert!(driver.next().await.is_none(), "{kind}");
        process.wait().unwrap();
        let _ = a.send(tell(4), Vec::new(), Vec::new());
        assert!(driver.next().await.is_none());
        assert!(a.is_closed());
    }
}

#[tokio::test]
async fn an_end_can_be_taken_apart_sent_and_put_together() {
    for kind in BETWEEN {
        let ((a, mut a_driver), (_b, mut b)) = connect(LinkKind::Socket, DEFAULT_LIMIT);
        let (here, there) = pair(kind).unwrap();
        let fds: Descriptors = there.into_descriptors().into_iter().map(Arc::new).collect();
        a.send(tell(0), Vec::new(), fds).unwrap();
        a_driver.flush_now();
        let there = Transport::from_descriptors(receive(&mut b).await.fds).unwrap();
        let (sender, mut driver) = open(here, DEFAULT_LIMIT).unwrap();
        let (_other, mut other) = open(there, DEFAULT_LIMIT).unwrap();
        send(&sender, 7, b"over the new one");
        driver.flush_now();
        assert_eq!(receive(&mut other).await.head.seq, 7);
    }
}

#[test]
fn outside_a_runtime_a_link_cannot_be_opened() {
    for kind in BETWEEN {
        assert!(open(pair(kind).unwrap().0, DEFAULT_LIMIT).is_err());
    }
}

#[test]
fn the_kinds_have_names() {
    for kind in ALL {
        assert_eq!(kind.to_string().parse::<LinkKind>().unwrap(), kind);
    }
    let error = "sockets".parse::<LinkKind>().unwrap_err().to_string();
    assert_eq!(
        error,
        "`sockets` is no kind of link: use `ring`, `socket` or `pipe`"
    );
}
