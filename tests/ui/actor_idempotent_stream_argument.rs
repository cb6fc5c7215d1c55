use futures::Stream;
use procession::prelude::*;

#[derive(Default)]
struct Counter;

#[actor]
impl Counter {
    #[idempotent]
    async fn sum(&self, numbers: impl Stream<Item = u64>) -> u64 {
        drop(numbers);
        0
    }
}

fn main() {}
