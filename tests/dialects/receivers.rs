//! What receivers parse, written from the fields that are documented of them.
//!
//! # Invariants
//!
//! * What such a receiver would refuse does not decode: numbers that are texts or too large,
//!   truth values for numbers, base64 of another kind, arrays where it takes objects.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

/// Standard base64 with its padding.
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    BASE64_STANDARD.decode(text).map_err(D::Error::custom)
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> T {
    let shown = String::from_utf8_lossy(body);
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

fn md5_hex(text: &[u8]) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ours.
pub(crate) mod ours {
    use super::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Events {
        #[serde(rename = "type")]
        pub(crate) kind: String,
        pub(crate) timestamp: String,
        pub(crate) events: Vec<Event>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Event {
        pub(crate) id: String,
        #[serde(rename = "type")]
        pub(crate) kind: String,
        pub(crate) version: String,
        pub(crate) at_ms: i64,
        pub(crate) data: serde_json::Value,
    }
}

/// WuKongIM's, with the widths of the Go types that decode it.
pub(crate) mod wukongim {
    use super::{BASE64_STANDARD, Deserialize, Engine, Read, bytes};

    #[derive(Deserialize)]
    pub(crate) struct Header {
        pub(crate) no_persist: i64,
        pub(crate) red_dot: i64,
        pub(crate) sync_once: i64,
    }

    #[derive(Deserialize)]
    pub(crate) struct Message {
        pub(crate) header: Header,
        pub(crate) setting: u8,
        pub(crate) client_msg_no: String,
        pub(crate) message_id: i64,
        pub(crate) message_idstr: String,
        pub(crate) message_seq: u32,
        pub(crate) from_uid: String,
        pub(crate) channel_id: String,
        pub(crate) channel_type: u8,
        pub(crate) expire: u32,
        pub(crate) timestamp: i32,
        #[serde(deserialize_with = "bytes")]
        pub(crate) payload: Vec<u8>,
    }

    #[derive(Deserialize)]
    pub(crate) struct Offline {
        #[serde(flatten)]
        pub(crate) message: Message,
        pub(crate) to_uids: Vec<String>,
        compress: Option<String>,
        compress_to_uids: Option<String>,
        pub(crate) source_id: i64,
    }

    impl Offline {
        pub(crate) fn is_compressed(&self) -> bool {
            self.compress.is_some()
        }

        /// Its recipients, decompressed if they have to be.
        pub(crate) fn recipients(&self) -> Vec<String> {
            let Some(compressed) = &self.compress_to_uids else { return self.to_uids.clone() };
            assert_eq!(self.compress.as_deref(), Some("gzip"));
            assert!(self.to_uids.is_empty());
            let compressed = BASE64_STANDARD.decode(compressed).unwrap();
            let mut json = String::new();
            flate2::read::GzDecoder::new(&*compressed).read_to_string(&mut json).unwrap();
            serde_json::from_str(&json).unwrap()
        }
    }

    /// A status, parsed from the right: peer, then flag, online, connection and two counts.
    pub(crate) fn status(text: &str) -> (String, [i64; 5]) {
        let mut parts: Vec<&str> = text.rsplitn(6, '-').collect();
        parts.reverse();
        let numbers: Vec<i64> = parts[1..].iter().map(|part| part.parse().unwrap()).collect();
        (parts[0].to_owned(), numbers.try_into().unwrap())
    }
}

/// Easemob's, as the classes of the old sample receiver have it.
pub(crate) mod easemob {
    use super::{BTreeMap, Deserialize, md5_hex};

    #[derive(Deserialize)]
    pub(crate) struct Callback {
        #[serde(rename = "callId")]
        pub(crate) call_id: String,
        #[serde(rename = "eventType")]
        pub(crate) event_type: String,
        pub(crate) timestamp: i64,
        pub(crate) chat_type: String,
        pub(crate) group_id: String,
        pub(crate) from: String,
        pub(crate) to: String,
        pub(crate) msg_id: String,
        pub(crate) payload: Payload,
        pub(crate) security: String,
    }

    #[derive(Deserialize)]
    pub(crate) struct Payload {
        #[serde(default)]
        pub(crate) bodies: Vec<Body>,
        #[serde(default)]
        pub(crate) ext: BTreeMap<String, Scalar>,
    }

    #[derive(Deserialize)]
    pub(crate) struct Body {
        #[serde(rename = "type")]
        pub(crate) kind: String,
        pub(crate) msg: Option<String>,
        pub(crate) action: Option<String>,
        pub(crate) url: Option<String>,
        pub(crate) filename: Option<String>,
        pub(crate) secret: Option<String>,
        pub(crate) thumb: Option<String>,
        pub(crate) thumb_secret: Option<String>,
        #[serde(default)]
        pub(crate) length: i32,
        #[serde(default)]
        pub(crate) file_length: i32,
        pub(crate) size: Option<Size>,
    }

    #[derive(Deserialize)]
    pub(crate) struct Size {
        pub(crate) width: i32,
        pub(crate) height: i32,
    }

    /// What a value of `ext` may be: no array and no object.
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    pub(crate) enum Scalar {
        Null(()),
        Truth(bool),
        Whole(i64),
        Natural(u64),
        Number(f64),
        Text(String),
    }

    /// A peer's status, which has no type.
    #[derive(Deserialize)]
    pub(crate) struct Status {
        #[serde(rename = "callId")]
        pub(crate) call_id: String,
        pub(crate) reason: String,
        pub(crate) security: String,
        pub(crate) os: String,
        pub(crate) ip: String,
        pub(crate) host: String,
        pub(crate) appkey: String,
        pub(crate) user: String,
        pub(crate) version: String,
        pub(crate) timestamp: i64,
        pub(crate) status: String,
    }

    pub(crate) fn security(call_id: &str, secret: &str, timestamp: i64) -> String {
        md5_hex(format!("{call_id}{secret}{timestamp}").as_bytes())
    }
}

/// Getui's.
pub(crate) mod getui {
    use super::{Deserialize, decode, md5_hex};

    #[derive(Deserialize)]
    pub(crate) struct Line {
        pub(crate) appid: String,
        pub(crate) cid: String,
        pub(crate) taskid: String,
        pub(crate) msgid: String,
        pub(crate) code: String,
        pub(crate) desc: String,
        pub(crate) sign: String,
        #[serde(rename = "actionId")]
        pub(crate) action_id: String,
        pub(crate) recvtime: i64,
        pub(crate) peer: String,
        pub(crate) text: Option<String>,
        pub(crate) base64: Option<String>,
    }

    /// The lines of a body whose signatures are good.
    pub(crate) fn lines(body: &[u8], secret: &str) -> Vec<Line> {
        let text = std::str::from_utf8(body).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| decode(line.as_bytes())).collect();
        for Line { appid, cid, taskid, msgid, sign, .. } in &lines {
            let text = format!("{appid}{cid}{taskid}{msgid}{secret}");
            assert_eq!(*sign, md5_hex(text.as_bytes()));
        }
        lines
    }
}

#[test]
fn what_a_receiver_would_refuse_is_refused() {
    let is_message = |text: &str| serde_json::from_str::<wukongim::Message>(text).is_ok();
    let good = r#"{"header":{"no_persist":0,"red_dot":1,"sync_once":0},"setting":0,
        "client_msg_no":"",
        "message_id":1,"message_idstr":"1","message_seq":1,"from_uid":"a","channel_id":"b",
        "channel_type":1,"expire":0,"timestamp":1,"payload":"/+8="}"#;
    assert!(is_message(good));
    for (was, wrong) in [
        (r#""red_dot":1"#, r#""red_dot":true"#),
        (r#""message_id":1"#, r#""message_id":"1""#),
        (r#""message_id":1"#, r#""message_id":9223372036854775808"#),
        (r#""message_seq":1"#, r#""message_seq":4294967296"#),
        (r#""timestamp":1"#, r#""timestamp":1767225600123"#),
        (r#""payload":"/+8=""#, r#""payload":"_-8=""#),
        (r#""payload":"/+8=""#, r#""payload":"/+8""#),
    ] {
        assert!(good.contains(was) && !is_message(&good.replace(was, wrong)), "{wrong}");
    }
    let ext = |text: &str| serde_json::from_str::<easemob::Payload>(text).is_ok();
    assert!(ext(r#"{"ext":{"a":1,"b":null,"c":"d"}}"#));
    assert!(!ext(r#"{"ext":{"a":[1]}}"#) && !ext(r#"{"ext":{"a":{}}}"#));
    assert!(!ext(r#"{"bodies":[{"type":"img","length":2147483648}]}"#));
    assert!(!ext(r#"{"bodies":[{"type":"img","size":"10x10"}]}"#));
    assert!(serde_json::from_str::<easemob::Callback>("[]").is_err());
}

#[test]
fn the_proof_of_a_callback_is_the_documented_one() {
    let call_id = "easemob-demo#test_0990a64f-dp01-6c50-8696-cf3b48b20e7e";
    let security = easemob::security(call_id, "123456", 1_600_060_847_294);
    assert_eq!(security, "d4840ca528ea49e01cfbacb970d91a64");
}
