use procession::prelude::*;

#[task]
fn greet(name: &str) {
    println!("hello {name}");
}

#[procession::main]
async fn main() -> procession::Result<()> {
    Process::spawn(greet, 7).await?;
    Ok(())
}
