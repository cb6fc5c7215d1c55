//! What is said: each process that talks does so in several conversations at a time, one message after another in each.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

use super::kernel::HOST;
use super::oracle::Id;
use super::subject::{ALONE, ALONE_FOR_LONG, Act, BESIDE, BESIDE_FOR_LONG, NAMES, Order, STREAM};
use super::world::World;
use crate::actor::call::{Call, Signature, call};
use crate::actor::stream::{CallStream, stream_call};
use crate::error::CallError;
use crate::local;
use crate::wire::attach::Payload;
use crate::wire::codec;
use crate::wire::control::ChildId;

/// The largest message has so many bytes more than it needs.
static PADDING: [u8; 100_000] = [0; 100_000];

/// How a message is sent.
struct Sending {
    to: ChildId,
    method: u32,
    act: Act,
    tell: bool,
    retries: u32,
    timeout: Option<u64>,
    /// How long after that its process is killed.
    grace: Option<u64>,
}

/// Talks until all has been said.
pub(super) async fn talk(world: &Rc<World>) {
    let n_lanes = world.kernel.rng.between(1, 3);
    let mut ends = Vec::new();
    for _ in 0..n_lanes {
        let (world, (over, end)) = (world.clone(), oneshot::channel());
        let talking = world.begins_to_talk();
        local::spawn_local(async move {
            let _talking = talking;
            converse(&world).await;
            let _ = over.send(());
        });
        ends.push(end);
    }
    join_all(ends).await;
}

