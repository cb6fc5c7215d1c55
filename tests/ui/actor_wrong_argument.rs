use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add(&mut self, n: u64) {
        self.total += n;
    }
}


#[procession::main]
async fn main() -> procession::Result<()> {
    let counter = Counter::spawn().await?;
    counter.add("three").await?;
    Ok(())
}
