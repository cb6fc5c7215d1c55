mod compact;

use super::format::DEPTH;
use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out).unwrap();
    out
}

#[track_caller]
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let bytes = encoded(&value);
    assert_eq!(decode::<T>(&bytes).unwrap(), value, "{bytes:02x?}");
    // Also behind other values, and where only skipped.
    let mut back_to_back = [bytes.clone(), bytes.clone()].concat();
    back_to_back.push(7);
    let mut rest = &*back_to_back;
    assert_eq!(decode_next::<T>(&mut rest).unwrap(), value);
    decode_next::<IgnoredAny>(&mut rest).unwrap();
    assert_eq!(rest, [7]);
    // Each shorter one is an error.
    for len in 0..bytes.len().min(40) {
        decode::<T>(&bytes[..len]).unwrap_err();
    }
    compact::survives_or_is_refused(&value);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    label: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    New(Option<()>),
    Tuple(u8, Option<Option<u8>>),
    Struct { a: u8, r: Result<(), String> },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Unit;
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct New(u32);
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Tuple(u32, String);
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NoTuple();
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NoFields {}

#[test]
fn numbers_survive() {
    for v in [
        0,
        0x7f,
        0x80,
        0xff,
        0x100,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        u64::MAX,
    ] {
        survives(v);
        survives(v as i64);
        survives((v as i64).wrapping_neg());
        survives(u128::from(v) * 3);
        survives(i128::from(v) * -3);
    }
    for v in i8::MIN..=i8::MAX {
        survives((v, v as u8, i16::from(v) * 9, i32::from(v) * 70_000));
    }
    survives((
        i64::MIN,
        i64::MAX,
        i128::MIN,
        i128::MAX,
        u128::MAX,
        i32::MIN,
        i16::MIN,
    ));
    survives((f32::MIN_POSITIVE, f64::MAX, f64::NEG_INFINITY, true, false));
    survives((0.1_f32, 0.1_f64));
}

#[test]
fn not_a_number_and_minus_zero_keep_their_bits() {
    let (a, b, c): (f32, f64, f64) = decode(&encoded(&(f32::NAN, -f64::NAN, -0.0))).unwrap();
    assert_eq!(a.to_bits(), f32::NAN.to_bits());
    assert_eq!(b.to_bits(), (-f64::NAN).to_bits());
    assert_eq!(c.to_bits(), (-0.0_f64).to_bits());
}

#[test]
fn options_of_options_survive_at_any_depth() {
    survives(None::<Option<u8>>);
    survives(Some(None::<u8>));
    survives(Some(Some(1_u8)));
    survives((
        Some(Some(None::<u8>)),
        Some(None::<Option<u8>>),
        None::<Option<Option<u8>>>,
    ));
    survives((Some(()), None::<()>, Some(Some(())), Some(None::<()>)));
    survives((
        Some(Unit),
        None::<Unit>,
        Some(Value::Null),
        None::<Value>,
        Some([(); 2]),
    ));
    survives(vec![Some(None), None, Some(Some(3))]);
    survives(BTreeMap::from([
        (None, 'a'),
        (Some(None), 'b'),
        (Some(Some(1)), 'c'),
    ]));
    survives((Ok::<_, ()>(Some(None::<u8>)), Err::<(), _>(Some(Some(())))));
}

#[test]
fn every_shape_of_struct_and_enum_survives() {
    survives((
        Unit,
        New(1),
        Tuple(1, "a".into()),
        NoTuple(),
        NoFields {},
        (),
        ((),),
    ));
    let shapes = [
        Shape::Unit,
        Shape::New(None),
        Shape::New(Some(())),
        Shape::Tuple(1, None),
        Shape::Tuple(1, Some(None)),
        Shape::Tuple(1, Some(Some(1))),
        Shape::Struct { a: 1, r: Ok(()) },
        Shape::Struct {
            a: 200,
            r: Err("no".into()),
        },
    ];
    for shape in shapes {
        survives(shape.clone());
        survives(Some(shape));
    }
}

