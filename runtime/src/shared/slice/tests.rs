use super::*;
use crate::os::memfd;
use crate::shared::{SharedBytes, SharedStr};
use crate::wire::attach::Payload;
use proptest::prelude::*;
use std::os::fd::OwnedFd;

fn is_sealed<T: Plain>(slice: &SharedSlice<T>) -> bool {
    matches!(slice.0, Memory::Sealed(_))
}

fn sent<T: Serialize + de::DeserializeOwned>(value: &T) -> T {
    let (value, left) = Payload::pack(value).unwrap().unpack().unwrap();
    assert!(left.is_empty());
    value
}

/// A message that announces `len` bytes behind a descriptor, as a peer of ours would write it.
fn a_message(fd: Arc<OwnedFd>, len: u64) -> Payload {
    Payload::pack(&Sent::Sealed(Attached(fd), len)).unwrap()
}

fn refused<T: de::DeserializeOwned>(payload: Payload) -> String {
    payload.unpack::<T>().map(drop).unwrap_err().to_string()
}

fn memory_of(bytes: &[u8]) -> Arc<OwnedFd> {
    let draft = Draft::new(bytes.len()).unwrap();
    draft.write(bytes).unwrap();
    draft.seal().unwrap().fd().clone()
}

#[test]
fn a_slice_is_read_as_it_was_written_however_it_was_made() {
    for len in [0, 1, 4096, 4097, 100_000] {
        let items: Vec<u64> = (0..len).collect();
        let made = [
            SharedSlice::from_slice(&items).unwrap(),
            SharedSlice::try_from(items.clone()).unwrap(),
            SharedSlice::from_exact_iter(items.clone()).unwrap(),
            SharedSlice::with(items.len(), |room| room.copy_from_slice(&items)).unwrap(),
        ];
        for slice in made {
            assert_eq!(*slice, items);
            assert_eq!(is_sealed(&slice), len > 4096);
            assert_eq!(sent(&slice), slice);
        }
    }
}

#[test]
fn a_process_that_has_the_memory_already_maps_it_no_second_time() {
    let slice = SharedSlice::from_slice(&[7_u8; 100_000]).unwrap();
    let other = sent(&slice);
    assert!(std::ptr::eq(slice.as_slice(), other.as_slice()));
    let third = sent(&other);
    drop((slice, other));
    assert_eq!(third[99_999], 7);
}

#[test]
fn an_iterator_that_gives_more_or_less_than_it_announced_is_an_error() {
    struct Lies(u64, u64);
    impl Iterator for Lies {
        type Item = u64;
        fn next(&mut self) -> Option<u64> {
            self.0 = self.0.checked_sub(1)?;
            Some(self.0)
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (self.1 as usize, Some(self.1 as usize))
        }
    }
    impl ExactSizeIterator for Lies {}
    for (gives, says) in [(9, 10), (10, 9), (9_999, 10_000), (10_000, 9_999)] {
        let error = SharedSlice::from_exact_iter(Lies(gives, says)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn outside_a_message_it_is_not_serialised_however_small() {
    for len in [0, 10, 100_000] {
        let slice = SharedSlice::from_slice(&vec![1_u8; len]).unwrap();
        let error = serde_json::to_string(&slice).unwrap_err();
        assert_eq!(error.to_string(), attach::OUTSIDE);
    }
}

#[test]
fn memory_that_a_peer_could_change_is_refused() {
    let fds = [
        memfd::create(c"test", 8000).unwrap(),
        memfd::holding(c"test", &[0; 8000]).unwrap(),
        std::fs::File::open("/dev/zero").unwrap().into(),
    ];
    for fd in fds {
        let error = refused::<SharedSlice<u64>>(a_message(Arc::new(fd), 8000));
        assert!(error.contains("not sealed"), "{error}");
    }
}

#[test]
fn memory_of_another_size_than_announced_is_refused_also_where_it_is_known_here() {
    let ours = SharedSlice::from_slice(&[1_u64; 10_000]).unwrap();
    let Memory::Sealed(known) = ours.memory() else {
        panic!("it is large")
    };
    for fd in [memory_of(&[1; 80_000]), known.fd().clone()] {
        assert_eq!(
            a_message(fd.clone(), 80_000)
                .unpack::<SharedSlice<u64>>()
                .unwrap()
                .0
                .len(),
            10_000
        );
        for len in [0, 79_992, 80_008, 1 << 40, u64::MAX - 7] {
            let error = refused::<SharedSlice<u64>>(a_message(fd.clone(), len));
            assert!(error.contains("80000 bytes"), "{error}");
        }
        let error = refused::<SharedSlice<u64>>(a_message(fd.clone(), 79_999));
        assert!(error.contains("no number of items of 8 bytes"), "{error}");
    }
    let inline = Payload::pack(&Sent::Inline(Bytes::from_static(&[0; 9]))).unwrap();
    assert!(refused::<SharedSlice<u64>>(inline).contains("no number of items"));
}

#[test]
fn bytes_that_are_no_text_do_not_become_some() {
    for len in [10, 100_000] {
        let bytes = SharedBytes::from_slice(&vec![0xff; len]).unwrap();
        assert!(SharedStr::try_from(bytes.clone()).is_err());
        let payload = Payload::pack(&bytes).unwrap();
        assert!(refused::<SharedStr>(payload).contains("invalid utf-8"));
        let text = SharedStr::new(&"é".repeat(len)).unwrap();
        assert_eq!(sent(&text), text);
        let bytes = SharedBytes::from(text.clone());
        assert_eq!(bytes.len(), 2 * len);
        assert_eq!(SharedStr::try_from(bytes).unwrap(), text);
    }
}

#[test]
fn shared_bytes_become_bytes_without_a_copy() {
    let shared = SharedBytes::with(100_000, |room| room[99_999] = 1).unwrap();
    let bytes = Bytes::from(shared.clone());
    assert_eq!(bytes.as_ptr(), shared.as_ptr());
    drop(shared);
    assert_eq!(bytes[99_999], 1);
}

proptest! {
    #[test]
    fn any_slice_survives(items in prop::collection::vec(any::<[i32; 3]>(), 0..5000)) {
        let slice = SharedSlice::from_slice(&items).unwrap();
        prop_assert_eq!(&*sent(&slice), &items[..]);
        let bytes = Payload::pack(&slice).unwrap();
        prop_assert!(bytes.len() < INLINE + 100, "{} bytes", bytes.len());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), size in 1_usize..100) {
        let payload = Payload::new(bytes, vec![memory_of(&vec![1; size])]);
        let _ = payload.clone().unpack::<SharedSlice<u16>>();
        let _ = payload.unpack::<SharedStr>();
    }
}
