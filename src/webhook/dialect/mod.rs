//! Dialects: what events look like to the receivers that there are.
//!
//! | dialect | a request | speaks |
//! |---|---|---|
//! | `tidings` | one JSON object with a list of events | everything |
//! | `wukongim` | a JSON array, or one object; the event's name is in the query | messages, offline messages, presence |
//! | `easemob` | one JSON object | messages, offline messages, reads, recalls, groups, presence |
//! | `getui` | JSON objects, one a line | deliveries, messages to the back end |
//!
//! # Invariants
//!
//! * The same event makes the same fragments, byte for byte; so do the same fragments a body.
//! * The lanes of a dialect's streams do not meet: what may not share a request never shares a
//!   lane.
//! * A fragment's place is that of its event, or lies between it and the next event's.

mod content;
mod easemob;
mod getui;
mod presend;
mod tidings;
mod words;
mod wukongim;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::id::MessageId;
use crate::limits::ENDPOINT_LANES;
use crate::store::Position;
use crate::webhook::event::{Event, Kind};

pub use presend::{BadAnswer, question, verdict};

/// A way to tell events.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Dialect {
    /// Ours: Standard Webhooks with JSON.
    #[default]
    Tidings,
    /// What receivers of WuKongIM's webhooks parse.
    Wukongim,
    /// What receivers of Easemob's callbacks parse.
    Easemob,
    /// What receivers of Getui's receipts parse.
    Getui,
}

impl Dialect {
    /// Every dialect there is.
    pub const ALL: [Self; 4] = [Self::Tidings, Self::Wukongim, Self::Easemob, Self::Getui];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tidings => "tidings",
            Self::Wukongim => "wukongim",
            Self::Easemob => "easemob",
            Self::Getui => "getui",
        }
    }

    /// The version of its bodies: another for the same events is another request. It rises with
    /// every change by which what was read from the log before makes other bytes.
    pub(super) fn version(self) -> u32 {
        match self {
            Self::Tidings | Self::Wukongim | Self::Easemob | Self::Getui => 1,
        }
    }

    /// Whether it has words to ask about a message before it is stored.
    pub fn asks(self) -> bool {
        !matches!(self, Self::Getui)
    }

    /// Whether it has words for events of this kind.
    pub fn speaks(self, kind: Kind) -> bool {
        match self {
            Self::Tidings => true,
            Self::Wukongim => wukongim::KINDS.contains(&kind),
            Self::Easemob => easemob::KINDS.contains(&kind),
            Self::Getui => getui::KINDS.contains(&kind),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is the name of no dialect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no dialect; they are tidings, wukongim, easemob and getui")]
pub struct NoDialect;

impl FromStr for Dialect {
    type Err = NoDialect;

    fn from_str(name: &str) -> Result<Self, NoDialect> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or(NoDialect)
    }
}

/// How an endpoint wants to be told.
#[derive(Clone, Default)]
pub struct Style {
    /// In which dialect.
    pub dialect: Dialect,
    /// The id of the app.
    pub app_id: String,
    /// What a push service is to show for a message that says nothing of its own; may be empty.
    pub push_text: String,
    /// What the dialect's own proofs are made with: the oldest secret. Empty if there is none.
    pub secret: Vec<u8>,
    /// `wukongim`: the recipients are compressed if a message has more of them; never if it is
    /// `None` or 0.
    pub gzip_over: Option<usize>,
    /// `wukongim`: offline messages go out as an array, as the page of its webhooks shows them.
    pub offline_array: bool,
    /// `easemob`: values in `ext` may be arrays and objects; otherwise these are their JSON text.
    pub nested_ext: bool,
}

impl fmt::Debug for Style {
    /// Shows all but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialect, app_id, push_text, secret: _, gzip_over, offline_array, nested_ext } =
            self;
        let mut shown = f.debug_struct("Style");
        shown.field("dialect", dialect).field("app_id", app_id).field("push_text", push_text);
        shown.field("gzip_over", gzip_over).field("offline_array", offline_array);
        shown.field("nested_ext", nested_ext).finish_non_exhaustive()
    }
}

/// An event, or a part of one, as it goes out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// Its place: no two of an endpoint have the same.
    pub position: Position,
    /// The id of the event, the same for each try.
    pub event: String,
    /// What kind of event it is.
    pub kind: Kind,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// What goes out in order.
    pub lane: u8,
    /// What may share a request.
    pub stream: u8,
    /// It shares a request with none.
    pub alone: bool,
    /// What it says.
    pub bytes: Bytes,
    /// The message to the back end that it carries: a 2xx accepts it.
    pub upstream: Option<MessageId>,
}

/// What goes out in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// What is put to the query of the endpoint's URL; may be empty.
    pub query: String,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Style {
    /// The event in the endpoint's dialect: nothing if that has no words for it.
    pub fn fragments(&self, event: &Event) -> Vec<Fragment> {
        if !self.dialect.speaks(event.kind) {
            return Vec::new();
        }
        match self.dialect {
            Dialect::Tidings => tidings::fragments(self, event),
            Dialect::Wukongim => wukongim::fragments(self, event),
            Dialect::Easemob => easemob::fragments(self, event),
            Dialect::Getui => getui::fragments(self, event),
        }
    }

    /// The body of a request with these fragments, in this order. They are one that goes alone,
    /// or all of one stream.
    pub fn body(&self, fragments: &[Fragment]) -> Outgoing {
        match self.dialect {
            Dialect::Tidings => tidings::body(fragments),
            Dialect::Wukongim => wukongim::body(self, fragments),
            Dialect::Easemob => easemob::body(fragments),
            Dialect::Getui => getui::body(fragments),
        }
    }

    /// A request that tells nothing, by which somebody sees whether the endpoint answers. The time
    /// is in milliseconds since 1970.
    pub fn ping(&self, at_ms: i64) -> Outgoing {
        match self.dialect {
            Dialect::Tidings => tidings::ping(at_ms),
            Dialect::Wukongim => wukongim::ping(),
            Dialect::Easemob => easemob::ping(self, at_ms),
            Dialect::Getui => getui::ping(),
        }
    }
}

/// What may share a request, and the lanes that it has among those of an endpoint.
struct Stream {
    number: u8,
    first: u8,
    count: u8,
}

impl Stream {
    /// The only stream of a dialect: it has all lanes.
    const ONLY: Self = Self { number: 0, first: 0, count: ENDPOINT_LANES as u8 };

    /// The fragment of an event that is `offset` parts behind its place.
    fn fragment(&self, event: &Event, offset: u32, id: String, bytes: Bytes) -> Fragment {
        let Position { entry, part } = event.position;
        Fragment {
            position: Position { entry, part: part + offset },
            event: id,
            kind: event.kind,
            at_ms: event.at_ms,
            lane: self.first + (event.key_hash() % u32::from(self.count)) as u8,
            stream: self.number,
            alone: false,
            bytes,
            upstream: None,
        }
    }
}

/// A body with the fragments between `open` and `close`, and commas between them.
fn list(open: &str, fragments: &[Fragment], close: &str) -> Bytes {
    let inside: usize = fragments.iter().map(|fragment| fragment.bytes.len() + 1).sum();
    let mut body = Vec::with_capacity(open.len() + inside + close.len());
    body.extend_from_slice(open.as_bytes());
    for (index, fragment) in fragments.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&fragment.bytes);
    }
    body.extend_from_slice(close.as_bytes());
    body.into()
}

const JSON: &str = "application/json";
