//! What the macros implement: a task, a service, an actor, as the runtime sees them.
//!
//! Nothing here is meant to be written by hand. Values cross in encoded form: each trait brings its own way to encode
//! what it takes and gives, so that byte arguments travel as one block and a value that cannot travel is refused by
//! the compiler at the annotated item.

use crate::error::{Error, Result};
use crate::exit::ExitReason;
use crate::process::page::Page;
use crate::wire::attach::{Payload, provide_none, whole};
use crate::wire::control::Done;
use futures::Stream;
use futures::future::LocalBoxFuture;
use std::fmt::{self, Display};
use std::future::Future;
use std::rc::Rc;

use super::chunk::{Chunk, ItemKind};
use super::feed::Broken;
use super::port::Message;
use super::room::{Room, Serve};
use super::row::Row;
use super::source::Source;

/// A function that can run in a process of its own: what `#[task]` makes of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "this function is not annotated",
    note = "write `#[task]` above the function",
    note = "in the body of a task its own name means the plain function: write `self::` before it there"
)]
pub trait Task: Copy + Send + Sync + 'static {
    /// What it takes: its argument, or the tuple of its arguments, each in its owned form.
    type Input: Send + 'static;
    /// What it gives where it succeeds.
    type Output: Send + 'static;
    /// What it gives where it fails; [`Never`](crate::Never) where its output is not a `Result`.
    type Error: Display + Send + 'static;

    #[doc(hidden)]
    fn row() -> &'static Row;
    #[doc(hidden)]
    fn call(input: Self::Input) -> impl Future<Output = Result<Self::Output, Self::Error>>;
    #[doc(hidden)]
    fn encode_input(input: &Self::Input, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode_input(bytes: &mut &[u8]) -> Result<Self::Input>;
    #[doc(hidden)]
    fn encode_output(output: &Self::Output, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode_output(bytes: &mut &[u8]) -> Result<Self::Output>;
    #[doc(hidden)]
    fn encode_error(error: &Self::Error, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode_error(bytes: &mut &[u8]) -> Result<Self::Error>;
}

/// A function that runs in a process of its own until it is told to stop: what `#[service]` makes of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "this function is not annotated",
    note = "write `#[service]` above the function"
)]
pub trait Service: Copy + Send + Sync + 'static {
    /// What it takes: its argument, or the tuple of its arguments, each in its owned form.
    type Input: Send + 'static;
    /// What it gives where it fails; [`Never`](crate::Never) where its output is not a `Result`.
    type Error: Display + 'static;

    #[doc(hidden)]
    fn row() -> &'static Row;
    #[doc(hidden)]
    fn call(input: Self::Input) -> impl Future<Output = Result<(), Self::Error>>;
    #[doc(hidden)]
    fn encode_input(input: &Self::Input, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode_input(bytes: &mut &[u8]) -> Result<Self::Input>;
}

/// A type whose value lives in a process of its own and is called by messages: what `#[actor]` makes of it.
pub trait Actor: Sized + 'static {
    #[doc(hidden)]
    const METHODS: &'static [Method<Self>];
    #[doc(hidden)]
    fn row() -> &'static Row;
    #[doc(hidden)]
    fn init(arguments: Payload) -> impl Future<Output = Result<Result<Self, String>>>;
    #[doc(hidden)]
    fn terminate(&mut self, reason: &ExitReason) -> impl Future<Output = ()> {
        let _ = reason;
        async {}
    }
}

/// The actor behind a ref, as a type that may be named wherever the ref may.
pub trait Marker: 'static {
    #[doc(hidden)]
    fn row() -> &'static Row;
}

/// One method of an actor.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "a table of functions")]
pub struct Method<A> {
    pub name: &'static str,
    pub run: Run<A>,
}

impl<A> Method<A> {
    /// Whether it runs alone.
    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(self.run, Run::Exclusive(_) | Run::ExclusiveAsync(_))
    }
}

