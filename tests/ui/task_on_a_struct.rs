use procession::prelude::*;

#[task]
struct Cube;

fn main() {}
