use procession::prelude::*;

#[derive(Default)]
struct Counter {
    totals: Vec<u64>,
}

#[actor]
impl Counter {
    fn totals(&self) -> impl futures::Stream<Item = u64> {
        futures::stream::iter(&self.totals).map(|total| *total)
    }
}

fn main() {}
