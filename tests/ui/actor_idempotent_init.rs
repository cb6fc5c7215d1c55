use procession::prelude::*;

#[derive(Default)]
struct Counter(u64);

#[actor]
impl Counter {
    #[init]
    #[idempotent]
    fn new() -> Self {
        Counter(0)
    }
}

fn main() {}
