//! Services of every shape, and the options of `main`.

#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, rust_2018_idioms)]

use procession::prelude::*;
use std::time::Duration;

/// It never returns.
#[service]
async fn clock(name: &str, mut period: Duration) -> ! {
    loop {
        tokio::time::sleep(period).await;
        period *= 2;
        println!("{name}");
    }
}

#[service]
async fn once() {}

#[service(crate = procession)]
async fn failing(times: u32) -> Result<(), String> {
    match times {
        0 => Ok(()),
        times => Err(format!("{times}")),
    }
}

#[service]
async fn endless() -> procession::Result<procession::Never> {
    Err(procession::Error::msg("the end"))
}

fn sent<T: Send + 'static>(value: T) -> T {
    value
}

#[procession::main(flavor = "multi_thread", worker_threads = 2, signals = false)]
async fn main() -> Result<(), String> {
    once().await;
    failing(0).await?;
    assert!(endless().await.is_err());
    let _ = sent(clock.spawn(&String::from("x"), Duration::from_secs(1)));
    let _: Spec<ServiceRef> = clock.spec("x", Duration::from_secs(1));
    let _ = (once.spec(), failing.spec(3), endless.spec());
    Ok(())
}
