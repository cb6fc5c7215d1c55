use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add(&mut self, (a, b): (u64, u64)) {
        self.total += a + b;
    }
}

fn main() {}
