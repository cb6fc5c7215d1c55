use procession::prelude::*;

struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn total(&self) -> u64 {
        self.total
    }
}

fn main() {}
