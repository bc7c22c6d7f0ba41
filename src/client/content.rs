//! What message bodies may look like: JSON objects for text, media, places and commands.
//!
//! # Invariants
//!
//! * What a content says is valid JSON of these shapes; `body.rs` writes and reads it.

use serde_json::{Map, Value};

/// What a body says.
///
/// The server does not look into bodies, and it stores no files: media go by URL. These shapes
/// are for apps that want to understand each other; their field names are those of Easemob's
/// message bodies. A body is one JSON object:
///
/// | `type` | fields; those in brackets may be missing |
/// |---|---|
/// | `txt` | `msg` |
/// | `img` | *file*, \[`size` {`width`, `height`} in pixels\] |
/// | `audio` | *file*, \[`length` in seconds\] |
/// | `video` | *file*, \[`length`, `size`, `thumb` (the URL of a still), `thumb_secret`\] |
/// | `file` | *file* |
/// | `loc` | `lat`, `lng` in degrees, \[`addr`\] |
/// | `cmd` | `action`: for the app, not to be shown |
/// | `custom` | `customEvent`, \[`customExts`: a list of objects\] |
///
/// *file* is `url`, \[`secret`, `filename`, `file_length` in bytes\].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        msg: String,
    },
    /// A picture.
    Image {
        /// Where it is.
        file: Attachment,
        /// How large it is.
        size: Option<Size>,
    },
    /// A sound, such as a spoken message.
    Audio {
        /// Where it is.
        file: Attachment,
        /// How long it takes, in seconds.
        length: Option<u32>,
    },
    /// A video.
    Video {
        /// Where it is.
        file: Attachment,
        /// How long it takes, in seconds.
        length: Option<u32>,
        /// How large the picture is.
        size: Option<Size>,
        /// The URL of a still.
        thumb: Option<String>,
        /// What the still's store wants to see.
        thumb_secret: Option<String>,
    },
    /// Any other file.
    File {
        /// Where it is.
        file: Attachment,
    },
    /// A place.
    Location {
        /// Degrees north.
        lat: f64,
        /// Degrees east.
        lng: f64,
        /// The place's address or name.
        addr: Option<String>,
    },
    /// Something for the app, not to be shown.
    Command {
        /// What to do.
        action: String,
    },
    /// Something of the app's own.
    Custom {
        /// Its kind: 1 to 32 of the characters `a-z A-Z 0-9 - _ / .`.
        event: String,
        /// Names and values, 16 at the most.
        exts: Map<String, Value>,
    },
    /// A type that this version does not know, or one that lacks a field. All of its fields,
    /// `type` among them, are in [`Body::ext`](super::Body::ext).
    Unknown,
}

/// A file, by URL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attachment {
    /// Where the file is.
    pub url: String,
    /// What the file's store wants to see.
    pub secret: Option<String>,
    /// The file's name.
    pub filename: Option<String>,
    /// The file's length in bytes.
    pub file_length: Option<u64>,
}

/// The size of a picture, in pixels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

impl Content {
    /// A text.
    pub fn text(msg: impl Into<String>) -> Self {
        Self::Text { msg: msg.into() }
    }

    /// A command for the app.
    pub fn command(action: impl Into<String>) -> Self {
        Self::Command { action: action.into() }
    }
}

impl Attachment {
    /// A file of which only the place is known.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}
