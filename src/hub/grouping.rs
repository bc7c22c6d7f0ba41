//! What sessions ask about groups.
//!
//! # Invariants
//!
//! * The commit thread alone decides what a group becomes. Here is what needs no order: whether
//!   metadata is JSON, whether a signature allows the request, who is in an open group now.

use std::sync::Arc;

use crate::hub::Hub;
use crate::hub::frames::joined_frame;
use crate::hub::session::{Asks, Caller, Done, GroupAct, Session};
use crate::id::{GroupId, PeerId};
use crate::limits::MEMBERS_PAGE_MAX;
use crate::reason::Reason;
use crate::signature;
use crate::store::{Group, GroupAction, Request};
use crate::wire::{Edit, Invite, Join, Kick, Leave, Left, MemberPage, Members};

impl Hub {
    /// A group that exists.
    pub(super) async fn group(&self, group: GroupId) -> Result<Arc<Group>, Reason> {
        let found = self.store.group(group).await.map_err(|_| Reason::Restarting)?;
        found.ok_or(Reason::NoSuchGroup)
    }

    pub(super) async fn join(&self, session: &Arc<Session>, join: Join) -> Result<(), Reason> {
        let known = (join.group != Join::NEW).then_some(join.group);
        let act = signature::GroupAct::Join;
        self.check_group(session, known, &[], act, join.signature.as_ref()).await?;
        let Some(group) = known else { return self.create(session, join).await };
        let found = self.group(group).await?;
        if !found.open {
            let action = GroupAction::Join;
            return self.change(session, join.request, group, action, GroupAct::Join).await;
        }
        self.enter(session, join.request, &found).await
    }

    async fn create(&self, session: &Arc<Session>, join: Join) -> Result<(), Reason> {
        let Join { request, open, rules, metadata, .. } = join;
        check_metadata(&metadata)?;
        let (group, by) = (GroupId::random(), session.peer().clone());
        let members = vec![by.clone()];
        let action = GroupAction::Create { open, rules, metadata, members };
        if !open {
            return self.change(session, request, group, action, GroupAct::Join).await;
        }
        let created = self.change_as(Some(by), group, action).await?;
        self.enter(session, request, &created).await
    }

    pub(super) async fn leave(&self, session: &Arc<Session>, leave: Leave) -> Result<(), Reason> {
        if session.open_group() == Some(leave.group) {
            self.leave_open_group(session);
            session.tell(true, &Left { request: leave.request }.into());
            return Ok(());
        }
        let (request, group) = (leave.request, leave.group);
        self.change(session, request, group, GroupAction::Leave, GroupAct::Leave).await
    }

    pub(super) async fn invite(&self, session: &Arc<Session>, ask: Invite) -> Result<(), Reason> {
        let Invite { request, group, peers, signature } = ask;
        let act = signature::GroupAct::Invite;
        self.check_group(session, Some(group), &peers, act, signature.as_ref()).await?;
        let action = GroupAction::Invite(peers);
        self.change(session, request, group, action, GroupAct::Invite).await
    }

    pub(super) async fn kick(&self, session: &Arc<Session>, ask: Kick) -> Result<(), Reason> {
        let Kick { request, group, peers, signature } = ask;
        let act = signature::GroupAct::Kick;
        self.check_group(session, Some(group), &peers, act, signature.as_ref()).await?;
        self.change(session, request, group, GroupAction::Kick(peers), GroupAct::Kick).await
    }

    pub(super) async fn edit(&self, session: &Arc<Session>, edit: Edit) -> Result<(), Reason> {
        let Edit { request, group, rules, metadata } = edit;
        if let Some(metadata) = &metadata {
            check_metadata(metadata)?;
        }
        let action = GroupAction::Edit { rules, metadata, version: None };
        self.change(session, request, group, action, GroupAct::Edit).await
    }

    /// Changes a group and waits for what it is then; nobody asks for the app's back end.
    pub(super) async fn change_as(
        &self,
        by: Option<PeerId>,
        group: GroupId,
        action: GroupAction,
    ) -> Result<Arc<Group>, Reason> {
        match self.ask(Request::Group { group, by, action }).await? {
            Done::Group(group) => Ok(group),
            Done::Noted | Done::Stored { .. } => Err(Reason::Internal),
        }
    }

    async fn change(
        &self,
        session: &Arc<Session>,
        request: u64,
        group: GroupId,
        action: GroupAction,
        act: GroupAct,
    ) -> Result<(), Reason> {
        let caller = Caller::session(session, request, Asks::Group(act));
        let by = Some(session.peer().clone());
        self.submit(Some(caller), Request::Group { group, by, action }).await
    }

    /// Tells what a group is and who is in it, to its members; an open group has no secrets.
    pub(super) async fn members(&self, session: &Arc<Session>, ask: Members) -> Result<(), Reason> {
        let group = self.group(ask.group).await?;
        if !group.open {
            group.member_since(session.peer()).ok_or(Reason::NotMember)?;
        }
        let is_behind = |peer: &&PeerId| ask.after.as_ref().is_none_or(|after| *peer > after);
        let max = usize::try_from(ask.max).unwrap_or(usize::MAX).clamp(1, MEMBERS_PAGE_MAX);
        let mut members: Vec<_> =
            group.members().filter(is_behind).take(max + 1).cloned().collect();
        let more = members.len() > max;
        members.truncate(max);
        let count = if group.open { self.open_groups.count(ask.group) } else { group.count() };
        let page = MemberPage {
            request: ask.request,
            open: group.open,
            version: group.version,
            creator: group.creator.clone(),
            count: count as u64,
            rules: group.rules,
            metadata: group.metadata.clone(),
            members,
            more,
        };
        session.tell(true, &page.into());
        Ok(())
    }

    /// A session is in an open group from now on, and in no other; it is told.
    async fn enter(
        &self,
        session: &Arc<Session>,
        request: u64,
        group: &Group,
    ) -> Result<(), Reason> {
        if let Some(left) = session.enter(Some(group.id)) {
            self.open_groups.leave(left, session);
        }
        self.open_groups.enter(group.id, session);
        // If it has been deleted since it was found, those in it may have been sent out before.
        if let Err(reason) = self.group(group.id).await {
            self.leave_open_group(session);
            return Err(reason);
        }
        let count = self.open_groups.count(group.id);
        session.tell(true, &joined_frame(request, group, count).into());
        Ok(())
    }

    pub(super) fn leave_open_group(&self, session: &Arc<Session>) {
        if let Some(left) = session.enter(None) {
            self.open_groups.leave(left, session);
        }
    }
}

/// Metadata is JSON, or nothing.
pub(super) fn check_metadata(metadata: &[u8]) -> Result<(), Reason> {
    if metadata.is_empty() {
        return Ok(());
    }
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(metadata);
    json.map(drop).map_err(|_| Reason::BadMetadata)
}
