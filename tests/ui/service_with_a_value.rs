use procession::prelude::*;

#[service]
async fn clock(period: u64) -> procession::Result<u64> {
    Ok(period)
}

fn main() {}
