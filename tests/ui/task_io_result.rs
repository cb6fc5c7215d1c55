use procession::prelude::*;

use std::{fs, io};

#[task]
fn read(path: &std::path::Path) -> io::Result<String> {
    fs::read_to_string(path)
}

fn main() {}
