#[procession::main]
async fn main() -> procession::Result<()> {
    println!("no value");
}
