use procession::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[actor]
impl Counter {
    #[terminate]
    fn farewell(&mut self, reason: &ExitReason, times: u32) {
        println!("{times} {reason}");
    }
}

fn main() {}
