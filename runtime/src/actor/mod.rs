//! Refs, calls, the mailbox and dispatch: how processes talk to actors.
//!
//! | file | what |
//! | --- | --- |
//! | `current` | the message that is handled: what calls within it inherit |
//! | `row` | the registry of what this build can run |
//! | `contract` | what the macros implement |
//! | `handle`, `call`, `stream`, `monitor` | what users hold |
//! | `ledger` | what one sender sent to one actor, and what becomes of it at a death: pure |
//! | `peer`, `books`, `conn` | the client's side: the books and the connection |
//! | `child`, `port`, `queue`, `lock`, `room`, `work` | the actor's side: a process, a link, the line before the value, its lock, where both are, a message that runs |
//! | `chunk` | items of a pool that came with one message |
//! | `feed` | streams that are arguments: when they are fed, and what a method hears of their end |
//! | `source` | a stream that a method returned, where it is made |

mod alarm;
mod answer;
mod books;
pub(crate) mod call;
pub(crate) mod child;
pub(crate) mod chunk;
pub(crate) mod conn;
pub(crate) mod contract;
pub(crate) mod current;
pub(crate) mod feed;
pub(crate) mod handle;
pub(crate) mod ledger;
mod lock;
pub(crate) mod monitor;
pub(crate) mod peer;
pub(crate) mod port;
mod queue;
mod reuse;
pub(crate) mod room;
pub(crate) mod row;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod work;
