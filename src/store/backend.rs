//! What becomes of the requests about the app's back end: aliases, blocked peers, messages to it.
//!
//! # Invariants
//!
//! * What changes nothing leaves no entry.

use crate::id::{Alias, DeviceId, MessageId, PeerId};
use crate::reason::Reason;
use crate::store::Outcome;
use crate::store::commit::{Committer, Draft};
use crate::store::database::DatabaseError;
use crate::store::decide::Stop;
use crate::store::entry::{AliasChange, Entry, NewUpstream, Origin, upstream_hash};

/// Messages to the back end that one commit gives up.
const GIVEN_UP_MAX: usize = 256;

impl<T: Send + 'static> Committer<T> {
    pub(super) fn decide_alias(
        &mut self,
        caller: &mut Option<T>,
        change: AliasChange,
        by: Option<DeviceId>,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        match change {
            AliasChange::Bind { alias, device } => {
                if by.is_some_and(|by| by != device) {
                    return Err(Reason::NoSuchDevice.into());
                }
                self.bind(alias, device, draft)?;
            }
            AliasChange::Unbind { alias, device } => {
                let ledger = &mut self.ledger;
                if let Some(by) = by
                    && !ledger.directory.has(&ledger.state, &by, &alias)?
                {
                    return Err(Reason::NoSuchAlias.into());
                }
                self.unbind(&alias, device, draft)?;
            }
        }
        draft.outcomes.extend(caller.take().map(|caller| Outcome::Noted { caller }));
        Ok(())
    }

    fn bind(&mut self, alias: Alias, device: DeviceId, draft: &mut Draft<T>) -> Result<(), Stop> {
        let (ledger, devices_max) = (&mut self.ledger, self.options.devices_per_alias_max);
        if !ledger.directory.judge(&ledger.state, &alias, &device, devices_max)?? {
            return Ok(());
        }
        if self.housekeeping.is_full() {
            return Err(Reason::StorageFull.into());
        }
        self.ledger.alias(&alias, &device, true, draft.next)?;
        Ok(self.push(&Entry::Alias { alias, device, bound: true }, draft)?)
    }

    /// Takes an alias away from a device, or from all that have it: an entry for each, so that a
    /// replay need not know which had it then.
    fn unbind(
        &mut self,
        alias: &Alias,
        device: Option<DeviceId>,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let ledger = &mut self.ledger;
        let devices = match device {
            Some(device) if ledger.directory.has(&ledger.state, &device, alias)? => vec![device],
            Some(_) => Vec::new(),
            None => ledger.directory.devices_of(&ledger.state, alias)?,
        };
        if devices.is_empty() {
            return Err(Reason::NoSuchAlias.into());
        }
        for device in devices {
            self.ledger.alias(alias, &device, false, draft.next)?;
            self.push(&Entry::Alias { alias: alias.clone(), device, bound: false }, draft)?;
        }
        Ok(())
    }

    /// Forgets devices that a peer has no more, unless another peer has opened on them since.
    pub(super) fn forget_devices(
        &mut self,
        peer: &PeerId,
        devices: Vec<DeviceId>,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        for device in devices {
            let ledger = &mut self.ledger;
            let found = ledger.directory.device(&ledger.state, &device)?;
            if found.is_some_and(|found| found.peer == *peer) {
                ledger.directory.forget(&ledger.state, &device, peer, draft.next)?;
                self.push(&Entry::Forgotten { peer: peer.clone(), device }, draft)?;
            }
        }
        Ok(())
    }

    pub(super) fn decide_block(
        &mut self,
        caller: &mut Option<T>,
        peer: PeerId,
        blocked: bool,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        if self.ledger.blocked.judge(&peer, blocked)? {
            self.ledger.block(&peer, blocked);
            self.push(&Entry::Blocked { peer: peer.clone(), blocked }, draft)?;
        }
        draft.outcomes.push(Outcome::Blocked { caller: caller.take(), peer, blocked });
        Ok(())
    }

    pub(super) fn decide_upstream(
        &mut self,
        caller: &mut Option<T>,
        new: NewUpstream,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let hash = upstream_hash(&new.from, &new.body);
        let origin = Origin::Client(new.number.clone());
        let verdict = self.ledger.judge(&new.from, &origin, hash, draft.at_ms)?;
        if !self.is_new(caller, verdict, draft)? {
            return Ok(());
        }
        self.check_sender(&new.from)?;
        if self.ledger.upstreams.is_full() {
            return Err(Reason::TooManyUpstream.into());
        }
        let (id, at_ms) = (draft.next, draft.at_ms);
        self.ledger.upstream(&new, (id, at_ms))?;
        self.push(&Entry::Upstream(new), draft)?;
        draft.outcomes.push(Outcome::UpstreamStored { caller: caller.take(), id, at_ms });
        Ok(())
    }

    pub(super) fn decide_upstream_done(
        &mut self,
        caller: &mut Option<T>,
        upstream: MessageId,
        accepted: bool,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let found = self.ledger.upstreams.find(&self.ledger.state, upstream)?;
        let from = found.ok_or(Reason::NoSuchMessage)?.from.clone();
        Ok(self.finish_upstream(caller.take(), upstream, from, accepted, draft)?)
    }

    /// Gives up some of the messages that the back end has not taken in time.
    pub(super) fn give_up_upstreams(&mut self, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        for _ in 0..GIVEN_UP_MAX {
            let Some(upstream) = self.overdue_upstream(draft.at_ms) else { break };
            match self.ledger.upstreams.find(&self.ledger.state, upstream)? {
                Some(found) => {
                    self.finish_upstream(None, upstream, found.from.clone(), false, draft)?;
                }
                // It cannot be read, so nobody can be told.
                None => self.ledger.upstreams.remove(upstream),
            }
        }
        Ok(())
    }

    /// A message that the back end has not taken in time.
    pub(super) fn overdue_upstream(&mut self, now_ms: i64) -> Option<MessageId> {
        let overdue = self.ledger.upstreams.overdue(now_ms)?;
        self.log.believes(now_ms).then_some(overdue)
    }

    fn finish_upstream(
        &mut self,
        caller: Option<T>,
        upstream: MessageId,
        peer: PeerId,
        accepted: bool,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        let at = (draft.next, draft.at_ms);
        let told = self.ledger.upstream_done(upstream, &peer, accepted, at)?;
        self.push(&Entry::UpstreamDone { upstream, peer, accepted }, draft)?;
        draft.outcomes.push(Outcome::Told { caller, told: Some(told) });
        Ok(())
    }
}
