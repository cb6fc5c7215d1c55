use futures::Stream;
use procession::prelude::*;

#[task]
async fn sum(numbers: impl Stream<Item = u64>) -> u64 {
    drop(numbers);
    0
}

fn main() {}
