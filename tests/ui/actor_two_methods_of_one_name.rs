use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add(&mut self, n: u64) {
        self.total += n;
    }
    fn add(&mut self, a: u64, b: u64) {
        self.total += a + b;
    }
}

fn main() {}
