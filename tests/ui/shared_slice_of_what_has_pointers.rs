use procession::prelude::*;

fn read(_words: SharedSlice<String>) {}

fn main() {
    let _ = read;
}
