use futures::Stream;
use procession::prelude::*;

struct Counter;

#[actor]
impl Counter {
    #[init]
    fn new(numbers: impl Stream<Item = u64>) -> Self {
        drop(numbers);
        Counter
    }
}

fn main() {}
