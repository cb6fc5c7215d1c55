use procession::prelude::*;

struct Period(u64);

#[service]
async fn clock(period: Period) {
    println!("{}", period.0);
}

fn main() {}
