//! A receiver of Easemob's callbacks, as a small Spring server with Jackson classes is one: one
//! object with a `callId` at the root path, and 500 for anything else.
//!
//! # Invariants
//!
//! * It answers 200 whatever it makes of an object with a `callId`; the test sees what it made.
//! * The proof of a callback is computed here, from the formula that is documented.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::Value;

use crate::receiver::{Answer, Request};

/// A callback about messages, groups and the like.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Callback {
    pub(crate) call_id: String,
    pub(crate) event_type: Option<String>,
    #[serde(rename = "chat_type")]
    pub(crate) chat_type: Option<String>,
    #[serde(default, rename = "group_id")]
    pub(crate) group_id: String,
    #[serde(default)]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) to: String,
    #[serde(default, rename = "msg_id")]
    pub(crate) msg_id: String,
    #[serde(rename = "recall_id")]
    pub(crate) recall_id: Option<String>,
    pub(crate) timestamp: i64,
    #[serde(default)]
    pub(crate) payload: Payload,
    pub(crate) security_version: Option<String>,
    pub(crate) security: String,
    pub(crate) appkey: String,
    pub(crate) host: String,
    pub(crate) status: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) os: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Payload {
    pub(crate) bodies: Vec<Body>,
    pub(crate) ext: BTreeMap<String, Scalar>,
    pub(crate) operation: Option<String>,
    pub(crate) ack_message_id: Option<String>,
}

/// A body, with the types of its fields.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Body {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) msg: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) thumb: Option<String>,
    pub(crate) thumb_secret: Option<String>,
    pub(crate) size: Option<Size>,
    pub(crate) length: Option<i32>,
    pub(crate) file_length: Option<i32>,
    pub(crate) lat: Option<f64>,
    pub(crate) lng: Option<f64>,
    pub(crate) addr: Option<String>,
    #[serde(rename = "customEvent")]
    pub(crate) custom_event: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Size {
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// A value of `ext`: nothing nested.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Nothing(()),
    Flag(bool),
    Number(f64),
    Text(String),
}

/// What it makes of a request, or the status that it refuses with.
pub(crate) fn read(request: &Request) -> Result<Callback, u16> {
    if request.method != "POST" || request.path != "/" {
        return Err(404);
    }
    let kind = request.header("content-type").split(';').next().unwrap_or_default().trim();
    if kind != "application/json" {
        return Err(415);
    }
    let value: Value = serde_json::from_slice(&request.body).map_err(|_| 400_u16)?;
    if value.get("callId").is_none() {
        return Err(500);
    }
    // The server answers 200 to what does not fit its classes, and loses it. Here that fails.
    Ok(serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {request:?}")))
}

/// What it answers, with the misspelt key of the server that there is, for nobody may look at it.
pub(crate) fn answer(request: &Request) -> Answer {
    match read(request) {
        Err(status) => Answer::status(status),
        Ok(callback) => {
            let call_id = format!("\"{}\"", callback.call_id);
            let security = format!("{call_id}654321true");
            let body = serde_json::json!({
                "callId": call_id, "accpet": "true", "reason": "", "security": security,
            });
            Answer::ok().header("content-type", "application/json").body(body.to_string())
        }
    }
}

/// Every callback that came, once.
pub(crate) fn callbacks(requests: &[Request]) -> Vec<Callback> {
    let mut callbacks: Vec<Callback> = Vec::new();
    for callback in requests.iter().filter_map(|request| read(request).ok()) {
        if callbacks.iter().all(|known| known.call_id != callback.call_id) {
            callbacks.push(callback);
        }
    }
    callbacks
}

/// The proof of a callback.
pub(crate) fn security(call_id: &str, secret: &str, timestamp: i64) -> String {
    hex(&Md5::digest(format!("{call_id}{secret}{timestamp}")))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_proof_is_that_of_the_published_example() {
    let call_id = "easemob-demo#test_0990a64f-dp01-6c50-8696-cf3b48b20e7e";
    let proof = security(call_id, "123456", 1_600_060_847_294);
    assert_eq!(proof, "d4840ca528ea49e01cfbacb970d91a64");
}
