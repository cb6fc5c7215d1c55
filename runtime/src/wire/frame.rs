//! The frame: a fixed header and a body of bytes.
//!
//! The header is 32 bytes, little-endian:
//!
//! | offset | size | field | meaning |
//! | ---: | ---: | --- | --- |
//! | 0 | 4 | `len` | bytes after this field: 28 and the body's |
//! | 4 | 1 | `kind` | see [`Kind`] |
//! | 5 | 1 | `flags` | see [`Flags`] |
//! | 6 | 2 | `fds` | descriptors that travel with the frame |
//! | 8 | 4 | `method` | which method or task, for a request |
//! | 12 | 8 | `seq` | pairs a reply with its request |
//! | 20 | 8 | `aux` | as the kind defines |
//! | 28 | 4 | `block` | how many bytes at the body's end are a block of their own |
//!
//! A header is checked whole before its body is awaited: an unknown kind, unknown flags, a length beyond the limit, or a
//! block beyond the body is a [`FrameError`], after which nothing on that stream can be trusted. The body of a decoded frame is a view into the
//! buffer that was read, not a copy.

use crate::{Error, ErrorKind};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;
use tokio_util::codec::{Decoder, Encoder};

/// The header's size in bytes.
pub(crate) const HEADER: usize = 32;

/// The largest body, unless configured otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 64 << 20;

/// The part of the header that `len` counts.
const COUNTED: usize = HEADER - size_of::<u32>();

/// One message as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

/// What the header says, but for the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    /// How many descriptors travel with the frame; a link sets it when it sends.
    pub(crate) fds: u16,
    pub(crate) method: u32,
    pub(crate) seq: u64,
    pub(crate) aux: u64,
    /// How many bytes at the end of the body are best read into memory of their own; a link sets it when it sends.
    pub(crate) block: u32,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A call: its arguments. A reply of the same `seq` is awaited.
    Request = 1,
    /// A one-way message: its arguments.
    Tell = 2,
    /// The value that a request asked for.
    Reply = 3,
    /// The user's own error, in place of the value.
    Failed = 4,
    /// An error of this library, in place of the value: an encoded [`crate::Error`].
    Fault = 5,
    /// The request of this `seq` is of no interest any more.
    Cancel = 6,
    /// More may be sent: see [`crate::link`]'s credits.
    Credit = 7,
    /// One of several values that answer a request.
    Part = 8,
    /// The server is up: first of all over the link that was made with its process.
    Up = 9,
    /// A message of the control channel.
    Control = 16,
}

/// Yes-or-no facts about a frame.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

/// Bytes that are no frame, or a frame that may not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a frame with unknown flags {0:#04x}")]
    Flags(u8),
    #[error("a frame of {0} bytes, shorter than its header")]
    Short(u32),
    #[error("a frame with a block of {block} bytes in a body of {len}")]
    Block { block: u32, len: usize },
    #[error("a message of {size} bytes is over the limit of {limit}: raise the limit or send it in parts")]
    TooLarge { size: usize, limit: usize },
}

/// Turns a stream of bytes into frames and back, with a limit on the body's size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameCodec {
    limit: usize,
}

impl Head {
    pub(crate) const fn new(kind: Kind) -> Self {
        Head {
            kind,
            flags: Flags::NONE,
            fds: 0,
            method: 0,
            seq: 0,
            aux: 0,
            block: 0,
        }
    }

