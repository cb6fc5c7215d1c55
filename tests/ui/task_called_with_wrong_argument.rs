use procession::prelude::*;

#[task]
fn cube(x: u64) -> u64 {
    x.pow(3)
}

fn main() {
    cube("three");
}
