use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[idempotent]
    fn upto(&self) -> impl futures::Stream<Item = u64> + use<> {
        futures::stream::iter(0..self.total)
    }
}

fn main() {}
