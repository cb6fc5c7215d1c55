//! What runs in the processes: an actor whose methods do as their message says, and a task that talks to actors.
//!
//! Both say to the oracle what they do, outside of the library.

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::stream;
use linkme::distributed_slice;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

use super::oracle::Id;
use super::script;
use super::world::{World, world};
use crate::actor::contract::{Actor, Invocation, Marker, Method, Outcome, Run, Task};
use crate::actor::row::{Key, ROWS, Row};
use crate::error::Result;
use crate::wire::attach::Payload;
use crate::wire::codec;

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) id: Id,
    pub(super) act: Act,
    pub(super) padding: Bytes,
}

/// What its method does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Act {
    Nothing,
    /// Waits so many milliseconds: in methods that can.
    Wait(u64),
    /// Does not end by itself.
    Hang,
    /// Calls that method of another actor, and gives what it gives.
    Ask {
        actor: usize,
        method: u32,
        order: Box<Order>,
    },
    Fail,
    /// So many items.
    Yield(u64),
    /// Dies of it.
    Die,
}

pub(super) struct Subject;

/// The methods, by their numbers.
pub(super) const ALONE: u32 = 0;
pub(super) const BESIDE: u32 = 1;
pub(super) const ALONE_FOR_LONG: u32 = 2;
pub(super) const BESIDE_FOR_LONG: u32 = 3;
pub(super) const STREAM: u32 = 4;
pub(super) const NAMES: [&str; 5] = ["alone", "beside", "alone_for_long", "beside_for_long", "stream"];

impl Actor for Subject {
    const METHODS: &'static [Method<Self>] = &[
        Method {
            name: NAMES[0],
            run: Run::Exclusive(|_, invocation| at_once(invocation)),
        },
        Method {
            name: NAMES[1],
            run: Run::Shared(|_, invocation| at_once(invocation)),
        },
        Method {
            name: NAMES[2],
            run: Run::ExclusiveAsync(|_, invocation| in_time(invocation)),
        },
        Method {
            name: NAMES[3],
            run: Run::SharedAsync(|_, invocation| in_time(invocation)),
        },
        Method {
            name: NAMES[4],
            run: Run::Shared(|_, invocation| items(invocation)),
        },
    ];

    fn row() -> &'static Row {
        &SUBJECT
    }

    async fn init(_: Payload) -> Result<Result<Self, String>> {
        let world = world();
        if world.kernel.rng.chance(500) {
            tokio::time::sleep(Duration::from_millis(world.kernel.rng.between(0, 20))).await;
        }
        Ok(Ok(Subject))
    }
}

/// The ref's part of it.
pub(super) struct SubjectMarker;

impl Marker for SubjectMarker {
    fn row() -> &'static Row {
        &SUBJECT
    }
}

#[allow(unsafe_code, reason = "a section of the linker's")]
#[distributed_slice(ROWS)]
static SUBJECT: Row = Row::actor::<Subject>(key("Subject", line!()));

#[allow(unsafe_code, reason = "a section of the linker's")]
#[distributed_slice(ROWS)]
static TALKER: Row = Row::task::<Talker>(key("Talker", line!()));

const fn key(name: &'static str, line: u32) -> Key {
    Key {
        module: module_path!(),
        name,
        file: file!(),
        line,
        column: 1,
        signature: 0,
    }
}

/// What an order gives where it succeeds.
pub(super) fn value_of(id: Id) -> u64 {
    (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A message that has begun. Dropped, it is over.
struct Running(Id);

impl Running {
    fn begin(world: &World, id: Id) -> Self {
        world.oracle.begins(world, id);
        Running(id)
    }

    fn end(self, world: &World) {
        world.oracle.ends(world, self.0);
        std::mem::forget(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let world = world();
        world.oracle.is_dropped(&world, self.0);
    }
}

fn order(invocation: &Invocation<'_>) -> Order {
    let order = invocation.decode(|bytes| Ok(codec::decode_next(bytes)?));
    order.expect("an order as it was sent")
}

fn at_once(invocation: Invocation<'_>) -> Outcome {
    let (world, order) = (world(), order(&invocation));
    let running = Running::begin(&world, order.id);
    let outcome = match order.act {
        Act::Fail => failed(&invocation, order.id),
        Act::Die => {
            world.kernel.kill(world.kernel.current(), true);
            succeeded(&invocation, order.id)
        }
        _ => succeeded(&invocation, order.id),
    };
    running.end(&world);
    outcome
}

fn in_time(invocation: Invocation<'_>) -> LocalBoxFuture<'_, Outcome> {
    Box::pin(async move {
        let (world, order) = (world(), order(&invocation));
        let running = Running::begin(&world, order.id);
        let outcome = match order.act {
            Act::Nothing | Act::Yield(_) => succeeded(&invocation, order.id),
            Act::Wait(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                succeeded(&invocation, order.id)
            }
            Act::Hang => std::future::pending().await,
            Act::Ask {
                actor,
                method,
                order: inner,
            } => {
                script::ask(&world, actor, method, *inner).await;
                succeeded(&invocation, order.id)
            }
            Act::Fail => failed(&invocation, order.id),
            Act::Die => {
                world.kernel.kill(world.kernel.current(), true);
                succeeded(&invocation, order.id)
            }
        };
        running.end(&world);
        outcome
    })
}

fn items(invocation: Invocation<'_>) -> Outcome {
    let (world, order) = (world(), order(&invocation));
    let running = Running::begin(&world, order.id);
    let n_items = match order.act {
        Act::Yield(n_items) => n_items,
        _ => 0,
    };
    let items = stream::unfold((0, running), move |(item, running)| async move {
        let world = super::world::world();
        if item == n_items {
            running.end(&world);
            return None;
        }
        if world.kernel.rng.chance(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some((item, (item + 1, running)))
    });
    Outcome::stream(items, |item, out| Ok(codec::encode(item, out)?))
}

fn succeeded(invocation: &Invocation<'_>, id: Id) -> Outcome {
    invocation.value(|out| Ok(codec::encode(&value_of(id), out)?))
}

fn failed(invocation: &Invocation<'_>, id: Id) -> Outcome {
    invocation.failed(|out| Ok(codec::encode(&value_of(id), out)?))
}

/// A process that sends.
#[derive(Clone, Copy)]
pub(super) struct Talker;

impl Task for Talker {
    type Input = ();
    type Output = ();
    type Error = Silent;

    fn row() -> &'static Row {
        &TALKER
    }

    async fn call((): ()) -> Result<(), Silent> {
        script::talk(&world()).await;
        Ok(())
    }

    fn encode_input(_: &(), _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn decode_input(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }

    fn encode_output(_: &(), _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn decode_output(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }

    fn encode_error(_: &Silent, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn decode_error(_: &mut &[u8]) -> Result<Silent> {
        Ok(Silent)
    }
}

/// It never fails.
#[derive(Debug)]
pub(super) struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("silent")
    }
}
