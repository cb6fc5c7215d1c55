use procession::prelude::*;

#[service]
fn clock(period: u64) {
    println!("{period}");
}

fn main() {}
