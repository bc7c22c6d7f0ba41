//! A receiver of WuKongIM's webhooks, as TangSengDaoDao's server is one: what it decodes, with the
//! widths of its Go types, and what it refuses.
//!
//! # Invariants
//!
//! * What Go's `encoding/json` refuses for these types is refused here: booleans and texts for
//!   numbers, numbers that do not fit, base64 that is not the standard one. Further fields are
//!   ignored, as there.

use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::receiver::{Answer, Request};

/// Types of payloads that it pushes.
const PUSHED: &[i64] = &[1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13];
/// The bit of `setting` by which a payload is encrypted.
const SIGNAL: u8 = 1 << 5;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(crate) struct Header {
    pub(crate) no_persist: i64,
    pub(crate) red_dot: i64,
    pub(crate) sync_once: i64,
}

/// A message.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) setting: u8,
    pub(crate) message_id: i64,
    /// The server does not read it; others do.
    pub(crate) message_idstr: String,
    pub(crate) client_msg_no: String,
    pub(crate) message_seq: u32,
    pub(crate) from_uid: String,
    pub(crate) to_uid: String,
    pub(crate) channel_id: String,
    pub(crate) channel_type: u8,
    pub(crate) expire: u32,
    pub(crate) timestamp: i32,
    #[serde(deserialize_with = "bytes")]
    pub(crate) payload: Vec<u8>,
}

/// A message and for whom it waits.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default)]
pub(crate) struct Offline {
    #[serde(flatten)]
    pub(crate) message: Message,
    pub(crate) to_uids: Vec<String>,
    pub(crate) compress: String,
    #[serde(deserialize_with = "bytes")]
    pub(crate) compress_to_uids: Vec<u8>,
    pub(crate) source_id: i64,
}

/// An element of `user.onlinestatus`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Status {
    pub(crate) uid: String,
    pub(crate) flag: u8,
    pub(crate) online: bool,
    pub(crate) session: i64,
    pub(crate) same_flag: u32,
    pub(crate) all: u32,
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text.unwrap_or_default()).map_err(serde::de::Error::custom)
}

/// The messages of `msg.notify` that it stores.
pub(crate) fn notify(body: &[u8]) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = decode(body)?;
    messages.retain(|it| it.header.sync_once != 1 && it.header.no_persist != 1);
    Ok(messages)
}

/// What it would push of `msg.offline`: nothing, if there is none for whom it would.
pub(crate) fn offline(body: &[u8]) -> Result<Option<Offline>, String> {
    let mut told: Offline = decode(body)?;
    if told.compress == "gzip" {
        let mut json = String::new();
        GzDecoder::new(&told.compress_to_uids[..])
            .read_to_string(&mut json)
            .map_err(|error| error.to_string())?;
        told.to_uids = decode(json.as_bytes())?;
    }
    if told.message.setting & SIGNAL == 0 {
        let payload: serde_json::Map<String, Value> = decode(&told.message.payload)?;
        let Some(kind) = payload.get("type") else { return Err("no type".into()) };
        let Some(kind) = kind.as_i64() else { return Err("it panics on this type".into()) };
        if !PUSHED.contains(&kind) || told.message.header.sync_once == 1 {
            return Ok(None);
        }
    }
    Ok(Some(told))
}

/// The elements of `user.onlinestatus`, split from the left, as it does.
pub(crate) fn statuses(body: &[u8]) -> Result<Vec<Status>, String> {
    let texts: Vec<String> = decode(body)?;
    let status = |text: &String| {
        let parts: Vec<&str> = text.split('-').collect();
        status(parts[0], &parts[1..])
    };
    texts.iter().map(status).collect()
}

/// The same split from the right, as a receiver must whose ids have `-` in them.
pub(crate) fn statuses_from_the_right(body: &[u8]) -> Result<Vec<Status>, String> {
    let texts: Vec<String> = decode(body)?;
    let status = |text: &String| {
        let mut parts: Vec<&str> = text.rsplitn(6, '-').collect();
        parts.reverse();
        status(parts[0], &parts[1..])
    };
    texts.iter().map(status).collect()
}

