//! What most programs use: `use procession::prelude::*;`

pub use crate::{
    ActorRef, Backoff, Call, CallError, ExitReason, Pool, Process, Restart, ServiceRef, Spec, Strategy,
    Supervisor, Task, TaskError, actor, service, task,
};
#[doc(no_inline)]
pub use futures::StreamExt;
