use procession::prelude::*;

#[task]
fn join(words: &[&str]) -> String {
    words.join(" ")
}

fn main() {}
