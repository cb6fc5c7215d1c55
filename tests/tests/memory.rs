//! Processes that may have no more memory: a message for which there is none fails, and costs nothing else.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procession::mpsc::Receiver;
use procession::prelude::*;
use procession::{CallError, DeadCause, Error, ErrorKind, Fd};
use std::fmt::Debug;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tests::within;

/// More than a limited process can have.
const LARGE: usize = 48 << 20;

/// What one can have: enough for itself, and for much that is small.
const SLACK: u64 = 16 << 20;

/// From here on this process can have little more memory than it has.
fn limit_memory() {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("its size");
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("pages");
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).expect("a limit");
    setrlimit(Resource::RLIMIT_AS, pages * 4096 + SLACK, hard).expect("a lower limit");
}

fn letters(n: usize) -> String {
    "x".repeat(n)
}

#[derive(Default)]
struct Cramped {
    text: String,
    numbers: Vec<u64>,
    block: Vec<u8>,
}

#[actor]
impl Cramped {
    /// Has all of that, and then little more.
    fn limit(&mut self, text: usize, numbers: usize, block: usize) -> u32 {
        self.text = letters(text);
        self.numbers = vec![u64::MAX; numbers];
        self.block = vec![7; block];
        limit_memory();
        std::process::id()
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
    fn take(&self, block: Vec<u8>) -> usize {
        block.len()
    }
    fn take_slice(&self, block: &[u8]) -> usize {
        block.len()
    }
    fn take_bytes(&self, first: Bytes, second: Bytes) -> usize {
        first.len() + second.len()
    }
    fn read(&self, text: String) -> usize {
        text.len()
    }
    fn count(&self, numbers: Vec<u64>) -> usize {
        numbers.len()
    }
    fn keep(&self, _file: Fd<File>, block: Vec<u8>) -> usize {
        block.len()
    }
    fn block(&self, len: usize) -> Vec<u8> {
        vec![7; len]
    }
    fn fail(&self, len: usize) -> Result<(), String> {
        Err(letters(len))
    }
    fn blocks(&self, lens: Vec<usize>) -> impl Stream<Item = Vec<u8>> + use<> {
        futures::stream::iter(lens.into_iter().map(|len| vec![7; len]))
    }
    fn own_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
    fn own_numbers(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.numbers)
    }
    /// Asks another for so much.
    async fn ask(&self, other: CrampedRef, len: usize) -> Result<usize, CallError> {
        Ok(other.block(len).await?.len())
    }
    /// Has another fail with so much.
    async fn ask_to_fail(&self, other: CrampedRef, len: usize) -> Result<(), Error> {
        Ok(other.fail(len).await?)
    }
    /// Sends another what it has.
    async fn send_text(&mut self, other: CrampedRef) -> Result<usize, CallError> {
        other.read(std::mem::take(&mut self.text)).await
    }
    /// The same, of which it keeps its own.
    async fn send_block(&self, other: CrampedRef) -> Result<usize, CallError> {
        other.take_slice(&self.block).await
    }
    /// The lengths of what another's stream and a channel yield, or the kinds of errors.
    async fn read_blocks(&self, other: CrampedRef, lens: Vec<usize>) -> Vec<Result<usize, ErrorKind>> {
        let blocks = other.blocks(lens).await.expect("a stream");
        blocks
            .map(|block| {
                block
                    .map(|block| block.len())
                    .map_err(|error| Error::from(error).kind())
            })
            .collect()
            .await
    }
    async fn receive(&self, blocks: Receiver<String>) -> Vec<Result<usize, ErrorKind>> {
        blocks
            .map(|block| block.map(|block| block.len()).map_err(|error| error.kind()))
            .collect()
            .await
    }
    async fn hand_on(
        &self,
        mut blocks: Receiver<String>,
        other: CrampedRef,
    ) -> Vec<Result<usize, ErrorKind>> {
        // Others have arrived by the time that this has.
        assert_eq!(blocks.recv().await.expect("a block").expect("a block").len(), 1);
        other.receive(blocks).await.expect("an answer")
    }
}

async fn cramped(text: usize, numbers: usize, block: usize) -> (CrampedRef, u32) {
    let actor = within("spawn", Cramped::spawn()).await.expect("an actor");
    let pid = within("a limit", actor.limit(text, numbers, block))
        .await
        .expect("a pid");
    (actor, pid)
}

fn is_out_of_memory<E: Debug>(outcome: Result<impl Debug, CallError<E>>) {
    match outcome {
        Err(CallError::Other(error)) => names_the_size(&error),
        other => panic!("expected an error of the library's, got {other:?}"),
    }
}

fn names_the_size(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    let text = error.to_string();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let size = numbers.find_map(|word| word.parse::<usize>().ok().filter(|n| *n >= LARGE / 2));
    assert!(size.is_some() && text.contains("out of memory"), "{text}");
}

