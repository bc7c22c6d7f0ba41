//! Requests about groups, and how a session stays in its open group.
//!
//! # Invariants
//!
//! * A session is in one open group at the most. When it resumes, it asks for that group again
//!   with a fresh signature.
//! * Only joining, creating, inviting and kicking are signed.

use bytes::Bytes;

use crate::client::history::varint;
use crate::client::presence::check_count;
use crate::client::requests::Effect;
use crate::client::signer::Signing;
use crate::client::{RequestError, Session, SignAction, SignError, TooLong};
use crate::group::Rules;
use crate::id::{GroupId, MessageId, PeerId};
use crate::limits::{GROUP_METADATA_BYTES_MAX, INVITED_MAX};
use crate::wire::{self, Join, ServerFrame, Signature};

/// A group that is to be created.
///
/// ```
/// use tidings::client::NewGroup;
///
/// let group = NewGroup { metadata: r#"{"name":"Lunch"}"#.into(), ..NewGroup::default() };
/// assert!(!group.open);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NewGroup {
    /// An open group: no stored members, and only transient messages.
    pub open: bool,
    /// Who may do what in it: every member invites, the creator kicks and edits, if not given.
    pub rules: Rules,
    /// What the app wants to say about it: JSON of 8 KiB at the most, or empty.
    pub metadata: Bytes,
}

/// What is to change about a group; `None` leaves things as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GroupEdit {
    /// Who may do what from now on.
    pub rules: Option<Rules>,
    /// The metadata from now on: JSON of 8 KiB at the most, or empty.
    pub metadata: Option<Bytes>,
}

/// A group that the peer has joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its id: give it to others, so that they may join; send to it.
    pub id: GroupId,
    /// It is an open group.
    pub open: bool,
    /// Its version, the id of its last change.
    pub version: MessageId,
    /// How many members it has; in an open group, how many sessions are in it now.
    pub count: u64,
    /// Who may do what in it.
    pub rules: Rules,
    /// What the app says about it.
    pub metadata: Bytes,
}

/// A group, and a page of its members.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberPage {
    /// The group.
    pub group: Group,
    /// Who created it; nobody for the app's back end.
    pub creator: Option<PeerId>,
    /// The members of this page, by the order of their ids.
    pub members: Vec<PeerId>,
    /// There are more behind the last of these.
    pub more: bool,
}

/// What a session needs to get back into its open group.
#[derive(Debug)]
pub(super) struct Rejoin {
    pub(super) group: GroupId,
    pub(super) signature: Result<Option<Signature>, SignError>,
}

impl Rejoin {
    /// Signs for the open group that the session was in.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a signature is lost, which harms nobody.
    pub(super) async fn sign(signing: &Signing, peer: PeerId, group: GroupId) -> Self {
        let action = SignAction::Join { group: Some(group) };
        let signed = signing.sign(peer, action, Vec::new()).await;
        Self { group, signature: signed.map(|(_, signature)| signature) }
    }

    /// A Join of a group that exists, but for its group.
    pub(super) fn join() -> Join {
        Join {
            request: 0,
            group: Join::NEW,
            open: false,
            rules: Rules::default(),
            metadata: Bytes::new(),
            signature: None,
        }
    }
}

impl Session {
    /// Creates a group and joins it.
    ///
    /// Creating an open group leaves the one that the session is in.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooLong`] for metadata above 8 KiB; [`RequestError::Unsigned`] if the
    /// signer fails; otherwise [`RequestError`] says why there is no answer. After
    /// [`RequestError::TimedOut`] and [`RequestError::Paused`] the group may have been created:
    /// [`Self::conversations`] lists it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the group may be created or not.
    pub async fn create_group(&self, group: NewGroup) -> Result<Group, RequestError> {
        check_metadata(&group.metadata)?;
        let NewGroup { open, rules, metadata } = group;
        self.ask_to_join(Join { open, rules, metadata, ..Rejoin::join() }).await
    }

    /// Joins a group by its id. Joining one that the peer is in changes nothing.
    ///
    /// A session that joins an open group leaves the one it was in, and is in the new one until it
    /// leaves or ends: when the session resumes, the library joins again by itself, and tells
    /// [`Event::Left`](super::Event::Left) if that is refused.
    ///
    /// # Errors
    ///
    /// [`RequestError::Unsigned`] if the signer fails; otherwise [`RequestError`] says why there
    /// is no answer.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peer may have joined or not.
    pub async fn join(&self, group: GroupId) -> Result<Group, RequestError> {
        self.ask_to_join(Join { group, ..Rejoin::join() }).await
    }

