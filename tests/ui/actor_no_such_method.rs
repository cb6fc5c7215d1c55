use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn total(&self) -> u64 {
        self.total
    }
    fn step() -> u64 {
        1
    }
}


#[procession::main]
async fn main() -> procession::Result<()> {
    let counter = Counter::spawn().await?;
    counter.step().await?;
    Ok(())
}
