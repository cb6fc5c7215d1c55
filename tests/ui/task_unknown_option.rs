use procession::prelude::*;

#[task(nmae = "cube")]
fn cube(x: u64) -> u64 {
    x.pow(3)
}

fn main() {}
