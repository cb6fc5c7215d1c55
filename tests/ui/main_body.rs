#[procession::main]
async fn main() -> Result<(), String> {
    let total: u64 = "three";
    println!("{total}");
    Ok(())
}
