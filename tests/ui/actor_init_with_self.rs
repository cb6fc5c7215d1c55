use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[init]
    fn new(&self) -> Self {
        Counter { total: 0 }
    }
}

fn main() {}
