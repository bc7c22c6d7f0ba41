//! What a request of a server tells, event by event.
//!
//! # Invariants
//!
//! * Pure. It reads what was sent, and nothing of how it was made.

use serde_json::Value;

use tidings::webhook::dialect::Dialect;

/// The pre-send hook of WuKongIM, in the query of a request.
const BEFORE_SEND: &str = "msg.before_send";
/// Ours.
const ASK: &str = "message.ask";
/// What Easemob's is called here: its questions have no name.
const PRE_SEND: &str = "pre-send";
/// What is told of a session is called here in Easemob's dialect: it has no name either.
const STATUS: &str = "status";

/// An event, or a question about a message.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Told {
    /// What kind of event it is.
    pub(super) kind: String,
    /// Its id; empty if the dialect gives it none.
    pub(super) id: String,
    /// All of it, as JSON without white space.
    pub(super) all: String,
}

/// What a request tells.
///
/// # Errors
///
/// What of the body is not as the dialect has it.
pub(super) fn told(
    dialect: Dialect,
    query: Option<&str>,
    body: &[u8],
) -> Result<Vec<Told>, String> {
    if dialect == Dialect::Getui {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        return lines.map(|line| Ok(getui(&json(line)?))).collect();
    }
    let value = json(body)?;
    Ok(match dialect {
        Dialect::Wukongim => {
            let event = event_of(query).ok_or("the query names no event")?;
            match &value {
                Value::Array(items) => items.iter().map(|item| wukongim(event, item)).collect(),
                one => vec![wukongim(event, one)],
            }
        }
        Dialect::Easemob => {
            let unnamed = match &value {
                Value::Object(fields) if fields.contains_key("payload") => PRE_SEND,
                Value::Object(fields) if fields.contains_key("status") => STATUS,
                _ => "?",
            };
            let kind = text(&value, "eventType").unwrap_or(unnamed);
            vec![one(kind, text(&value, "callId"), &value)]
        }
        _ => match value["events"].as_array() {
            Some(events) => {
                let event =
                    |event| one(text(event, "type").unwrap_or("?"), text(event, "id"), event);
                events.iter().map(event).collect()
            }
            None => vec![one(text(&value, "type").unwrap_or("?"), text(&value, "id"), &value)],
        },
    })
}

/// Whether it is a question of a pre-send hook, which is answered with a verdict.
pub(super) fn is_question(dialect: Dialect, query: Option<&str>, told: &[Told]) -> bool {
    match dialect {
        Dialect::Wukongim => event_of(query) == Some(BEFORE_SEND),
        _ => told.iter().any(|told| told.kind == ASK || told.kind == PRE_SEND),
    }
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("the body is not JSON: {error}"))
}

/// The event that the query of WuKongIM's webhooks names.
fn event_of(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("event="))
}

fn wukongim(event: &str, value: &Value) -> Told {
    one(event, text(value, "message_idstr"), value)
}

fn getui(value: &Value) -> Told {
    one("receipt", text(value, "msgid"), value)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value[name].as_str()
}

fn one(kind: &str, id: Option<&str>, value: &Value) -> Told {
    Told { kind: kind.to_owned(), id: id.unwrap_or_default().to_owned(), all: value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(dialect: Dialect, query: Option<&str>, body: &str) -> Vec<(String, String)> {
        let told = told(dialect, query, body.as_bytes()).unwrap();
        told.into_iter().map(|told| (told.kind, told.id)).collect()
    }

    fn pair(kind: &str, id: &str) -> (String, String) {
        (kind.to_owned(), id.to_owned())
    }

    #[test]
    fn each_dialect_is_read_event_by_event() {
        let body = r#"{"type":"events","events":[{"type":"message.sent","id":"7-0"},
            {"type":"peer.status","id":"8-1"}]}"#;
        let expected = [pair("message.sent", "7-0"), pair("peer.status", "8-1")];
        assert_eq!(kinds(Dialect::Tidings, None, body), expected);
        let body = r#"[{"message_idstr":"7"},{"message_idstr":"8"}]"#;
        let expected = [pair("msg.notify", "7"), pair("msg.notify", "8")];
        assert_eq!(kinds(Dialect::Wukongim, Some("a=b&event=msg.notify"), body), expected);
        let body = r#"["ann-0-1-7-1-1"]"#;
        let expected = [pair("user.onlinestatus", "")];
        assert_eq!(kinds(Dialect::Wukongim, Some("event=user.onlinestatus"), body), expected);
        let body = r#"{"callId":"c","eventType":"chat_offline"}"#;
        assert_eq!(kinds(Dialect::Easemob, None, body), [pair("chat_offline", "c")]);
        let body = r#"{"callId":"c","user":"app_ann@easemob.com/app_d","status":"online"}"#;
        assert_eq!(kinds(Dialect::Easemob, None, body), [pair("status", "c")]);
        let body = r#"{"callId":"c","chat_type":"chat","payload":{"bodies":[]}}"#;
        assert_eq!(kinds(Dialect::Easemob, None, body), [pair("pre-send", "c")]);
        assert_eq!(kinds(Dialect::Easemob, None, r#"{"callId":"c"}"#), [pair("?", "c")]);
        let body = "{\"msgid\":\"1\"}\n{\"msgid\":\"2\"}\n";
        let expected = [pair("receipt", "1"), pair("receipt", "2")];
        assert_eq!(kinds(Dialect::Getui, None, body), expected);
    }

    #[test]
    fn what_is_not_as_the_dialect_has_it_is_named() {
        let problem = |dialect, body: &str| told(dialect, None, body.as_bytes()).unwrap_err();
        assert!(problem(Dialect::Tidings, "{").starts_with("the body is not JSON"));
        assert!(problem(Dialect::Getui, "{}\n{").starts_with("the body is not JSON"));
        assert_eq!(problem(Dialect::Wukongim, "[]"), "the query names no event");
    }
}
