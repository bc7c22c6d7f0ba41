//! The frames about groups.
//!
//! # Invariants
//!
//! * A group's version is the id of its last change; a member that sees versions rise has missed
//!   nothing but what an event in between told.

use bytes::{BufMut, Bytes, BytesMut};

use crate::group::{GroupChange, Rules, Who};
use crate::id::{GroupId, MessageId, PeerId};
use crate::limits::{INVITED_MAX, MEMBERS_PAGE_MAX};
use crate::reason::Reason;
use crate::wire::DecodeError;
use crate::wire::coding::{Reader, Write};
use crate::wire::field::{self, small_frames};
use crate::wire::opening::Signature;

const FLAG_RULES: u8 = 1;
const FLAG_METADATA: u8 = 2;

/// Joins a group, or creates one and joins it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Join {
    /// The request number.
    pub request: u64,
    /// The group; all zeroes to create one.
    pub group: GroupId,
    /// The new group is open: no stored members, and only transient messages.
    pub open: bool,
    /// Who may do what in the new group.
    pub rules: Rules,
    /// The new group's metadata: JSON, or empty.
    pub metadata: Bytes,
    /// Proof that the app allows it.
    pub signature: Option<Signature>,
}

impl Join {
    /// The group id that asks for a new group.
    pub const NEW: GroupId = GroupId([0; 12]);
}

/// The peer is a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Joined {
    /// The request it answers.
    pub request: u64,
    /// The group.
    pub group: GroupId,
    /// It is an open group.
    pub open: bool,
    /// Its version.
    pub version: MessageId,
    /// Its members; in an open group the sessions that are in it now.
    pub count: u64,
    /// Who may do what in it.
    pub rules: Rules,
    /// Its metadata.
    pub metadata: Bytes,
}

/// Leaves a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leave {
    /// The request number.
    pub request: u64,
    /// The group.
    pub group: GroupId,
}

/// The peer has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Left {
    /// The request it answers.
    pub request: u64,
}

/// Makes peers members of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invite {
    /// The request number.
    pub request: u64,
    /// The group.
    pub group: GroupId,
    /// Whom to invite.
    pub peers: Vec<PeerId>,
    /// Proof that the app allows it.
    pub signature: Option<Signature>,
}

/// The peers are members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Invited {
    /// The request it answers.
    pub request: u64,
    /// The group's version.
    pub version: MessageId,
}

/// Removes peers from a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kick {
    /// The request number.
    pub request: u64,
    /// The group.
    pub group: GroupId,
    /// Whom to remove.
    pub peers: Vec<PeerId>,
    /// Proof that the app allows it.
    pub signature: Option<Signature>,
}

/// The peers are no members any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kicked {
    /// The request it answers.
    pub request: u64,
    /// The group's version.
    pub version: MessageId,
}

/// Asks what a group is and who is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Members {
    /// The request number.
    pub request: u64,
    /// The group.
    pub group: GroupId,
    /// Only members behind this one, by the order of their ids; nobody for all.
    pub after: Option<PeerId>,
    /// How many at the most.
    pub max: u64,
}

/// A group, and a page of its members.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberPage {
    /// The request it answers.
    pub request: u64,
    /// It is an open group.
    pub open: bool,
    /// Its version.
    pub version: MessageId,
    /// Who created it; nobody for the app's back end.
    pub creator: Option<PeerId>,
    /// How many members it has; in an open group the sessions that are in it now.
    pub count: u64,
    /// Who may do what in it.
    pub rules: Rules,
    /// Its metadata.
    pub metadata: Bytes,
    /// The members of this page, by the order of their ids.
    pub members: Vec<PeerId>,
    /// There are more behind the last of these.
    pub more: bool,
}

/// Changes what a group is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// The request number.
    pub request: u64,
    /// The group.
    pub group: GroupId,
    /// Who may do what from now on, if that is to change.
    pub rules: Option<Rules>,
    /// The metadata from now on, if that is to change.
    pub metadata: Option<Bytes>,
}

/// The group is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edited {
    /// The request it answers.
    pub request: u64,
    /// The group's version.
    pub version: MessageId,
}

