use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add(&mut self, n: impl Into<u64>) {
        self.total += n.into();
    }
}

fn main() {}
