//! What messages say, as it stands in requests and in answers.
//!
//! # Invariants
//!
//! * A body is exactly one of a text and base64.

use std::str::from_utf8;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Kind, Outcome, Problem};
use crate::base64::{base64, from_base64};

/// The bytes that a request sends: of exactly one of the two.
///
/// # Errors
///
/// None or both are given, or it is not base64.
pub(super) fn body(text: Option<String>, encoded: Option<String>) -> Outcome<Bytes> {
    let problem = |detail| Err(Problem::new(Kind::InvalidBody, detail));
    match (text, encoded) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(encoded)) => match from_base64(&encoded) {
            Some(bytes) => Ok(bytes.into()),
            None => problem("body_base64 is not base64 with its padding"),
        },
        _ => problem("exactly one of body and body_base64 is required"),
    }
}

/// What a message says: one of the two.
#[derive(Debug, Serialize, ToSchema)]
pub(super) enum Body {
    /// Bytes that are UTF-8, as the text that they are.
    #[serde(rename = "body")]
    #[schema(example = "Your table is ready.")]
    Text(String),
    /// Other bytes, as base64.
    #[serde(rename = "body_base64")]
    Base64(String),
}

impl From<&Bytes> for Body {
    fn from(bytes: &Bytes) -> Self {
        match from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_told() {
        for (bytes, shown) in [
            (&b""[..], json!({"body": ""})),
            ("\u{e4}\0".as_bytes(), json!({"body": "\u{e4}\0"})),
            (b"\xff\0", json!({"body_base64": "/wA="})),
        ] {
            let bytes = Bytes::from_static(bytes);
            assert_eq!(serde_json::to_value(Body::from(&bytes)).unwrap(), shown);
            let part = |name| shown.get(name).map(|text| text.as_str().unwrap().to_owned());
            assert_eq!(body(part("body"), part("body_base64")).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_body_or_two_is_refused() {
        let some = |text: &str| Some(text.to_owned());
        for (text, encoded) in
            [(None, None), (some("a"), some("YQ==")), (None, some("YQ")), (None, some("-_8="))]
        {
            assert_eq!(body(text, encoded).unwrap_err().status().as_u16(), 422);
        }
    }
}
