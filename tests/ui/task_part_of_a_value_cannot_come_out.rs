use procession::prelude::*;

struct Image(Vec<u8>);

#[task]
fn blanks(size: usize) -> Result<Vec<Image>, String> {
    Ok(vec![Image(vec![0; size])])
}

fn main() {}
