use procession::prelude::*;

fn read(_pairs: Array<(u32, u32)>) {}

fn main() {
    let _ = read;
}
