use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn add<T: Into<u64>>(&mut self, n: T) {
        self.total += n.into();
    }
}


#[procession::main]
async fn main() -> procession::Result<()> {
    let counter = Counter::spawn().await?;
    counter.add(7u32).await?;
    Ok(())
}
