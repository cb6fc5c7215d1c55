use procession::prelude::*;

#[derive(Debug)]
struct Torn;

impl std::fmt::Display for Torn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("torn")
    }
}

#[task]
async fn read(page: u32) -> Result<String, Torn> {
    if page > 7 { Err(Torn) } else { Ok(String::new()) }
}

fn main() {}
