use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn drain(&mut self, into: &mut u64) {
        *into += std::mem::take(&mut self.total);
    }
}

fn main() {}
