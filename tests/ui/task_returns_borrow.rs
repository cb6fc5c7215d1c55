use procession::prelude::*;

#[task]
fn first(text: &str) -> &str {
    text.split(' ').next().unwrap_or("")
}

fn main() {}
