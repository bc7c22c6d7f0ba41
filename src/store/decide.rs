//! What becomes of each request: what only the order of the log can decide.
//!
//! # Invariants
//!
//! * What is refused leaves no entry. What has an entry is applied to the ledger at once, so that
//!   the next request of the same commit sees it.

use std::sync::Arc;

use bytes::Bytes;

use crate::group::GroupChange;
use crate::id::{ConversationId, GroupId, PeerId};
use crate::limits::{GROUPS_MAX, GROUPS_PER_PEER_MAX};
use crate::reason::Reason;
use crate::store::Outcome;
use crate::store::commit::{Committer, Draft};
use crate::store::database::DatabaseError;
use crate::store::entry::{Entry, GroupAction, Mark, Message, Origin, Recall};
use crate::store::group::Change;
use crate::store::grouping::Changed;
use crate::store::log::place;
use crate::store::part::Reach;
use crate::store::peer::Overflow;
use crate::store::queue::{NewMessage, Request};
use crate::store::sender::Verdict;

/// A request that is refused, or a disk that fails.
pub(super) enum Stop {
    Refused(Reason),
    Failed(DatabaseError),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<DatabaseError> for Stop {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

impl<T: Send + 'static> Committer<T> {
    pub(super) fn decide(
        &mut self,
        mut caller: Option<T>,
        request: Request,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        let decided = match request {
            Request::Message(new) => {
                let content = match new.origin {
                    Origin::Backend { repeat: Some(repeat), .. } => repeat.content,
                    _ => new.content(),
                };
                self.decide_message(&mut caller, new, (content, None), draft)
            }
            Request::Vetted { message, content, refused } => {
                self.decide_message(&mut caller, message, (content, refused), draft)
            }
            Request::Open(opening) => self.decide_open(&mut caller, opening, draft),
            Request::End { peer, device, session, closed } => {
                self.decide_end(&mut caller, (peer, device), session, closed, draft)
            }
            Request::Ack { peer, device, id } => self.decide_ack(peer, device, id, draft),
            Request::Read { peer, conversation, sequence } => {
                self.decide_read(&mut caller, peer, conversation, sequence, draft)
            }
            Request::Recall { message, by } => self.decide_recall(&mut caller, &message, by, draft),
            Request::Group { group, by, action } => {
                self.decide_group(&mut caller, group, by, action, draft)
            }
            Request::Alias { change, by } => self.decide_alias(&mut caller, change, by, draft),
            Request::Block { peer, blocked } => {
                self.decide_block(&mut caller, peer, blocked, draft)
            }
            Request::Upstream(new) => self.decide_upstream(&mut caller, new, draft),
            Request::UpstreamDone { upstream, accepted } => {
                self.decide_upstream_done(&mut caller, upstream, accepted, draft)
            }
            Request::Nonce { peer, nonce, expires_ms } => {
                self.decide_nonce(&mut caller, peer, nonce, expires_ms, draft)
            }
        };
        let overflows = self.ledger.overflows.drain(..);
        let overflowed = |(peer, gone): (PeerId, Overflow)| {
            let Overflow { id, devices } = gone;
            Outcome::Overflowed { peer, id, devices }
        };
        draft.outcomes.extend(overflows.map(overflowed));
        match decided {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Refused(reason)) => {
                let refused = caller.map(|caller| Outcome::Refused { caller, reason });
                draft.outcomes.extend(refused);
                Ok(())
            }
        }
    }

    fn decide_message(
        &mut self,
        caller: &mut Option<T>,
        new: NewMessage,
        (hash, refused): (u32, Option<Reason>),
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let verdict = self.ledger.judge(&new.from, &new.origin, hash, draft.at_ms)?;
        if !self.is_new(caller, verdict, draft)? {
            return Ok(());
        }
        if let Some(reason) = refused {
            return Err(reason.into());
        }
        if matches!(new.origin, Origin::Client(_)) {
            self.check_sender(&new.from)?;
        }
        self.check_membership(&new)?;
        self.store(caller, new, hash, draft)
    }