/// Something has happened in a group of the peer, or to the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupEvent {
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// Its id, acknowledged like a message; the group's version from then on.
    pub id: MessageId,
    /// The group.
    pub group: GroupId,
    /// What has happened.
    pub change: GroupChange,
    /// Who did it; nobody for the app's back end.
    pub by: Option<PeerId>,
    /// To whom; empty for `Edited`.
    pub peers: Vec<PeerId>,
    /// When.
    pub at_ms: u64,
}

impl Edit {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_varint(self.request);
        out.put_slice(&self.group.0);
        let rules = if self.rules.is_some() { FLAG_RULES } else { 0 };
        out.put_u8(rules | if self.metadata.is_some() { FLAG_METADATA } else { 0 });
        if let Some(rules) = &self.rules {
            put_rules(out, rules);
        }
        if let Some(metadata) = &self.metadata {
            out.put_run(metadata);
        }
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        let (request, group) = (fields.varint()?, field::group(&mut fields)?);
        let flags = fields.u8()?;
        let has_rules = flags & FLAG_RULES != 0;
        let rules = has_rules.then(|| rules(&mut fields)).transpose()?;
        let has_metadata = flags & FLAG_METADATA != 0;
        let metadata = has_metadata.then(|| field::metadata(&mut fields)).transpose()?;
        Ok(Self { request, group, rules, metadata })
    }
}

pub(super) fn put_rules(out: &mut BytesMut, value: &Rules) {
    out.put_slice(&[value.invite as u8, value.kick as u8, value.edit as u8]);
}

pub(super) fn rules(fields: &mut Reader) -> Result<Rules, DecodeError> {
    let mut who = || {
        let bad = DecodeError::new(Reason::BadFrame, "unknown kind of permission");
        Who::from_number(fields.u8()?).ok_or(bad)
    };
    Ok(Rules { invite: who()?, kick: who()?, edit: who()? })
}

pub(super) fn invited(fields: &mut Reader) -> Result<Vec<PeerId>, DecodeError> {
    fields.peers(INVITED_MAX, Reason::TooManyRecipients)
}

/// Those of the invited or kicked that a server names.
pub(super) fn of_invited(fields: &mut Reader) -> Result<Vec<PeerId>, DecodeError> {
    fields.peers(INVITED_MAX, Reason::BadFrame)
}

pub(super) fn members(fields: &mut Reader) -> Result<Vec<PeerId>, DecodeError> {
    fields.peers(MEMBERS_PAGE_MAX, Reason::BadFrame)
}

pub(super) fn put_change(out: &mut BytesMut, value: &GroupChange) {
    out.put_u8(*value as u8);
}

pub(super) fn change(fields: &mut Reader) -> Result<GroupChange, DecodeError> {
    let bad = DecodeError::new(Reason::BadFrame, "unknown kind of group event");
    GroupChange::from_number(fields.u8()?).ok_or(bad)
}

small_frames! {
    Join {
        request: put_varint/varint, group: put_group/group, open: put_flag/flag,
        rules: put_rules/rules, metadata: put_metadata/metadata,
        signature: put_signature/signature
    }
    Joined {
        request: put_varint/varint, group: put_group/group, open: put_flag/flag,
        version: put_id/id, count: put_varint/varint, rules: put_rules/rules,
        metadata: put_metadata/metadata
    }
    Leave { request: put_varint/varint, group: put_group/group }
    Left { request: put_varint/varint }
    Invite {
        request: put_varint/varint, group: put_group/group, peers: put_peers/invited,
        signature: put_signature/signature
    }
    Invited { request: put_varint/varint, version: put_id/id }
    Kick {
        request: put_varint/varint, group: put_group/group, peers: put_peers/invited,
        signature: put_signature/signature
    }
    Kicked { request: put_varint/varint, version: put_id/id }
    Members {
        request: put_varint/varint, group: put_group/group, after: put_maybe_peer/maybe_peer,
        max: put_varint/varint
    }
    MemberPage {
        request: put_varint/varint, open: put_flag/flag, version: put_id/id,
        creator: put_maybe_peer/maybe_peer, count: put_varint/varint, rules: put_rules/rules,
        metadata: put_metadata/metadata, members: put_peers/members, more: put_flag/flag
    }
    Edited { request: put_varint/varint, version: put_id/id }
    GroupEvent {
        waited: put_waited/waited, id: put_id/id, group: put_group/group,
        change: put_change/change, by: put_maybe_peer/maybe_peer, peers: put_peers/of_invited,
        at_ms: put_u64/u64
    }
}
