//! What the host and the images that it starts say to each other while a child is being started: fixed layouts, no I/O.
//!
//! The first message on the socket that a triggered image finds at descriptor 0 is a [`Role`]. The host and the fork
//! server then exchange one packet for each [`Request`] and [`Reply`]; what has no fixed size travels as a descriptor.

const MAGIC: u64 = u64::from_le_bytes(*b"procesnR");

/// What a triggered image is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The server; with it comes the log socket.
    Server,
    /// A child; with it come the log socket and the status page.
    Child,
}

/// The first message: who sent it, and what the image is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) role: Role,
    pub(crate) host: i32,
}

impl Welcome {
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        let role = match self.role {
            Role::Server => 1_u32,
            Role::Child => 2,
        };
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&role.to_le_bytes());
        bytes[12..].copy_from_slice(&self.host.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if u64::from_le_bytes(fields.take()?) != MAGIC {
            return None;
        }
        let role = match u32::from_le_bytes(fields.take()?) {
            1 => Role::Server,
            2 => Role::Child,
            _ => return None,
        };
        let host = i32::from_le_bytes(fields.take()?);
        Some(Welcome { role, host })
    }
}

/// What the host asks of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Start a child. With it come its control socket and status page, then, where the flags say so, the host's
    /// current directory and its environment (a file in memory).
    Start(Start),
    /// Kill this child, whose pidfd comes with it, when the host is gone.
    Guard { pid: i32 },
    /// The host has killed the group of this child and is about to free its number.
    Ended { pid: i32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) id: u64,
    pub(crate) umask: u32,
    pub(crate) directory: bool,
    pub(crate) environment: bool,
    /// Its first message comes later, with what it is to be.
    pub(crate) spare: bool,
}

impl Request {
    pub(crate) const SIZE: usize = 24;

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        let (kind, value, number, flags) = match self {
            Request::Start(start) => {
                let flags = [start.directory, start.environment, start.spare];
                let flags = (0..).zip(flags).map(|(bit, flag)| u32::from(flag) << bit).sum();
                (1_u32, start.umask, start.id, flags)
            }
            Request::Guard { pid } => (2, pid as u32, 0, 0),
            Request::Ended { pid } => (3, pid as u32, 0, 0),
        };
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&value.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..20].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let kind = u32::from_le_bytes(fields.take()?);
        let value = u32::from_le_bytes(fields.take()?);
        let id = u64::from_le_bytes(fields.take()?);
        let flags = u32::from_le_bytes(fields.take()?);
        match kind {
            1 => Some(Request::Start(Start {
                id,
                umask: value,
                directory: flags & 1 != 0,
                environment: flags & 2 != 0,
                spare: flags & 4 != 0,
            })),
            2 => Some(Request::Guard { pid: value as i32 }),
            3 => Some(Request::Ended { pid: value as i32 }),
            _ => None,
        }
    }
}

/// What the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It serves, and has this many threads; with any but one it cannot clone.
    Hello { threads: u32 },
    /// The child runs; its pidfd comes with it.
    Started { id: u64, pid: i32 },
    /// It does not, for want of something: the error's number.
    Failed { id: u64, errno: i32 },
    /// Clones are not to be had here, ever: the error's number, or 0 where there are threads.
    Refused { id: u64, errno: i32 },
}

impl Reply {
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        let (kind, value, id) = match self {
            Reply::Hello { threads } => (1_u32, threads, 0),
            Reply::Started { id, pid } => (2, pid as u32, id),
            Reply::Failed { id, errno } => (3, errno as u32, id),
            Reply::Refused { id, errno } => (4, errno as u32, id),
        };
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&value.to_le_bytes());
        bytes[8..].copy_from_slice(&id.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let kind = u32::from_le_bytes(fields.take()?);
        let value = u32::from_le_bytes(fields.take()?);
        let id = u64::from_le_bytes(fields.take()?);
        match kind {
            1 => Some(Reply::Hello { threads: value }),
            2 => Some(Reply::Started {
                id,
                pid: value as i32,
            }),
            3 => Some(Reply::Failed {
                id,
                errno: value as i32,
            }),
            4 => Some(Reply::Refused {
                id,
                errno: value as i32,
            }),
            _ => None,
        }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_understood(id: u64, n: i32, umask: u32, flags: [bool; 3]) {
            for role in [Role::Server, Role::Child] {
                let welcome = Welcome { role, host: n };
                prop_assert_eq!(Welcome::decode(&welcome.encode()), Some(welcome));
            }
            let [directory, environment, spare] = flags;
            let start = Request::Start(Start { id, umask, directory, environment, spare });
            for request in [start, Request::Guard { pid: n }, Request::Ended { pid: n }] {
                prop_assert_eq!(Request::decode(&request.encode()), Some(request));
            }
            let (started, failed) = (Reply::Started { id, pid: n }, Reply::Failed { id, errno: n });
            for reply in [Reply::Hello { threads: umask }, started, failed, Reply::Refused { id, errno: n }] {
                prop_assert_eq!(Reply::decode(&reply.encode()), Some(reply));
            }
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Welcome::decode(&bytes), Request::decode(&bytes), Reply::decode(&bytes));
        }
    }
}
