//! Values to items and back, and an end to what stands for it in a message.

use crate::error::{Error, ErrorKind, Result, SendError};
use crate::wire::attach::{self, Attached, Payload};
use crate::wire::value::Wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::envelope;
use super::line::{Line, Packed, Unsent};

/// The item that a value is.
pub(super) fn encode<T: Wire>(value: &T) -> Result<Payload> {
    Payload::encode(|out| T::encode(value, out))
}

/// The value that an item is.
pub(super) fn decode<T: Wire>(item: Payload) -> Result<T> {
    item.decode(T::decode)
}

/// Sends a value, or gives it back.
pub(super) async fn send<T: Wire>(line: &Arc<Line>, value: T) -> Result<(), SendError<T>> {
    let item = match encode(&value) {
        Ok(item) => item,
        Err(error) => return Err(SendError::Other(value, error)),
    };
    line.send(&item).await.map_err(|unsent| unsent.of(value))
}

/// Sends a value at once, or gives it back.
pub(super) fn try_send<T: Wire>(line: &Arc<Line>, value: T) -> Result<(), SendError<T>> {
    let item = match encode(&value) {
        Ok(item) => item,
        Err(error) => return Err(SendError::Other(value, error)),
    };
    line.try_send(&item).map_err(|unsent| unsent.of(value))
}

impl Unsent {
    /// The error that gives the value back.
    pub(super) fn of<T>(self, value: T) -> SendError<T> {
        match self {
            Unsent::Closed => SendError::Closed(value),
            Unsent::Full => SendError::Full(value),
            Unsent::Other(error) => SendError::Other(value, error),
        }
    }
}

/// Several lines as they travel: one envelope, and what is not in it.
#[derive(Serialize, Deserialize)]
pub(super) struct Packet {
    envelope: Attached,
    n_fds: u32,
    lines: Vec<Packed>,
}

/// Sends lines away, and duplicates of the descriptors beside them; the lines are gone from here. On an error they are as
/// they were.
pub(super) fn pack<'l>(
    lines: impl Iterator<Item = &'l Line> + Clone,
    beside: &[BorrowedFd<'_>],
) -> Result<Packet> {
    if !attach::is_collecting() {
        return Err(Error::with_kind(ErrorKind::Codec, attach::OUTSIDE));
    }
    let mut states: Vec<_> = lines.clone().map(Line::state).collect();
    let mut fds = Vec::new();
    let mut packed = Vec::with_capacity(states.len());
    for (line, state) in lines.clone().zip(&mut states) {
        packed.push(line.pack(state, &mut fds)?);
    }
    fds.extend(beside);
    let packet = Packet {
        envelope: envelope::seal(&fds)?,
        n_fds: fds.len() as u32,
        lines: packed,
    };
    drop(fds);
    for (line, state) in lines.zip(&mut states) {
        line.leave(state);
    }
    Ok(packet)
}

/// Takes lines in, and what came beside them.
pub(super) fn unpack(packet: Packet) -> Result<(Vec<Arc<Line>>, VecDeque<OwnedFd>)> {
    let mut fds = envelope::open(packet.envelope, packet.n_fds as usize)?;
    let lines = packet.lines.into_iter();
    let lines: Result<_> = lines
        .map(|packed| Line::unpack(packed, &mut fds).map(Arc::new))
        .collect();
    Ok((lines?, fds))
}

/// Serialises an end that is one line.
pub(super) fn serialize<S: Serializer>(line: &Line, serializer: S) -> Result<S::Ok, S::Error> {
    pack([line].into_iter(), &[])
        .map_err(ser::Error::custom)?
        .serialize(serializer)
}

/// Deserialises an end that is one line.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Line>, D::Error> {
    only(Packet::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Takes in the one line.
pub(super) fn only(packet: Packet) -> Result<Arc<Line>> {
    let (mut lines, _) = unpack(packet)?;
    match lines.pop() {
        Some(line) if lines.is_empty() => Ok(line),
        _ => Err(Error::with_kind(
            ErrorKind::Codec,
            "an end of this channel is one line",
        )),
    }
}