    /// Whether a send is to be stored; a repeat is answered here.
    pub(super) fn is_new(
        &mut self,
        caller: &mut Option<T>,
        verdict: Verdict,
        draft: &mut Draft<T>,
    ) -> Result<bool, Stop> {
        match verdict {
            Verdict::Repeat(stored) => {
                self.metrics.repeats.inc();
                let (id, sequence, at_ms) = (stored.id, stored.sequence, stored.at_ms);
                let repeated =
                    caller.take().map(|caller| Outcome::Repeated { caller, id, sequence, at_ms });
                draft.outcomes.extend(repeated);
                Ok(false)
            }
            Verdict::Refused(reason) => Err(reason.into()),
            Verdict::New if self.housekeeping.is_full() => Err(Reason::StorageFull.into()),
            Verdict::New => Ok(true),
        }
    }

    /// Whether a client may send: what a blocked peer has said before it heard of it, or before
    /// its session is open, is not stored.
    pub(super) fn check_sender(&self, from: &PeerId) -> Result<(), Stop> {
        if self.ledger.blocked.contains(from) { Err(Reason::Blocked.into()) } else { Ok(()) }
    }

    /// Whether the sender may write to the group, if it is one.
    fn check_membership(&mut self, new: &NewMessage) -> Result<(), Stop> {
        let ConversationId::Group(group) = new.conversation else { return Ok(()) };
        let is_backend = matches!(new.origin, Origin::Backend { .. });
        let group = self.ledger.groups.find(&self.ledger.state, group)?;
        let group = group.ok_or(Reason::NoSuchGroup)?;
        if group.open {
            return Err(Reason::NotInOpenGroup.into());
        }
        if !is_backend {
            group.member_since(&new.from).ok_or(Reason::NotMember)?;
        }
        Ok(())
    }

    /// Gives a new message its place in the log and in its conversation.
    fn store(
        &mut self,
        caller: &mut Option<T>,
        new: NewMessage,
        hash: u32,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let at_ms = draft.at_ms;
        let next = self.ledger.next(&new.conversation.key(), draft.segment)?;
        let expires_ms = if new.ttl_ms == 0 { 0 } else { at_ms.saturating_add(new.ttl_ms) };
        let message = Arc::new(Message {
            id: draft.next,
            sequence: next.sequence,
            at_ms,
            expires_ms,
            conversation: new.conversation,
            from: new.from,
            to: new.to,
            devices: new.devices,
            receipt: new.receipt,
            client_msg_no: new.client_msg_no,
            body: new.body,
        });
        let members = self.ledger.members(&message)?;
        let to = members.as_deref().unwrap_or(&message.to);
        let (origin, place_in) = (&new.origin, (next.previous, draft.segment));
        let absent = self.ledger.message(&message, to, origin, hash, place_in)?;
        let (push, origin) = (new.push, new.origin);
        let entry = Entry::Message { message: message.clone(), origin, hash, push, absent };
        self.push(&entry, draft)?;
        draft.places.extend(place(&entry, next.previous));
        self.metrics.messages.inc();
        draft.outcomes.push(Outcome::Stored { caller: caller.take(), message, members });
        Ok(())
    }

    fn decide_read(
        &mut self,
        caller: &mut Option<T>,
        peer: PeerId,
        conversation: ConversationId,
        sequence: u32,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let at_ms = draft.at_ms;
        let part = self.ledger.peer(&peer)?.parts.get(&conversation);
        let part = part.ok_or(Reason::NoSuchMessage)?;
        let sequence = sequence.min(part.sequence);
        let others = part.others.to_vec();
        if sequence <= part.said {
            let (caller, mark, to) = (caller.take(), None, Vec::new());
            draft.outcomes.push(Outcome::Marked { caller, mark, to });
            return Ok(());
        }
        let reach = Reach { sequence, at_ms, entry: draft.next };
        self.ledger.read(&peer, &others, conversation, reach)?;
        let mut to = others.clone();
        let entry = Entry::Read { peer: peer.clone(), conversation, sequence, others };
        self.push(&entry, draft)?;
        to.push(peer.clone());
        let mark = Some(Mark { conversation, peer, read: true, sequence, at_ms });
        draft.outcomes.push(Outcome::Marked { caller: caller.take(), mark, to });
        Ok(())
    }

