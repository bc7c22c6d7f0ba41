//! The metadata of groups: any JSON, kept as the app wrote it but for the white space.
//!
//! # Invariants
//!
//! * Numbers, the order of names and the writing of texts stay as they are.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::problem::{Kind, Outcome, Problem};
use crate::limits::GROUP_METADATA_BYTES_MAX;

/// As it stands in a body; there also when it is null.
pub(super) fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

/// As it is stored: nothing for null.
///
/// # Errors
///
/// A problem if it is too long.
pub(super) fn stored(json: &RawValue) -> Outcome<Bytes> {
    let compact = compact(json.get());
    if compact == b"null" {
        return Ok(Bytes::new());
    }
    if compact.len() > GROUP_METADATA_BYTES_MAX {
        let detail =
            format!("metadata of {} bytes exceeds {GROUP_METADATA_BYTES_MAX}", compact.len());
        return Err(Problem::new(Kind::InvalidBody, detail));
    }
    Ok(compact.into())
}

/// As it is told; null if there is none.
pub(super) fn told(metadata: &[u8]) -> Option<Box<RawValue>> {
    // A client may have put bytes into a text that are no UTF-8.
    let text = String::from_utf8_lossy(metadata);
    RawValue::from_string(Cow::into_owned(text)).ok()
}

/// JSON without the white space between its parts.
fn compact(json: &str) -> Vec<u8> {
    let (mut is_text, mut is_escaped) = (false, false);
    let mut compact = Vec::with_capacity(json.len());
    for byte in json.bytes() {
        if is_text {
            is_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else {
            is_text = byte == b'"';
        }
        compact.push(byte);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        let stored = stored(&raw).unwrap();
        assert_eq!(stored, expected.as_bytes());
        let told = told(&stored).map(|told| told.get().to_owned());
        assert_eq!(
            told.as_deref().unwrap_or("null"),
            if expected.is_empty() { "null" } else { expected }
        );
    }

    #[test]
    fn white_space_goes_and_nothing_else() {
        check("{ \"b\" : [ 1.10 ,\n2e400 ],\t\"a\":\"\" }", "{\"b\":[1.10,2e400],\"a\":\"\"}");
        check(r#""a \" b \\" "#.trim(), r#""a \" b \\""#);
        check(r#"{"a\\": " ", "é" : "\u00e9 \\\" " }"#, r#"{"a\\":" ","é":"\u00e9 \\\" "}"#);
        check("123456789012345678901234567890", "123456789012345678901234567890");
        check("null", "");
        check("false", "false");
    }

    #[test]
    fn metadata_one_byte_too_long_is_refused() {
        let json = |bytes: usize| RawValue::from_string(format!(" \"{}\"", "x".repeat(bytes - 2)));
        assert!(stored(&json(GROUP_METADATA_BYTES_MAX).unwrap()).is_ok());
        assert!(stored(&json(GROUP_METADATA_BYTES_MAX + 1).unwrap()).is_err());
    }

    #[test]
    fn what_is_no_utf_8_is_told_as_far_as_it_is() {
        assert_eq!(told(b"\"a\xff\"").unwrap().get(), "\"a\u{fffd}\"");
        assert!(told(b"").is_none());
    }
}
