//! Marks, recalls, and looking back: history, conversations, devices.
//!
//! # Invariants
//!
//! * A peer reads only what it sent or was to have; of a group, what came while it was a member.

use std::sync::Arc;

use crate::hub::Hub;
use crate::hub::frames::{conversation_frame, past_frame};
use crate::hub::session::{Asks, Caller, Session};
use crate::id::{ConversationId, MessageId};
use crate::limits::{CONVERSATIONS_PAGE_MAX, HISTORY_PAGE_BYTES_MAX, HISTORY_PAGE_MAX};
use crate::reason::Reason;
use crate::store::{HistoryOf, Look, Past, ReadError, Request};
use crate::wire;

impl Hub {
    pub(super) async fn read_up_to(
        &self,
        session: &Arc<Session>,
        read: wire::ReadUpTo,
    ) -> Result<(), Reason> {
        let wire::ReadUpTo { request, conversation, sequence } = read;
        let caller = Caller::session(session, request, Asks::Read);
        let peer = session.peer().clone();
        self.submit(Some(caller), Request::Read { peer, conversation, sequence }).await
    }

    pub(super) async fn recall(
        &self,
        session: &Arc<Session>,
        recall: wire::Recall,
    ) -> Result<(), Reason> {
        let message = self.store.message(recall.message).await.map_err(unread)?;
        let message = message.ok_or(Reason::NoSuchMessage)?;
        let request = recall.request;
        let caller = Caller::session(session, request, Asks::Recall);
        let by = Some(session.peer().clone());
        self.submit(Some(caller), Request::Recall { message, by }).await
    }

    pub(super) async fn history(
        &self,
        session: &Arc<Session>,
        ask: wire::History,
    ) -> Result<(), Reason> {
        let max = usize::try_from(ask.max).unwrap_or(usize::MAX).clamp(1, HISTORY_PAGE_MAX);
        let since = self.member_since(session, ask.conversation).await?;
        let mut look = Look {
            of: HistoryOf::Conversation(ask.conversation),
            before: (ask.before != MessageId::NONE).then_some(ask.before),
            since_ms: None,
            until_ms: None,
            max,
            bytes_max: HISTORY_PAGE_BYTES_MAX,
        };
        let mut found = self.store.history(look.clone()).await.map_err(unread)?;
        // A client goes on below the last message that it has, so it has to have one.
        while found.messages.is_empty() && found.next.is_some() {
            look.before = found.next;
            found = self.store.history(look.clone()).await.map_err(unread)?;
        }
        let mut more = found.next.is_some();
        let mut bytes = 0;
        let mut messages = Vec::with_capacity(found.messages.len());
        for past in found.messages {
            let is_ours = |past: &Past| match since {
                Some(since) => past.message.id > since,
                None => past.message.concerns(session.peer()),
            };
            if !is_ours(&past) {
                more = false;
                break;
            }
            let past = past_frame(past);
            bytes += past.bytes_max();
            if bytes > HISTORY_PAGE_BYTES_MAX {
                more = true;
                break;
            }
            messages.push(past);
        }
        let page = wire::HistoryPage { request: ask.request, more, messages };
        session.tell(true, &page.into());
        Ok(())
    }

    /// Since when the peer is a member, if the conversation is a group.
    async fn member_since(
        &self,
        session: &Session,
        conversation: ConversationId,
    ) -> Result<Option<MessageId>, Reason> {
        let ConversationId::Group(group) = conversation else { return Ok(None) };
        let group = self.group(group).await?;
        group.member_since(session.peer()).map(Some).ok_or(Reason::NotMember)
    }

    pub(super) async fn conversations(
        &self,
        session: &Arc<Session>,
        ask: wire::Conversations,
    ) -> Result<(), Reason> {
        let max = usize::try_from(ask.max).unwrap_or(usize::MAX).clamp(1, CONVERSATIONS_PAGE_MAX);
        let before = (ask.before != MessageId::NONE).then_some(ask.before);
        let found = self.store.conversations(session.peer(), before, max).await;
        let (found, more) = found.map_err(unread)?;
        let conversations = found.iter().map(|(id, part)| conversation_frame(*id, part)).collect();
        let page = wire::ConversationPage { request: ask.request, more, conversations };
        session.tell(true, &page.into());
        Ok(())
    }

    pub(super) async fn devices(
        &self,
        session: &Arc<Session>,
        ask: wire::Devices,
    ) -> Result<(), Reason> {
        let known = self.store.devices(session.peer()).await.map_err(unread)?;
        let device = |known: crate::store::KnownDevice| wire::Device {
            device: known.device,
            flag: known.flag,
            online: known.online,
            seen_ms: known.seen_ms as u64,
        };
        let devices = known.into_iter().map(device).collect();
        let list = wire::DeviceList { request: ask.request, devices };
        session.tell(true, &list.into());
        Ok(())
    }
}

/// What a client is told when the store cannot be read.
pub(super) fn unread(error: ReadError) -> Reason {
    match error {
        ReadError::Closed(_) => Reason::Restarting,
        ReadError::Database(error) => {
            let error = crate::chain::Chain(&error);
            tracing::error!(%error, "cannot read the log");
            Reason::Internal
        }
    }
}
