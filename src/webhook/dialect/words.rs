//! What dialects write alike: ids, bodies of messages, times, proofs.
//!
//! # Invariants
//!
//! * Bytes are written as text if they are UTF-8, and as padded base64 otherwise.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::from_utf8;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use md5::{Digest, Md5};
use serde::{Serialize, Serializer};

use crate::base64::base64;
use crate::id::{ConversationId, DeviceFlag, GroupId};
use crate::store::Message;
use crate::webhook::sign::hex;

/// The last millisecond of the year 9999, behind which RFC 3339 has no times.
const LAST_MS: u64 = 253_402_300_799_999;

/// Bytes that most fragments fit into.
const USUAL_BYTES: usize = 768;

/// Something as the text that it shows itself as.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Bytes of a message.
#[derive(Serialize)]
pub(super) struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl<'a> From<&'a Bytes> for Said<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        match from_utf8(bytes) {
            Ok(text) => Self { text: Some(text), base64: None },
            Err(_) => Self { text: None, base64: Some(base64(bytes)) },
        }
    }
}

/// A list of ids.
pub(super) fn ids<S: Serializer, T: AsRef<str>>(
    list: &&[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(AsRef::as_ref))
}

/// The JSON of a value.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut bytes, value).expect("texts and numbers are JSON, in memory");
    bytes
}

/// The app's own number for a message.
pub(super) fn client_msg_no(message: &Message) -> Cow<'_, str> {
    String::from_utf8_lossy(&message.client_msg_no)
}

/// The group that a conversation is, if it is one.
pub(super) fn group_of(conversation: ConversationId) -> Option<GroupId> {
    match conversation {
        ConversationId::Group(group) => Some(group),
        ConversationId::Peers(_) => None,
    }
}

/// What a device is.
pub(super) fn flag(flag: DeviceFlag) -> &'static str {
    match flag {
        DeviceFlag::App => "app",
        DeviceFlag::Web => "web",
        DeviceFlag::Pc => "pc",
    }
}

/// A time in milliseconds since 1970, as RFC 3339 writes it.
pub(super) fn rfc3339(at_ms: i64) -> String {
    let at = Duration::from_millis(u64::try_from(at_ms).unwrap_or(0).min(LAST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + at).to_string()
}

/// The MD5 of the parts, one behind the other, in lower-case hexadecimal digits.
pub(super) fn md5(parts: &[&[u8]]) -> String {
    let mut digest = Md5::new();
    parts.iter().for_each(|part| digest.update(part));
    hex(&digest.finalize())
}
