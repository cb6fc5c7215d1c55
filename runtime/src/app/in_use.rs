//! What is really in use: [`in_use`].

use crate::actor::handle::unexpected;
use crate::error::Result;
use crate::link::LinkKind;
use crate::process::{StartMode, control};
use crate::wire::control::{Answer, Request};

/// How the host starts processes and links them, as it does and not as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InUse {
    /// How the next process is started. It is [`StartMode::Exec`] also where the fork server was asked for and could
    /// not serve.
    pub start: StartMode,
    /// What the next link is made of. It is [`LinkKind::Socket`] also where rings were asked for and the system refuses
    /// what they are made of.
    pub link: LinkKind,
    /// The process id of the fork server while there is one. In exec mode it starts nothing, and guards: it kills
    /// every child when the host is gone.
    pub fork_server: Option<u32>,
}

/// What is in use, after `PROCESSION_START`, `PROCESSION_LINK`, [`Config`](crate::Config) and what the system allows. It
/// starts the control plane if nothing did so far.
///
/// ```
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let in_use = procession::in_use().await?;
/// println!("processes are started by {} and linked by {}", in_use.start, in_use.link);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// That of the start, if no process can be started here at all: a setting that makes no sense is
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
pub async fn in_use() -> Result<InUse> {
    match control::client().ask(Request::Mode).await?.answer {
        Answer::Mode {
            fork_server,
            link,
            server_pid,
        } => Ok(InUse {
            start: if fork_server {
                StartMode::ForkServer
            } else {
                StartMode::Exec
            },
            link,
            fork_server: server_pid,
        }),
        other => Err(unexpected(&other)),
    }
}
