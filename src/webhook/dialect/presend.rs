//! Pre-send hooks: the question that a back end is asked about a message, and its answer.
//!
//! | dialect | question | answer |
//! |---|---|---|
//! | `tidings` | `{"id","type":"message.ask","timestamp","data":{…}}`; `data` is that of `message.sent` without `message`, `sequence` and `backend`, with `transient`, `ttl_ms`, `device`, `flag`, `client`, `address` | any 2xx, `{"allow", "code"?, "text"? or "base64"?}` |
//! | `wukongim` | `?event=msg.before_send`, `{"client_msg_no","channel_id","channel_type","from_uid","payload"}` | 200, `{"allow", "reason_code"?, "payload"?}`, 128 to 255 |
//! | `easemob` | the callback of a message without `eventType` | 200, `{"valid", "code"?, "payload"?}` |
//!
//! What is to replace a message's body is `text`, `base64` or `payload`. Easemob's is an object
//! with a body of type `txt`, or a text; it replaces a plain text by one, and a JSON body by one.
//!
//! # Invariants
//!
//! * What cannot be read as an answer is none: whoever asked decides what that means.
//! * A plain no is a refusal, whatever stands beside it: a code that is none is left out.
//! * A body that is to replace another is no longer than a message may be.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::words::{Said, Shown, flag, group_of, ids, json, rfc3339};
use super::{Dialect, JSON, Outgoing, Style, easemob, wukongim};
use crate::base64::{base64, from_base64};
use crate::id::{ConversationId, GroupId, PeerId};
use crate::limits::{BODY_BYTES_MAX, REASON_TEXT_BYTES_MAX};
use crate::presend::{Question, Verdict};

/// What Easemob tells senders when a refusal has no code.
const DENIED: &str = "custom logic denied";
/// What Easemob tells senders when the code of a refusal is empty.
const BLOCKED: &str = "Message blocked by external logic";

/// The codes of refusals that WuKongIM leaves to back ends.
const REASON_CODES: RangeInclusive<u64> = 128..=255;

/// Why an answer is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadAnswer {
    /// The status is not 200, or no 2xx where the dialect allows any.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// The body is not what the dialect answers with.
    #[error("the answer is not what the dialect has: {0}")]
    Body(String),
    /// The body that is to replace the message's is too long.
    #[error("a new body of {0} bytes exceeds {BODY_BYTES_MAX}")]
    TooLong(usize),
}

#[derive(Serialize)]
struct Ask<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: AskData<'a>,
}

#[derive(Serialize)]
struct AskData<'a> {
    conversation: Shown<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Shown<GroupId>>,
    from: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "ids")]
    to: &'a [PeerId],
    device: &'a str,
    flag: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    address: &'a str,
    transient: bool,
    receipt: bool,
    ttl_ms: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_msg_no: &'a str,
    #[serde(flatten)]
    said: Said<'a>,
}

#[derive(Serialize)]
struct BeforeSend<'a> {
    client_msg_no: &'a str,
    channel_id: Cow<'a, str>,
    channel_type: u8,
    from_uid: &'a str,
    payload: String,
}

/// An answer. What is beside `allow` is read only if it means something there.
#[derive(Deserialize)]
struct TidingsAnswer {
    allow: bool,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    text: Value,
    #[serde(default)]
    base64: Value,
}

#[derive(Deserialize)]
struct WukongimAnswer {
    allow: bool,
    #[serde(default)]
    reason_code: Value,
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize)]
struct EasemobAnswer {
    valid: bool,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    payload: Value,
}

/// The request that asks about a message. [Some](Dialect::asks) dialects have no words for it:
/// their question is that of `tidings`.
pub fn question(style: &Style, question: &Question) -> Outgoing {
    match style.dialect {
        Dialect::Tidings | Dialect::Getui => ask(question),
        Dialect::Wukongim => before_send(question),
        Dialect::Easemob => easemob::question(style, question),
    }
}

/// What an answer with this status and body means for the message that was asked about.
///
/// # Errors
///
/// [`BadAnswer`] when it means nothing.
pub fn verdict(
    dialect: Dialect,
    question: &Question,
    status: u16,
    body: &[u8],
) -> Result<Verdict, BadAnswer> {
    let any = matches!(dialect, Dialect::Tidings | Dialect::Getui);
    if !(status == 200 || any && (200..300).contains(&status)) {
        return Err(BadAnswer::Status(status));
    }
    let verdict = match dialect {
        Dialect::Tidings | Dialect::Getui => read::<TidingsAnswer>(body)?.verdict()?,
        Dialect::Wukongim => read::<WukongimAnswer>(body)?.verdict()?,
        Dialect::Easemob => read::<EasemobAnswer>(body)?.verdict(question)?,
    };
    match verdict {
        Verdict::Replace(body) if body.len() > BODY_BYTES_MAX => {
            Err(BadAnswer::TooLong(body.len()))
        }
        Verdict::Refuse(mut code) => {
            code.truncate(code.floor_char_boundary(REASON_TEXT_BYTES_MAX));
            Ok(Verdict::Refuse(code))
        }
        verdict => Ok(verdict),
    }
}

