use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    fn take(&mut self) -> Result<u64, std::fmt::Error> {
        Ok(self.total)
    }
}

fn main() {}
