use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[init]
    fn new() -> Self {
        Counter { total: 0 }
    }
    #[init]
    fn starting_at(total: u64) -> Self {
        Counter { total }
    }
}

fn main() {}
