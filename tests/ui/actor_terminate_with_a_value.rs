use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[terminate]
    fn farewell(&mut self) -> u64 {
        self.total
    }
}

fn main() {}
