//! Bodies: contents as JSON objects, written and read.
//!
//! # Invariants
//!
//! * What is parsed and encoded again is what it was, with all the fields that nobody here knows.
//! * A type that is not known, or lacks a field, is no error: the app gets all of its fields.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::client::content::{Attachment, Content, Size};
use crate::limits::{BODY_BYTES_MAX, CUSTOM_EVENT_BYTES_MAX, CUSTOM_EXTS_MAX};

/// A message body that is a JSON object.
///
/// ```
/// use tidings::client::{Body, Content};
///
/// # fn main() -> Result<(), tidings::client::ContentError> {
/// let bytes = Body::from(Content::text("lunch?")).encode()?;
/// assert_eq!(&bytes[..], br#"{"msg":"lunch?","type":"txt"}"#);
/// assert_eq!(Body::parse(&bytes)?.content, Content::text("lunch?"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// What it says.
    pub content: Content,
    /// Other fields of the object: the app's own, and those of newer versions. A field of the
    /// content takes the place of one of the same name here.
    pub ext: Map<String, Value>,
}

/// Why there is no body, or no content in one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The body is no JSON object.
    #[error("the body is no JSON object")]
    NotAnObject,
    /// The body would be longer than a message may be.
    #[error("a body of {bytes} bytes exceeds {bytes_max}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// Bytes it may have.
        bytes_max: usize,
    },
    /// The degrees of a place are no numbers.
    #[error("a place needs finite degrees")]
    NoPlace,
    /// The kind of a custom content breaks its rule.
    #[error("not 1 to 32 of the characters a-z A-Z 0-9 - _ / .")]
    BadEvent,
    /// A custom content has more than 16 names.
    #[error("{count} names exceed {count_max}")]
    TooManyExts {
        /// How many were given.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
}

impl Body {
    /// The body as it is sent.
    ///
    /// # Errors
    ///
    /// [`ContentError::TooLong`] above 5 KB, and what is wrong with the content.
    pub fn encode(self) -> Result<Bytes, ContentError> {
        self.content.check()?;
        let mut fields = self.ext;
        self.content.put(&mut fields);
        let body = Value::Object(fields).to_string();
        let (bytes, bytes_max) = (body.len(), BODY_BYTES_MAX);
        if bytes > bytes_max {
            return Err(ContentError::TooLong { bytes, bytes_max });
        }
        Ok(body.into())
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`ContentError::NotAnObject`] and [`ContentError::TooLong`]. An object of a type that is
    /// not known is none: see [`Content::Unknown`].
    pub fn parse(body: &[u8]) -> Result<Self, ContentError> {
        let (bytes, bytes_max) = (body.len(), BODY_BYTES_MAX);
        if bytes > bytes_max {
            return Err(ContentError::TooLong { bytes, bytes_max });
        }
        let all = serde_json::from_slice(body).map_err(|_| ContentError::NotAnObject)?;
        let mut fields = Fields(all);
        let whole = fields.0.clone();
        Ok(match Content::take(&mut fields) {
            Some(content) => Self { content, ext: fields.0 },
            None => Self { content: Content::Unknown, ext: whole },
        })
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        Self { content, ext: Map::new() }
    }
}

