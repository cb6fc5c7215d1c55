use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[init(first)]
    fn new() -> Self {
        Counter { total: 0 }
    }
}

fn main() {}
