use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn total(&self) -> &u64 {
        &self.total
    }
}

fn main() {}
