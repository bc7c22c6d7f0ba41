//! What can be asked of the store beside the commits: what waits, what was, who is who.
//!
//! # Invariants
//!
//! * What is in memory is asked of the commit thread; what lies on the disk is read away from it
//!   and from the async workers.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::id::{Alias, ConversationId, DeviceId, GroupId, MessageId, PeerId};
use crate::limits::{
    CONVERSATIONS_PER_PEER_MAX, GROUPS_PAGE_MAX, HISTORY_PAGE_MAX, UPSTREAM_PAGE_MAX,
};
use crate::store::queue::Question;
use crate::store::{
    Closed, DatabaseError, Group, KnownDevice, Look, Loss, Message, Page, Part, Route, Store,
    Upstream, Waiting,
};

impl<T: Send + 'static> Store<T> {
    /// Up to `max` messages that wait for a peer, with ids above `after`; of these only those that
    /// are for the device, if one is named.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed or the disk cannot be read.
    pub async fn waiting(
        &self,
        peer: &PeerId,
        on: Option<&DeviceId>,
        after: MessageId,
        max: usize,
    ) -> Result<Waiting, ReadError> {
        let ask = |answer| {
            let (peer, on) = (peer.clone(), on.cloned());
            Question::Waiting { peer, on, after, max, answer }
        };
        let page = self.queue.ask(ask).await?;
        let (last, is_all, head) = (page.last, page.is_all, page.head);
        let is_in_memory = page.items.iter().all(|item| item.item.is_some());
        let (items, loss) = if is_in_memory {
            let items = page.items.into_iter().filter_map(|item| item.item);
            // Who has left a group still has its messages, but is not told that one was recalled.
            let items = items.filter(|item| !self.reader.recalled.contains(item.id()));
            (items.collect(), Loss::default())
        } else {
            let reader = self.reader.clone();
            let peer = peer.clone();
            blocking(&self.inbox_reads, move || reader.waiting(&peer, page)).await?
        };
        Ok(Waiting { items, loss, last, is_all, head })
    }

    /// A page of messages, newest first.
    ///
    /// It may be shorter than was asked for, or empty, though there are more: what one page reads
    /// is bounded. Who may read it is the caller's to check, by [`Message::concerns`].
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub async fn history(&self, mut look: Look) -> Result<Page, ReadError> {
        look.max = look.max.clamp(1, HISTORY_PAGE_MAX);
        let reader = self.reader.clone();
        blocking(&self.history_reads, move || reader.history(&look)).await
    }

    /// A message, with its body even if it was recalled; none whose commit goes on.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub async fn message(&self, id: MessageId) -> Result<Option<Arc<Message>>, ReadError> {
        if id > *self.head.borrow() {
            return Ok(None);
        }
        let reader = self.reader.clone();
        blocking(&self.history_reads, move || reader.message(id)).await
    }

    /// A group.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn group(&self, group: GroupId) -> Result<Option<Arc<Group>>, ReadError> {
        Ok(self.queue.ask(|answer| Question::Group { group, answer }).await?)
    }

    /// Up to `max` of a peer's conversations whose last message is before `before`, newest first,
    /// and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn conversations(
        &self,
        peer: &PeerId,
        before: Option<MessageId>,
        max: usize,
    ) -> Result<(Vec<(ConversationId, Part)>, bool), ReadError> {
        let (peer, max) = (peer.clone(), max.min(CONVERSATIONS_PER_PEER_MAX));
        let before = before.unwrap_or(MessageId(i64::MAX));
        let ask = |answer| Question::Conversations { peer, before, max, answer };
        Ok(self.queue.ask(ask).await?)
    }

    /// A peer's devices.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn devices(&self, peer: &PeerId) -> Result<Vec<KnownDevice>, ReadError> {
        let peer = peer.clone();
        Ok(self.queue.ask(|answer| Question::Devices { peer, answer }).await?)
    }

    /// Whether a device is one of a peer's.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn knows(&self, peer: &PeerId, device: &DeviceId) -> Result<bool, ReadError> {
        let (peer, device) = (peer.clone(), device.clone());
        Ok(self.queue.ask(|answer| Question::Knows { peer, device, answer }).await?)
    }

    /// The devices of an alias, and where they are.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn alias(&self, alias: &Alias) -> Result<Vec<Route>, ReadError> {
        let alias = alias.clone();
        Ok(self.queue.ask(|answer| Question::Alias { alias, answer }).await?)
    }

    /// Where a device is, and its alias.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn device(
        &self,
        device: &DeviceId,
    ) -> Result<Option<(Route, Option<Alias>)>, ReadError> {
        let device = device.clone();
        Ok(self.queue.ask(|answer| Question::Device { device, answer }).await?)
    }

    /// Up to `max` groups with ids above `after`, by their ids, and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn groups(
        &self,
        after: GroupId,
        max: usize,
    ) -> Result<(Vec<Arc<Group>>, bool), ReadError> {
        let max = max.min(GROUPS_PAGE_MAX);
        Ok(self.queue.ask(|answer| Question::Groups { after, max, answer }).await?)
    }

    /// Up to `max` messages with ids above `after` that wait for the app's back end, the oldest
    /// first, and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn upstream(
        &self,
        after: MessageId,
        max: usize,
    ) -> Result<(Vec<Upstream>, bool), ReadError> {
        let max = max.min(UPSTREAM_PAGE_MAX);
        Ok(self.queue.ask(|answer| Question::Upstream { after, max, answer }).await?)
    }

    /// Whether a peer is blocked.
    pub fn is_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.contains(peer)
    }

    /// Up to `max` blocked peers with ids behind `after`, by their ids, and whether there are more.
    pub fn blocked(&self, after: Option<&PeerId>, max: usize) -> (Vec<PeerId>, bool) {
        self.blocked.page(after, max)
    }

    /// Those of `peers` that were online when the server stopped and have not come back since.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn were_online(&self, peers: Vec<PeerId>) -> Result<Vec<PeerId>, ReadError> {
        Ok(self.queue.ask(|answer| Question::WereOnline { peers, answer }).await?)
    }
}

/// Why the store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store takes no more questions.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The disk, or what is on it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Runs what reads the disk away from the async workers, no more of it at once than there are
/// permits.
pub(super) async fn blocking<R: Send + 'static>(
    permits: &Arc<Semaphore>,
    read: impl FnOnce() -> Result<R, DatabaseError> + Send + 'static,
) -> Result<R, ReadError> {
    let permit = permits.clone().acquire_owned().await.map_err(|_| Closed)?;
    let read = move || {
        // Until the end of the reading, even if nobody waits for it any more.
        let _permit = permit;
        read()
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ReadError::Closed(Closed)),
    }
}
