//! Reading what lies on the disk: rows of inboxes, and messages of the log.
//!
//! # Invariants
//!
//! * It blocks, so it runs away from the async workers.
//! * No body of a recalled message goes out, but to who recalls it.

use std::sync::Arc;

use crate::chain::Chain;
use crate::id::{EndpointId, MessageId, PeerId};
use crate::store::Loss;
use crate::store::catalog::Catalog;
use crate::store::database::DatabaseError;
use crate::store::entry::{Entry, Item, Message, Placed, Upstream};
use crate::store::history::{Look, Page};
use crate::store::journal::Letter;
use crate::store::outcome::WaitingPage;
use crate::store::queue::LetterPage;
use crate::store::recalled::Recalled;
use crate::store::state::State;

/// What readers share with the commit thread.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) catalog: Arc<Catalog>,
    pub(super) state: Arc<State>,
    pub(super) recalled: Recalled,
}

impl Reader {
    /// The items of a page, from memory, rows and the log; and what of them is nowhere any more.
    pub(super) fn waiting(
        &self,
        peer: &PeerId,
        page: WaitingPage,
    ) -> Result<(Vec<Item>, Loss), DatabaseError> {
        let is_missing = |id: MessageId| {
            let found = page.items.binary_search_by_key(&id, |item| item.id);
            found.is_ok_and(|at| page.items[at].item.is_none())
        };
        let (first, last) = match (page.items.first(), page.items.last()) {
            (Some(first), Some(last)) => (first.id, last.id),
            _ => return Ok(Default::default()),
        };
        let mut items = Vec::with_capacity(page.items.len());
        for (row, _) in page.rows.iter().filter(|row| row.0 <= last && row.1 >= first) {
            items.extend(self.state.row(peer, *row, is_missing)?);
        }
        items.extend(page.items.iter().filter_map(|item| item.item.clone()));
        items.sort_unstable_by_key(Item::id);
        items.dedup_by_key(|item| item.id());
        let mut loss = Loss::default();
        for wanted in &page.items {
            let Err(at) = items.binary_search_by_key(&wanted.id, Item::id) else { continue };
            match self.shared(wanted.id)? {
                Some(item) => items.insert(at, item),
                None => loss = Loss { count: loss.count + 1, id: wanted.id },
            }
        }
        items.retain(|item| !self.recalled.contains(item.id()));
        Ok((items, loss))
    }

    /// What many inboxes share, from the log.
    fn shared(&self, id: MessageId) -> Result<Option<Item>, DatabaseError> {
        let Some(Placed { at_ms, entry, .. }) = self.entry(id)? else { return Ok(None) };
        Ok(match entry {
            Entry::Message { message, .. } => Some(Item::Message(message)),
            Entry::Recalled(recall) => Some(Item::Notice(recall.notice(id, at_ms).into())),
            Entry::UpstreamDone { upstream, peer, accepted } => {
                let notice = Upstream::notice((id, at_ms), upstream, &peer, accepted);
                Some(Item::Notice(notice.into()))
            }
            Entry::GroupChanged { group, by, change, .. } => {
                let notice = change.notice(id, at_ms, group, by.as_ref());
                Some(Item::Notice(notice.into()))
            }
            Entry::GroupCreated { group, by, action } => {
                let change = action.as_change(by.as_ref());
                change.map(|c| Item::Notice(c.notice(id, at_ms, group, by.as_ref()).into()))
            }
            _ => None,
        })
    }

    /// An entry, if the log still has it. One that is damaged is told and left out.
    pub(super) fn entry(&self, id: MessageId) -> Result<Option<Placed>, DatabaseError> {
        match self.catalog.entry(id) {
            Err(error @ DatabaseError::Value { .. }) => {
                tracing::error!(%id, error = %Chain(&error), "an entry of the log is damaged");
                Ok(None)
            }
            found => found,
        }
    }

    /// Those of the entries with these ids, by rising id, that the log still has; each record is
    /// read once. What is damaged is told and left out.
    pub(super) fn entries(&self, mut ids: &[MessageId]) -> Result<Vec<Placed>, DatabaseError> {
        let mut all = Vec::with_capacity(ids.len());
        while let Some(id) = ids.first() {
            let found = match self.catalog.entries(ids) {
                Err(error @ DatabaseError::Value { .. }) => {
                    tracing::error!(%id, error = %Chain(&error), "an entry of the log is damaged");
                    Vec::new()
                }
                found => found?,
            };
            ids = &ids[found.len().max(1)..];
            all.extend(found);
        }
        Ok(all)
    }

    /// The letters of a page, from memory and rows. One that is damaged is told and left out.
    pub(super) fn letters(
        &self,
        endpoint: &EndpointId,
        (page, more): LetterPage,
    ) -> Result<(Vec<Letter>, bool), DatabaseError> {
        let mut letters = Vec::with_capacity(page.len());
        for (position, letter) in page {
            let letter = match letter {
                Some(letter) => Some((*letter).clone()),
                None => match self.state.letter(endpoint, position) {
                    Err(error @ DatabaseError::Value { .. }) => {
                        tracing::error!(%endpoint, error = %Chain(&error), "a letter is damaged");
                        None
                    }
                    letter => letter?,
                },
            };
            letters.extend(letter);
        }
        Ok((letters, more))
    }

    /// A page of history.
    pub(super) fn history(&self, look: &Look) -> Result<Page, DatabaseError> {
        let (messages, next) = self.catalog.history(look)?;
        let messages = messages.into_iter().map(|message| self.recalled.past(message)).collect();
        Ok(Page { messages, next })
    }

    pub(super) fn message(&self, id: MessageId) -> Result<Option<Arc<Message>>, DatabaseError> {
        Ok(match self.catalog.entry(id)?.map(|placed| placed.entry) {
            Some(Entry::Message { message, .. }) => Some(message),
            _ => None,
        })
    }
}
