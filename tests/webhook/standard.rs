//! What a back end makes of our own dialect: the envelope of Standard Webhooks, its signature, and
//! events as they are documented.
//!
//! # Invariants
//!
//! * Signatures are checked by the published crate and by `ring`, never by the server's own code.
//! * An event of a kind that is known has the fields that are documented, and no others.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::receiver::{Receiver, Request};

/// What a request has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) version: String,
    pub(crate) at_ms: i64,
    pub(crate) data: Value,
}

impl Event {
    /// What is said of it.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.data.clone())
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        self.data["text"].as_str().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> i64 {
        self.version.parse().unwrap()
    }
}

/// `message.sent`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub(crate) message: String,
    pub(crate) sequence: u32,
    pub(crate) conversation: String,
    pub(crate) group: Option<String>,
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) to: Vec<String>,
    pub(crate) backend: bool,
    pub(crate) device: Option<String>,
    #[serde(default)]
    pub(crate) devices: Vec<String>,
    #[serde(default)]
    pub(crate) client_msg_no: String,
    pub(crate) receipt: bool,
    #[serde(default)]
    pub(crate) expires_ms: i64,
    pub(crate) text: Option<String>,
    pub(crate) base64: Option<String>,
}

/// `message.offline`, beside what the message has.
#[derive(Debug, Deserialize)]
pub(crate) struct Offline {
    pub(crate) message: String,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) push: Option<Push>,
    pub(crate) late: bool,
}

#[derive(Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipient {
    pub(crate) peer: String,
    pub(crate) badge: u32,
}

#[derive(Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    pub(crate) text: String,
    pub(crate) badge: Option<u32>,
}

/// `session.started` and `peer.status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) peer: String,
    pub(crate) online: Option<bool>,
    pub(crate) change: Option<String>,
    pub(crate) session: String,
    pub(crate) device: String,
    pub(crate) flag: String,
    #[serde(default)]
    pub(crate) client: String,
    #[serde(default)]
    pub(crate) address: String,
    pub(crate) sessions: Counts,
}

#[derive(Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) same_flag: u32,
    pub(crate) all: u32,
}

/// The events of a request that must be what is documented.
pub(crate) fn events(request: &Request) -> Vec<Event> {
    let envelope: Envelope = serde_json::from_slice(&request.body)
        .unwrap_or_else(|error| panic!("{error}: {request:?}"));
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), "application/json");
    assert!(matches!(envelope.kind.as_str(), "events" | "ping"), "{request:?}");
    let timestamp = humantime::parse_rfc3339(&envelope.timestamp).unwrap();
    let since = timestamp.duration_since(std::time::UNIX_EPOCH).unwrap();
    if let Some(last) = envelope.events.last() {
        assert_eq!(since.as_millis() as i64, last.at_ms);
    }
    envelope.events
}

/// Every event that came, each once, in the order in which they came first. Requests that came
/// again are the same, byte by byte.
pub(crate) fn all(requests: &[Request]) -> Vec<Event> {
    let (mut by_id, mut heard, mut all) = (HashMap::new(), HashMap::new(), Vec::new());
    for request in requests {
        let first = by_id.entry(request.id().to_owned()).or_insert(&request.body);
        assert_eq!(*first, &request.body, "another body with the id {}", request.id());
        for event in events(request) {
            let first = heard.entry(event.id.clone()).or_insert_with(|| {
                all.push(event.clone());
                event.clone()
            });
            assert_eq!(*first, event, "another event with the same id");
        }
    }
    all
}

/// Those of a kind.
pub(crate) fn of_kind(requests: &[Request], kind: &str) -> Vec<Event> {
    let mut events = all(requests);
    events.retain(|event| event.kind == kind);
    events
}

/// What the messages say that were told as sent.
pub(crate) fn said(requests: &[Request]) -> Vec<String> {
    of_kind(requests, "message.sent").iter().map(|event| event.text().to_owned()).collect()
}

/// Waits until so many events of a kind have come; gives those.
pub(crate) async fn heard(receiver: &Receiver, kind: &str, count: usize) -> Vec<Event> {
    let what = format!("{count} events of {kind}");
    receiver
        .until(&what, |requests| {
            let events = of_kind(requests, kind);
            (events.len() >= count).then_some(events)
        })
        .await
}

/// Waits for an event of a kind of which something is so.
pub(crate) async fn one(
    receiver: &Receiver,
    kind: &str,
    mut is_it: impl FnMut(&Event) -> bool,
) -> Event {
    receiver
        .until(kind, |requests| of_kind(requests, kind).into_iter().find(|event| is_it(event)))
        .await
}

/// Whether the published crate takes the request for one that was signed with this secret.
pub(crate) fn verifies(secret: &str, request: &Request) -> bool {
    Webhook::new(secret).unwrap().verify(&request.body, &request.headers).is_ok()
}

/// As octo-server does it: the body alone, in hexadecimal digits.
pub(crate) fn octo_verifies(secret: &[u8], request: &Request) -> bool {
    let Some(digits) = request.header("X-Signature-256").strip_prefix("sha256=") else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, &request.body);
    let expected: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    digits == expected
}

/// The bytes of a secret as Standard Webhooks write it.
pub(crate) fn key(secret: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap()
}
