use procession::prelude::*;

use std::{fs, io::Result};

#[task]
fn read(path: &std::path::Path) -> Result<String> {
    fs::read_to_string(path)
}

fn main() {}
