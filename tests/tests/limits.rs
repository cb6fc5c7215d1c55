//! Messages over the frame limit, which is small in this program: the error names the size and the limit.

use procession::prelude::*;
use procession::{CallError, Config, Error, ErrorKind};
use std::sync::Once;

const LIMIT: usize = 64 << 10;

/// Called first by each test.
fn limited() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| Config::new().frame_limit(LIMIT).init().unwrap());
}

fn is_too_large(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("limit of {LIMIT}")), "{text}");
    let size = text
        .split_whitespace()
        .find_map(|word| word.parse::<usize>().ok());
    assert!(size.is_some_and(|size| size > LIMIT), "{text}");
}

#[task]
fn measure(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[task]
fn fill(size: usize) -> Vec<u8> {
    vec![7; size]
}

#[task]
fn fail(size: usize) -> Result<(), String> {
    Err("x".repeat(size))
}

fn fault<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, TaskError<E>>) -> Error {
    match outcome {
        Err(TaskError::Other(error)) => error,
        other => panic!("expected an error of the library's, got {other:?}"),
    }
}

#[procession::test]
async fn a_task_whose_input_output_or_error_is_over_the_limit() {
    limited();
    is_too_large(&Process::spawn(measure, vec![0; LIMIT]).await.unwrap_err());
    is_too_large(&fault(Process::spawn(fill, LIMIT).await.unwrap().join().await));
    is_too_large(&fault(Process::spawn(fail, LIMIT).await.unwrap().join().await));
    let below = LIMIT - 100;
    assert_eq!(
        Process::spawn(measure, vec![0; below])
            .await
            .unwrap()
            .join()
            .await,
        Ok(below)
    );
    assert_eq!(
        Process::spawn(fill, below).await.unwrap().join().await,
        Ok(vec![7; below])
    );
}

#[procession::test]
async fn in_a_pool_a_value_over_the_limit_costs_its_own_item_alone() {
    limited();
    let pool = Pool::new(1).await.unwrap();
    let sizes = [
        10,
        LIMIT - 100,
        10,
        LIMIT,
        LIMIT / 2,
        LIMIT / 2,
        LIMIT - 100,
        10 * LIMIT,
        10,
    ];
    for n_items in [1, 2, 3, 9] {
        let outcomes: Vec<_> = pool
            .map(fill, sizes)
            .chunk_size(n_items)
            .with_input()
            .stream()
            .collect()
            .await;
        assert_eq!(outcomes.len(), sizes.len());
        for (size, outcome) in outcomes {
            match size {
                size if size >= LIMIT => is_too_large(&fault(outcome)),
                size => assert_eq!(outcome.unwrap(), vec![7; size]),
            }
        }
        let inputs = sizes.map(|size| vec![0; size]);
        let outcomes: Vec<_> = pool
            .map(measure, inputs)
            .chunk_size(n_items)
            .stream()
            .collect()
            .await;
        assert_eq!(outcomes.len(), sizes.len());
        for (size, outcome) in sizes.into_iter().zip(outcomes) {
            match size {
                size if size >= LIMIT => is_too_large(&fault(outcome)),
                size => assert_eq!(outcome, Ok(size)),
            }
        }
    }
    let outcomes: Vec<_> = pool
        .map(fail, [10, LIMIT, 10])
        .chunk_size(3)
        .stream()
        .collect()
        .await;
    assert_eq!(outcomes[0], Err(TaskError::Failed("x".repeat(10))));
    is_too_large(&fault(outcomes[1].clone()));
    assert_eq!(outcomes[2], Err(TaskError::Failed("x".repeat(10))));
}

#[derive(Default)]
struct Store(usize);

#[actor]
impl Store {
    fn put(&mut self, bytes: Vec<u8>) -> usize {
        self.0 += bytes.len();
        self.0
    }
    fn get(&self, size: usize) -> Vec<u8> {
        vec![7; size]
    }
    fn fails(&self, size: usize) -> Result<(), String> {
        Err("x".repeat(size))
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

struct Big;

#[actor]
impl Big {
    #[init]
    fn new(bytes: Vec<u8>) -> Self {
        drop(bytes);
        Big
    }
}

fn uncalled<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) -> Error {
    match outcome {
        Err(CallError::Other(error)) => error,
        other => panic!("expected an error of the library's, got {other:?}"),
    }
}

#[procession::test]
async fn a_call_whose_request_or_reply_is_over_the_limit_costs_that_call_alone() {
    limited();
    let store = Store::spawn().await.unwrap();
    let pid = store.pid().await.unwrap();
    is_too_large(&uncalled(store.put(vec![0; LIMIT]).await));
    is_too_large(&uncalled(store.put(vec![0; LIMIT]).tell().await));
    is_too_large(&uncalled(store.get(LIMIT).await));
    is_too_large(&uncalled(store.fails(LIMIT).await));
    let below = LIMIT - 100;
    assert_eq!(store.put(vec![0; below]).await.unwrap(), below);
    assert_eq!(store.get(below).await.unwrap().len(), below);
    assert_eq!(store.pid().await.unwrap(), pid);
}

#[procession::test]
async fn an_init_whose_arguments_are_over_the_limit_fails_the_spawn() {
    limited();
    is_too_large(&Big::spawn(vec![0; LIMIT]).await.unwrap_err());
    Big::spawn(vec![0; LIMIT - 100]).await.unwrap();
    is_too_large(
        &Supervisor::new("s")
            .child(Big::spec(vec![0; LIMIT]))
            .start()
            .await
            .unwrap_err(),
    );
}
