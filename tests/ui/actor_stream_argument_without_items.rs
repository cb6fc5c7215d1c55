use futures::Stream;
use procession::prelude::*;

#[derive(Default)]
struct Counter;

#[actor]
impl Counter {
    async fn sum(&self, numbers: impl Stream) -> u64 {
        drop(numbers);
        0
    }
}

fn main() {}
