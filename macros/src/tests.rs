//! Each macro's expansion, compared with a snapshot in `snapshots`.
//!
//! `SNAPSHOTS=overwrite cargo test -p procession-macros` writes them anew; read them before they are committed.

use crate::entry::Entry;
use crate::{actor, entry, service, task, types};
use proc_macro2::TokenStream;
use quote::quote;
use std::path::Path;

/// Compares an expansion with the snapshot of that name.
#[track_caller]
fn check(name: &str, expansion: TokenStream) {
    let expansion = prettyplease::unparse(&syn::parse2(expansion).expect("items"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("snapshots")
        .join(format!("{name}.rs"));
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        std::fs::write(&path, &expansion).expect("a snapshot that can be written");
    }
    let snapshot = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = snapshot
        .lines()
        .zip(expansion.lines())
        .position(|(old, new)| old != new);
    assert!(
        snapshot == expansion,
        "the expansion differs from {} from line {} on; it is now:\n{expansion}",
        path.display(),
        differs.unwrap_or_else(|| snapshot.lines().count().min(expansion.lines().count())) + 1
    );
}

fn plain_task(item: TokenStream) -> TokenStream {
    task::task(TokenStream::new(), item)
}

#[test]
fn a_task_of_one_argument() {
    let item = quote! {
        /// The third power.
        #[must_use]
        pub fn cube(x: u64) -> u64 {
            x.pow(3)
        }
    };
    check("task", plain_task(item));
}

#[test]
fn an_async_task_that_borrows_and_can_fail() {
    let item = quote! {
        async fn count(path: &Path, words: &[String], limit: u64) -> Result<u64, String> {
            Ok(limit)
        }
    };
    check("task_async", plain_task(item));
}

#[test]
fn a_task_of_blocks_that_gives_a_result_of_one_argument() {
    let item = quote! {
        pub(crate) fn pack(head: &[u8], body: Vec<u8>) -> procession::Result<Bytes> {
            Ok(Bytes::new())
        }
    };
    check("task_blocks", plain_task(item));
}

#[test]
fn a_task_with_the_compact_codec() {
    let item = quote! {
        fn add(point: Point, body: &[u8]) -> Result<Point, Overflow> {
            Ok(point)
        }
    };
    check("task_compact", task::task(quote!(codec = "compact"), item));
}

#[test]
fn a_faulty_task_is_a_stub() {
    let item = quote! {
        fn join((a, b): (u32, u32), words: Vec<&str>) -> String {
            words.join(" ")
        }
    };
    check("task_faulty", plain_task(item));
}

#[test]
fn a_service_with_arguments() {
    let item = quote! {
        /// Ticks.
        async fn clock(name: &str, period: Duration) -> procession::Result<()> {
            loop {}
        }
    };
    check("service", service::service(TokenStream::new(), item));
}

#[test]
fn an_actor_with_all_there_can_be_in_it() {
    let item = quote! {
        impl Counter {
            const STEP: u64 = 1;

            #[init]
            pub async fn new(start: u64, name: &str) -> procession::Result<Self> {
                Ok(Counter { total: start })
            }

            /// Adds.
            pub async fn add(&mut self, mut n: u64) -> u64 {
                n
            }
            fn take(&mut self, n: u64) -> Result<u64, Overdrawn> {
                Ok(n)
            }
            #[cfg(unix)]
            fn pid(&self) -> u32 {
                std::process::id()
            }
            async fn other(&self, other: Self) -> Option<Self> {
                None
            }
            fn upto(&self, n: u64) -> impl Stream<Item = u64> + use<> {
                stream::iter(0..n)
            }
            async fn lines(&mut self) -> Result<impl Stream<Item = Vec<u8>> + use<>, String> {
                Ok(stream::empty())
            }
            fn crash(&self) -> ! {
                panic!()
            }
            #[local]
            fn into_total(self) -> u64 {
                self.total
            }
            #[terminate]
            async fn farewell(&mut self, reason: &ExitReason) {}
        }
    };
    check("actor", actor::actor(TokenStream::new(), item));
}

#[test]
fn an_actor_that_is_given_streams() {
    let item = quote! {
        impl Reader {
            async fn sum(&self, mut numbers: impl Stream<Item = u64> + Unpin) -> u64 {
                numbers.fold(0, add).await
            }
            async fn told(&mut self, name: &str, numbers: impl Stream<Item = procession::Result<u64>>) -> Result<u64, Error> {
                numbers.try_fold(0, add).await
            }
            fn doubled(&self, numbers: impl Stream<Item = Result<Self>> + 'static) -> impl Stream<Item = u64> + use<> {
                numbers.map(double)
            }
            async fn both(&self, a: impl Stream<Item = u64>, b: impl Stream<Item = Vec<u8>>) -> impl Stream<Item = u64> + use<> {
                a.zip(b)
            }
        }
    };
    check("actor_streams", actor::actor(TokenStream::new(), item));
}

#[test]
fn an_actor_that_begins_by_default() {
    let item = quote! {
        impl Counter {
            fn total(&self) -> u64 {
                0
            }
        }
    };
    check(
        "actor_default",
        actor::actor(quote!(crate = crate::procession), item),
    );
}

#[test]
fn a_main_without_options() {
    let item = quote! {
        async fn main() -> procession::Result<()> {
            Ok(())
        }
    };
    check("main", entry::entry(Entry::Main, TokenStream::new(), item));
}

#[test]
fn a_test_with_options() {
    let options = quote!(flavor = "multi_thread", worker_threads = 2, signals = false);
    let item = quote! {
        #[should_panic(expected = "boom")]
        async fn panics() {
            panic!("boom")
        }
    };
    check("test", entry::entry(Entry::Test, options, item));
}

#[test]
fn a_fingerprint_depends_on_the_tokens_and_not_on_their_spacing() {
    let one = types::fingerprint(quote!(fn(Vec<u8>, (u8, u16)) -> u8)).to_string();
    let parsed: TokenStream = "fn ( Vec < u8 > , ( u8 , u16 ) )  ->  u8"
        .parse()
        .expect("tokens");
    assert_eq!(one, types::fingerprint(parsed).to_string());
    let other = types::fingerprint(quote!(fn(Vec<u8>, (u8), u16) -> u8)).to_string();
    assert_ne!(one, other);
}