/// Whatever failed has cost nothing else.
async fn is_well(actor: &CrampedRef, pid: u32) {
    assert_eq!(within("a call", actor.pid()).await, Ok(pid));
    assert_eq!(within("a call", actor.take(vec![0; 1 << 20])).await, Ok(1 << 20));
}

#[procession::test]
async fn a_call_fails_for_which_its_receiver_has_no_memory() {
    let (actor, pid) = cramped(0, 0, 0).await;
    is_out_of_memory(within("a call", actor.take(vec![1; LARGE])).await);
    is_well(&actor, pid).await;
    is_out_of_memory(within("a call", actor.take_slice(&vec![1; LARGE])).await);
    is_well(&actor, pid).await;
    is_out_of_memory(within("a call", actor.read(letters(LARGE))).await);
    is_well(&actor, pid).await;
    let block = Bytes::from(vec![1; LARGE / 2]);
    is_out_of_memory(within("a call", actor.take_bytes(block.clone(), block)).await);
    is_well(&actor, pid).await;
    // Several at once, with others between them.
    let several = (0..6).map(|n| {
        let actor = &actor;
        async move {
            let len = if n % 2 == 0 { LARGE } else { 100 << n };
            (len, within("a call", actor.take(vec![1; len])).await)
        }
    });
    for (len, outcome) in futures::future::join_all(several).await {
        match len {
            LARGE => is_out_of_memory(outcome),
            len => assert_eq!(outcome, Ok(len)),
        }
    }
    is_well(&actor, pid).await;
}

#[procession::test]
async fn a_message_that_can_be_read_and_not_decoded_for_want_of_memory_fails() {
    // One text is all that there is room for.
    let (actor, pid) = cramped(0, 0, 0).await;
    let len = SLACK as usize * 5 / 8;
    is_out_of_memory_of(len, within("a call", actor.read(letters(len))).await);
    is_well(&actor, pid).await;
    // Each a byte on its way, and eight there.
    let numbers = 2 << 20;
    is_out_of_memory_of(8 * numbers, within("a call", actor.count(vec![1; numbers])).await);
    is_well(&actor, pid).await;
}

fn is_out_of_memory_of(len: usize, outcome: Result<usize, CallError>) {
    match outcome {
        Err(CallError::Other(error)) => {
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(error.to_string().contains(&len.to_string()), "{error}");
        }
        other => panic!("expected an error of the library's, got {other:?}"),
    }
}