    fn decide_recall(
        &mut self,
        caller: &mut Option<T>,
        message: &Message,
        by: Option<PeerId>,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        if by.as_ref().is_some_and(|by| *by != message.from) {
            return Err(Reason::NoSuchMessage.into());
        }
        if self.ledger.recalled.contains(message.id) {
            let caller = caller.take();
            draft.outcomes.push(Outcome::Told { caller, told: None });
            return Ok(());
        }
        let within_ms = self.options.recall_within.as_millis() as i64;
        if by.is_some() && draft.at_ms.saturating_sub(message.at_ms) > within_ms {
            return Err(Reason::TooLate.into());
        }
        if self.ledger.recalled.is_full() {
            return Err(Reason::Busy.into());
        }
        let recall = Recall {
            message: message.id,
            conversation: message.conversation,
            sequence: message.sequence,
            by,
            concerned: message.to.iter().chain([&message.from]).cloned().collect(),
        };
        let told = self.ledger.recall(&recall, (draft.next, draft.at_ms))?;
        self.push(&Entry::Recalled(recall), draft)?;
        draft.outcomes.push(Outcome::Told { caller: caller.take(), told: Some(told) });
        Ok(())
    }

    fn decide_group(
        &mut self,
        caller: &mut Option<T>,
        group: GroupId,
        by: Option<PeerId>,
        mut action: GroupAction,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let is_less = matches!(
            action,
            GroupAction::Leave | GroupAction::Kick(_) | GroupAction::Delete { .. }
        );
        if self.housekeeping.is_full() && !is_less {
            return Err(Reason::StorageFull.into());
        }
        let at = (draft.next, draft.at_ms);
        let found = self.ledger.groups.find(&self.ledger.state, group)?;
        let changed = if let GroupAction::Create { members, open, .. } = &mut action {
            members.sort_unstable();
            members.dedup();
            if !*open {
                if members.len() > self.options.group_members_max {
                    return Err(Reason::GroupFull.into());
                }
                self.check_group_counts(members)?;
            }
            let is_known = found.is_some() || self.ledger.groups.is_deleted(group);
            if is_known || self.ledger.groups.count >= GROUPS_MAX {
                return Err(Reason::TooManyGroups.into());
            }
            let changed = self.ledger.create_group(group, by.as_ref(), &action, at)?;
            self.push(&Entry::GroupCreated { group, by, action }, draft)?;
            changed
        } else {
            let found = found.ok_or(Reason::NoSuchGroup)?;
            let members_max = self.options.group_members_max;
            let applied = self.ledger.checkpoint.applied;
            let judged = found.judge(by.as_ref(), action, members_max, applied);
            if judged == Err(Reason::Busy) {
                self.settling.want_flush();
            }
            let Some(change) = judged? else {
                let (caller, told) = (caller.take(), None);
                draft.outcomes.push(Outcome::Grouped { caller, group: found, told });
                return Ok(());
            };
            drop(found);
            self.change_group(group, by, change, draft)?
        };
        if let Some((group, told)) = changed {
            draft.outcomes.push(Outcome::Grouped { caller: caller.take(), group, told });
        }
        Ok(())
    }

    fn change_group(
        &mut self,
        group: GroupId,
        by: Option<PeerId>,
        change: Change,
        draft: &mut Draft<T>,
    ) -> Result<Changed, Stop> {
        if let GroupChange::Joined | GroupChange::Invited = change.change {
            self.check_group_counts(&change.peers)?;
        }
        let key = ConversationId::Group(group).key();
        let sequence = self.ledger.next(&key, draft.segment)?.sequence - 1;
        let at = (draft.next, draft.at_ms);
        let changed = self.ledger.change_group(group, by.as_ref(), &change, sequence, at)?;
        self.push(&Entry::GroupChanged { group, by, change, sequence }, draft)?;
        Ok(changed)
    }

    /// Whether each of the peers may be a member of one more group.
    fn check_group_counts(&mut self, peers: &[PeerId]) -> Result<(), Stop> {
        for peer in peers {
            if self.ledger.peer(peer)?.parts.group_count() >= GROUPS_PER_PEER_MAX {
                return Err(Reason::TooManyGroups.into());
            }
        }
        Ok(())
    }

    fn decide_nonce(
        &mut self,
        caller: &mut Option<T>,
        peer: PeerId,
        nonce: Bytes,
        expires_ms: i64,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        self.ledger.nonces.judge(&peer, &nonce, draft.at_ms)?;
        self.ledger.nonces.note(&peer, &nonce, expires_ms);
        self.push(&Entry::Nonce { peer, nonce, expires_ms }, draft)?;
        draft.outcomes.extend(caller.take().map(|caller| Outcome::Noted { caller }));
        Ok(())
    }
}
