use procession::prelude::*;

fn cube(x: u64) -> u64 {
    x.pow(3)
}

#[procession::main]
async fn main() -> procession::Result<()> {
    let pool = Pool::new(2).await?;
    pool.run(cube, 3).await?;
    Ok(())
}
