//! The compact codec: every plain type, and an error for any other.

use super::*;

fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_compact(value, &mut out).unwrap();
    out
}

fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, CodecError> {
    let value = decode_next_compact(&mut bytes)?;
    assert!(bytes.is_empty(), "{bytes:02x?}");
    Ok(value)
}

fn there_and_back<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, CodecError> {
    let mut out = Vec::new();
    encode_compact(value, &mut out)?;
    decode(&out)
}

/// Never another value, whatever the type.
#[track_caller]
pub(super) fn survives_or_is_refused<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    match there_and_back(value) {
        Ok(back) => assert_eq!(&back, value),
        Err(error) => is_refusal(&error),
    }
}

#[track_caller]
fn is_refusal(error: &CodecError) {
    let text = error.to_string();
    assert!(text.ends_with("leave `codec = \"compact\"` out"), "{text}");
}

#[track_caller]
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let bytes = encoded(&value);
    let twice = [&bytes[..], &bytes, &[7]].concat();
    let mut rest = &twice[..];
    assert_eq!(decode_next_compact::<T>(&mut rest).unwrap(), value);
    assert_eq!(decode_next_compact::<T>(&mut rest).unwrap(), value);
    assert_eq!(rest, [7]);
    for len in 0..bytes.len().min(40) {
        decode_next_compact::<T>(&mut &bytes[..len]).unwrap_err();
    }
}

/// The error at the sender.
fn not_sent<T: Serialize>(value: &T) -> String {
    let mut out = vec![1, 2];
    let error = encode_compact(value, &mut out).unwrap_err();
    assert_eq!(out, [1, 2]);
    is_refusal(&error);
    error.to_string()
}

/// The error at the receiver.
#[track_caller]
fn not_read<T: Serialize + DeserializeOwned + Debug>(value: &T) -> String {
    let error = decode::<T>(&encoded(value)).unwrap_err();
    is_refusal(&error);
    error.to_string()
}

#[test]
fn names_do_not_travel() {
    let point = Point {
        x: 3,
        label: Some("a".into()),
    };
    let sum = 4;
    assert_eq!(encoded(&point).len(), 1 + 1 + 2 + sum);
    assert_eq!(encoded(&vec![point; 9]).len(), 1 + 9 * (1 + 1 + 2) + sum);
    assert_eq!(encoded(&Shape::Unit).len(), 1 + sum);
    assert_eq!(encoded(&Shape::Tuple(1, None)).len(), 1 + 1 + 2 + sum);
    // Where there are no names, there is nothing more.
    assert_eq!(
        encoded(&(1_u8, "x", [2_u64, 3])),
        super::encoded(&(1_u8, "x", [2_u64, 3]))
    );
    assert_eq!(encoded(&IpAddr::from([1, 2, 3, 4])).len(), 1 + 5 + sum);
}

#[test]
fn plain_types_survive() {
    let points = [Some(1), None].map(|x| Point {
        x: -1,
        label: x.map(|_| "a label".to_owned()),
    });
    survives(points.to_vec());
    survives((
        Unit,
        New(1),
        Tuple(1, "a".into()),
        NoTuple(),
        NoFields {},
        (),
        ((),),
    ));
    survives(vec![
        Shape::Unit,
        Shape::New(None),
        Shape::New(Some(())),
        Shape::Tuple(1, Some(None)),
        Shape::Tuple(200, Some(Some(1))),
        Shape::Struct { a: 1, r: Ok(()) },
        Shape::Struct {
            a: 1,
            r: Err("no".into()),
        },
    ]);
    survives((Some(Shape::Unit), Some(Some(Shape::New(None))), None::<Shape>));
    survives(BTreeMap::from([(Tuple(1, "a".into()), Some(Some(None::<u8>)))]));
    survives((Bytes::from(vec![0xc1; 70_000]), "x".repeat(70_000), vec![(); 20]));
    survives((
        "[::1]:80".parse::<SocketAddr>().unwrap(),
        IpAddr::from([1, 2, 3, 4]),
    ));
    survives((
        Duration::from_nanos(1_000_000_001),
        SystemTime::UNIX_EPOCH,
        1_u8..9,
    ));
    survives((PathBuf::from("/x"), OsString::from("y"), 'z', -7_i128, f32::MIN));
}

#[test]
fn our_own_types_survive() {
    survives(crate::Error::msg("no coffee").context("brewing"));
    survives(crate::CallError::<String>::Failed("x".into()));
    survives(crate::ExitReason::Signaled {
        signal: 9,
        core: false,
    });
}

#[test]
fn a_variant_survives_whatever_is_skipped_before_it_or_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Skips {
        First,
        #[serde(skip)]
        #[allow(dead_code, reason = "skipped")]
        Hidden,
        Second,
        Third,
    }
    survives(Skips::First);
    // serde counts `Second` as 2 where it is written, and as 1 where it is read.
    assert!(not_read(&Skips::Second).contains("not those that were sent"));
    assert!(not_read(&Skips::Third).contains("not those that were sent"));
    assert!(not_read(&[Skips::First, Skips::Second]).contains("`skip`, `alias` or `rename`"));
    // Or that is found in the middle of it.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Contents {
        #[serde(skip)]
        #[allow(dead_code, reason = "skipped")]
        Hidden,
        Text(String),
        Number(u8),
    }
    assert!(not_read(&Contents::Text("text".into())).contains("invalid type: string"));
}