#[procession::test]
async fn a_one_way_message_for_which_there_is_no_memory_is_a_dead_letter() {
    let (actor, pid) = cramped(0, 0, 0).await;
    within("a message", actor.take(vec![1; LARGE]).tell())
        .await
        .expect("it was sent");
    // It was handled by then.
    is_well(&actor, pid).await;
    let dead = async {
        loop {
            if let Some(letter) = actor.dead_letters().await.expect("dead letters").pop() {
                break letter;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let letter = within("a dead letter", dead).await;
    match &letter.cause {
        DeadCause::Unread(why) => assert!(why.contains("out of memory"), "{why}"),
        other => panic!("expected a message that was not read, got {other:?}"),
    }
    is_well(&actor, pid).await;
}

#[procession::test]
async fn what_travels_with_a_message_for_which_there_is_no_memory_is_closed() {
    let (actor, pid) = cramped(0, 0, 0).await;
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let file = Fd::new(File::from(OwnedFd::from(write)));
    is_out_of_memory(within("a call", actor.keep(file, vec![1; LARGE])).await);
    let end = tokio::task::spawn_blocking(move || read.read(&mut [0]));
    assert_eq!(
        within("the end", end).await.expect("a thread").expect("a read"),
        0
    );
    is_well(&actor, pid).await;
}

#[procession::test]
async fn a_call_ends_for_whose_answer_its_caller_has_no_memory() {
    let (actor, pid) = cramped(0, 0, 0).await;
    let other = within("spawn", Cramped::spawn()).await.expect("an actor");
    match within("a call", actor.ask(other.clone(), LARGE)).await {
        Err(CallError::Failed(error)) => {
            is_out_of_memory::<std::convert::Infallible>(Err::<(), _>(match error {
                CallError::Other(error) => CallError::Other(error),
                other => panic!("expected an error of the library's, got {other:?}"),
            }))
        }
        outcome => panic!("expected an error, got {outcome:?}"),
    }
    is_well(&actor, pid).await;
    match within("a call", actor.ask_to_fail(other.clone(), LARGE)).await {
        Err(CallError::Failed(error)) => names_the_size(&error),
        outcome => panic!("expected an error, got {outcome:?}"),
    }
    is_well(&actor, pid).await;
    assert_eq!(within("a call", actor.ask(other, 1 << 20)).await, Ok(1 << 20));
}

#[procession::test]
async fn what_there_is_no_memory_to_encode_fails_where_it_was_to_be_sent() {
    let other = within("spawn", Cramped::spawn()).await.expect("an actor");
    let (actor, pid) = cramped(LARGE, 0, 0).await;
    match within("a call", actor.send_text(other.clone())).await {
        Err(CallError::Failed(CallError::Other(error))) => names_the_size(&error),
        outcome => panic!("expected an error, got {outcome:?}"),
    }
    is_well(&actor, pid).await;
    let (actor, pid) = cramped(0, 0, LARGE).await;
    match within("a call", actor.send_block(other.clone())).await {
        Err(CallError::Failed(CallError::Other(error))) => names_the_size(&error),
        outcome => panic!("expected an error, got {outcome:?}"),
    }
    is_well(&actor, pid).await;
    let (actor, pid) = cramped(LARGE, 0, 0).await;
    is_out_of_memory(within("a call", actor.own_text()).await);
    is_well(&actor, pid).await;
    let (actor, pid) = cramped(0, LARGE / 9, 0).await;
    let outcome = within("a call", actor.own_numbers()).await;
    let Err(CallError::Other(error)) = outcome else {
        panic!("expected an error of the library's, got {outcome:?}")
    };
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    is_well(&actor, pid).await;
    let other_pid = other.pid().await.expect("a pid");
    is_well(&other, other_pid).await;
}

#[procession::test]
async fn an_item_of_a_stream_for_which_there_is_no_memory_is_an_error_and_others_follow() {
    let (actor, pid) = cramped(0, 0, 0).await;
    let other = within("spawn", Cramped::spawn()).await.expect("an actor");
    let lens = vec![1, LARGE, 2, 300_000, LARGE, 3];
    let outcomes = within("a stream", actor.read_blocks(other, lens.clone())).await;
    assert_eq!(outcomes.expect("an answer"), expected(&lens));
    is_well(&actor, pid).await;
}

fn expected(lens: &[usize]) -> Vec<Result<usize, ErrorKind>> {
    let expected = |len: &usize| match *len {
        LARGE => Err(ErrorKind::OutOfMemory),
        len => Ok(len),
    };
    lens.iter().map(expected).collect()
}

#[procession::test]
async fn an_item_of_a_channel_for_which_there_is_no_memory_is_an_error_and_others_follow() {
    let lens = [1, LARGE, 2, 300_000, LARGE, 3];
    let (actor, pid) = cramped(0, 0, 0).await;
    let (sender, receiver) = procession::channel(2).expect("a channel");
    let received = async { within("items", actor.receive(receiver)).await };
    let sent = async {
        for len in lens {
            within("an item", sender.send(letters(len)))
                .await
                .expect("a receiver");
        }
        drop(sender);
    };
    let (received, ()) = futures::future::join(received, sent).await;
    assert_eq!(received.expect("an answer"), expected(&lens));
    is_well(&actor, pid).await;
    // And where it was thrown away before the end travels on.
    let other = within("spawn", Cramped::spawn()).await.expect("an actor");
    let (sender, receiver) = procession::channel(2).expect("a channel");
    let received = async { within("items", actor.hand_on(receiver, other)).await };
    let sent = async {
        for len in [1, 2, LARGE, 3] {
            // The end may be between two processes.
            within("an item", sender.send(letters(len)))
                .await
                .expect("a receiver");
        }
        drop(sender);
    };
    let (received, ()) = futures::future::join(received, sent).await;
    let received = received.expect("an answer");
    assert_eq!(received.len(), 3, "{received:?}");
    assert!(
        matches!(received[1], Ok(LARGE) | Err(ErrorKind::OutOfMemory)),
        "{received:?}"
    );
    is_well(&actor, pid).await;
}

#[task]
fn measure(block: Vec<u8>) -> Result<usize, String> {
    match block.first() {
        None => limit_memory(),
        Some(1) => {}
        Some(_) => return Err(format!("{}", std::process::id())),
    }
    Ok(block.len())
}

#[procession::test]
async fn items_of_a_pool_for_which_a_worker_has_no_memory_fail_and_others_do_not() {
    let pool = within("a pool", Pool::new(1)).await.expect("a pool");
    let pid = pool.pids().await.expect("a pid")[0];
    assert_eq!(within("an item", pool.run(measure, Vec::new())).await, Ok(0));
    match within("an item", pool.run(measure, vec![1; LARGE])).await {
        Err(TaskError::Other(error)) => names_the_size(&error),
        other => panic!("expected an error of the library's, got {other:?}"),
    }
    assert_eq!(
        within("an item", pool.run(measure, vec![2])).await,
        Err(TaskError::Failed(pid.to_string()))
    );
    assert_eq!(
        within("an item", pool.run(measure, vec![1; 1 << 20])).await,
        Ok(1 << 20)
    );
}
