//! What links are made of, by name: [`LinkKind`].

use crate::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What links between processes are made of.
///
/// All kinds carry the same, descriptors included. Rings are the fastest, and the default on Linux.
///
/// ```
/// use procession::LinkKind;
///
/// assert_eq!("pipe".parse::<LinkKind>()?, LinkKind::Pipe);
/// assert_eq!(LinkKind::Ring.to_string(), "ring");
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LinkKind {
    /// Shared memory: a ring of 256 KiB for each direction. While both sides are busy no system call is made for a
    /// message.
    Ring,
    /// A pair of Unix sockets.
    Socket,
    /// Two named pipes.
    Pipe,
    /// Memory of this process: for a peer in the same one.
    Memory,
}

impl Default for LinkKind {
    fn default() -> Self {
        if cfg!(target_os = "linux") {
            LinkKind::Ring
        } else {
            LinkKind::Socket
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkKind::Ring => "ring",
            LinkKind::Socket => "socket",
            LinkKind::Pipe => "pipe",
            LinkKind::Memory => "memory",
        })
    }
}

impl FromStr for LinkKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "ring" => Ok(LinkKind::Ring),
            "socket" => Ok(LinkKind::Socket),
            "pipe" => Ok(LinkKind::Pipe),
            "memory" => Ok(LinkKind::Memory),
            _ => Err(Error::with_kind(
                ErrorKind::Invalid,
                format_args!("`{name}` is no kind of link: use `ring`, `socket` or `pipe`"),
            )),
        }
    }
}
