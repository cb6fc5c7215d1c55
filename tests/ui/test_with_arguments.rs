#[procession::test]
async fn works(seed: u64) {
    println!("{seed}");
}

fn main() {}
