//! The registry of what this build can run: one row for each annotated function and `impl`.
//!
//! The macros put the rows into a slice that the linker gathers. Host and children are the same executable, so a
//! row travels as its position in that slice; whoever receives one checks that it is there and of the right kind.

use crate::error::{Error, ErrorKind, Result};
use linkme::distributed_slice;
use std::fmt;

use super::contract::{Actor, ActorEntry, ServiceEntry, TaskEntry};
use super::contract::{Service, Task};

/// What identifies a row: printed where two builds disagree or a row is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The path of the module that it stands in.
    pub module: &'static str,
    /// The name of the function or type.
    pub name: &'static str,
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// A hash of the signature's tokens.
    pub signature: u64,
}

/// One annotated function or `impl`.
#[derive(Debug)]
pub struct Row {
    pub(crate) key: Key,
    pub(crate) entry: Entry,
}

/// How it is entered in a child.
#[derive(Debug)]
pub(crate) enum Entry {
    Task(TaskEntry),
    Service(ServiceEntry),
    Actor(ActorEntry),
    /// A service, whichever.
    AnyService,
}

/// The rows of this build, in the order in which the linker left them.
#[distributed_slice]
pub static ROWS: [Row];

impl Row {
    /// The row of a task.
    pub const fn task<T: Task>(key: Key) -> Row {
        Row {
            key,
            entry: Entry::Task(TaskEntry::of::<T>()),
        }
    }

    /// The row of a service.
    pub const fn service<S: Service>(key: Key) -> Row {
        Row {
            key,
            entry: Entry::Service(ServiceEntry::of::<S>()),
        }
    }

    /// The row of an actor.
    pub const fn actor<A: Actor>(key: Key) -> Row {
        Row {
            key,
            entry: Entry::Actor(ActorEntry::of::<A>()),
        }
    }

    /// Its position in the registry, or an error that names it.
    pub(crate) fn registered(&'static self) -> Result<u32> {
        match self.position() {
            NO_ROW => Err(Error::with_kind(
                ErrorKind::NotInBuild,
                format_args!(
                    "`{}` is not in this build: start it from the same binary",
                    self.key
                ),
            )),
            position => Ok(position),
        }
    }

    /// Its position in the registry: how it travels.
    pub(crate) fn position(&'static self) -> u32 {
        let offset = (std::ptr::from_ref(self) as usize).wrapping_sub(ROWS.as_ptr() as usize);
        let position = offset / size_of::<Row>();
        if position < ROWS.len() {
            position as u32
        } else {
            NO_ROW
        }
    }
}

/// The position of what has no row of its own: workers, and services taken together.
pub(crate) const NO_ROW: u32 = u32::MAX;

/// What a ref to any service means. It is no row of the registry.
pub(crate) static SERVICE: Row = Row {
    key: Key {
        module: "procession",
        name: "Service",
        file: file!(),
        line: line!(),
        column: column!(),
        signature: 0,
    },
    entry: Entry::AnyService,
};

/// The row at that position, if this build has one.
pub(crate) fn at(position: u32) -> Result<&'static Row> {
    ROWS.get(position as usize).ok_or_else(|| {
        Error::with_kind(
            ErrorKind::NotInBuild,
            format_args!(
                "row {position} is not in this build, which has {}: start it from the same binary",
                ROWS.len()
            ),
        )
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.module, self.name)
    }
}
