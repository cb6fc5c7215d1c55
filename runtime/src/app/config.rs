//! Settings of the whole program: how children are started, what links are made of, how much a message may hold.

use crate::error::{Error, ErrorKind, Result};
use crate::link::LinkKind;
use crate::observe;
use crate::process::control::{self, Asked};
use crate::process::{StartMode, entry};
use crate::supervise::host;
use crate::wire::control::{Mailbox, Overflow, Settings};
use crate::wire::frame::DEFAULT_LIMIT;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// The settings of a program, made before anything is started.
///
/// | setting | environment | default |
/// | --- | --- | --- |
/// | [`start_mode`](Config::start_mode) | `PROCESSION_START=fork-server\|exec` | the fork server |
/// | [`spare`](Config::spare) | | yes |
/// | [`link`](Config::link) | `PROCESSION_LINK=ring\|socket\|pipe` | rings on Linux |
/// | [`call_timeout`](Config::call_timeout) | | one minute |
/// | [`frame_limit`](Config::frame_limit) | | 64 MiB |
/// | [`mailbox`](Config::mailbox) | | 1,024 messages |
/// | [`poisonous`](Config::poisonous) | | 3 deaths |
///
/// Where the environment names a setting it wins: whoever runs a program has the last word.
///
/// ```
/// use procession::{Config, StartMode};
///
/// Config::new().start_mode(StartMode::Exec).init()?;
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "settings count only after `init`"]
pub struct Config {
    start_mode: Option<StartMode>,
    spare: Option<bool>,
    link: Option<LinkKind>,
    call_timeout: Option<Duration>,
    frame_limit: Option<usize>,
    mailbox: Option<u32>,
    poisonous: Option<u32>,
}

static CONFIG: Mutex<Option<Config>> = Mutex::new(None);

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Config::default()
    }

    /// How children are started.
    pub fn start_mode(mut self, mode: StartMode) -> Self {
        self.start_mode = Some(mode);
        self
    }

    /// Whether a process is kept ready for the next start, which then takes about half the time. It is made by the fork
    /// server after the first start, is idle and belongs to nobody, and costs what an idle child costs.
    pub fn spare(mut self, keep: bool) -> Self {
        self.spare = Some(keep);
        self
    }

    /// What links between processes are made of.
    pub fn link(mut self, kind: LinkKind) -> Self {
        self.link = Some(kind);
        self
    }

    /// The deadline of a call that names none.
    pub fn call_timeout(mut self, after: Duration) -> Self {
        self.call_timeout = Some(after);
        self
    }

    /// The most bytes that one message may hold, encoded.
    pub fn frame_limit(mut self, bytes: usize) -> Self {
        self.frame_limit = Some(bytes);
        self
    }

    /// How many messages of one sender may wait at one actor before the sender waits.
    pub fn mailbox(mut self, messages: u32) -> Self {
        self.mailbox = Some(messages);
        self
    }

    /// How many processes of an actor may die of one idempotent message in a row before it is set aside as a dead letter.
    pub fn poisonous(mut self, deaths: u32) -> Self {
        self.poisonous = Some(deaths);
        self
    }

    /// Makes them those of this program.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if something was started already, or a setting makes no sense.
    pub fn init(self) -> Result<()> {
        let invalid = |what: &str| Err(Error::with_kind(ErrorKind::Invalid, what));
        if control::existing().is_some() {
            return invalid("settings come too late: processes were started already");
        }
        if self.link == Some(LinkKind::Memory) {
            return invalid("links of memory do not leave a process: use rings, sockets or pipes");
        }
        if self.poisonous == Some(0) {
            return invalid("a message is tried at least once: let at least one process die of it");
        }
        if self.mailbox == Some(0)
            || self
                .frame_limit
                .is_some_and(|bytes| !(1024..=1 << 30).contains(&bytes))
        {
            return invalid("a mailbox holds at least one message, and a frame 1 KiB to 1 GiB");
        }
        *CONFIG.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            call_timeout: self.call_timeout.unwrap_or(Duration::from_secs(60)),
            frame_limit: self.frame_limit.unwrap_or(DEFAULT_LIMIT),
            mailbox: Mailbox {
                messages: self.mailbox.unwrap_or(1024),
                overflow: Overflow::Wait,
            },
            poisonous: self.poisonous.unwrap_or(3),
        }
    }

    fn host(&self) -> Result<host::Config> {
        let start = StartMode::from_env()?.or(self.start_mode).unwrap_or_default();
        let link = link_from_env()?.or(self.link).unwrap_or_default();
        Ok(host::Config {
            start,
            spares: self.spare.unwrap_or(true),
            link,
            settings: self.settings(),
            replay: observe::replay::sink,
            log: observe::setup::filter,
        })
    }
}

/// What `PROCESSION_LINK` says; `None` if it is not set.
fn link_from_env() -> Result<Option<LinkKind>> {
    let Some(value) = std::env::var_os("PROCESSION_LINK") else {
        return Ok(None);
    };
    let name = value.to_string_lossy();
    match name.parse() {
        Ok(LinkKind::Memory) | Err(_) => Err(Error::with_kind(
            ErrorKind::Invalid,
            format_args!(
                "unknown kind of link `{name}` in PROCESSION_LINK: write `ring`, `socket` or `pipe`"
            ),
        )),
        Ok(kind) => Ok(Some(kind)),
    }
}

/// Starts the control plane with these settings.
pub(crate) fn start_host() -> (mpsc::UnboundedSender<Asked>, Settings) {
    entry::refuse_unentered();
    let config = CONFIG
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
        .unwrap_or_default();
    (
        host::start(config.host(), observe::setup::adopt_thread),
        config.settings(),
    )
}
