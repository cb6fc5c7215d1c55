//! The production code of both sides under loom, which tries every order that the memory model allows.
//!
//! The ring has four bytes, each an atomic that is accessed without any order of its own: what the protocol does not order
//! comes out wrong in some execution. A sleeper waits in loom: a bell that is not rung is a deadlock, which loom
//! reports.

use super::lane::{Lane, Name, Word, fall_asleep};
use super::reader::Reader;
use super::writer::{Refused, Writer, close};
use bytes::{BufMut, BytesMut};
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use loom::sync::{Arc, Notify};
use std::io::IoSlice;

const SMALL: usize = 4;

/// A lane in loom's memory.
#[derive(Clone)]
struct Model(Arc<Memory>);

struct Memory {
    words: [AtomicU64; 6],
    bytes: [AtomicU8; SMALL],
}

/// What a side waits on: rung is remembered, as an event descriptor does.
#[derive(Clone)]
struct Bell(Arc<Notify>);

impl Model {
    fn new() -> Self {
        Model(Arc::new(Memory {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            bytes: std::array::from_fn(|_| AtomicU8::new(0)),
        }))
    }
}

impl Lane for Model {
    type Word = AtomicU64;

    fn capacity(&self) -> u64 {
        SMALL as u64
    }

    fn word(&self, name: Name) -> &AtomicU64 {
        let idx = match name {
            Name::Told => 0,
            Name::Closed => 1,
            Name::Read => 2,
            Name::Reader => 3,
            Name::Writer => 4,
            Name::Written => 5,
        };
        &self.0.words[idx]
    }

    fn put(&self, position: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.0.bytes[(position as usize + i) % SMALL].store(*byte, Ordering::Relaxed);
        }
    }

    fn take(&self, position: u64, len: usize, out: &mut BytesMut) {
        for i in 0..len {
            out.put_u8(self.0.bytes[(position as usize + i) % SMALL].load(Ordering::Relaxed));
        }
    }

    fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }

    fn replace(&self, from: u64, to: u64, order: Ordering) -> bool {
        self.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }
}

impl Bell {
    fn new() -> Self {
        Bell(Arc::new(Notify::new()))
    }

    fn ring(&self) {
        self.0.notify();
    }

    fn wait(&self) {
        self.0.wait();
    }
}

/// A writer and a reader of one lane, and the bells that wake them.
struct Ends {
    lane: Model,
    of_reader: Bell,
    of_writer: Bell,
}

impl Ends {
    fn new() -> (Self, Self) {
        let (lane, of_reader, of_writer) = (Model::new(), Bell::new(), Bell::new());
        let other = Ends {
            lane: lane.clone(),
            of_reader: of_reader.clone(),
            of_writer: of_writer.clone(),
        };
        let ends = Ends {
            lane,
            of_reader,
            of_writer,
        };
        (ends, other)
    }

    /// Writes all of it as a driver does: what does not fit waits for room. The reader is told in the end, or before a wait.
    fn write(&self, writer: &mut Writer<Model>, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let slices = |bytes| [IoSlice::new(bytes)];
            let mut wrote = writer.write(&slices(bytes));
            if wrote == Err(Refused::Full) {
                fall_asleep(&self.lane, Name::Writer);
                wrote = writer.write(&slices(bytes));
            }
            match wrote {
                Ok(len) => bytes = &bytes[len..],
                Err(Refused::Full) => {
                    self.tell(writer);
                    self.of_writer.wait();
                }
                Err(other) => return Err(other),
            }
        }
        self.tell(writer);
        Ok(())
    }

    fn tell(&self, writer: &mut Writer<Model>) {
        if writer.tell() {
            self.of_reader.ring();
        }
    }

    /// Reads to the end, in reads of at most `room` bytes.
    fn read_all(&self, reader: &mut Reader<Model>, room: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let read = self.read(reader, room);
            match read.is_empty() {
                true => return all,
                false => all.extend(read),
            }
        }
    }

    /// What is there next; nothing at the end.
    fn read(&self, reader: &mut Reader<Model>, room: usize) -> Vec<u8> {
        let mut closely = false;
        loop {
            // Its capacity is what was asked for, so that a read takes no more.
            let mut out = BytesMut::from(Vec::with_capacity(room).as_slice());
            out.reserve(room);
            let got = match closely {
                true => reader.read_untold(&mut out).unwrap(),
                false => reader.read(&mut out).unwrap(),
            };
            if got.ring {
                self.of_writer.ring();
            }
            if got.len > 0 || reader.is_ended().unwrap() {
                return out.to_vec();
            }
            closely = !reader.sleep();
            if !closely {
                self.of_reader.wait();
            }
        }
    }
}

/// Runs both sides in every order, with so many preemptions.
fn in_every_order(n_preemptions: usize, writes: fn(&Ends, Writer<Model>), reads: fn(&Ends, Reader<Model>)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(n_preemptions);
    model.check(move || {
        let (here, there) = Ends::new();
        let writing = loom::thread::spawn(move || {
            let writer = Writer::new(there.lane.clone());
            writes(&there, writer);
        });
        let reader = Reader::new(here.lane.clone());
        reads(&here, reader);
        writing.join().unwrap();
    });
}

fn end(ends: &Ends, writer: Writer<Model>) {
    if close(writer.lane()) {
        ends.of_reader.ring();
    }
}

#[test]
fn what_is_pushed_is_popped_and_a_sleeper_is_woken() {
    in_every_order(
        2,
        |ends, mut writer| {
            ends.write(&mut writer, b"ab").unwrap();
            ends.write(&mut writer, b"c").unwrap();
            end(ends, writer);
        },
        |ends, mut reader| assert_eq!(ends.read_all(&mut reader, 64), b"abc"),
    );
}

#[test]
fn a_writer_that_finds_it_full_is_woken_and_wraps() {
    in_every_order(
        2,
        |ends, mut writer| {
            ends.write(&mut writer, b"abcdefg").unwrap();
            end(ends, writer);
        },
        |ends, mut reader| assert_eq!(ends.read_all(&mut reader, 64), b"abcdefg"),
    );
}

#[test]
fn nothing_is_overwritten_before_it_was_read() {
    in_every_order(
        1,
        |ends, mut writer| {
            ends.write(&mut writer, b"abc").unwrap();
            ends.write(&mut writer, b"def").unwrap();
            end(ends, writer);
        },
        |ends, mut reader| assert_eq!(ends.read_all(&mut reader, 64), b"abcdef"),
    );
}

#[test]
fn the_end_comes_after_the_last_byte_and_wakes_a_sleeper() {
    in_every_order(
        2,
        |ends, mut writer| {
            ends.write(&mut writer, b"a").unwrap();
            end(ends, writer);
        },
        |ends, mut reader| {
            assert_eq!(ends.read(&mut reader, 64), b"a");
            assert_eq!(ends.read(&mut reader, 64), b"");
        },
    );
}

#[test]
fn a_writer_that_waits_for_room_hears_that_the_reader_is_gone() {
    in_every_order(
        2,
        |ends, mut writer| {
            let written = ends.write(&mut writer, b"abcde");
            assert!(matches!(written, Ok(()) | Err(Refused::Gone)));
            assert_eq!(ends.write(&mut writer, b"fghij"), Err(Refused::Gone));
        },
        |ends, mut reader| {
            ends.read(&mut reader, 64);
            if reader.abandon() {
                ends.of_writer.ring();
            }
        },
    );
}
