//! Both sides of a lane whose words anybody may write at any time: what happens is said by the bytes given.

use super::lane::{Lane, Name};
use super::reader::Reader;
use super::writer::Writer;
use bytes::{BufMut, BytesMut};
use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

const SMALL: usize = 64;
const NAMES: [Name; 6] = [
    Name::Told,
    Name::Written,
    Name::Closed,
    Name::Read,
    Name::Reader,
    Name::Writer,
];

/// A lane in memory of this process, which holds both to its bounds.
#[derive(Debug, Clone, Default)]
struct Rubbish(Rc<(RefCell<Vec<u8>>, [AtomicU64; 6])>);

impl Lane for Rubbish {
    type Word = AtomicU64;

    fn capacity(&self) -> u64 {
        SMALL as u64
    }

    fn word(&self, name: Name) -> &AtomicU64 {
        let at = NAMES.iter().position(|other| *other == name);
        &self.0.1[at.expect("one of the names")]
    }

    fn put(&self, position: u64, bytes: &[u8]) {
        assert!(bytes.len() <= SMALL, "{} bytes at {position}", bytes.len());
        let mut area = self.0.0.borrow_mut();
        area.resize(SMALL, 0);
        for (at, byte) in (position..).zip(bytes) {
            area[at as usize % SMALL] = *byte;
        }
    }

    fn take(&self, position: u64, len: usize, out: &mut BytesMut) {
        assert!(
            len <= SMALL && len <= out.capacity() - out.len(),
            "{len} bytes at {position}"
        );
        let mut area = self.0.0.borrow_mut();
        area.resize(SMALL, 0);
        (position..)
            .take(len)
            .for_each(|at| out.put_u8(area[at as usize % SMALL]));
    }

    fn fence() {}
}

/// Plays what the bytes say until one of the sides has seen enough.
pub(crate) fn play(bytes: &[u8]) {
    let lane = Rubbish::default();
    let (mut reader, mut writer) = (Reader::new(lane.clone()), Writer::new(lane.clone()));
    let (mut sent, mut got) = (Vec::new(), BytesMut::new());
    let mut is_honest = true;
    for step in bytes.chunks(3) {
        let [what, which, value] = [0, 1, 2].map(|at| step.get(at).copied().unwrap_or(0));
        match what % 10 {
            0 => {
                // Small ones are near to what is there; large ones are not.
                let value = match value {
                    0..128 => u64::from(value),
                    _ => u64::MAX - u64::from(value),
                };
                lane.word(NAMES[usize::from(which) % NAMES.len()])
                    .store(value, Ordering::Relaxed);
                is_honest = false;
            }
            1 | 2 => {
                let bytes = vec![which; usize::from(value)];
                match writer.write(&[IoSlice::new(&bytes)]) {
                    Ok(len) => sent.extend_from_slice(&bytes[..len]),
                    Err(super::writer::Refused::Fault(_)) => return honest_no_more(is_honest),
                    Err(_) => {}
                }
            }
            3 | 4 => {
                got.reserve(usize::from(value) + 1);
                if reader.read(&mut got).is_err() {
                    return honest_no_more(is_honest);
                }
            }
            5 => {
                if reader.is_ended().is_err() {
                    return honest_no_more(is_honest);
                }
            }
            6 => drop(reader.sleep()),
            7 => drop(writer.tell()),
            8 => {
                got.reserve(usize::from(value) + 1);
                if reader.read_untold(&mut got).is_err() {
                    return honest_no_more(is_honest);
                }
            }
            _ => reader.wake(),
        }
    }
    if is_honest {
        assert_eq!(got, sent[..got.len()], "what was written is read");
    }
}

/// A fault is found only where there is one.
fn honest_no_more(is_honest: bool) {
    assert!(!is_honest, "a fault of nobody's");
}
