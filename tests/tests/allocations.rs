//! What a message costs in allocations, in both processes: nothing, but for what the user's own types take.
//!
//! All threads of a process are counted, so what is allowed below is for what does not come with each message: the host's
//! housekeeping, a buffer that grows. The program is a test of its own, since the count is the whole process's.

use procession::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tests::within;

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Default)]
struct Echo {
    heard: u64,
}

#[actor]
impl Echo {
    fn next(&mut self, x: u64) -> u64 {
        x + 1
    }
    fn shared(&self, x: u64, y: u32) -> (u64, u32) {
        (x, y)
    }
    fn hear(&mut self, x: u64) {
        self.heard += x;
    }
    fn bytes(&mut self, block: &[u8]) -> u8 {
        block[0]
    }
    async fn later(&mut self, x: u64) -> u64 {
        x + 2
    }
    fn allocated(&self) -> u64 {
        COUNT.load(Relaxed)
    }
}

const N: u64 = 2_000;

/// What a message may cost beside what is expected of it: of what comes once for many.
const REST: f64 = 0.01;

/// How many allocations each of `N` messages cost, here and there.
async fn cost(echo: &EchoRef, work: impl AsyncFn()) -> (f64, f64) {
    // What grows to its size has.
    work().await;
    work().await;
    let there = echo.allocated().await.expect("an answer");
    let here = COUNT.load(Relaxed);
    work().await;
    let here = COUNT.load(Relaxed) - here;
    let there = echo.allocated().await.expect("an answer") - there;
    (here as f64 / N as f64, there as f64 / N as f64)
}

async fn calls(echo: &EchoRef, from: u64, n: u64) {
    for x in from..from + n {
        assert_eq!(echo.next(x).await, Ok(x + 1));
    }
}

#[procession::test]
async fn a_message_allocates_nothing_in_either_process() {
    let echo = within("spawn", Echo::spawn()).await.expect("an actor");
    let is = |what: &str, (here, there): (f64, f64), (most_here, most_there): (f64, f64)| {
        println!("{what}: {here} here, {there} there");
        assert!(
            here <= most_here + REST && there <= most_there + REST,
            "{what}: {here} here, {there} there"
        );
    };
    let one_by_one = cost(&echo, async || calls(&echo, 0, N).await).await;
    is("a call", one_by_one, (0.0, 0.0));
    let shared = cost(&echo, async || {
        for x in 0..N {
            assert_eq!(echo.shared(x, 7).await, Ok((x, 7)));
        }
    });
    is("a call of a shared method", shared.await, (0.0, 0.0));
    let outstanding = cost(&echo, async || {
        let callers = (0..64).map(|caller| calls(&echo, caller, N / 64));
        futures::future::join_all(callers).await;
    });
    // The callers themselves are allocated.
    is(
        "one of 64 outstanding calls",
        outstanding.await,
        (128.0 / N as f64, 0.0),
    );
    // A sender that has to wait for room allocates: that is once for half a mailbox.
    let tells = cost(&echo, async || {
        for x in 0..N {
            echo.hear(x).tell().await.expect("accepted");
        }
        calls(&echo, 0, 1).await;
    });
    is("a one-way message", tells.await, (0.03, 0.0));
    let blocks = cost(&echo, async || {
        for _ in 0..N {
            assert_eq!(echo.bytes(&[7; 64]).await, Ok(7));
        }
    });
    is(
        "a call whose argument is a vector there",
        blocks.await,
        (0.0, 1.0),
    );
    let later = cost(&echo, async || {
        for x in 0..N {
            assert_eq!(echo.later(x).await, Ok(x + 2));
        }
    });
    // The message, which others may hold; the future of the method; and what runs it in its turn.
    is("a call of an async method", later.await, (0.0, 4.0));
}