#[test]
fn fields_and_variants_with_other_names_are_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Alias {
        #[serde(alias = "b")]
        a: u8,
        c: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Aliases {
        #[serde(alias = "C")]
        A(u8),
        B(u8),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct OneWay {
        #[serde(rename(serialize = "b"))]
        a: u8,
    }
    not_read(&Alias { a: 1, c: 2 });
    not_read(&Aliases::B(1));
    not_read(&OneWay { a: 1 });
}

#[test]
fn a_field_that_travels_in_one_direction_is_not_taken_for_another() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Account {
        #[serde(skip_serializing, default)]
        password: String,
        #[serde(skip_deserializing)]
        email: String,
    }
    #[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct First {
        #[serde(skip_serializing)]
        a: u8,
        b: u8,
    }
    not_read(&Account {
        password: "secret".into(),
        email: "me@there".into(),
    });
    not_read(&First { a: 0, b: 1 });
}

#[test]
fn a_field_that_never_travels_is_no_fault() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Skips {
        a: u8,
        #[serde(skip)]
        b: u8,
        c: u8,
    }
    survives(Skips { a: 1, b: 0, c: 2 });
}

#[test]
fn a_field_that_is_left_out_is_an_error_at_the_sender() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        a: Option<u8>,
        b: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Variant {
        Skips {
            b: u8,
            #[serde(skip_serializing_if = "Option::is_none", default)]
            a: Option<u8>,
        },
    }
    survives(Skips { a: Some(1), b: 2 });
    let text = not_sent(&Skips { a: None, b: 2 });
    assert!(
        text.contains("`a`") && text.contains("skip_serializing_if"),
        "{text}"
    );
    not_sent(&Variant::Skips { a: None, b: 2 });
}

#[test]
fn what_is_flattened_is_an_error_at_the_sender() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        id: u64,
        #[serde(flatten)]
        point: Point,
    }
    let point = Point { x: 1, label: None };
    let text = not_sent(&Outer { id: 1, point });
    assert!(text.contains("Outer") && text.contains("`flatten`"), "{text}");
}

#[test]
fn what_is_read_without_its_type_is_an_error_at_the_receiver() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Point(Point),
        New(New),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t")]
    enum Internal {
        Point(Point),
        Unit,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        New(u8),
        Other(u8),
    }
    let point = || Point { x: 1, label: None };
    for text in [
        not_read(&Adjacent::New(1)),
        not_read(&Adjacent::Other(1)),
        not_read(&Untagged::Point(point())),
        not_read(&Internal::Point(point())),
        not_read(&Internal::Unit),
        not_read(&json!({"a": [1, null]})),
        not_read(&Some(Value::from(1))),
    ] {
        assert!(text.contains("to be read without its type"), "{text}");
    }
    // Nor is anything skipped.
    decode::<IgnoredAny>(&encoded(&point())).unwrap_err();
}

#[test]
fn a_value_of_another_type_is_an_error() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Pair {
        x: i32,
        y: Option<String>,
    }
    let point = Point { x: 1, label: None };
    is_refusal(&decode::<Pair>(&encoded(&point)).unwrap_err());
    decode::<(i32, Option<String>)>(&encoded(&point)[..3]).unwrap();
    decode::<Point>(&encoded(&(1, None::<String>))).unwrap_err();
    decode::<Shape>(&encoded("Unit")).unwrap_err();
    decode::<Shape>(&encoded(&u64::MAX)).unwrap_err();
    // `Unit` with content, `New` without any.
    decode::<Shape>(&[1, 0xc0]).unwrap_err();
    decode::<Shape>(&[2]).unwrap_err();
}

#[test]
fn a_value_that_is_nested_too_deep_is_an_error_on_both_sides() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Chain {
        next: Option<Box<Chain>>,
    }
    let chain = |n: u32| {
        (0..n).fold(Chain { next: None }, |chain, _| Chain {
            next: Some(Box::new(chain)),
        })
    };
    there_and_back(&chain(DEPTH / 2 - 1)).unwrap();
    for error in [
        encode_compact(&chain(DEPTH / 2), &mut Vec::new()).unwrap_err(),
        decode::<Chain>(&[0x91; 100_000]).unwrap_err(),
    ] {
        assert!(error.to_string().contains("nested deeper than 256"), "{error}");
    }
}

type Plain = (
    Nested,
    Vec<(u8, Option<(String, bool)>)>,
    Result<Option<Vec<f32>>, (i16, u64)>,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_plain_value_survives(value in any::<Plain>(), points in prop::collection::vec(any::<(i32, Option<String>)>(), 0..9)) {
        survives(value);
        survives(points.iter().cloned().map(|(x, label)| Point { x, label }).collect::<Vec<_>>());
        let shapes = points.into_iter().map(|(x, label)| match label {
            None => Shape::Tuple(x as u8, (x % 2 == 0).then_some(None)),
            Some(label) => Shape::Struct { a: x as u8, r: Err(label) },
        });
        survives(shapes.collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut rest = &bytes[..];
        let _ = decode_next_compact::<Plain>(&mut rest);
        let _ = decode_next_compact::<Vec<Shape>>(&mut rest);
        let _ = decode_next_compact::<Point>(&mut rest);
        let _ = decode_next_compact::<Value>(&mut rest);
        let _ = decode_next_compact::<crate::ExitReason>(&mut rest);
    }
}
