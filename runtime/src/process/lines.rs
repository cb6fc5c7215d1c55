//! Whole lines out of what many processes write: pure assembly, no descriptors.
//!
//! Promised: each writer's bytes come out in its order, and a line of at most [`LONGEST`] bytes is never torn by
//! another's. Refused: unbounded memory; a longer line comes out in pieces.

use std::collections::BTreeMap;

/// The longest unfinished line that is held back.
pub(crate) const LONGEST: usize = 64 * 1024;

/// The unfinished lines of one stream. A writer without one has no entry.
#[derive(Debug, Default)]
pub(crate) struct Lines(BTreeMap<i32, Vec<u8>>);

impl Lines {
    /// Takes what `pid` wrote and hands on what is whole, in one piece.
    pub(crate) fn push(&mut self, pid: i32, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(whole);
        if !lines.is_empty() {
            match self.0.remove(&pid) {
                Some(mut begun) => {
                    begun.extend_from_slice(lines);
                    out(&begun);
                }
                None => out(lines),
            }
        }
        if !rest.is_empty() {
            self.hold(pid, rest, out);
        }
    }

    /// Hands on the unfinished line of `pid`, as it is, and forgets it.
    pub(crate) fn flush(&mut self, pid: i32, mut out: impl FnMut(&[u8])) {
        if let Some(begun) = self.0.remove(&pid) {
            out(&begun);
        }
    }

    /// Who has begun a line.
    pub(crate) fn writers(&self) -> Vec<i32> {
        self.0.keys().copied().collect()
    }

    fn hold(&mut self, pid: i32, rest: &[u8], out: impl FnMut(&[u8])) {
        let begun = self.0.entry(pid).or_default();
        begun.extend_from_slice(rest);
        if begun.len() >= LONGEST {
            self.flush(pid, out);
        }
    }
}

/// The longest record that is assembled; a longer one is a writer gone mad.
const LONGEST_RECORD: usize = 16 * 1024 * 1024;

/// Records with their length in front (four bytes, little endian), out of what many processes write.
///
/// A writer whose length cannot be is ignored until it is forgotten: nothing it writes can be trusted to be a length.
#[derive(Debug, Default)]
pub(crate) struct Records(BTreeMap<i32, Partial>);

#[derive(Debug)]
enum Partial {
    Bytes(Vec<u8>),
    Ignored,
}

impl Records {
    /// Takes what `pid` wrote and hands on each record that is whole.
    pub(crate) fn push(&mut self, pid: i32, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        let held = self.0.remove(&pid);
        let mut joined = match held {
            Some(Partial::Ignored) => return drop(self.0.insert(pid, Partial::Ignored)),
            Some(Partial::Bytes(begun)) => begun,
            None => Vec::new(),
        };
        // Most writes are whole records, which need not be copied.
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let partial = loop {
            let Some((length, body)) = rest.split_first_chunk() else {
                break Partial::Bytes(rest.to_vec());
            };
            let length = u32::from_le_bytes(*length) as usize;
            if length > LONGEST_RECORD {
                break Partial::Ignored;
            }
            match body.split_at_checked(length) {
                Some((record, behind)) => {
                    out(record);
                    rest = behind;
                }
                None => break Partial::Bytes(rest.to_vec()),
            }
        };
        if !matches!(&partial, Partial::Bytes(bytes) if bytes.is_empty()) {
            self.0.insert(pid, partial);
        }
    }

    /// Forgets the writer and its unfinished record.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.0.remove(&pid);
    }

    /// Who has begun a record.
    pub(crate) fn writers(&self) -> Vec<i32> {
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(writes: &[(i32, Vec<u8>)]) -> Vec<Vec<u8>> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for (pid, bytes) in writes {
            lines.push(*pid, bytes, |b| out.push(b.to_vec()));
        }
        for pid in lines.writers() {
            lines.flush(pid, |b| out.push(b.to_vec()));
        }
        assert!(lines.writers().is_empty());
        out
    }

    #[test]
    fn a_line_in_pieces_comes_out_whole_though_others_write_between() {
        let writes = [
            (1, b"ab".to_vec()),
            (2, b"x\ny".to_vec()),
            (1, b"c\nd\n".to_vec()),
            (2, b"z".to_vec()),
        ];
        assert_eq!(collect(&writes), [&b"x\n"[..], b"abc\nd\n", b"yz"]);
    }

    #[test]
    fn a_line_without_end_comes_out_in_pieces() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        lines.push(1, &vec![b'a'; LONGEST + 5], |b| out.push(b.len()));
        assert_eq!((out, lines.writers().len()), (vec![LONGEST + 5], 0));
    }

    #[test]
    fn a_length_that_cannot_be_silences_its_writer_alone() {
        let (mut records, mut out) = (Records::default(), Vec::new());
        records.push(1, &[0xff; 9], |r| out.push(r.to_vec()));
        records.push(1, &[1, 0, 0, 0, 7], |r| out.push(r.to_vec()));
        records.push(2, &[1, 0, 0, 0, 8], |r| out.push(r.to_vec()));
        records.forget(1);
        records.push(1, &[1, 0, 0, 0, 9], |r| out.push(r.to_vec()));
        assert_eq!(out, [[8], [9]]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_or_moved_within_its_writer(
            writes in prop::collection::vec((0..4, prop::collection::vec(prop_oneof![Just(b'\n'), 97..100u8], 0..9)), 0..40)
        ) {
            let (mut lines, mut out) = (Lines::default(), BTreeMap::<i32, Vec<u8>>::new());
            for (pid, bytes) in &writes {
                lines.push(*pid, bytes, |b| {
                    assert!(b.ends_with(b"\n"));
                    out.entry(*pid).or_default().extend_from_slice(b);
                });
            }
            for pid in lines.writers() {
                lines.flush(pid, |b| out.entry(pid).or_default().extend_from_slice(b));
            }
            for pid in 0..4 {
                let wrote: Vec<u8> = writes.iter().filter(|w| w.0 == pid).flat_map(|w| w.1.clone()).collect();
                prop_assert_eq!(out.remove(&pid).unwrap_or_default(), wrote);
            }
        }

        #[test]
        fn records_come_whole_however_they_are_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10), cut in 1..20usize
        ) {
            let mut stream = Vec::new();
            for record in &sent {
                stream.extend_from_slice(&(record.len() as u32).to_le_bytes());
                stream.extend_from_slice(record);
            }
            let (mut records, mut got) = (Records::default(), Vec::new());
            for piece in stream.chunks(cut) {
                records.push(1, piece, |r| got.push(r.to_vec()));
            }
            prop_assert_eq!(got, sent);
            prop_assert!(records.writers().is_empty());
        }
    }
}
