//! What expansions of the macros name, and how the floors are wired together. Not for other use: it changes at will.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

use crate::error::Result;
use crate::process::Newborn;
use crate::process::control::Asked;
use crate::wire::control::Settings;
use tokio::sync::mpsc;

pub use crate::actor::call::{Signature, call};
pub use crate::actor::contract::{Actor, Invocation, Marker, Method, Outcome, Run, Service, Task};
pub use crate::actor::feed::{Broken, Feeds};
pub use crate::actor::row::{Key, ROWS, Row};
pub use crate::actor::stream::stream_call;
pub use crate::app::main::{Flavor, Main, main};
pub use crate::app::test::test;
pub use crate::channel::feed::{Items, feed};
pub use crate::supervise::builder::{actor_spec, service_spec};
pub use crate::wire::attach::Payload;
pub use crate::wire::blob::{Blob, Slice};
pub use crate::wire::value::{Failure, Fallible, Wire};
pub use futures::Stream;
pub use linkme;
pub use serde;

/// The future of an async function that stays on its thread.
pub type LocalBoxFuture<'a, T> = futures::future::LocalBoxFuture<'a, T>;

/// What a borrowed argument travels as.
pub type Owned<T> = <T as ToOwned>::Owned;

/// What `encode` appends, and the descriptors that go with it.
pub fn encoded(encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Payload> {
    Payload::encode_apart(encode)
}

/// What `decode` reads, which must be all of `arguments`.
pub fn decoded<T>(arguments: Payload, decode: impl FnOnce(&mut &[u8]) -> Result<T>) -> Result<T> {
    arguments.decode(decode)
}

/// Lends an owned argument to a function that borrows it.
pub fn lend<T: ?Sized + ToOwned>(owned: &T::Owned) -> &T {
    std::borrow::Borrow::borrow(owned)
}

/// How an actor without `#[init]` begins.
#[diagnostic::on_unimplemented(
    message = "the actor `{Self}` has no `#[init]`, and no `Default`",
    label = "how does it begin?",
    note = "write `#[init]` above the function that makes it, or derive `Default` for it"
)]
pub trait Begin: Sized {
    #[doc(hidden)]
    fn begin() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> Begin for T {
    fn begin() -> Self {
        T::default()
    }
}

/// Names what a function returns: `!`, where stable Rust does not let it be written.
pub trait Returning {
    #[doc(hidden)]
    type Output;
}

impl<T> Returning for fn() -> T {
    type Output = T;
}

/// The functions that lower floors call of higher ones.
pub(crate) struct Wiring {
    /// Starts the control plane of a host.
    pub(crate) host: fn() -> (mpsc::UnboundedSender<Asked>, Settings),
    /// Makes, in the fork server, what all children share.
    pub(crate) prepare: fn(),
    /// Runs a child to its end.
    pub(crate) child: fn(Newborn) -> !,
}

pub(crate) fn wiring() -> Wiring {
    Wiring {
        prepare: crate::app::child::prepare,
        host: crate::app::config::start_host,
        child,
    }
}

fn child(newborn: Newborn) -> ! {
    // The tests of the floors below children have bodies of their own.
    #[cfg(test)]
    let newborn = crate::process::tests::claim(newborn);
    crate::app::child::run(newborn)
}

/// The names of the places at which a process can be told to die.
#[cfg(feature = "crash-points")]
pub fn crash_points() -> Vec<String> {
    crate::crash::Point::ALL
        .iter()
        .map(|point| format!("{point:?}"))
        .collect()
}
