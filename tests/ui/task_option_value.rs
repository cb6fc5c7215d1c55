use procession::prelude::*;

#[task(crate = 7)]
fn cube(x: u64) -> u64 {
    x.pow(3)
}

fn main() {}