fn ask(question: &Question) -> Outgoing {
    let data = AskData {
        conversation: Shown(question.conversation),
        group: group_of(question.conversation).map(Shown),
        from: question.from.as_str(),
        to: &question.to,
        device: question.device.as_str(),
        flag: flag(question.flag),
        client: &question.client,
        address: &question.address,
        transient: question.transient,
        receipt: question.receipt,
        ttl_ms: question.ttl_ms,
        client_msg_no: &question.client_msg_no,
        said: (&question.body).into(),
    };
    let (id, timestamp) = (question.id.as_str(), rfc3339(question.at_ms));
    let body = json(&Ask { id, kind: "message.ask", timestamp, data }).into();
    Outgoing { query: String::new(), content_type: JSON, body }
}

fn before_send(question: &Question) -> Outgoing {
    let (channel_id, channel_type) = wukongim::channel(question.conversation, &question.to);
    let asked = BeforeSend {
        client_msg_no: &question.client_msg_no,
        channel_id,
        channel_type,
        from_uid: question.from.as_str(),
        payload: base64(&question.body),
    };
    let (query, body) = ("event=msg.before_send".into(), json(&asked).into());
    Outgoing { query, content_type: JSON, body }
}

/// Reads an object: a list is none, although its items could stand for fields.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadAnswer> {
    let fields: Result<Map<String, Value>, _> = serde_json::from_slice(body);
    let answer = fields.and_then(|fields| serde_json::from_value(Value::Object(fields)));
    answer.map_err(|error| BadAnswer::Body(error.to_string()))
}

fn bytes_of(encoded: &str) -> Result<Bytes, BadAnswer> {
    let bytes = from_base64(encoded).ok_or_else(|| bad("the new body is not base64"))?;
    Ok(bytes.into())
}

fn bad(why: &str) -> BadAnswer {
    BadAnswer::Body(why.to_owned())
}

impl TidingsAnswer {
    fn verdict(&self) -> Result<Verdict, BadAnswer> {
        if !self.allow {
            return Ok(Verdict::Refuse(self.code.as_str().unwrap_or_default().to_owned()));
        }
        match (&self.text, &self.base64) {
            (Value::Null, Value::Null) => Ok(Verdict::Allow),
            (Value::String(text), Value::Null) => Ok(Verdict::Replace(text.clone().into())),
            (Value::Null, Value::String(encoded)) => Ok(Verdict::Replace(bytes_of(encoded)?)),
            (Value::Null, _) | (_, Value::Null) => Err(bad("the new body is not a text")),
            _ => Err(bad("there are both text and base64")),
        }
    }
}

impl WukongimAnswer {
    fn verdict(&self) -> Result<Verdict, BadAnswer> {
        if !self.allow {
            let code = self.reason_code.as_u64().filter(|code| REASON_CODES.contains(code));
            return Ok(Verdict::Refuse(code.map_or_else(String::new, |code| code.to_string())));
        }
        match &self.payload {
            Value::Null => Ok(Verdict::Allow),
            Value::String(encoded) => Ok(Verdict::Replace(bytes_of(encoded)?)),
            _ => Err(bad("the payload is not a text")),
        }
    }
}

impl EasemobAnswer {
    fn verdict(&self, question: &Question) -> Result<Verdict, BadAnswer> {
        match (self.valid, &self.payload) {
            (false, _) => Ok(Verdict::Refuse(match self.code.as_str() {
                None => DENIED.to_owned(),
                Some("") => BLOCKED.to_owned(),
                Some(code) => code.to_owned(),
            })),
            (true, Value::Null) => Ok(Verdict::Allow),
            (true, payload) => {
                let text = text_of(payload).ok_or_else(|| bad("the payload has no text"))?;
                Ok(Verdict::Replace(with_text(&question.body, text)))
            }
        }
    }
}

/// The text of a payload: itself, or the only body, which is of type `txt`.
fn text_of(payload: &Value) -> Option<&str> {
    if let Value::String(text) = payload {
        return Some(text);
    }
    match payload.get("bodies")?.as_array()?.as_slice() {
        [only] if only.get("type")? == "txt" => only.get("msg")?.as_str(),
        _ => None,
    }
}

/// A body that says the text as `body` said its own: as an object with all its other fields if it
/// is one of type `txt`.
fn with_text(body: &[u8], text: &str) -> Bytes {
    let fields: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    match fields {
        Some(mut fields) if fields.get("type").is_some_and(|kind| kind == "txt") => {
            fields.insert("msg".to_owned(), json!(text));
            Value::Object(fields).to_string().into()
        }
        _ => Bytes::copy_from_slice(text.as_bytes()),
    }
}
