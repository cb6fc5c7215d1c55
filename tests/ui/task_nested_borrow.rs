use procession::prelude::*;

#[task]
fn join(words: Vec<&str>) -> String {
    words.join(" ")
}

fn main() {}