fn status(uid: &str, rest: &[&str]) -> Result<Status, String> {
    let [flag, online, session, same_flag, all] = rest else { return Err(format!("{rest:?}")) };
    let wrong = |error: std::num::ParseIntError| error.to_string();
    Ok(Status {
        uid: uid.to_owned(),
        flag: flag.parse().map_err(wrong)?,
        online: online.parse::<u8>().map_err(wrong)? == 1,
        session: session.parse().map_err(wrong)?,
        same_flag: same_flag.parse().map_err(wrong)?,
        all: all.parse().map_err(wrong)?,
    })
}

fn decode<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// The event that the query names.
pub(crate) fn event(request: &Request) -> String {
    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| *name == "event");
    let (_, event) = named.next().unwrap_or_default();
    assert!(named.next().is_none(), "two events in {}", request.query);
    event.to_owned()
}

/// What it answers: 200, or 400 to a body that is not what it decodes.
pub(crate) fn answer(request: &Request) -> Answer {
    let outcome = match event(request).as_str() {
        "msg.notify" => notify(&request.body).map(drop),
        "msg.offline" => offline(&request.body).map(drop),
        "user.onlinestatus" => statuses(&request.body).map(drop),
        _ => Ok(()),
    };
    match outcome {
        Ok(()) => Answer::ok().body(r#"{"status":200}"#),
        Err(why) => {
            let refusal = serde_json::json!({"msg": why, "status": 400});
            Answer::status(400).body(refusal.to_string())
        }
    }
}

/// The messages that it has stored.
pub(crate) fn stored(requests: &[Request]) -> Vec<Message> {
    let told = requests.iter().filter(|request| event(request) == "msg.notify");
    let mut stored: Vec<Message> = Vec::new();
    for message in told.flat_map(|request| notify(&request.body).unwrap()) {
        if stored.iter().all(|known| known.message_id != message.message_id) {
            stored.push(message);
        }
    }
    stored
}

#[test]
fn the_decoder_refuses_what_go_refuses() {
    let good = r#"[{"header":{"no_persist":0,"red_dot":1,"sync_once":0},"setting":0,"message_id":9,
        "message_idstr":"9","client_msg_no":"","message_seq":1,"from_uid":"a","channel_id":"b",
        "channel_type":1,"expire":0,"timestamp":1700000000,"payload":"aGk=","further":[1]}]"#;
    assert_eq!(notify(good.as_bytes()).unwrap()[0].payload, b"hi");
    for (from, to) in [
        (r#""red_dot":1"#, r#""red_dot":true"#),
        (r#""message_id":9"#, r#""message_id":"9""#),
        (r#""message_id":9"#, r#""message_id":9223372036854775808"#),
        (r#""message_seq":1"#, r#""message_seq":4294967296"#),
        (r#""setting":0"#, r#""setting":256"#),
        (r#""timestamp":1700000000"#, r#""timestamp":1700000000000"#),
        (r#""timestamp":1700000000"#, r#""timestamp":1700000000.5"#),
        (r#""payload":"aGk=""#, r#""payload":"aGk""#),
        (r#""payload":"aGk=""#, r#""payload":"_-8=""#),
        (r#""client_msg_no":"""#, r#""client_msg_no":7"#),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(notify(bad.as_bytes()).is_err(), "{to}");
    }
    assert!(notify(&good.as_bytes()[1..good.len() - 1]).is_err());
    let skipped = good.replace(r#""sync_once":0"#, r#""sync_once":1"#);
    assert_eq!(notify(skipped.as_bytes()).unwrap(), []);
    assert!(offline(good.as_bytes()).is_err(), "an array is no message");
    for (payload, pushes) in [
        ("aGk=", Err(())),
        ("e30=", Err(())),
        ("eyJ0eXBlIjoiMSJ9", Err(())),
        ("eyJ0eXBlIjoxfQ==", Ok(true)),
        ("eyJ0eXBlIjo5OX0=", Ok(false)),
    ] {
        let body = format!(r#"{{"message_id":1,"payload":"{payload}","to_uids":["b"]}}"#);
        let told = offline(body.as_bytes()).map(|told| told.is_some()).map_err(drop);
        assert_eq!(told, pushes, "{payload}");
    }
}
