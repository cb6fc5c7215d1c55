use procession::prelude::*;

#[task]
fn sort(items: &mut Vec<u32>) {
    items.sort();
}

fn main() {}
