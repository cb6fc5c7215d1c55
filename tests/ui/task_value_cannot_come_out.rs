use procession::prelude::*;

struct Image(Vec<u8>);

#[task]
fn blank(size: usize) -> Image {
    Image(vec![0; size])
}

fn main() {}
