use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add(&mut self, n: u64) {
        self.totl += n;
    }
}

fn main() {}