    /// The header of a frame with this head and a body of `len` bytes, which a [`FrameCodec`] has allowed.
    pub(crate) fn to_bytes(self, len: usize) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut rest = &mut out[..];
        rest.put_u32_le((COUNTED + len) as u32);
        rest.put_u8(self.kind as u8);
        rest.put_u8(self.flags.0);
        rest.put_u16_le(self.fds);
        rest.put_u32_le(self.method);
        rest.put_u64_le(self.seq);
        rest.put_u64_le(self.aux);
        rest.put_u32_le(self.block);
        out
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            1 => Kind::Request,
            2 => Kind::Tell,
            3 => Kind::Reply,
            4 => Kind::Failed,
            5 => Kind::Fault,
            6 => Kind::Cancel,
            7 => Kind::Credit,
            8 => Kind::Part,
            9 => Kind::Up,
            16 => Kind::Control,
            _ => return Err(FrameError::Kind(byte)),
        })
    }
}

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// The last of several frames that belong together.
    pub(crate) const END: Flags = Flags(1);
    /// The body of a request begins with the calls that wait for it.
    pub(crate) const NESTED: Flags = Flags(2);
    /// An answer to a message that has not begun: it says nothing of those before it.
    pub(crate) const EARLY: Flags = Flags(4);

    /// The answer to a request is for the books alone: it runs on when its sender is gone.
    pub(crate) const ONE_WAY: Flags = Flags(8);

    /// There was no memory for the body, whose length is that of the block. Nobody says so but a link to whoever reads it, and an
    /// end of a channel that travels on, with the length in `aux`: see `channel::line`.
    pub(crate) const UNHELD: Flags = Flags(16);

    const KNOWN: u8 = Flags::END.0 | Flags::NESTED.0 | Flags::EARLY.0 | Flags::ONE_WAY.0 | Flags::UNHELD.0;

    pub(crate) fn with(self, flag: Flags) -> Flags {
        Flags(self.0 | flag.0)
    }

    pub(crate) fn contains(self, flag: Flags) -> bool {
        self.0 & flag.0 == flag.0
    }

    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte & !Flags::KNOWN {
            0 => Ok(Flags(byte)),
            _ => Err(FrameError::Flags(byte)),
        }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#04x})", self.0)
    }
}

impl FrameCodec {
    /// A codec that refuses bodies of more than `limit` bytes, in both directions.
    pub(crate) fn new(limit: usize) -> Self {
        let most = u32::MAX as usize - COUNTED;
        FrameCodec {
            limit: limit.min(most),
        }
    }

