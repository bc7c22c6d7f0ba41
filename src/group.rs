//! What can be said about a group on the wire and on disk alike.
//!
//! # Invariants
//!
//! * Numbers are for ever: they stand in frames and in records.

/// Who may do something in a group. The app's back end may do everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum Who {
    /// The app's back end alone.
    Server = 0,
    /// The one who created the group, while a member.
    #[default]
    Creator = 1,
    /// Every member.
    Members = 2,
}

impl Who {
    /// The one with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Server, Self::Creator, Self::Members].into_iter().find(|who| *who as u8 == number)
    }
}

/// Who may do what in a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Who may invite.
    pub invite: Who,
    /// Who may kick.
    pub kick: Who,
    /// Who may change the metadata and these rules.
    pub edit: Who,
}

impl Default for Rules {
    /// Every member may invite; the creator kicks and edits.
    fn default() -> Self {
        Self { invite: Who::Members, kick: Who::Creator, edit: Who::Creator }
    }
}

/// What has happened in a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum GroupChange {
    /// Peers joined by themselves.
    Joined = 1,
    /// Peers left by themselves.
    Left = 2,
    /// Peers were made members.
    Invited = 3,
    /// Peers were removed.
    Kicked = 4,
    /// The metadata or the rules are others.
    Edited = 5,
    /// The group is no more.
    Deleted = 6,
}

impl GroupChange {
    /// The one with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        use GroupChange::{Deleted, Edited, Invited, Joined, Kicked, Left};
        [Joined, Left, Invited, Kicked, Edited, Deleted]
            .into_iter()
            .find(|change| *change as u8 == number)
    }
}
