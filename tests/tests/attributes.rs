//! What the attributes make, as far as it can be seen in one process.

use procession::Task;
use procession::prelude::*;
use std::path::Path;

#[task]
fn describe(name: &str, block: &[u8], at: &Path, n: Option<u8>) -> Result<String, String> {
    match n {
        Some(n) => Ok(format!("{name} {block:?} {} {n}", at.display())),
        None => Err(format!("{name} has no number")),
    }
}

#[task]
async fn length(block: Vec<u8>) -> u64 {
    tokio::task::yield_now().await;
    block.len() as u64
}

#[task]
fn nothing() {}

/// What a process would give for this input: it goes in, and its result comes out, as bytes.
async fn there_and_back<T: Task>(task: T, input: T::Input) -> Result<T::Output, T::Error> {
    let _ = task;
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    T::encode_input(&input, &mut sent).expect("an input that can be encoded");
    let mut rest = &sent[..];
    let arrived = T::decode_input(&mut rest).expect("an input that can be decoded");
    assert!(rest.is_empty(), "{} bytes are left", rest.len());
    match T::call(arrived).await {
        Ok(output) => {
            T::encode_output(&output, &mut answered).expect("an output that can be encoded");
            Ok(T::decode_output(&mut &answered[..]).expect("an output that can be decoded"))
        }
        Err(error) => {
            T::encode_error(&error, &mut answered).expect("an error that can be encoded");
            Err(T::decode_error(&mut &answered[..]).expect("an error that can be decoded"))
        }
    }
}

#[procession::test]
async fn the_arguments_and_the_output_of_a_task_survive_the_way() {
    let input = |n| ("ledger".to_owned(), vec![1, 2], Path::new("a/b").to_owned(), n);
    let described = there_and_back(describe, input(Some(7))).await;
    assert_eq!(described, Ok("ledger [1, 2] a/b 7".to_owned()));
    let refused = there_and_back(describe, input(None)).await;
    assert_eq!(refused, Err("ledger has no number".to_owned()));
    assert_eq!(there_and_back(length, vec![0; 1000]).await, Ok(1000));
    assert_eq!(there_and_back(nothing, ()).await, Ok(()));
}

#[procession::test]
async fn a_task_is_still_a_function() {
    let described = describe("x", &[], Path::new("y"), Some(1));
    assert_eq!(described.as_deref(), Ok("x [] y 1"));
    assert_eq!(length(vec![1]).await, 1);
    nothing();
}

#[test]
fn a_block_of_bytes_travels_as_it_is() {
    let block = vec![200; 1000];
    let mut sent = Vec::new();
    length::encode_input(&block, &mut sent).expect("an input that can be encoded");
    assert!(sent.len() < block.len() + 16, "{} bytes", sent.len());
    assert!(sent.ends_with(&block));
}

#[test]
fn bytes_that_end_too_early_are_an_error() {
    let input = (
        "ledger".to_owned(),
        vec![1, 2],
        Path::new("a/b").to_owned(),
        Some(3),
    );
    let mut sent = Vec::new();
    describe::encode_input(&input, &mut sent).expect("an input that can be encoded");
    for end in 0..sent.len() {
        assert!(describe::decode_input(&mut &sent[..end]).is_err(), "cut at {end}");
    }
}

#[procession::test]
#[should_panic(expected = "as asked")]
async fn a_test_that_should_panic_may() {
    panic!("as asked");
}

#[procession::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_may_return_a_result() -> procession::Result<()> {
    Ok(())
}
