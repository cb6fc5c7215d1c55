use procession::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Bytes(u64);

#[task]
fn count(bytes: Bytes) -> u64 {
    bytes.0
}

fn main() {}
