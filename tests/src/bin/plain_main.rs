//! A program whose `main` is nobody's, and which blocks on two runtimes, one after the other.

use procession::prelude::*;

#[task]
fn double(x: u64) -> u64 {
    2 * x
}

async fn work() -> procession::Result<()> {
    assert_eq!(Process::spawn(double, 21).await?.join().await?, 42);
    assert_eq!(Pool::new(2).await?.map(double, 0..3).await?, [0, 2, 4]);
    Ok(())
}

fn main() -> procession::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(work())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work())?;
    println!("done once");
    Ok(())
}
