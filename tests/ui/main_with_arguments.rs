#[procession::main]
async fn main(folder: String) -> procession::Result<()> {
    println!("{folder}");
    Ok(())
}
