//! How children are started: [`StartMode`].

use crate::error::{Error, ErrorKind};
use std::fmt;
use std::str::FromStr;

/// The variable of the environment that chooses.
const VARIABLE: &str = "PROCESSION_START";

/// How child processes are started.
///
/// ```
/// use procession::StartMode;
///
/// assert_eq!("exec".parse::<StartMode>()?, StartMode::Exec);
/// assert_eq!(StartMode::ForkServer.to_string(), "fork-server");
/// assert!("fork".parse::<StartMode>().is_err());
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StartMode {
    /// Forked from a clean, single-threaded image of the program: fast, and idle children share most of their memory.
    #[default]
    ForkServer,
    /// The program is executed anew for each child: slower, with a fresh address-space layout.
    Exec,
}

impl StartMode {
    /// What `PROCESSION_START` says; `None` if it is not set.
    pub(crate) fn from_env() -> Result<Option<Self>, Error> {
        match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(value) => value.to_string_lossy().parse().map(Some),
        }
    }
}

impl FromStr for StartMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "fork-server" => Ok(StartMode::ForkServer),
            "exec" => Ok(StartMode::Exec),
            other => Err(Error::with_kind(
                ErrorKind::Invalid,
                format!("unknown start mode `{other}` in {VARIABLE}: write `fork-server` or `exec`"),
            )),
        }
    }
}

impl fmt::Display for StartMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartMode::ForkServer => "fork-server",
            StartMode::Exec => "exec",
        })
    }
}
