use procession::prelude::*;

#[derive(Clone)]
struct Image(Vec<u8>);

#[task]
fn size(name: &str, image: &Image) -> usize {
    name.len() + image.0.len()
}

fn main() {}