async fn converse(world: &Rc<World>) {
    // Where no ref is kept, its connection is made and given up again all the time.
    let _held: Vec<_> = match world.kernel.rng.chance(850) {
        true => world
            .actors
            .borrow()
            .iter()
            .filter_map(|id| world.held(*id))
            .collect(),
        false => Vec::new(),
    };
    // The host talks to the end, others leave when they have said enough.
    let enough = match world.kernel.current() {
        HOST => u64::MAX,
        _ => world.kernel.rng.between(20, 400),
    };
    for _ in 0..enough {
        if !world.takes_turn() {
            return;
        }
        say(world).await;
        if world.kernel.rng.chance(30) {
            let millis = world.kernel.rng.between(0, 5);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }
}

async fn say(world: &Rc<World>) {
    let rng = &world.kernel.rng;
    let to = {
        let actors = world.actors.borrow();
        actors[rng.below(actors.len())]
    };
    let quick = rng.pick(&[ALONE, ALONE, BESIDE]).unwrap_or(ALONE);
    let slow = rng.pick(&[ALONE_FOR_LONG, BESIDE_FOR_LONG]).unwrap_or(ALONE);
    let any = rng.pick(&[quick, quick, quick, slow]).unwrap_or(quick);
    let plain = Sending {
        to,
        method: any,
        act: Act::Nothing,
        tell: false,
        retries: 0,
        timeout: None,
        grace: None,
    };
    match rng.below(100) {
        0..40 => tell(world, Sending { tell: true, ..plain }).await,
        40..45 => try_tell(world, Sending { tell: true, ..plain }),
        45..65 => drop(ask_as(world, plain).await),
        65..73 => {
            let act = Act::Wait(rng.between(0, 3));
            let method = slow;
            let tells = rng.chance(300);
            let sending = Sending {
                act,
                method,
                tell: tells,
                ..plain
            };
            match tells {
                true => tell(world, sending).await,
                false => drop(ask_as(world, sending).await),
            }
        }
        73..77 => {
            let timeout = Some(rng.between(1, 40));
            let (act, method) = (Act::Hang, slow);
            let sending = Sending {
                act,
                method,
                timeout,
                ..plain
            };
            match rng.chance(500) {
                true => drop(ask_as(world, sending).await),
                false => {
                    take_back(
                        world,
                        Sending {
                            timeout: None,
                            ..sending
                        },
                    )
                    .await
                }
            }
        }
        77..81 => take_back(world, plain).await,
        81..85 => {
            let (timeout, grace) = (
                Some(rng.between(0, 10)),
                rng.chance(300).then(|| rng.between(0, 20)),
            );
            drop(
                ask_as(
                    world,
                    Sending {
                        timeout,
                        grace,
                        ..plain
                    },
                )
                .await,
            );
        }
        85..90 => {
            let (retries, tells) = (rng.between(1, 3) as u32, rng.chance(500));
            let act = match rng.chance(20) {
                true => Act::Die,
                false => plain.act.clone(),
            };
            let sending = Sending {
                act,
                retries,
                tell: tells,
                ..plain
            };
            match tells {
                true => tell(world, sending).await,
                false => drop(ask_as(world, sending).await),
            }
        }
        90..92 => drop(
            ask_as(
                world,
                Sending {
                    act: Act::Fail,
                    ..plain
                },
            )
            .await,
        ),
        92..95 => through_another(world, slow).await,
        95..97 => read(world, to).await,
        _ => {
            let n = rng.between(2, 12);
            let calls = (0..n).filter(|_| world.takes_turn()).map(|_| {
                let sending = Sending {
                    act: Act::Nothing,
                    ..plain
                };
                ask_as(world, sending)
            });
            drop(join_all(calls.collect::<Vec<_>>()).await);
        }
    }
}

/// A call that makes another: only of actors with higher numbers, so that none waits for itself.
async fn through_another(world: &Rc<World>, method: u32) {
    let actors = world.actors.borrow().clone();
    let first = world.kernel.rng.below(actors.len() - 1);
    let next = first + 1 + world.kernel.rng.below(actors.len() - first - 1);
    let order = Order {
        id: 0,
        act: Act::Nothing,
        padding: Bytes::new(),
    };
    let act = Act::Ask {
        actor: next,
        method: ALONE,
        order: Box::new(order),
    };
    let sending = Sending {
        to: actors[first],
        method,
        act,
        tell: false,
        retries: 0,
        timeout: None,
        grace: None,
    };
    drop(ask_as(world, sending).await);
}

/// The call that is made within another.
pub(super) async fn ask(world: &Rc<World>, actor: usize, method: u32, order: Order) {
    let to = world.actors.borrow()[actor];
    let sending = Sending {
        to,
        method,
        act: order.act,
        tell: false,
        retries: 0,
        timeout: None,
        grace: None,
    };
    drop(ask_as(world, sending).await);
}

/// Each actor answers.
pub(super) async fn probe(world: &Rc<World>) {
    let actors = world.actors.borrow().clone();
    for to in actors {
        if world.oracle.has_ended(to) {
            continue;
        }
        let sending = Sending {
            to,
            method: ALONE,
            act: Act::Nothing,
            tell: false,
            retries: 0,
            timeout: None,
            grace: None,
        };
        if let Err(error) = ask_as(world, sending).await {
            world
                .oracle
                .wrong(format_args!("at rest {to} gives no answer: {error:?}"));
        }
    }
}

/// A stream, read to its end or not.
async fn read(world: &Rc<World>, to: ChildId) {
    let rng = &world.kernel.rng;
    let (n_items, n_read) = (rng.between(0, 200), rng.between(0, 200));
    let within = world.plane.settings.call_timeout.as_nanos() as u64;
    let (from, deadline) = (world.kernel.current(), world.kernel.now() + within);
    let id = world.oracle.made(from, to, false, 0, deadline);
    world.oracle.is_stream(id);
    let order = Order {
        id,
        act: Act::Yield(n_items),
        padding: Bytes::new(),
    };
    world
        .oracle
        .log(|| format!("process {from} reads stream {id} of {to}: {n_read} of {n_items}"));
    let arguments = Payload::encode(|out| Ok(codec::encode(&order, out)?));
    let call = stream_call(&world.actor(to), &SIGNATURES[STREAM as usize], arguments);
    let caller = Caller { world, id };
    let mut items: CallStream<u64> = match sending(world, id, call.into_future()).await {
        Ok(items) => items,
        Err(error) => {
            std::mem::forget(caller);
            return world.oracle.returned(world, id, Some(&Err(error)));
        }
    };
    for expected in 0..n_read {
        match items.next().await {
            Some(Ok(item)) if item == expected => {}
            None if expected == n_items => break,
            Some(Err(CallError::Died { begun: true, .. } | CallError::Stopped)) => break,
            other if world.runs() => {
                let what =
                    format_args!("stream {id} of {n_items} yields {other:?} in the place of {expected}");
                return world.oracle.wrong(what);
            }
            _ => return,
        }
    }
    drop((caller, items));
}

static SIGNATURES: [Signature<u64, u64>; NAMES.len()] = [
    signature(ALONE),
    signature(BESIDE),
    signature(ALONE_FOR_LONG),
    signature(BESIDE_FOR_LONG),
    signature(STREAM),
];

const fn signature(method: u32) -> Signature<u64, u64> {
    Signature {
        idx: method,
        name: NAMES[method as usize],
        value: |bytes| Ok(codec::decode_next(bytes)?),
        error: |bytes| Ok(codec::decode_next(bytes)?),
    }
}

fn prepare(world: &World, sending: Sending) -> (Id, Call<u64, u64>) {
    let rng = &world.kernel.rng;
    let Sending {
        to,
        method,
        act,
        tell,
        retries,
        timeout,
        grace,
    } = sending;
    let after = timeout.map(Duration::from_millis);
    let deadline = match tell {
        true => u64::MAX,
        false => world.kernel.now() + after.unwrap_or(world.plane.settings.call_timeout).as_nanos() as u64,
    };
    let from = world.kernel.current();
    let id = world.oracle.made(from, to, tell, retries, deadline);
    let size = match rng.below(100) {
        0..90 => rng.below(40),
        90..99 => rng.below(2000),
        _ => rng.below(100_000),
    };
    let order = Order {
        id,
        act,
        padding: Bytes::from_static(&PADDING[..size]),
    };
    world.oracle.log(|| {
        format!(
            "process {from} makes {} {id} to {to}: {:?}, {retries} retries, {timeout:?}",
            NAMES[method as usize], order.act
        )
    });
    let arguments = Payload::encode(|out| Ok(codec::encode(&order, out)?));
    let actor = world.actor(to);
    let mut call = call(&actor, &SIGNATURES[method as usize], arguments).idempotent(retries);
    if let Some(grace) = grace {
        call = call.kill_after(Duration::from_millis(grace));
    }
    match after {
        Some(after) => (id, call.timeout(after)),
        None => (id, call),
    }
}

/// Polls the future of that message: what enters the books meanwhile is it.
async fn sending<T>(world: &World, id: Id, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let outer = world.oracle.sending.replace(Some(id));
        let polled = future.as_mut().poll(cx);
        world.oracle.sending.set(outer);
        polled
    })
    .await
}

