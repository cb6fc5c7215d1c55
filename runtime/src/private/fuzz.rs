//! Whatever reads bytes of another process, given any bytes: what the targets of `fuzz/` run, and a small corpus here.
//!
//! Nothing may panic, read outside what it was given, or allocate what the bytes did not pay for. What was read and is
//! written again reads as the same.

use crate::error::Result;
use crate::process;
use crate::wire::codec;
use crate::wire::control::{Down, Request, Up};
use crate::wire::frame::FrameCodec;
use crate::wire::value::Wire;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use tokio_util::codec::{Decoder, Encoder};

/// The most bytes that a frame may have here.
const LIMIT: usize = 4096;

/// A stream of frames that comes in two pieces.
pub fn frame(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let cut = usize::from(*cut).min(bytes.len());
    let mut codec = FrameCodec::new(LIMIT);
    let mut left = BytesMut::new();
    let mut written = BytesMut::new();
    for piece in [&bytes[..cut], &bytes[cut..]] {
        left.extend_from_slice(piece);
        loop {
            match codec.decode(&mut left) {
                Ok(Some(frame)) => codec.encode(frame, &mut written).expect("a frame that was read"),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert_eq!(
        written,
        bytes[..bytes.len() - left.len()],
        "a frame reads as it was written"
    );
}

/// What host, fork server and images say to each other before there are links.
pub fn hello(bytes: &[u8]) {
    if let Some(welcome) = process::Welcome::decode(bytes) {
        assert_eq!(process::Welcome::decode(&welcome.encode()), Some(welcome));
    }
    if let Some(asked) = process::Request::decode(bytes) {
        assert_eq!(process::Request::decode(&asked.encode()), Some(asked));
    }
    if let Some(reply) = process::Reply::decode(bytes) {
        assert_eq!(process::Reply::decode(&reply.encode()), Some(reply));
    }
}

/// What host and children say to each other.
pub fn control(bytes: &[u8]) {
    let _ = codec::decode::<Up>(bytes);
    let _ = codec::decode::<Down>(bytes);
    let _ = codec::decode::<Request>(bytes);
}

/// One of everything that serde knows.
#[derive(Debug, Serialize, Deserialize)]
enum Anything {
    Nothing,
    Number(i64, u128, f32),
    Text(String),
    Bytes(bytes::Bytes),
    Many(Vec<Option<Anything>>),
    Named { key: char, value: Box<Anything> },
    Map(BTreeMap<String, Anything>),
}

/// Values of the user's types.
pub fn value(bytes: &[u8]) {
    round::<Anything>(bytes);
    round::<(u8, Option<bool>, [u16; 3], String)>(bytes);
    round::<BTreeMap<u64, Vec<String>>>(bytes);
    round::<crate::Error>(bytes);
    round::<crate::ExitReason>(bytes);
}

/// A ring whose words change under both sides.
pub fn ring(bytes: &[u8]) {
    crate::link::ring::play(bytes);
}

fn round<T: Wire + Debug>(bytes: &[u8]) {
    round_in::<T>(bytes, T::decode, T::encode);
    round_in::<T>(bytes, T::decode_compact, T::encode_compact);
}

fn round_in<T: Debug>(
    mut bytes: &[u8],
    decode: fn(&mut &[u8]) -> Result<T>,
    encode: fn(&T, &mut Vec<u8>) -> Result<()>,
) {
    let Ok(value) = decode(&mut bytes) else {
        return;
    };
    let mut written = Vec::new();
    encode(&value, &mut written).expect("a value that was read");
    let again = decode(&mut &written[..]).expect("a value that was written");
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Flags, Frame, Head, Kind};
    use proptest::prelude::*;

    const ALL: [fn(&[u8]); 5] = [frame, hello, control, value, ring];

    /// What is well-formed, for each of them.
    fn corpus() -> Vec<Vec<u8>> {
        let mut stream = BytesMut::from(&[9_u8][..]);
        for kind in [Kind::Request, Kind::Reply, Kind::Credit] {
            let head = Head {
                flags: Flags::NESTED,
                seq: 7,
                ..Head::new(kind)
            };
            let body = bytes::Bytes::from_static(b"body");
            FrameCodec::new(LIMIT)
                .encode(Frame { head, body }, &mut stream)
                .unwrap();
        }
        let welcome = process::Welcome {
            role: process::Role::Child,
            host: 1,
        };
        let mut corpus = vec![stream.to_vec(), welcome.encode().to_vec(), vec![]];
        let map = BTreeMap::from([("key".to_owned(), Anything::Nothing)]);
        let many = vec![
            Some(Anything::Number(-1, u128::MAX, 0.5)),
            None,
            Some(Anything::Text("text".to_owned())),
            Some(Anything::Map(map)),
        ];
        let values = [
            Anything::Many(many),
            Anything::Named {
                key: 'k',
                value: Box::new(Anything::Nothing),
            },
        ];
        for value in values {
            let mut bytes = Vec::new();
            codec::encode(&value, &mut bytes).unwrap();
            corpus.push(bytes);
            let mut bytes = Vec::new();
            codec::encode_compact(&value, &mut bytes).unwrap();
            corpus.push(bytes);
        }
        let mut said = Vec::new();
        codec::encode(&Up::InitFailed("why".to_owned()), &mut said).unwrap();
        corpus.push(said);
        corpus.push((0..=255).collect());
        corpus.push([[0, 1, 2, 3, 4, 5, 6, 7], [1; 8], [2; 8], [255; 8]].concat());
        corpus
    }

    #[test]
    fn what_is_well_formed_cut_or_changed_is_read_or_refused() {
        for bytes in corpus() {
            for at in 0..=bytes.len() {
                ALL.iter().for_each(|target| target(&bytes[..at]));
                for other in [0, 1, 127, 255] {
                    let mut changed = bytes.clone();
                    changed.iter_mut().skip(at).take(1).for_each(|byte| *byte = other);
                    ALL.iter().for_each(|target| target(&changed));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            ALL.iter().for_each(|target| target(&bytes));
        }
    }
}
