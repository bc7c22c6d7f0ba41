//! What a message says, as Easemob's payloads have it.
//!
//! A body that is a JSON object of one of these types becomes it; its other fields become `ext`,
//! and those of an object `ext` too:
//!
//! | `type` | fields; those in brackets may be missing |
//! |---|---|
//! | `txt` | `msg` |
//! | `img` | *file*, \[`size` {`width`, `height`}\] |
//! | `audio` | *file*, \[`length`\] |
//! | `video` | *file*, \[`length`, `size`, `thumb`, `thumb_secret`\] |
//! | `file` | *file* |
//! | `loc` | `lat`, `lng`, \[`addr`\] |
//! | `cmd` | `action` |
//! | `custom` | `customEvent`, \[`customExts`\] |
//!
//! *file* is `url`, \[`secret`, `filename`, `file_length`\]. Any other text becomes `txt` with all
//! of it as `msg`, and other bytes `custom` with `customEvent` `base64` and their base64 as `body`
//! in `customExts`. A whole number that does not fit into 32 bits is left out.
//!
//! # Invariants
//!
//! * There is a payload for any bytes.

use std::str::from_utf8;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::base64::base64;

/// What a message says.
#[derive(Serialize)]
pub(super) struct Payload {
    pub(super) bodies: Vec<Value>,
    pub(super) ext: Map<String, Value>,
}

/// The payload of a message with this body. Values in `ext` are scalars unless they may be
/// `nested`.
pub(super) fn payload(body: &[u8], nested: bool) -> Payload {
    let Ok(text) = from_utf8(body) else {
        let exts = json!([{ "body": base64(body) }]);
        return plain(json!({"type": "custom", "customEvent": "base64", "customExts": exts}));
    };
    // A text that cannot be an object is not parsed.
    let fields = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten();
    let taken = fields.and_then(|fields| {
        let mut fields = Fields { rest: fields, taken: Map::new() };
        fields.take_content().then_some(fields)
    });
    match taken {
        None => plain(json!({"type": "txt", "msg": text})),
        Some(Fields { rest, taken }) => {
            Payload { bodies: vec![Value::Object(taken)], ext: ext(rest, nested) }
        }
    }
}

fn plain(body: Value) -> Payload {
    Payload { bodies: vec![body], ext: Map::new() }
}

/// The fields that no content has.
fn ext(mut fields: Map<String, Value>, nested: bool) -> Map<String, Value> {
    if matches!(fields.get("ext"), Some(Value::Object(_)))
        && let Some(Value::Object(inner)) = fields.remove("ext")
    {
        fields.extend(inner);
    }
    if !nested {
        for value in fields.values_mut().filter(|value| value.is_array() || value.is_object()) {
            *value = Value::String(value.to_string());
        }
    }
    fields
}

/// The fields of an object, and those of them that its content has.
struct Fields {
    rest: Map<String, Value>,
    taken: Map<String, Value>,
}

impl Fields {
    /// Takes what a type that is known has; `false` if there is none, or a field is missing.
    fn take_content(&mut self) -> bool {
        let Some(kind) = self.rest.get("type").and_then(Value::as_str).map(str::to_owned) else {
            return false;
        };
        let is_content = match kind.as_str() {
            "txt" => self.text("msg"),
            "img" => self.file() && self.size(),
            "audio" => self.file() && self.int("length"),
            "video" => {
                self.text("thumb");
                self.text("thumb_secret");
                self.file() && self.int("length") && self.size()
            }
            "file" => self.file(),
            "loc" => {
                self.text("addr");
                self.take("lat", Value::is_number) && self.take("lng", Value::is_number)
            }
            "cmd" => self.text("action"),
            "custom" => {
                self.take("customExts", |exts| exts.is_array() || exts.is_object());
                self.text("customEvent")
            }
            _ => false,
        };
        is_content && self.text("type")
    }

    /// Takes a field if it is what it should be; says whether it was.
    fn take(&mut self, name: &str, is_good: impl Fn(&Value) -> bool) -> bool {
        let is_there = self.rest.get(name).is_some_and(is_good);
        if is_there && let Some((name, value)) = self.rest.remove_entry(name) {
            self.taken.insert(name, value);
        }
        is_there
    }

    fn text(&mut self, name: &str) -> bool {
        self.take(name, Value::is_string)
    }

    /// Takes a whole number that may be missing, and leaves out one that is too large.
    fn int(&mut self, name: &str) -> bool {
        if !self.take(name, is_int) && self.rest.get(name).is_some_and(Value::is_number) {
            self.rest.remove(name);
        }
        true
    }

    fn file(&mut self) -> bool {
        self.text("secret");
        self.text("filename");
        self.int("file_length");
        self.text("url")
    }

    /// Takes a size that may be missing, and leaves out one that is too large.
    fn size(&mut self) -> bool {
        let is_size = |size: &Value| {
            let side = |name| size.get(name).is_some_and(is_int);
            side("width") && side("height")
        };
        if self.take("size", is_size) {
            if let Some(Value::Object(size)) = self.taken.get_mut("size") {
                size.retain(|name, _| name == "width" || name == "height");
            }
        } else if self.rest.get("size").is_some_and(Value::is_object) {
            self.rest.remove("size");
        }
        true
    }
}

/// A whole number, not negative, that 32 bits with a sign hold.
fn is_int(value: &Value) -> bool {
    value.as_u64().is_some_and(|number| i32::try_from(number).is_ok())
}
