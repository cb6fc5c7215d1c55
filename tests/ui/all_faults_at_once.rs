use procession::prelude::*;

#[task(fast)]
fn first((a, _): (u32, u32), b: &mut u32, c: Option<&str>) -> &'static str {
    *b += a;
    c.map_or("", |_| "some")
}

#[procession::main]
async fn main() -> procession::Result<()> {
    // What uses a faulty task is not reported too.
    first((1, 2), &mut 3, None);
    Process::spawn(first, ((1, 2), 3, None)).await?.join().await?;
    Ok(())
}
