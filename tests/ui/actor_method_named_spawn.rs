use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn spawn(&self) -> u64 {
        self.total
    }
}


#[procession::main]
async fn main() -> procession::Result<()> {
    let _ = Counter::spec();
    Ok(())
}
