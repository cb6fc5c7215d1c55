use procession::prelude::*;

trait Count {
    fn total(&self) -> u64;
}

struct Counter(u64);

#[actor]
impl Count for Counter {
    fn total(&self) -> u64 {
        self.0
    }
}

fn main() {}
