//! Tasks of every shape, in a crate that forbids what the expansion must not need.

#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, rust_2018_idioms)]

use procession::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A value of our own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image;

mod tools {
    use super::*;
    use bytes::Bytes;

    /// Several arguments, most of them borrowed, and a comma at the end.
    #[task]
    pub(crate) fn mixed(image: &Image, at: &Path, parts: &[u32], name: &str, mut n: u64,) -> Result<u64, String> {
        n += parts.len() as u64 + name.len() as u64;
        match at.is_absolute() {
            true => Err(format!("{image:?}")),
            false => Ok(n),
        }
    }

    #[task]
    pub(crate) async fn lent(image: &Image, name: &str) -> procession::Result<Vec<u8>> {
        tokio::task::yield_now().await;
        Ok(format!("{image:?} {name}").into_bytes())
    }

    #[task]
    pub(super) fn blocks(head: &[u8], body: Vec<u8>, tail: Bytes) -> Bytes {
        [head, &body, &tail].concat().into()
    }
}

/// A recursion stays in its process.
#[task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[task]
async fn async_fib(n: u64) -> u64 {
    if n < 2 { n } else { Box::pin(async_fib(n - 1)).await + Box::pin(async_fib(n - 2)).await }
}

/// It may start itself again.
#[task]
async fn again(n: u64) -> procession::Result<u64> {
    match n {
        0 => Ok(0),
        n => Ok(Process::spawn(again {}, n - 1).await?.join().await? + 1),
    }
}

/// Its own name may be shadowed in it.
#[task]
fn shadow(shadow: u64) -> u64 {
    shadow
}

#[task]
fn r#type(r#fn: u64) -> u64 {
    r#fn
}

#[task]
fn diverges(_: u32, _ignored: u8) -> ! {
    panic!("as asked")
}

#[task]
async fn diverges_later() -> ! {
    panic!("as asked")
}

#[task]
fn tuple(pair: (u64, String)) -> (String, u64) {
    (pair.1, pair.0)
}

#[task]
fn nothing() {}

#[task]
#[cfg(any())]
fn gone(missing: Missing) {}

/// Described, and out of date.
#[deprecated = "use `fib`"]
#[task]
#[cfg(all())]
#[inline]
fn old(n: u64) -> u64 {
    n
}

#[task(crate = ::procession)]
fn renamed() {}

macro_rules! add {
    ($name:ident, $ty:ty) => {
        #[task]
        fn $name(a: $ty, b: &$ty) -> $ty {
            a + b
        }
    };
}
add!(add_long, u64);
add!(add_short, u8);

fn send<T: Send + 'static>(_: T) {}

#[procession::main]
async fn main() -> procession::Result<()> {
    #[task]
    fn local(n: u64) -> u64 {
        n
    }
    assert_eq!(local(3), 3);
    assert_eq!(fib(10), 55);
    assert_eq!(async_fib(10).await, 55);
    assert_eq!(shadow(3), 3);
    assert_eq!(r#type(3), 3);
    assert_eq!(add_long(3, &4), 7);
    assert_eq!(add_short(3, &4), 7);
    assert_eq!(tuple((3, "x".into())), ("x".into(), 3));
    assert_eq!(&tools::blocks(&[1], vec![2], vec![3].into())[..], [1, 2, 3]);
    assert_eq!(tools::mixed(&Image, Path::new("x"), &[1], "ab", 3), Ok(6));
    let name = String::from("x");
    assert_eq!(tools::lent(&Image, &name).await?, b"Image x");
    nothing();
    renamed();

    // The future of the trait is `Send`, where the body is.
    send(tools::lent::call((Image, name)));
    assert_eq!(async_fib::call(10).await.expect("a number"), 55);
    let _ = (diverges, diverges_later, again);
    #[allow(deprecated)]
    let _ = old(3);
    Ok(())
}
