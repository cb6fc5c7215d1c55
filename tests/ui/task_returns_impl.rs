use procession::prelude::*;

#[task]
fn upto(n: u64) -> impl Iterator<Item = u64> {
    0..n
}

fn main() {}
