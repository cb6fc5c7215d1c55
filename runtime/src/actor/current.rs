//! The message that this thread handles now: what the calls that its handler makes inherit.
//!
//! A call that is awaited within a handler ends with the deadline of the message that is handled, and names its
//! ancestors, so that an actor that is called by itself in a roundabout way can say so instead of waiting for ever. What a
//! handler spawns to run beside it inherits neither: it may outlive the message.

use crate::error::{Error, ErrorKind, Result};
use crate::os::memory;
use crate::wire::attach::Payload;
use crate::wire::codec;
use crate::wire::control::{ChildId, LinkId};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use super::child;

/// A call that waits for the one that is made within it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) actor: ChildId,
    /// The actor's name and its method, as in `ledger.add`.
    pub(crate) name: String,
}

/// The calls that wait for a message, the first one first; `None`: there are none.
pub(crate) type Ancestors = Option<Rc<[Step]>>;

/// A message that is being handled.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    /// The link that it came over, and its number there.
    pub(crate) message: (LinkId, u64),
    /// When it is no longer wanted, in nanoseconds of the monotonic clock; 0: always wanted.
    pub(crate) deadline: u64,
    /// Who called whom, until this message.
    pub(crate) ancestors: Ancestors,
    pub(crate) method: &'static str,
    /// No other message of this actor runs beside it.
    pub(crate) exclusive: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Current>>> = const { RefCell::new(None) };
}

/// The message that is being handled, if one is.
pub(crate) fn get() -> Option<Rc<Current>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs a handler's future as that of this message.
pub(crate) async fn within<T>(current: Current, handler: impl Future<Output = T>) -> T {
    let current = Rc::new(current);
    let mut handler = pin!(handler);
    poll_fn(|cx| {
        let _outer = Outer(CURRENT.replace(Some(current.clone())));
        handler.as_mut().poll(cx)
    })
    .await
}

/// What was handled around it: never anything, as one future is polled at a time, but for a panic's sake.
struct Outer(Option<Rc<Current>>);

impl Drop for Outer {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl Current {
    /// The deadline of a call that would have this one by itself.
    pub(crate) fn cap(&self, deadline: u64) -> u64 {
        match self.deadline {
            0 => deadline,
            ours => ours.min(deadline),
        }
    }

    /// The ancestors of a call that is made now.
    fn chain(&self) -> Option<Vec<Step>> {
        let me = child::identity()?;
        let mut chain = self.ancestors.as_deref().unwrap_or_default().to_vec();
        chain.push(Step {
            actor: me.child,
            name: format!("{}.{}", me.name, self.method),
        });
        Some(chain)
    }

    /// The arguments of a call that is made now, with its ancestors before them; `None`: it has none.
    pub(crate) fn announce(&self, arguments: &Payload) -> Result<Option<Payload>> {
        let Some(chain) = self.chain() else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        codec::encode(&chain, &mut bytes)?;
        memory::try_reserve(&mut bytes, arguments.bytes.len())
            .map_err(|_| Error::unencoded(arguments.bytes.len()))?;
        bytes.extend_from_slice(&arguments.bytes);
        Ok(Some(Payload {
            bytes: bytes.into(),
            behind: arguments.behind.clone(),
            fds: arguments.fds.clone(),
        }))
    }
}

/// A call that would wait for itself, where it is made by `last`.
pub(crate) fn cycle(ancestors: Option<&[Step]>, last: &str) -> Error {
    let steps = ancestors.unwrap_or_default().iter();
    let names = steps.map(|step| step.name.clone());
    let path: Vec<_> = names.chain([last.to_owned()]).collect();
    cycle_of(&path)
}

/// The same, with the path.
pub(crate) fn cycle_of(path: &[String]) -> Error {
    Error::with_kind(ErrorKind::Cycle, path.join(ARROW))
}

/// Between the steps of a path.
const ARROW: &str = " -> ";

/// The path that [`cycle`] wrote.
pub(crate) fn path(cycle: &impl fmt::Display) -> Vec<String> {
    cycle.to_string().split(ARROW).map(str::to_owned).collect()
}
