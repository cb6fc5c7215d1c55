use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[init]
    fn new(start: u64) -> u64 {
        start
    }
}


#[procession::main]
async fn main() -> procession::Result<()> {
    Counter::spawn(3).await?;
    Ok(())
}
