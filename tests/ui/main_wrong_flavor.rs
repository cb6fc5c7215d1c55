#[procession::main(flavor = "single")]
async fn main() {}
