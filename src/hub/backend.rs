//! What the app's back end asks for beside sending: to take messages back, to end and to block
//! sessions, to bind aliases, to change groups, to answer what clients have sent to it.
//!
//! # Invariants
//!
//! * Nothing here asks who may: whoever calls has shown the app's key.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::hub::Hub;
use crate::hub::grouping::check_metadata;
use crate::hub::looking::unread;
use crate::hub::session::{About, Done};
use crate::id::{DeviceId, GroupId, MessageId, PeerId, SessionId};
use crate::limits::{CHANGED_MEMBERS_MAX, REASON_TEXT_BYTES_MAX};
use crate::reason::Reason;
use crate::store::{AliasChange, Group, GroupAction, Request};

/// A session, as the back end sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionStatus {
    /// Its id.
    pub id: SessionId,
    /// On which device.
    pub device: DeviceId,
    /// What its client says of itself.
    pub about: About,
    /// When it opened, in milliseconds since 1970.
    pub opened_ms: i64,
}

impl Hub {
    /// Takes a message back, whoever sent it and whenever.
    ///
    /// # Errors
    ///
    /// [`Reason::NoSuchMessage`], [`Reason::Busy`], or why the store cannot be read.
    pub async fn recall_any(&self, message: MessageId) -> Result<(), Reason> {
        let message = self.store.message(message).await.map_err(unread)?;
        let message = message.ok_or(Reason::NoSuchMessage)?;
        self.ask(Request::Recall { message, by: None }).await.map(drop)
    }

    /// The sessions that a peer has now.
    pub fn sessions(&self, peer: &PeerId) -> Vec<SessionStatus> {
        let mut sessions = Vec::new();
        self.router.visit(peer, |session| {
            sessions.extend(session.id().map(|id| SessionStatus {
                id,
                device: session.device().clone(),
                about: session.about().clone(),
                opened_ms: session.opened_ms(),
            }));
        });
        sessions
    }

    /// Ends the sessions of a peer, or the one that it has on a device; the client is told why, in
    /// at most [`REASON_TEXT_BYTES_MAX`] bytes. It is no log out, and the peer may come back.
    /// Says how many sessions were ended.
    pub fn end_sessions(&self, peer: &PeerId, device: Option<&DeviceId>, why: &str) -> usize {
        let why = if why.is_empty() { Reason::Kicked.text() } else { why };
        let why = &why[..why.floor_char_boundary(REASON_TEXT_BYTES_MAX)];
        let mut ended = 0;
        self.router.visit(peer, |session| {
            if device.is_none_or(|device| session.device() == device) {
                session.end_with(Reason::Kicked, why.into());
                ended += 1;
            }
        });
        ended
    }

    /// Blocks a peer, which ends its sessions and lets it open none; or blocks it no more.
    ///
    /// # Errors
    ///
    /// [`Reason::TooManyBlocked`].
    pub async fn block(&self, peer: PeerId, blocked: bool) -> Result<(), Reason> {
        self.ask(Request::Block { peer, blocked }).await.map(drop)
    }

    /// Binds and unbinds aliases, in their order. Each has an outcome of its own: among others
    /// [`Reason::NoSuchDevice`], [`Reason::NoSuchAlias`], [`Reason::AliasFull`].
    pub async fn change_aliases(&self, changes: Vec<AliasChange>) -> Vec<Result<(), Reason>> {
        let mut begun = Vec::with_capacity(changes.len());
        for change in changes {
            begun.push(self.begin(Request::Alias { change, by: None }).await);
        }
        join_all(begun.into_iter().map(noted)).await
    }

    /// Creates a group in the name of the back end.
    ///
    /// # Errors
    ///
    /// [`Reason::BadMetadata`], [`Reason::GroupFull`], [`Reason::TooManyGroups`] and others.
    pub async fn create_group(&self, create: GroupAction) -> Result<Arc<Group>, Reason> {
        self.change_group(GroupId::random(), create).await
    }

    /// Changes a group in the name of the back end; gives it as it is then.
    ///
    /// # Errors
    ///
    /// [`Reason::NoSuchGroup`], [`Reason::VersionChanged`], [`Reason::BadMetadata`],
    /// [`Reason::TooManyRecipients`] for more than [`CHANGED_MEMBERS_MAX`] members,
    /// [`Reason::Reserved`] if the back end itself is to be one, and others.
    pub async fn change_group(
        &self,
        group: GroupId,
        action: GroupAction,
    ) -> Result<Arc<Group>, Reason> {
        let (peers, metadata) = match &action {
            GroupAction::Create { members, metadata, .. } => (&members[..], Some(metadata)),
            GroupAction::Invite(peers) | GroupAction::Kick(peers) => (&peers[..], None),
            GroupAction::Edit { metadata, .. } => (&[][..], metadata.as_ref()),
            GroupAction::Join | GroupAction::Leave | GroupAction::Delete { .. } => (&[][..], None),
        };
        if peers.len() > CHANGED_MEMBERS_MAX {
            return Err(Reason::TooManyRecipients);
        }
        let is_less = matches!(action, GroupAction::Kick(_));
        if !is_less && peers.contains(&self.options.system) {
            return Err(Reason::Reserved);
        }
        metadata.map(|metadata| check_metadata(metadata)).transpose()?;
        self.change_as(None, group, action).await
    }

    /// How many sessions are in an open group now.
    pub fn open_group_count(&self, group: GroupId) -> usize {
        self.open_groups.count(group)
    }

    /// The back end has accepted a message to it, or refuses it; the sender is told.
    ///
    /// # Errors
    ///
    /// [`Reason::NoSuchMessage`] if none waits with this id.
    pub async fn settle_upstream(&self, upstream: MessageId, accepted: bool) -> Result<(), Reason> {
        self.ask(Request::UpstreamDone { upstream, accepted }).await.map(drop)
    }
}

/// Waits until something is on stable storage.
async fn noted(
    begun: Result<oneshot::Receiver<Result<Done, Reason>>, Reason>,
) -> Result<(), Reason> {
    // It is dropped only when the store fails.
    begun?.await.unwrap_or(Err(Reason::Restarting)).map(drop)
}