#[test]
fn strings_bytes_and_containers_survive_at_every_size_of_length() {
    for len in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536, 70_000] {
        survives("x".repeat(len));
        survives(Bytes::from(vec![0xc1; len]));
        survives(vec![1_u8; len]);
        survives(vec![(); len]);
        survives((0..len).map(|n| (n, n)).collect::<BTreeMap<_, _>>());
    }
    survives(('a', '\0', '\u{10ffff}', "żółw".to_owned()));
    survives((
        vec![vec![(); 3]; 3],
        HashSet::<u8>::new(),
        [0_u8; 0],
        None::<Vec<u8>>,
    ));
    survives(Bytes::from_static(b"\xff\x00"));
}

#[test]
fn bytes_travel_as_one_block() {
    let bytes = Bytes::from(vec![0xff; 1000]);
    assert_eq!(encoded(&bytes).len(), 1003);
    assert_eq!(decode::<Bytes>(&encoded(&bytes)).unwrap(), bytes);
    assert_eq!(decode::<Bytes>(&encoded(&vec![1_u8, 2])).unwrap(), [1, 2][..]);
}

#[test]
fn maps_survive_whatever_their_keys() {
    survives(BTreeMap::from([(Tuple(1, "a".into()), 1)]));
    survives(BTreeMap::from([((), ())]));
    survives(BTreeMap::from([(Unit, New(1))]));
    survives(BTreeMap::from([(-1_i8, 1), (1, -1)]));
    survives(BTreeMap::from([('c', true)]));
    survives(BTreeMap::from([(
        vec![1, 2],
        BTreeMap::from([((1, 'x'), "y".to_owned())]),
    )]));
}

#[test]
fn types_of_the_standard_library_survive() {
    survives(IpAddr::from([1, 2, 3, 4]));
    survives("[::1]:80".parse::<SocketAddr>().unwrap());
    survives((
        Duration::from_nanos(1_000_000_001),
        SystemTime::UNIX_EPOCH + Duration::new(9, 9),
    ));
    survives((
        PathBuf::from("/x"),
        OsString::from("y"),
        1_u8..9,
        Box::<str>::from("z"),
    ));
}

#[test]
fn json_survives() {
    survives(json!(null));
    survives(json!({
        "a": [1, -2, 3.5, 1e300, null, true, "x", {}, []],
        "": {"c": {"d": u64::MAX, "e": i64::MIN}},
    }));
}

#[test]
fn flattened_fields_survive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        twice: Option<Option<u8>>,
        unit: Option<()>,
        ip: IpAddr,
        letter: char,
        small: f32,
        shape: Shape,
        bytes: Bytes,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        id: u64,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        maybe: Option<Point>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    for (twice, unit) in [(None, None), (Some(None), Some(())), (Some(Some(1)), None)] {
        survives(Outer {
            id: 7,
            inner: Inner {
                twice,
                unit,
                ip: IpAddr::from([1, 2, 3, 4]),
                letter: 'x',
                small: 0.1,
                shape: Shape::Tuple(1, Some(None)),
                bytes: Bytes::from_static(&[0xff, 0]),
            },
            maybe: Some(Point { x: -1, label: None }),
            rest: BTreeMap::from([("z".to_owned(), json!([1, {"y": null}]))]),
        });
    }
}

#[test]
fn flattened_maps_with_keys_that_are_numbers_survive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        #[serde(flatten)]
        rest: BTreeMap<u32, u8>,
    }
    survives(Outer {
        rest: BTreeMap::from([(1, 2), (300, 4)]),
    });
}

