//! What most programs use: `use procession::prelude::*;`

pub use crate::{
    ActorRef, Array, Backoff, Call, CallError, Connection, ExitReason, Fd, Pool, Process, Receiver, Restart,
    Sender, ServiceRef, SharedBytes, SharedSlice, SharedStr, Spec, Strategy, Supervisor, Task, TaskError,
    actor, service, task,
};
#[doc(no_inline)]
pub use futures::StreamExt;
