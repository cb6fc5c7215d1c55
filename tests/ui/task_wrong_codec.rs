use procession::prelude::*;

#[task(codec = "tiny")]
fn cube(x: u64) -> u64 {
    x.pow(3)
}

fn main() {}
