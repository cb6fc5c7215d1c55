use procession::prelude::*;

#[derive(Default)]
struct Counter;

#[actor]
impl Counter {
    fn sum(&self, numbers: impl Iterator<Item = u64>) -> u64 {
        numbers.sum()
    }
}

fn main() {}
