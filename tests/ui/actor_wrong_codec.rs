use procession::prelude::*;

#[derive(Default)]
struct Counter(u64);

#[actor(codec = compact)]
impl Counter {
    fn add(&mut self, n: u64) -> u64 {
        self.0 += n;
        self.0
    }
}

fn main() {}
