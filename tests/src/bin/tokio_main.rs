//! A program whose `main` is tokio's own.

use procession::prelude::*;

#[task]
fn double(x: u64) -> u64 {
    2 * x
}

struct Sum(u64);

#[actor]
impl Sum {
    #[init]
    fn new() -> Self {
        Sum(0)
    }
    fn add(&mut self, n: u64) -> u64 {
        self.0 += n;
        self.0
    }
}

#[tokio::main]
async fn main() -> procession::Result<()> {
    assert_eq!(Process::spawn(double, 21).await?.join().await?, 42);
    let sum = Sum::spawn().await?;
    assert_eq!(sum.add(2).await?, 2);
    assert_eq!(Pool::new(2).await?.map(double, 0..3).await?, [0, 2, 4]);
    println!("done once");
    Ok(())
}
