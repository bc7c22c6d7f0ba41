//! The frames about who is online.
//!
//! # Invariants
//!
//! * A list never exceeds what one session may watch.

use crate::id::PeerId;
use crate::wire::field::small_frames;
use crate::wire::opening::Signature;

/// Watches peers beside those already watched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watch {
    /// The request number.
    pub request: u64,
    /// Whom to watch.
    pub peers: Vec<PeerId>,
    /// Proof that the app allows it.
    pub signature: Option<Signature>,
}

/// The peers are watched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watched {
    /// The request it answers.
    pub request: u64,
    /// Which of them are online.
    pub online: Vec<PeerId>,
}

/// Watches peers no longer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unwatch {
    /// The request number.
    pub request: u64,
    /// Whom to watch no longer.
    pub peers: Vec<PeerId>,
}

/// The peers are not watched any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unwatched {
    /// The request it answers.
    pub request: u64,
}

/// Asks who is online, without watching.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The request number.
    pub request: u64,
    /// Who is asked about.
    pub peers: Vec<PeerId>,
}

/// Who is online.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statuses {
    /// The request it answers.
    pub request: u64,
    /// Those asked about who are.
    pub online: Vec<PeerId>,
}

/// Watched peers have gone on or off line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presence {
    /// Who is online now.
    pub online: Vec<PeerId>,
    /// Who is offline now.
    pub offline: Vec<PeerId>,
}

small_frames! {
    Watch {
        request: put_varint/varint, peers: put_peers/watched, signature: put_signature/signature
    }
    Watched { request: put_varint/varint, online: put_peers/of_watched }
    Unwatch { request: put_varint/varint, peers: put_peers/watched }
    Unwatched { request: put_varint/varint }
    Status { request: put_varint/varint, peers: put_peers/watched }
    Statuses { request: put_varint/varint, online: put_peers/of_watched }
    Presence { online: put_peers/of_watched, offline: put_peers/of_watched }
}
