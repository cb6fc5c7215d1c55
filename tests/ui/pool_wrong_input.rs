use procession::prelude::*;

#[task]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[procession::main]
async fn main() -> procession::Result<()> {
    let pool = Pool::new(2).await?;
    pool.map(add, 1..=6).await?;
    Ok(())
}
