//! The attributes of the `procession` crate. Use them through it.
//!
//! Each has the same three steps: *parse* reads what was written and leaves bodies as tokens, *check* reports every
//! fault at its own token, *expand* makes the items. Where there was a fault, a stub takes the place of the item, so
//! that what uses it is not reported too.

mod actor;
mod argument;
mod attributes;
mod entry;
mod fault;
mod function;
mod options;
mod output;
mod service;
mod streamed;
mod task;
mod travel;
mod types;
mod unit;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes a function a task: something that can run in a process of its own.
///
/// The function can still be called as before. Its name becomes a value that implements `Task`, to be given to
/// `Process::spawn` or to a pool.
///
/// | written | what travels |
/// | --- | --- |
/// | no argument | `()` |
/// | one argument `T` | `T` |
/// | several | a tuple |
/// | `&str`, `&Path`, `&[T]`, `&T` | the owned form: `String`, `PathBuf`, `Vec<T>`, `T` |
/// | `Vec<u8>`, `&[u8]`, `Bytes` | the same, as one block of bytes |
/// | `-> T` | `T` |
/// | `-> Result<T, E>` | `T`, or `TaskError::Failed(E)` |
///
/// The name of a task cannot be given to a variable or an argument of another function, and it hides a module or crate
/// of the same name. In its own body it is the function alone: to start the task again from there, give `name {}`.
///
/// Called as a function, an async task gives a boxed future that stays on its thread. `name::call(input)` of the trait
/// `Task` gives one that is `Send` if the body allows it.
///
/// | option | means | default |
/// | --- | --- | --- |
/// | `codec = "compact"` | its values travel without the names of fields and variants, in fewer bytes; a type that is not plain (`flatten`, `untagged`, `skip_serializing_if`, any JSON) is then an error that says so | one that carries every type |
/// | `crate = path` | where the library is | `::procession` |
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task::task(options.into(), item.into()).into()
}

/// Makes the type of an `impl` an actor: its state lives in a process of its own, its methods are called through a ref.
///
/// For `impl Counter`, that ref is `CounterRef`. It has one method for each method with `&self` or `&mut self`, of the
/// same name, arguments and visibility, and `CounterRef::named` and `CounterRef::lookup`. `Counter::spawn(..)` and
/// `Counter::spec(..)` take the arguments of `#[init]`.
///
/// | on a function of the `impl` | makes it |
/// | --- | --- |
/// | `#[init]` | what begins each incarnation; without one it is the type's `Default` |
/// | `#[terminate]` | what is run before an orderly end; it may take `reason: &ExitReason` |
/// | `#[local]` | a method that is not on the ref |
/// | `#[idempotent]` | a method that is run again if its process dies in the middle of it: once, or as often as `#[idempotent(retries = 3)]` says |
///
/// Arguments and outputs travel as those of a `#[task]`, and methods have streams as well:
///
/// | written in a method | what whoever calls it has |
/// | --- | --- |
/// | `-> impl Stream<Item = T> + use<>` | a `StreamCall`, whose `CallStream` yields a `Result<T, CallError>` |
/// | `-> Result<impl Stream<Item = T> + use<>, E>` | the same, whose call may end with `E` |
/// | an argument `impl Stream<Item = procession::Result<T>>` | an argument that takes any stream of `T` that is `Send + 'static` |
/// | an argument `impl Stream<Item = T>` | the same |
///
/// A stream that is given is pulled while its call runs, and longer where the method keeps it: by a task of the runtime in which
/// the call is awaited, no more than 64 items and 4 MiB before they are read. It is dropped at its end, with its reader, or where the
/// call fails or is dropped. If it breaks off, since its process died, its call was dropped, or an item could not be sent, the reader gets
/// an error as the last item, after all that was sent before. Where the items are plain there is no place for that: the method is
/// dropped instead, or the stream that it returned ends, and the call comes to the error. Whoever keeps a stream beyond its method
/// takes `Result`s. `+ Send`, `+ Unpin` and `+ 'static` hold of all of them and may be written.
///
/// Functions without `self`, constants and types are left alone.
///
/// | option | means | default |
/// | --- | --- | --- |
/// | `mailbox = 100` | how many messages of one sender may wait | that of the program's `Config` |
/// | `overflow = "wait"`, `"reject"` or `"drop_oldest"` | what becomes of one more | `"wait"` |
/// | `codec = "compact"` | arguments, outputs, errors and items of streams travel without the names of fields and variants, as those of a [`task`](macro@task) | one that carries every type |
/// | `crate = path` | where the library is | `::procession` |
#[proc_macro_attribute]
pub fn actor(options: TokenStream, item: TokenStream) -> TokenStream {
    actor::actor(options.into(), item.into()).into()
}

/// Makes an async function a service: it runs in a process of its own until it is told to stop.
///
/// Its name becomes a value with two methods, `spec(..)` and `spawn(..)`, which take the function's arguments. It
/// returns nothing, `Result<(), E>` or `!`. It can still be called as before.
///
/// Its options, `codec` and `crate`, are those of a [`task`](macro@task).
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    service::service(options.into(), item.into()).into()
}

/// Runs an async `main` on a runtime that can start processes.
///
/// | option | means | default |
/// | --- | --- | --- |
/// | `flavor = "multi_thread"` or `"current_thread"` | the runtime | `"multi_thread"` |
/// | `worker_threads = 4` | its threads | one for each core |
/// | `signals = false` | leaves SIGINT and SIGTERM alone | `true`: they stop all children in order |
/// | `crate = path` | where the library is | `::procession` |
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::entry(entry::Entry::Main, options.into(), item.into()).into()
}

/// Runs an async test on a runtime that can start processes, with names of its own.
///
/// The options are those of `main`; the runtime is `"current_thread"` unless it says otherwise.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::entry(entry::Entry::Test, options.into(), item.into()).into()
}
