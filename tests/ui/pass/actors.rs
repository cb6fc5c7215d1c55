//! Actors of every shape, in a crate that forbids what the expansion must not need.

#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, rust_2018_idioms)]

use procession::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A public actor with private messages.
#[derive(Debug)]
pub struct Vault {
    opened: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Secret(u8);

#[actor]
impl Vault {
    /// Stays on the type.
    pub const DOORS: u64 = 3;
    const LENGTH: usize = 4;

    #[init]
    async fn open(secret: Secret, at: &Path, mut opened: u64) -> Result<Self, String> {
        opened += u64::from(secret.0) + at.components().count() as u64;
        Ok(Vault { opened })
    }

    fn swap(&mut self, secret: Secret) -> Secret {
        self.opened = u64::from(secret.0);
        Secret(1)
    }

    fn upto(&self, n: u64) -> impl futures::Stream<Item = Secret> + use<> {
        futures::stream::iter(0..n as u8).map(Secret)
    }

    /// Reads a stream.
    pub async fn sum(&mut self, numbers: impl futures::Stream<Item = u64> + Send, at: &Path) -> u64 {
        let first = at.components().count() as u64;
        numbers.fold(first, |sum, n| async move { sum + n }).await
    }

    async fn told(&self, mut secrets: impl futures::Stream<Item = procession::Result<Secret>> + Unpin) -> Result<u64, String> {
        let next = secrets.next().await.transpose().map_err(|error| error.to_string())?;
        Ok(next.map_or(0, |Secret(n)| n.into()))
    }

    fn forget(&self, numbers: impl futures::Stream<Item = Secret> + 'static) {
        drop(numbers);
    }

    fn doubled(&self, numbers: impl futures::Stream<Item = u64>) -> impl futures::Stream<Item = u64> + use<> {
        numbers.map(|n| 2 * n)
    }

    /// A stream, or why there is none.
    pub async fn lines(&mut self, at: &Path) -> Result<impl futures::Stream<Item = Vec<u8>> + use<>, String> {
        let count = at.components().count();
        Ok(futures::stream::repeat(vec![7]).take(count))
    }

    /// Described on the ref as here.
    pub async fn pack(&mut self, r#in: &[u8], name: &str, mut out: Vec<u8>) -> Result<Vec<u8>, String> {
        out.extend(r#in);
        out.extend(name.bytes());
        Ok(out)
    }

    fn total(&self) -> procession::Result<u64> {
        Ok(self.doors() + Self::step())
    }

    fn never(&self) -> ! {
        panic!("as asked")
    }

    async fn never_later(&self) -> ! {
        panic!("as asked")
    }

    #[cfg(any())]
    fn gone(&self, missing: Missing) {}

    #[cfg(not(any()))]
    fn either(&self) -> u8 {
        0
    }

    #[cfg(any())]
    fn either(&self) -> u16 {
        1
    }

    /// After a method that is not compiled.
    #[deprecated]
    pub fn after(&self) {}

    fn r#match(&self, _: u8) {}

    fn keys(&self, lengths: [u8; Self::LENGTH]) -> Option<[u8; Self::LENGTH]> {
        Some(lengths)
    }

    #[local]
    fn doors(&self) -> u64 {
        Self::DOORS
    }

    #[local]
    fn close(self) -> u64 {
        self.opened
    }

    fn step() -> u64 {
        1
    }

    // The names of what is generated behind the ref, and of what the library has for all refs.
    fn init(&self) {}
    fn terminate(&self) {}
    fn row(&self) {}
    fn serialize(&self) {}
    fn pid(&self) {}

    #[terminate]
    fn leave(&self) {}
}

mod several {
    use super::*;

    #[derive(Debug, Default, Clone, Serialize, Deserialize)]
    pub(crate) struct Node {
        peers: Vec<NodeRef>,
    }

    #[actor]
    impl Node {
        pub(crate) fn join(&mut self, peer: NodeRef) -> usize {
            self.peers.push(peer);
            self.peers.len()
        }
        pub(crate) fn merge(&mut self, other: Self) -> Option<Self> {
            self.peers.extend(other.peers.clone());
            Some(other)
        }
        #[terminate]
        async fn leave(&mut self, reason: &ExitReason) {
            println!("{reason}");
        }
    }

    #[derive(Debug)]
    pub(crate) struct Leaf;

    #[actor]
    impl Leaf {
        #[init]
        pub(crate) fn new() -> procession::Result<Leaf> {
            Ok(Leaf)
        }
    }
}

fn sent<T: Send + 'static>(value: T) -> T {
    value
}

#[procession::main]
async fn main() {
    #[derive(Debug, Default)]
    struct Local;

    #[actor]
    impl Local {
        fn hello(&self) {}
    }

    // Calls, and what starts an actor, own what they were given.
    let _ = sent(Local::spawn());
    let _ = sent(LocalRef::named("local").hello());
    let _ = sent(Vault::spawn(Secret(1), Path::new("x"), 3));
    let _ = sent(several::Leaf::spec());
    let vault: VaultRef = sent(VaultRef::named("vault"));
    let packed: Call<Vec<u8>, String> = sent(vault.pack(&[1], &String::from("x"), vec![]));
    let total: Call<u64, procession::Error> = vault.total();
    let never: Call<procession::Never> = vault.never();
    let _ = (packed, total, never, vault.never_later(), vault.either(), vault.r#match(3));
    let _ = (vault.swap(Secret(3)), vault.init(), vault.terminate(), vault.row());
    let _ = (vault.serialize(), vault.pid(), vault.keys([0; 4]));
    #[allow(deprecated)]
    let _ = vault.after();

    // A ref is a value: it can be copied, compared, hashed and printed.
    let mut refs = std::collections::HashSet::new();
    refs.insert(vault.clone());
    assert!(refs.contains(&vault), "{vault:?}");

    let node = several::NodeRef::named("node");
    let _ = (node.join(node.clone()), node.merge(several::Node::default()));
    assert_eq!(Vault { opened: 3 }.close(), 3);
}
