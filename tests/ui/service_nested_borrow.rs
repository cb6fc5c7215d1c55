use procession::prelude::*;

#[service]
async fn clock(periods: Vec<&str>) {
    println!("{periods:?}");
}

fn main() {}
