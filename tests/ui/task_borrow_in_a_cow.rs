use procession::prelude::*;

use std::borrow::Cow;

#[task]
fn length(text: Cow<'_, str>) -> usize {
    text.len()
}

fn main() {}
