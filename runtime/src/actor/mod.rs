//! Refs, calls, the mailbox and dispatch: how processes talk to actors.
//!
//! | file | what |
//! | --- | --- |
//! | `row` | the registry of what this build can run |
//! | `contract` | what the macros implement |
//! | `handle`, `call`, `monitor` | what users hold |
//! | `peer`, `conn` | the client's side of a link |
//! | `child`, `port`, `room`, `work` | the actor's side: a process, a link, the value and its lock, a message that runs |

pub(crate) mod call;
pub(crate) mod child;
pub(crate) mod conn;
pub(crate) mod contract;
pub(crate) mod handle;
pub(crate) mod monitor;
pub(crate) mod peer;
pub(crate) mod port;
pub(crate) mod room;
pub(crate) mod row;
pub(crate) mod work;