async fn ask_as(world: &Rc<World>, how: Sending) -> Result<u64, CallError<u64>> {
    let (id, call) = prepare(world, how);
    let caller = Caller { world, id };
    let result = sending(world, id, call.into_future()).await;
    std::mem::forget(caller);
    world.oracle.returned(world, id, Some(&result));
    result
}

/// A call whose future is dropped.
struct Caller<'w> {
    world: &'w World,
    id: Id,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.world.oracle.returned(self.world, self.id, None);
    }
}

async fn take_back(world: &Rc<World>, how: Sending) {
    let after = Duration::from_millis(world.kernel.rng.between(0, 8));
    // Whatever comes first.
    drop(tokio::time::timeout(after, ask_as(world, how)).await);
}

async fn tell(world: &Rc<World>, how: Sending) {
    let (id, call) = prepare(world, how);
    let told = sending(world, id, call.tell()).await;
    refused(world, id, &told);
    world.oracle.told(world, id, told.is_ok());
}

fn try_tell(world: &Rc<World>, how: Sending) {
    let (id, call) = prepare(world, how);
    let outer = world.oracle.sending.replace(Some(id));
    let told = call.try_tell();
    world.oracle.sending.set(outer);
    refused(world, id, &told);
    world.oracle.told(world, id, told.is_ok());
}

fn refused(world: &World, id: Id, told: &Result<(), CallError>) {
    if let Err(error) = told
        && world.runs()
        && !matches!(error, CallError::Full | CallError::Timeout | CallError::Stopped)
    {
        world
            .oracle
            .wrong(format_args!("tell {id} was refused: {error:?}"));
    }
}