/// How a method is entered: alone or beside others, at once or as a future.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "a function")]
pub enum Run<A> {
    Shared(fn(&A, Invocation<'_>) -> Outcome),
    SharedAsync(for<'a> fn(&'a A, Invocation<'a>) -> LocalBoxFuture<'a, Outcome>),
    Exclusive(fn(&mut A, Invocation<'_>) -> Outcome),
    ExclusiveAsync(for<'a> fn(&'a mut A, Invocation<'a>) -> LocalBoxFuture<'a, Outcome>),
}

/// One message, about to be handled.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "a view of a message")]
pub struct Invocation<'a> {
    pub(crate) message: &'a Message,
    /// Its body, where that is lent from where it was read, and not in the message.
    pub(crate) lent: Option<&'a [u8]>,
}

impl Invocation<'_> {
    /// What `decode` reads of the arguments, which must be all of them: they can be had once.
    #[inline]
    pub fn decode<T>(&self, decode: impl FnOnce(&mut &[u8]) -> Result<T>) -> Result<T> {
        match self.lent {
            Some(mut bytes) => provide_none(|| whole(&mut bytes, decode)),
            None => self.message.payload()?.decode(decode),
        }
    }

    /// The method's value.
    #[inline]
    pub fn value(&self, encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Outcome {
        self.written(encode, Outcome::Value)
    }

    /// The method's own error.
    #[inline]
    pub fn failed(&self, encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Outcome {
        self.written(encode, Outcome::Failed)
    }

    #[inline]
    fn written(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
        wrap: fn(Payload) -> Outcome,
    ) -> Outcome {
        match self.message.is_awaited() {
            true => Payload::encode_apart(encode).map_or_else(Outcome::Fault, wrap),
            false => Outcome::Unheard,
        }
    }
}

/// What a method came to, encoded.
#[doc(hidden)]
#[derive(Debug)]
pub enum Outcome {
    Value(Payload),
    Failed(Payload),
    Fault(Error),
    Stream(Source),
    /// A value or an error for which nobody waits: it is not encoded.
    Unheard,
}

impl Outcome {
    /// The stream that the method returned, of which nothing is asked yet.
    pub fn stream<S: Stream + 'static>(
        items: S,
        encode: fn(&S::Item, &mut Vec<u8>) -> Result<()>,
    ) -> Outcome {
        Outcome::Stream(Source::new(items, encode))
    }

    /// The same of one that may be made of others, whose breaking off it hears of.
    pub fn stream_of<S: Stream + 'static>(
        broken: Broken,
        items: S,
        encode: fn(&S::Item, &mut Vec<u8>) -> Result<()>,
    ) -> Outcome {
        Outcome::Stream(Source::new(items, encode).while_whole(broken))
    }
}

/// How a task is entered: once in a process of its own, or for a chunk of a pool's items.
pub(crate) struct TaskEntry {
    pub(crate) run: fn(Payload, Rc<Page>) -> LocalBoxFuture<'static, Done>,
    pub(crate) chunk: for<'a> fn(&'a mut Chunk<'_>) -> LocalBoxFuture<'a, ()>,
}

/// How a service is entered.
pub(crate) struct ServiceEntry {
    pub(crate) run: fn(Payload, Rc<Page>) -> LocalBoxFuture<'static, Done>,
}

/// What the `init` of an actor came to.
type Init = Result<Rc<dyn Serve>, String>;

/// How an actor is entered.
pub(crate) struct ActorEntry {
    /// Whether a method runs alone.
    pub(crate) exclusive: fn(u32) -> bool,
    pub(crate) init: fn(Payload, Rc<Page>) -> LocalBoxFuture<'static, Init>,
    pub(crate) methods: fn() -> Vec<&'static str>,
}

impl TaskEntry {
    pub(crate) const fn of<T: Task>() -> Self {
        TaskEntry {
            run: run_task::<T>,
            chunk: run_chunk::<T>,
        }
    }
}

impl ServiceEntry {
    pub(crate) const fn of<S: Service>() -> Self {
        ServiceEntry {
            run: run_service::<S>,
        }
    }
}

impl ActorEntry {
    pub(crate) const fn of<A: Actor>() -> Self {
        ActorEntry {
            init: init_actor::<A>,
            exclusive: |method| A::METHODS.get(method as usize).is_some_and(Method::is_exclusive),
            methods: || A::METHODS.iter().map(|method| method.name).collect(),
        }
    }
}

fn run_task<T: Task>(input: Payload, page: Rc<Page>) -> LocalBoxFuture<'static, Done> {
    Box::pin(async move {
        let input = match input.decode(T::decode_input) {
            Ok(input) => input,
            Err(error) => return Done::Fault(error),
        };
        page.begin(0, 1);
        match T::call(input).await {
            Ok(output) => encoded(|out| T::encode_output(&output, out), Done::Value),
            Err(error) => {
                let text = format!("{error:#}");
                encoded(
                    |out| T::encode_error(&error, out),
                    |payload| Done::Failed(payload, text),
                )
            }
        }
    })
}

fn run_service<S: Service>(input: Payload, page: Rc<Page>) -> LocalBoxFuture<'static, Done> {
    Box::pin(async move {
        let input = match input.decode(S::decode_input) {
            Ok(input) => input,
            Err(error) => return Done::Fault(error),
        };
        page.begin(0, 1);
        match S::call(input).await {
            Ok(()) => Done::Value(Payload::default()),
            Err(error) => Done::Failed(Payload::default(), format!("{error:#}")),
        }
    })
}

fn run_chunk<'a, T: Task>(chunk: &'a mut Chunk<'_>) -> LocalBoxFuture<'a, ()> {
    Box::pin(async move {
        while let Some(input) = chunk.next(T::decode_input) {
            match input {
                Ok(input) => match T::call(input).await {
                    Ok(output) => chunk.done(ItemKind::Value, |out| T::encode_output(&output, out)),
                    Err(error) => failed::<T>(chunk, &error),
                },
                Err(error) => chunk.fault(&error),
            }
            if chunk.is_due() {
                chunk.pause().await;
            }
        }
    })
}

/// Apart, so that the loop that calls it has little more than what most items need.
#[inline(never)]
fn failed<T: Task>(chunk: &mut Chunk<'_>, error: &T::Error) {
    chunk.done(ItemKind::Failed, |out| T::encode_error(error, out));
}

fn init_actor<A: Actor>(input: Payload, page: Rc<Page>) -> LocalBoxFuture<'static, Init> {
    Box::pin(async move {
        page.begin(0, 1);
        let actor = A::init(input).await.map_err(|error| format!("{error:#}"))??;
        Ok(Rc::new(Room::new(actor, page)) as Rc<dyn Serve>)
    })
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>) -> Result<()>, wrap: impl FnOnce(Payload) -> Done) -> Done {
    match Payload::encode(encode) {
        Ok(payload) => wrap(payload),
        Err(error) => Done::Fault(error),
    }
}

impl fmt::Debug for TaskEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task")
    }
}

impl fmt::Debug for ServiceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("service")
    }
}

impl fmt::Debug for ActorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor with methods {:?}", (self.methods)())
    }
}
