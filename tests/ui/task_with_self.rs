use procession::prelude::*;

#[task]
fn total(&self, n: u64) -> u64 {
    self.total + n
}

fn main() {}
