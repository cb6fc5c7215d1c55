use procession::prelude::*;

struct Step(u64);

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add(&mut self, step: Step) {
        self.total += step.0;
    }
}

fn main() {}
