//! What a key may be used for.
//!
//! # Invariants
//!
//! * Every route but the open ones asks for one scope; the master scope has all of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that a key may be used for.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// To send messages, to recall them, and to settle those of clients to the back end.
    Send,
    /// To read: status, history, groups, aliases, messages to the back end, figures.
    Read,
    /// To change: groups, aliases, who is kicked and blocked.
    Admin,
    /// All of it, and the keys themselves.
    Master,
}

impl Scope {
    /// As it stands in a request.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::Master => "master",
        }
    }

    /// Whether a key with these scopes may be used for it.
    pub(super) fn is_in(self, scopes: &[Self]) -> bool {
        scopes.iter().any(|scope| *scope == self || *scope == Self::Master)
    }
}
