use procession::prelude::*;

struct Step(u64);

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    async fn step(&self) -> procession::Result<Step> {
        Ok(Step(self.total))
    }
}

fn main() {}
