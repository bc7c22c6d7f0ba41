//! Requests that look back: pages of history, the peer's conversations, its devices; and those
//! that say what has become of a message.
//!
//! # Invariants
//!
//! * A request fails when the connection is lost before its answer: nothing here is asked twice.

use crate::client::requests::Effect;
use crate::client::{RequestError, Session};
use crate::id::{ConversationId, MessageId};
use crate::wire::{self, Conversation, Device, Past, ServerFrame};

/// A page of messages, newest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<Past>,
    /// There may be more before the last of these.
    pub more: bool,
}

/// A page of the peer's conversations, those with the newest messages first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConversationPage {
    /// The conversations.
    pub conversations: Vec<Conversation>,
    /// There may be more behind the last of these.
    pub more: bool,
}

impl Session {
    /// Says that the peer has read a conversation up to a message, by its number. Returns when
    /// that is on the server's stable storage.
    ///
    /// The others of a conversation of peers, and the peer's other devices, hear of it as
    /// [`Event::Read`](super::Event::Read).
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer. Saying it again does no harm.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the mark may be noted or not.
    pub async fn read_up_to(
        &self,
        conversation: ConversationId,
        sequence: u32,
    ) -> Result<(), RequestError> {
        let frame = |request| wire::ReadUpTo { request, conversation, sequence }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::ReadNoted(_) => Ok(()),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Takes back a message that the peer sent, for everybody. Returns when that is on the
    /// server's stable storage; all who were to have the message hear
    /// [`Event::Recalled`](super::Event::Recalled).
    ///
    /// # Errors
    ///
    /// [`RequestError::Refused`] for a message that is not the peer's, or too old to be recalled
    /// (2 minutes, unless the server says otherwise); otherwise [`RequestError`] says why there is
    /// no answer. Recalling again does no harm.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message may be recalled or not.
    pub async fn recall(&self, message: MessageId) -> Result<(), RequestError> {
        let frame = |request| wire::Recall { request, message }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::RecallDone(_) => Ok(()),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// A page of a conversation's messages before one of them, or of the newest: `max` of them
    /// at the most, and no more than fit one frame (60 KiB).
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing but the answer is lost if the future is dropped.
    ///
    /// ```no_run
    /// # use tidings::client::{RequestError, Session};
    /// # use tidings::id::ConversationId;
    /// # async fn run(session: Session, chat: ConversationId) -> Result<(), RequestError> {
    /// let mut before = None;
    /// loop {
    ///     let page = session.history(chat, before, 100).await?;
    ///     for message in &page.messages {
    ///         println!("{}: {:?}", message.from, message.body);
    ///     }
    ///     before = page.messages.last().map(|message| message.id);
    ///     if !page.more {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn history(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        max: usize,
    ) -> Result<HistoryPage, RequestError> {
        let (before, max) = (before.unwrap_or(MessageId::NONE), varint(max));
        let frame = |request| wire::History { request, conversation, before, max }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::HistoryPage(page) => {
                Ok(HistoryPage { messages: page.messages, more: page.more })
            }
            _ => Err(RequestError::Unexpected),
        }
    }

    /// A page of the conversations that the peer takes part in, with how much of each it has not
    /// read: `max` of them at the most, and no more than 40. The next page is the one before
    /// [`last`](Conversation::last) of the last of these.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing but the answer is lost if the future is dropped.
    pub async fn conversations(
        &self,
        before: Option<MessageId>,
        max: usize,
    ) -> Result<ConversationPage, RequestError> {
        let (before, max) = (before.unwrap_or(MessageId::NONE), varint(max));
        let frame = |request| wire::Conversations { request, before, max }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::ConversationPage(page) => {
                Ok(ConversationPage { conversations: page.conversations, more: page.more })
            }
            _ => Err(RequestError::Unexpected),
        }
    }

    /// The peer's devices.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing but the answer is lost if the future is dropped.
    pub async fn devices(&self) -> Result<Vec<Device>, RequestError> {
        match self.shared().ask(Effect::None, |request| wire::Devices { request }.into()).await? {
            ServerFrame::DeviceList(list) => Ok(list.devices),
            _ => Err(RequestError::Unexpected),
        }
    }
}

/// A count as the wire has it.
pub(super) fn varint(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX).min(wire::VARINT_MAX)
}