impl Content {
    fn check(&self) -> Result<(), ContentError> {
        match self {
            Self::Location { lat, lng, .. } if !lat.is_finite() || !lng.is_finite() => {
                Err(ContentError::NoPlace)
            }
            Self::Custom { event, exts } => {
                let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_/.".contains(&c);
                let fits = (1..=CUSTOM_EVENT_BYTES_MAX).contains(&event.len());
                let (count, count_max) = (exts.len(), CUSTOM_EXTS_MAX);
                match fits && event.bytes().all(allowed) {
                    false => Err(ContentError::BadEvent),
                    true if count > count_max => {
                        Err(ContentError::TooManyExts { count, count_max })
                    }
                    true => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Puts the fields into an object.
    fn put(self, fields: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Option<Value>| match value {
            Some(value) => drop(fields.insert(name.to_owned(), value)),
            None => drop(fields.remove(name)),
        };
        match self {
            Self::Text { msg } => {
                put("type", Some("txt".into()));
                put("msg", Some(msg.into()));
            }
            Self::Image { file, size } => {
                put("type", Some("img".into()));
                put("size", size.map(Size::into_value));
                file.put(put);
            }
            Self::Audio { file, length } => {
                put("type", Some("audio".into()));
                put("length", length.map(Value::from));
                file.put(put);
            }
            Self::Video { file, length, size, thumb, thumb_secret } => {
                put("type", Some("video".into()));
                put("length", length.map(Value::from));
                put("size", size.map(Size::into_value));
                put("thumb", thumb.map(Value::from));
                put("thumb_secret", thumb_secret.map(Value::from));
                file.put(put);
            }
            Self::File { file } => {
                put("type", Some("file".into()));
                file.put(put);
            }
            Self::Location { lat, lng, addr } => {
                put("type", Some("loc".into()));
                put("lat", Some(lat.into()));
                put("lng", Some(lng.into()));
                put("addr", addr.map(Value::from));
            }
            Self::Command { action } => {
                put("type", Some("cmd".into()));
                put("action", Some(action.into()));
            }
            Self::Custom { event, exts } => {
                put("type", Some("custom".into()));
                put("customEvent", Some(event.into()));
                let one = |(name, value)| Value::Object(Map::from_iter([(name, value)]));
                let list = (!exts.is_empty()).then(|| exts.into_iter().map(one).collect());
                put("customExts", list.map(Value::Array));
            }
            Self::Unknown => {}
        }
    }

    /// Takes the fields of the type out of an object; `None`, and nothing taken that matters, if
    /// one is missing.
    fn take(fields: &mut Fields) -> Option<Self> {
        let kind = fields.text("type")?;
        Some(match kind.as_str() {
            "txt" => Self::Text { msg: fields.text("msg")? },
            "img" => Self::Image { file: fields.file()?, size: fields.size() },
            "audio" => Self::Audio { file: fields.file()?, length: fields.u32("length") },
            "video" => Self::Video {
                file: fields.file()?,
                length: fields.u32("length"),
                size: fields.size(),
                thumb: fields.text("thumb"),
                thumb_secret: fields.text("thumb_secret"),
            },
            "file" => Self::File { file: fields.file()? },
            "loc" => Self::Location {
                lat: fields.degrees("lat")?,
                lng: fields.degrees("lng")?,
                addr: fields.text("addr"),
            },
            "cmd" => Self::Command { action: fields.text("action")? },
            "custom" => Self::Custom { event: fields.text("customEvent")?, exts: fields.exts() },
            _ => return None,
        })
    }
}

impl Attachment {
    fn put(self, mut put: impl FnMut(&str, Option<Value>)) {
        put("url", Some(self.url.into()));
        put("secret", self.secret.map(Value::from));
        put("filename", self.filename.map(Value::from));
        put("file_length", self.file_length.map(Value::from));
    }
}

impl Size {
    fn into_value(self) -> Value {
        serde_json::json!({ "width": self.width, "height": self.height })
    }
}

/// The fields of an object, taken one by one. One of another type than expected stays.
struct Fields(Map<String, Value>);

impl Fields {
    fn take<T>(&mut self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = read(self.0.get(name)?)?;
        self.0.remove(name);
        Some(value)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| value.as_str().map(str::to_owned))
    }

    fn u32(&mut self, name: &str) -> Option<u32> {
        self.take(name, |value| u32::try_from(value.as_u64()?).ok())
    }

    fn degrees(&mut self, name: &str) -> Option<f64> {
        self.take(name, Value::as_f64)
    }

    fn size(&mut self) -> Option<Size> {
        self.take("size", |value| {
            let side = |name| u32::try_from(value.get(name)?.as_u64()?).ok();
            Some(Size { width: side("width")?, height: side("height")? })
        })
    }

    fn file(&mut self) -> Option<Attachment> {
        Some(Attachment {
            url: self.text("url")?,
            secret: self.text("secret"),
            filename: self.text("filename"),
            file_length: self.take("file_length", Value::as_u64),
        })
    }

    /// A list of objects, or one object.
    fn exts(&mut self) -> Map<String, Value> {
        let read = |value: &Value| match value {
            Value::Object(exts) => Some(exts.clone()),
            Value::Array(list) => {
                let objects: Option<Vec<_>> = list.iter().map(Value::as_object).collect();
                Some(objects?.into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect())
            }
            _ => None,
        };
        self.take("customExts", read).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
