use procession::prelude::*;

struct Image(Vec<u8>);

#[task]
fn size(image: Image) -> usize {
    image.0.len()
}

fn main() {}
