use procession::prelude::*;

mod anyhow {
    pub type Result<T> = std::result::Result<T, std::fmt::Error>;
}

#[task]
fn parse(text: &str) -> anyhow::Result<u32> {
    Ok(text.len() as u32)
}

fn main() {}