    async fn ask_to_join(&self, join: Join) -> Result<Group, RequestError> {
        let group = (join.group != Join::NEW).then_some(join.group);
        let (_, signature) = self.sign(SignAction::Join { group }, Vec::new()).await?;
        let frame = |request| Join { request, signature, ..join }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::Joined(answer) => Ok(Group {
                id: answer.group,
                open: answer.open,
                version: answer.version,
                count: answer.count,
                rules: answer.rules,
                metadata: answer.metadata,
            }),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Leaves a group.
    ///
    /// The session is out of an open group at once, whatever the server says; while there is no
    /// connection, that is all.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer. Leaving again does no harm.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peer may have left or not. Once polled, the session does not
    /// go back into an open group.
    pub async fn leave(&self, group: GroupId) -> Result<(), RequestError> {
        let was_in_open = self.shared().lock().open_group.take_if(|open| *open == group).is_some();
        let frame = |request| wire::Leave { request, group }.into();
        match self.shared().ask(Effect::Leave(group), frame).await {
            Ok(ServerFrame::Left(_)) => Ok(()),
            // The session that was in it is gone.
            Err(RequestError::Paused) if was_in_open => Ok(()),
            Ok(_) => Err(RequestError::Unexpected),
            Err(error) => Err(error),
        }
    }

    /// Makes peers members of a group. Returns the group's version.
    ///
    /// A signer may leave peers out; they are not invited then.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`] for more than 100 peers; [`RequestError::Unsigned`] if the signer
    /// fails or allows nobody; [`RequestError::Refused`] if the group does not let the peer
    /// invite; otherwise [`RequestError`] says why there is no answer. Inviting again does no
    /// harm.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peers may be members or not.
    pub async fn invite(
        &self,
        group: GroupId,
        peers: impl Into<Vec<PeerId>>,
    ) -> Result<MessageId, RequestError> {
        let (peers, signature) =
            self.sign_peers(SignAction::Invite { group }, peers.into()).await?;
        let frame = |request| wire::Invite { request, group, peers, signature }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::Invited(answer) => Ok(answer.version),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Removes peers from a group. Returns the group's version.
    ///
    /// A signer may leave peers out; they are not removed then.
    ///
    /// # Errors
    ///
    /// As for [`Self::invite`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peers may be removed or not.
    pub async fn kick(
        &self,
        group: GroupId,
        peers: impl Into<Vec<PeerId>>,
    ) -> Result<MessageId, RequestError> {
        let (peers, signature) = self.sign_peers(SignAction::Kick { group }, peers.into()).await?;
        let frame = |request| wire::Kick { request, group, peers, signature }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::Kicked(answer) => Ok(answer.version),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// What a group is, and a page of its members behind `after`, by the order of their ids: `max`
    /// of them at the most, and no more than 500.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing but the answer is lost if the future is dropped.
    pub async fn members(
        &self,
        group: GroupId,
        after: Option<PeerId>,
        max: usize,
    ) -> Result<MemberPage, RequestError> {
        let max = varint(max);
        let frame = |request| wire::Members { request, group, after, max }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::MemberPage(page) => Ok(MemberPage {
                group: Group {
                    id: group,
                    open: page.open,
                    version: page.version,
                    count: page.count,
                    rules: page.rules,
                    metadata: page.metadata,
                },
                creator: page.creator,
                members: page.members,
                more: page.more,
            }),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Changes the rules or the metadata of a group. Returns the group's version.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooLong`] for metadata above 8 KiB; [`RequestError::Refused`] if the group
    /// does not let the peer edit it, or the metadata is no JSON; otherwise [`RequestError`] says
    /// why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the group may be changed or not.
    pub async fn edit_group(
        &self,
        group: GroupId,
        edit: GroupEdit,
    ) -> Result<MessageId, RequestError> {
        let GroupEdit { rules, metadata } = edit;
        metadata.iter().try_for_each(check_metadata)?;
        let frame = |request| wire::Edit { request, group, rules, metadata }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::Edited(answer) => Ok(answer.version),
            _ => Err(RequestError::Unexpected),
        }
    }

    async fn sign(
        &self,
        action: SignAction,
        ids: Vec<PeerId>,
    ) -> Result<(Vec<PeerId>, Option<Signature>), SignError> {
        let shared = self.shared();
        shared.signing.sign(shared.peer(), action, ids).await
    }

    /// Signs for inviting or kicking, which makes no sense of nobody.
    async fn sign_peers(
        &self,
        action: SignAction,
        peers: Vec<PeerId>,
    ) -> Result<(Vec<PeerId>, Option<Signature>), RequestError> {
        check_count("peers", peers.len(), INVITED_MAX)?;
        let (peers, signature) = self.sign(action, peers).await?;
        if peers.is_empty() && signature.is_some() {
            return Err(SignError::Nobody.into());
        }
        Ok((peers, signature))
    }
}

fn check_metadata(metadata: &Bytes) -> Result<(), TooLong> {
    TooLong::check("metadata", metadata.len(), GROUP_METADATA_BYTES_MAX)
}