#[test]
fn enums_of_every_tagging_survive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(f64),
        Text(String),
        Ip { ip: IpAddr },
        Point(Point),
        Deep(Vec<Option<Option<u8>>>),
        Keys(BTreeMap<u8, char>),
        Mixed(u8, char, Shape),
        Unit,
    }
    survives(Untagged::Number(-1.5));
    survives(Untagged::Text("a".into()));
    survives(Untagged::Ip {
        ip: IpAddr::from([0; 16]),
    });
    survives(Untagged::Point(Point { x: 1, label: None }));
    survives(Untagged::Deep(vec![Some(None), None, Some(Some(1))]));
    survives(Untagged::Keys(BTreeMap::from([(1, 'a')])));
    survives(Untagged::Mixed(1, 'c', Shape::Tuple(1, Some(None))));
    survives(Untagged::Unit);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t")]
    enum Internal {
        Struct {
            x: f32,
            ip: Option<IpAddr>,
            o: Option<Option<()>>,
        },
        New(Point),
        Unit,
    }
    survives(Internal::Struct {
        x: 0.1,
        ip: Some(IpAddr::from([1, 2, 3, 4])),
        o: Some(None),
    });
    survives(Internal::New(Point {
        x: 1,
        label: Some("q".into()),
    }));
    survives(Internal::Unit);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        Struct { x: Option<()> },
        New(Point),
        Tuple(u8, char),
        Unit,
    }
    survives(Adjacent::Struct { x: Some(()) });
    survives(Adjacent::New(Point { x: 1, label: None }));
    survives(Adjacent::Tuple(1, 'x'));
    survives(Adjacent::Unit);
}

#[test]
fn skipped_fields_survive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        a: Option<u8>,
        b: u8,
        #[serde(skip, default)]
        c: u8,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        d: Vec<u8>,
    }
    survives(Skips {
        a: None,
        b: 1,
        c: 0,
        d: vec![],
    });
    survives(Skips {
        a: Some(1),
        b: 1,
        c: 0,
        d: vec![1],
    });
}

#[test]
fn our_own_errors_survive() {
    survives(crate::Error::msg("no coffee").context("brewing"));
    survives(crate::CallError::<String>::Failed("x".into()));
    survives(crate::ExitReason::Signaled {
        signal: 9,
        core: false,
    });
}

#[test]
fn integers_of_128_bits_within_what_serde_buffers_are_an_error() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Inner {
        x: i128,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
    }
    for x in [1, i128::MAX] {
        let bytes = encoded(&Outer { inner: Inner { x } });
        let error = decode::<Outer>(&bytes).unwrap_err().to_string();
        assert!(error.contains("128"), "{error}");
    }
}

#[test]
fn a_value_that_is_nested_too_deep_is_an_error_on_both_sides() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);
    let chain = |n: u32| (0..n).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))));
    let lists = |n: u32| (0..n).fold(Value::Null, |value, _| Value::Array(vec![value]));

    encode(&chain(DEPTH), &mut Vec::new()).unwrap();
    decode::<Chain>(&encoded(&chain(DEPTH))).unwrap();
    decode::<Value>(&encoded(&lists(DEPTH))).unwrap();
    for error in [
        encode(&chain(DEPTH + 1), &mut Vec::new()).unwrap_err(),
        encode(&lists(DEPTH + 1), &mut Vec::new()).unwrap_err(),
        decode::<Chain>(&[0xc1; 100_000]).unwrap_err(),
        decode::<Value>(&[0x91; 100_000]).unwrap_err(),
    ] {
        assert!(error.to_string().contains("nested deeper than 256"), "{error}");
    }
    // What is skipped needs no stack.
    let deep = [vec![0x91; 1_000_000], vec![1]].concat();
    decode::<IgnoredAny>(&deep).unwrap();
}

