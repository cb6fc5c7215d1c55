use super::*;
use crate::wire::attach::Payload;
use proptest::prelude::*;

fn sent<T: Cell>(array: &Array<T>) -> Array<T> {
    Payload::pack(array).unwrap().unpack().unwrap().0
}

fn refused(payload: Payload) -> String {
    payload.unpack::<Array<u32>>().unwrap_err().to_string()
}

fn a_message(len: u64, fd: Option<OwnedFd>) -> Payload {
    let sent: Sent = (len, fd.map(|fd| Attached(Arc::new(fd))));
    Payload::pack(&sent).unwrap()
}

fn every_cell_is_its_own<T: Cell + PartialEq + fmt::Debug>(zero: T, one: T) {
    let array = Array::<T>::zeroed(5).unwrap();
    assert_eq!((array.len(), array.to_vec()), (5, vec![zero; 5]));
    array.store(1, one);
    assert_eq!(array.swap(3, one), zero);
    assert_eq!(array.to_vec(), [zero, one, zero, one, zero]);
    assert_eq!(array.compare_exchange(1, zero, zero), Err(one));
    assert_eq!(array.compare_exchange(1, one, zero), Ok(one));
    assert_eq!(array.load(1), zero);
}

fn integers_wrap_around<T: Number + PartialEq + fmt::Debug>(zero: T, one: T, last: T, first: T) {
    every_cell_is_its_own(zero, one);
    let array = Array::<T>::zeroed(3).unwrap();
    array.store(1, last);
    assert_eq!(array.fetch_add(1, one), last);
    assert_eq!(array.fetch_sub(1, one), first);
    assert_eq!(array.to_vec(), [zero, last, zero]);
}

#[test]
fn cells_hold_every_kind_of_number() {
    integers_wrap_around(0_u8, 1, u8::MAX, 0);
    integers_wrap_around(0_u16, 1, u16::MAX, 0);
    integers_wrap_around(0_u32, 1, u32::MAX, 0);
    integers_wrap_around(0_u64, 1, u64::MAX, 0);
    integers_wrap_around(0_usize, 1, usize::MAX, 0);
    integers_wrap_around(0_i8, 1, i8::MAX, i8::MIN);
    integers_wrap_around(0_i16, 1, i16::MAX, i16::MIN);
    integers_wrap_around(0_i32, 1, i32::MAX, i32::MIN);
    integers_wrap_around(0_i64, 1, i64::MAX, i64::MIN);
    integers_wrap_around(0_isize, 1, isize::MAX, isize::MIN);
    every_cell_is_its_own(false, true);
    every_cell_is_its_own(0_f32, -1.5);
    every_cell_is_its_own(0_f64, f64::INFINITY);
}

#[test]
#[should_panic = "index out of bounds: the len is 3 but the index is 3"]
fn an_index_beyond_the_end_panics_as_that_of_a_slice_does() {
    Array::<u8>::zeroed(3).unwrap().load(3);
}

#[test]
#[should_panic = "index out of bounds: the len is 0 but the index is 0"]
fn an_array_without_cells_has_no_first() {
    Array::<u64>::zeroed(0).unwrap().store(0, 1);
}

#[test]
fn what_is_sent_shares_the_cells() {
    let array = Array::<u16>::zeroed(1000).unwrap();
    let other = sent(&array);
    other.store(999, 7);
    assert_eq!(array.load(999), 7);
    assert!(Arc::ptr_eq(
        array.memory.as_ref().unwrap(),
        other.memory.as_ref().unwrap()
    ));
    assert!(sent(&Array::<u16>::zeroed(0).unwrap()).is_empty());
}

#[test]
fn outside_a_message_it_is_not_serialised() {
    for len in [0, 1] {
        let error = serde_json::to_string(&Array::<u8>::zeroed(len).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), attach::OUTSIDE);
    }
}

#[test]
fn memory_that_is_not_as_announced_is_refused() {
    let cells = || memfd::reserved(c"test", 400).unwrap();
    assert!(a_message(100, Some(cells())).unpack::<Array<u32>>().is_ok());
    for len in [0, 1, 98, 101, u64::MAX, u64::MAX / 4] {
        refused(a_message(len, Some(cells())));
    }
    refused(a_message(100, None));
    let unsealed = memfd::holding(c"test", &[0; 400]).unwrap();
    assert!(refused(a_message(100, Some(unsealed))).contains("can shrink"));
    refused(a_message(
        100,
        Some(std::fs::File::open("/dev/null").unwrap().into()),
    ));
}

#[test]
fn more_cells_than_there_is_memory_are_an_error() {
    for len in [1 << 46, usize::MAX / 8, usize::MAX] {
        let error = Array::<u64>::zeroed(len).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Io | ErrorKind::TooLarge),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn an_array_behaves_as_a_vector_does(
        len in 1_usize..50,
        steps in prop::collection::vec((0_usize..50, any::<i16>(), 0_u8..4), 0..200),
    ) {
        let array = Array::<i16>::zeroed(len).unwrap();
        let other = sent(&array);
        let mut model = vec![0_i16; len];
        for (index, value, step) in steps {
            let index = index % len;
            let before = model[index];
            match step {
                0 => { array.store(index, value); model[index] = value; }
                1 => { prop_assert_eq!(other.swap(index, value), before); model[index] = value; }
                2 => {
                    prop_assert_eq!(array.fetch_add(index, value), before);
                    model[index] = before.wrapping_add(value);
                }
                _ => {
                    prop_assert_eq!(other.compare_exchange(index, before, value), Ok(before));
                    model[index] = value;
                }
            }
            prop_assert_eq!(other.load(index), model[index]);
        }
        prop_assert_eq!(array.to_vec(), model);
    }
}
