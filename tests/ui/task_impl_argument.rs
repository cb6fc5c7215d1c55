use procession::prelude::*;

#[task]
fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.sum()
}

fn main() {}