#[test]
fn the_deepest_values_fit_the_stack_of_a_worker_thread() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "t")]
    enum Tree {
        Leaf,
        Node { k: Vec<Tree> },
    }
    // Two levels each, and the leaf one.
    let tree = (0..DEPTH / 2 - 1).fold(Tree::Leaf, |tree, _| Tree::Node { k: vec![tree] });
    let deepest = move || drop(decode::<Tree>(&encoded(&tree)).unwrap());
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(deepest)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_failed_encoding_leaves_the_buffer_as_it_was() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            seq.serialize_element(&1)?;
            Err(serde::ser::Error::custom("no more"))
        }
    }
    let mut out = vec![1, 2, 3];
    let error = encode(&Fails, &mut out).unwrap_err();
    assert_eq!(out, [1, 2, 3]);
    let text = error.to_string();
    assert!(
        text.starts_with("cannot encode `") && text.ends_with("Fails`: no more"),
        "{text}"
    );
    assert_eq!(Error::from(error).kind(), ErrorKind::Codec);
}

#[test]
fn a_sequence_that_gives_less_than_it_announced_is_an_error() {
    struct Lies;
    impl Serialize for Lies {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(Some(2))?;
            seq.serialize_element(&1)?;
            seq.end()
        }
    }
    let error = encode(&Lies, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.ends_with("it announced 2 elements and gave 1"), "{error}");
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_the_type() {
    let error = decode::<u32>(&encoded("x")).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot decode `u32`: invalid type: string \"x\", expected u32"
    );
    decode::<u8>(&encoded(&256_u16)).unwrap_err();
    decode::<u32>(&encoded(&Some(()))).unwrap_err();
    decode::<(u8, u8)>(&encoded(&(1, 2, 3))).unwrap_err();
    decode::<(u8, u8)>(&encoded(&(1,))).unwrap_err();
    decode::<Shape>(&encoded("Other")).unwrap_err();
    decode::<Shape>(&encoded("New")).unwrap_err();
    decode::<Shape>(&encoded(&BTreeMap::from([("Unit", ())]))).unwrap_err();
    decode::<Shape>(&encoded(&BTreeMap::from([("New", ()), ("Unit", ())]))).unwrap_err();
    decode::<u8>(&[1, 2]).unwrap_err();
}

#[test]
fn a_length_that_the_bytes_do_not_hold_is_an_error_before_anything_is_allocated() {
    for first in [0xc6, 0xdb, 0xdd, 0xdf] {
        let bytes = [first, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
        decode::<Vec<[u64; 32]>>(&bytes).unwrap_err();
        decode::<BTreeMap<u8, u8>>(&bytes).unwrap_err();
        decode::<Bytes>(&bytes).unwrap_err();
        decode::<String>(&bytes).unwrap_err();
        decode::<Value>(&bytes).unwrap_err();
        decode::<IgnoredAny>(&bytes).unwrap_err();
    }
}

#[test]
fn the_codec_frames_values_for_tokio_serde() {
    let mut codec = Codec::<Point>::default();
    let point = Point { x: 3, label: None };
    let bytes = tokio_serde::Serializer::serialize(Pin::new(&mut codec), &point).unwrap();
    let bytes = BytesMut::from(bytes);
    assert_eq!(
        tokio_serde::Deserializer::deserialize(Pin::new(&mut codec), &bytes).unwrap(),
        point
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..20).prop_map(Value::from_iter),
        ]
    })
}

type Nested = (
    Vec<Option<Option<i32>>>,
    BTreeMap<Option<u16>, Vec<Option<()>>>,
    Option<(char, String, i128)>,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_survives(value in any_json()) {
        survives(value);
    }

    #[test]
    fn any_nested_value_survives(value in any::<Nested>()) {
        survives(value);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Value>(&bytes);
        let _ = decode::<Nested>(&bytes);
        let _ = decode::<Vec<Shape>>(&bytes);
        let _ = decode::<Point>(&bytes);
        let _ = decode::<IgnoredAny>(&bytes);
    }

    #[test]
    fn no_change_of_a_byte_makes_it_panic(value in any_json(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encoded(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode::<Value>(&bytes);
        let _ = decode::<IgnoredAny>(&bytes);
    }
}