    /// Whether a body of `size` bytes may travel.
    pub(crate) fn allows(&self, size: usize) -> Result<(), FrameError> {
        if size > self.limit {
            return Err(FrameError::TooLarge {
                size,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// The head of the frame that `bytes` begin with and the length of its body; `None` if the header is not whole.
    #[inline]
    pub(crate) fn peek(&self, bytes: &[u8]) -> Result<Option<(Head, usize)>, FrameError> {
        let Some(mut header) = bytes.get(..HEADER) else {
            return Ok(None);
        };
        let counted = header.get_u32_le();
        let len = (counted as usize)
            .checked_sub(COUNTED)
            .ok_or(FrameError::Short(counted))?;
        self.allows(len)?;
        let head = Head {
            kind: Kind::from_byte(header.get_u8())?,
            flags: Flags::from_byte(header.get_u8())?,
            fds: header.get_u16_le(),
            method: header.get_u32_le(),
            seq: header.get_u64_le(),
            aux: header.get_u64_le(),
            block: header.get_u32_le(),
        };
        match head.block as usize > len {
            true => Err(FrameError::Block {
                block: head.block,
                len,
            }),
            false => Ok(Some((head, len))),
        }
    }

    /// Takes the first frame off `src` without copying its body; `None` if it is not whole.
    pub(crate) fn split(&self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((head, len)) = self.peek(src)? else {
            return Ok(None);
        };
        if src.len() < HEADER + len {
            return Ok(None);
        }
        src.advance(HEADER);
        let body = src.split_to(len).freeze();
        Ok(Some(Frame { head, body }))
    }
}

impl Default for FrameCodec {
    fn default() -> Self {
        FrameCodec::new(DEFAULT_LIMIT)
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        Ok(self.split(src)?)
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = Error;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), Error> {
        self.allows(frame.body.len())?;
        dst.reserve(HEADER + frame.body.len());
        dst.put_slice(&frame.head.to_bytes(frame.body.len()));
        dst.put_slice(&frame.body);
        Ok(())
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        let kind = match error {
            FrameError::TooLarge { .. } => ErrorKind::TooLarge,
            _ => ErrorKind::Protocol,
        };
        Error::with_kind(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let kind = prop::sample::select(vec![
            Kind::Request,
            Kind::Tell,
            Kind::Reply,
            Kind::Failed,
            Kind::Fault,
            Kind::Cancel,
            Kind::Credit,
            Kind::Part,
            Kind::Up,
            Kind::Control,
        ]);
        let flags = prop::sample::select(vec![Flags::NONE, Flags::END]);
        let body = prop::collection::vec(any::<u8>(), 0..100);
        (kind, flags, any::<(u16, u32, u64, u64, u32)>(), body).prop_map(|(kind, flags, numbers, body)| {
            let (fds, method, seq, aux, block) = numbers;
            let head = Head {
                kind,
                flags,
                fds,
                method,
                seq,
                aux,
                block: block % (body.len() as u32 + 1),
            };
            let body = body.into();
            Frame { head, body }
        })
    }

    fn header(kind: u8, flags: u8, len: u32) -> BytesMut {
        let mut header = BytesMut::from(&Head::new(Kind::Tell).to_bytes(0)[..]);
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4] = kind;
        header[5] = flags;
        header
    }

    #[test]
    fn the_header_is_laid_out_as_documented() {
        let head = Head {
            kind: Kind::Control,
            flags: Flags::END,
            fds: 0x0201,
            method: 0x0605_0403,
            seq: 0x0e0d_0c0b_0a09_0807,
            aux: 0x1615_1413_1211_100f,
            block: 0x1a19_1817,
        };
        let mut expected = vec![28 + 5, 0, 0, 0, 16, 1];
        expected.extend(1..=0x1a);
        assert_eq!(head.to_bytes(5)[..], expected);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let split = |mut bytes: BytesMut| FrameCodec::new(100).split(&mut bytes).unwrap_err();
        assert_eq!(split(header(0, 0, 28)), FrameError::Kind(0));
        assert_eq!(split(header(15, 0, 28)), FrameError::Kind(15));
        assert_eq!(split(header(1, 0x80, 28)), FrameError::Flags(0x80));
        assert_eq!(split(header(1, 0, 27)), FrameError::Short(27));
        let mut block = header(1, 0, 28 + 7);
        block[28] = 8;
        assert_eq!(split(block), FrameError::Block { block: 8, len: 7 });
        let too_large = FrameError::TooLarge {
            size: 101,
            limit: 100,
        };
        assert_eq!(split(header(1, 0, 28 + 101)), too_large);
        assert!(
            FrameCodec::new(100)
                .split(&mut header(1, 0, 28 + 100))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_its_sender_with_size_and_limit() {
        let head = Head::new(Kind::Tell);
        let body = Bytes::from_static(&[0; 101]);
        let mut out = BytesMut::new();
        let error = FrameCodec::new(100)
            .encode(Frame { head, body }, &mut out)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.to_string();
        assert!(
            text.contains("101 bytes") && text.contains("limit of 100"),
            "{text}"
        );
        assert!(out.is_empty());
    }

    #[test]
    fn a_body_is_a_view_into_the_buffer() {
        let mut buf = BytesMut::from(&Head::new(Kind::Tell).to_bytes(3)[..]);
        buf.extend_from_slice(b"abc");
        let at = buf[HEADER..].as_ptr();
        let frame = FrameCodec::default().split(&mut buf).unwrap().unwrap();
        assert_eq!((&frame.body[..], frame.body.as_ptr()), (&b"abc"[..], at));
    }

    proptest! {
        #[test]
        fn frames_survive_however_the_stream_is_cut(
            frames in prop::collection::vec(any_frame(), 0..10),
            cuts in prop::collection::vec(1usize..70, 1..200),
        ) {
            let mut codec = FrameCodec::default();
            let mut stream = BytesMut::new();
            for frame in &frames {
                codec.encode(frame.clone(), &mut stream).unwrap();
            }
            let (mut arrived, mut buf) = (Vec::new(), BytesMut::new());
            for cut in cuts.into_iter().chain(std::iter::repeat(64)) {
                if stream.is_empty() {
                    break;
                }
                buf.extend_from_slice(&stream.split_to(cut.min(stream.len())));
                while let Some(frame) = codec.decode(&mut buf).unwrap() {
                    arrived.push(frame);
                }
            }
            prop_assert_eq!(arrived, frames);
            prop_assert!(buf.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 0usize..1000) {
            let codec = FrameCodec::new(limit);
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = codec.split(&mut buf) {
                prop_assert!(frame.body.len() <= limit);
            }
        }

        #[test]
        fn no_change_of_a_byte_makes_it_panic(frame in any_frame(), at in 0usize..HEADER, byte: u8) {
            let mut buf = BytesMut::new();
            FrameCodec::default().encode(frame, &mut buf).unwrap();
            buf[at] = byte;
            let _ = FrameCodec::default().split(&mut buf);
        }
    }
}
