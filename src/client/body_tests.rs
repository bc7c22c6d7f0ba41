//! Bodies there and back, and what is made of bodies that nobody here has written.
//!
//! # Invariants
//!
//! * A body that is parsed and encoded again has the same fields.

use super::*;

fn file() -> Attachment {
    Attachment {
        url: "https://files.example.org/1".into(),
        secret: Some("s3cret".into()),
        filename: Some("a.bin".into()),
        file_length: Some(123_456),
    }
}

/// Checks that a content is written so, and read back as what it was.
fn check(content: Content, json: &str) {
    let encoded = Body::from(content.clone()).encode().unwrap();
    let (written, expected): (Value, Value) =
        (serde_json::from_slice(&encoded).unwrap(), serde_json::from_str(json).unwrap());
    assert_eq!(written, expected);
    assert_eq!(Body::parse(&encoded).unwrap(), Body::from(content));
}

#[test]
fn every_content_is_read_back_from_its_documented_shape() {
    let size = Some(Size { width: 480, height: 720 });
    let at = r#""url":"https://files.example.org/1","secret":"s3cret","filename":"a.bin",
        "file_length":123456"#;
    check(Content::text("hi \"you\""), r#"{"type":"txt","msg":"hi \"you\""}"#);
    check(
        Content::Image { file: file(), size },
        &format!(r#"{{"type":"img",{at},"size":{{"width":480,"height":720}}}}"#),
    );
    check(
        Content::Audio { file: file(), length: Some(4) },
        &format!(r#"{{"type":"audio",{at},"length":4}}"#),
    );
    let (thumb, thumb_secret) = (Some("https://t".to_owned()), Some("t".to_owned()));
    check(
        Content::Video { file: file(), length: Some(9), size, thumb, thumb_secret },
        &format!(
            r#"{{"type":"video",{at},"length":9,"size":{{"width":480,"height":720}},
            "thumb":"https://t","thumb_secret":"t"}}"#
        ),
    );
    check(Content::File { file: file() }, &format!(r#"{{"type":"file",{at}}}"#));
    check(
        Content::Location { lat: 39.916, lng: -116.5, addr: Some("here".into()) },
        r#"{"type":"loc","lat":39.916,"lng":-116.5,"addr":"here"}"#,
    );
    check(Content::command("refresh"), r#"{"type":"cmd","action":"refresh"}"#);
    let exts = Map::from_iter([("a".to_owned(), 1.into()), ("b".to_owned(), "two".into())]);
    check(
        Content::Custom { event: "app/poll.v1".into(), exts },
        r#"{"type":"custom","customEvent":"app/poll.v1","customExts":[{"a":1},{"b":"two"}]}"#,
    );
}

#[test]
fn what_may_be_missing_may_be_missing() {
    check(
        Content::Image { file: Attachment::at("https://i"), size: None },
        r#"{"type":"img","url":"https://i"}"#,
    );
    check(
        Content::Location { lat: 1.0, lng: 2.5, addr: None },
        r#"{"type":"loc","lat":1.0,"lng":2.5}"#,
    );
    check(
        Content::Custom { event: "e".into(), exts: Map::new() },
        r#"{"type":"custom","customEvent":"e"}"#,
    );
}

#[test]
fn fields_that_nobody_knows_are_kept() {
    let json = br#"{"type":"txt","msg":"hi","mentions":["bob"],"v":{"n":null}}"#;
    let body = Body::parse(json).unwrap();
    assert_eq!(body.content, Content::text("hi"));
    assert_eq!(body.ext.len(), 2);
    let again: Value = serde_json::from_slice(&body.encode().unwrap()).unwrap();
    assert_eq!(again, serde_json::from_slice::<Value>(json).unwrap());
}

#[test]
fn a_type_that_is_not_known_or_lacks_a_field_comes_whole() {
    for json in [
        r#"{"type":"hologram","url":"https://h"}"#,
        r#"{"type":"img","filename":"no url"}"#,
        r#"{"type":"txt","msg":7}"#,
        r#"{"type":"loc","lat":1,"lng":"2"}"#,
        r#"{"msg":"no type"}"#,
        r#"{}"#,
    ] {
        let body = Body::parse(json.as_bytes()).unwrap();
        assert_eq!(body.content, Content::Unknown, "{json}");
        let again: Value = serde_json::from_slice(&body.encode().unwrap()).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(json).unwrap());
    }
}

#[test]
fn an_optional_field_of_another_type_stays_what_it_is() {
    let json = r#"{"type":"audio","url":"u","length":"long"}"#;
    let body = Body::parse(json.as_bytes()).unwrap();
    assert_eq!(body.content, Content::Audio { file: Attachment::at("u"), length: None });
    assert_eq!(body.ext["length"], "long");
}

#[test]
fn custom_names_may_also_stand_in_one_object() {
    let json = r#"{"type":"custom","customEvent":"e","customExts":{"a":1}}"#;
    let exts = Map::from_iter([("a".to_owned(), 1.into())]);
    let content = Content::Custom { event: "e".into(), exts };
    assert_eq!(Body::parse(json.as_bytes()).unwrap(), Body::from(content));
}

#[test]
fn what_is_no_object_is_refused() {
    for json in ["", "hello", "[1]", "\"x\"", "{\"type\":", "7"] {
        assert_eq!(Body::parse(json.as_bytes()), Err(ContentError::NotAnObject), "{json}");
    }
    let deep = "[".repeat(4000);
    assert_eq!(Body::parse(deep.as_bytes()), Err(ContentError::NotAnObject));
}

#[test]
fn a_body_of_just_5_kib_is_the_longest() {
    let frame = r#"{"msg":"","type":"txt"}"#.len();
    let fits = Body::from(Content::text("x".repeat(BODY_BYTES_MAX - frame))).encode().unwrap();
    assert_eq!(fits.len(), BODY_BYTES_MAX);
    let over = Body::from(Content::text("x".repeat(BODY_BYTES_MAX - frame + 1))).encode();
    let (bytes, bytes_max) = (BODY_BYTES_MAX + 1, BODY_BYTES_MAX);
    assert_eq!(over, Err(ContentError::TooLong { bytes, bytes_max }));
    let long = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(Body::parse(&long), Err(ContentError::TooLong { bytes, bytes_max }));
}

#[test]
fn content_that_breaks_a_rule_is_not_encoded() {
    let place = Content::Location { lat: f64::NAN, lng: 0.0, addr: None };
    assert_eq!(Body::from(place).encode(), Err(ContentError::NoPlace));
    let custom = |event: &str, count: usize| {
        let exts = (0..count).map(|n| (n.to_string(), Value::Null)).collect();
        Body::from(Content::Custom { event: event.into(), exts }).encode().err()
    };
    assert_eq!(custom(&"e".repeat(32), 16), None);
    for event in ["", "a b", "\u{e9}", &"e".repeat(33)] {
        assert_eq!(custom(event, 0), Some(ContentError::BadEvent), "{event}");
    }
    let error = ContentError::TooManyExts { count: 17, count_max: 16 };
    assert_eq!(custom("e", 17), Some(error));
}
