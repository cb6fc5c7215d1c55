#[procession::main]
async fn main<T>() {}
