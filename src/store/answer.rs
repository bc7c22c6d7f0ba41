//! What the commit thread answers: the head of the ledger, to those who read.
//!
//! # Invariants
//!
//! * Nothing is told that is not durable, but for what a peer has read, whose member it is, and
//!   which alias a device has. What is asked of endpoints is answered after the next sync.

use crate::id::{Alias, DeviceId, MessageId, PeerId};
use crate::store::KnownDevice;
use crate::store::backup::Moment;
use crate::store::commit::{Committer, Draft};
use crate::store::database::DatabaseError;
use crate::store::device::Device;
use crate::store::outcome::{Route, WaitingItem, WaitingPage};
use crate::store::queue::Question;

impl<T: Send + 'static> Committer<T> {
    /// Answers a question; who asked may have gone.
    pub(super) fn answer(
        &mut self,
        question: Question,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        match question {
            Question::Waiting { peer: id, on, after, max, answer } => {
                let _ = answer.send(self.waiting(&id, on.as_ref(), after, max)?);
            }
            Question::Group { group, answer } => {
                let _ = answer.send(self.ledger.groups.find(&self.ledger.state, group)?);
            }
            Question::Conversations { peer, before, max, answer } => {
                let _ = answer.send(self.ledger.peer(&peer)?.parts.page(before, max));
            }
            Question::Devices { peer, answer } => {
                let device = |device: &Device| KnownDevice {
                    device: device.id.clone(),
                    flag: device.flag,
                    online: device.session.is_some(),
                    seen_ms: device.seen_ms,
                };
                let peer = self.ledger.peer(&peer)?;
                let _ = answer.send(peer.devices.iter().map(device).collect());
            }
            Question::Knows { peer, device, answer } => {
                let _ = answer.send(self.ledger.peer(&peer)?.place(&device).is_some());
            }
            Question::Alias { alias, answer } => {
                let ledger = &mut self.ledger;
                let mut routes = Vec::new();
                for device in ledger.directory.devices_of(&ledger.state, &alias)? {
                    routes.extend(self.route(device)?.map(|(route, _)| route));
                }
                let _ = answer.send(routes);
            }
            Question::Device { device, answer } => {
                let _ = answer.send(self.route(device)?);
            }
            Question::Groups { after, max, answer } => {
                let _ = answer.send(self.ledger.groups.page(&self.ledger.state, after, max)?);
            }
            Question::Upstream { after, max, answer } => {
                // What is not durable yet waits for nobody.
                let (range, ledger) = ((after, self.log.last), &self.ledger);
                let _ = answer.send(ledger.upstreams.page(&ledger.state, range, max)?);
            }
            Question::WereOnline { peers, answer } => {
                let mut online = Vec::new();
                for peer in peers {
                    if self.ledger.was_online(&peer)? {
                        online.push(peer);
                    }
                }
                let _ = answer.send(online);
            }
            Question::Endpoints { answer } => {
                let ids = self.ledger.endpoints.ids();
                draft.then.push(Box::new(move || drop(answer.send(ids))));
            }
            Question::Endpoint { endpoint, answer } => {
                let state = self.ledger.endpoint_state(&endpoint);
                draft.then.push(Box::new(move || drop(answer.send(state))));
            }
            Question::Letters { endpoint, after, max, answer } => {
                let page = self.ledger.letters.page(&endpoint, after, max);
                draft.then.push(Box::new(move || drop(answer.send(page))));
            }
            Question::Backup { number, answer } => drop(answer.send(self.moment(number))),
        }
        Ok(())
    }

    /// The moment that a backup is of: the state changes between commits only, and shows nothing
    /// behind the head.
    fn moment(&self, number: u64) -> Moment {
        let spool = self.ledger.state.database.end_spool(number);
        let (head, epoch) = (self.log.last, self.log.epoch);
        Moment { spool, files: self.log.catalog.files(head), epoch, head }
    }

    /// A page of what waits for a peer; of that only what is for the device, if one is named.
    fn waiting(
        &mut self,
        id: &PeerId,
        on: Option<&DeviceId>,
        after: MessageId,
        max: usize,
    ) -> Result<WaitingPage, DatabaseError> {
        // What is in the ledger but behind the head is not durable yet.
        let head = self.log.last;
        let peer = self.ledger.peer(id)?;
        let from = peer.waiting.partition_point(|waiting| waiting.id <= after);
        let durable = peer.waiting.partition_point(|waiting| waiting.id <= head);
        let to = durable.min(from + max).max(from);
        // However few of them are for the device, no more are looked at.
        let page = peer.waiting.range(from..to);
        let last = page.clone().next_back().map_or(after, |waiting| waiting.id);
        let place = on.and_then(|device| peer.place(device));
        let items = page
            .filter(|waiting| on.is_none() || peer.aims.is_for(waiting.id, place))
            .map(|waiting| WaitingItem { id: waiting.id, item: waiting.body.clone() })
            .collect();
        let rows = peer.rows.iter().map(|row| (row.first, row.last)).collect();
        Ok(WaitingPage { items, last, rows, is_all: to >= durable, head })
    }

    /// Where a device is, and its alias.
    fn route(&mut self, device: DeviceId) -> Result<Option<(Route, Option<Alias>)>, DatabaseError> {
        let ledger = &mut self.ledger;
        let Some(found) = ledger.directory.device(&ledger.state, &device)?.cloned() else {
            return Ok(None);
        };
        let (rules, now_ms) = (ledger.rules, self.options.clock.now_ms());
        let devices = &ledger.peer(&found.peer)?.devices;
        let known = devices.iter().find(|known| known.id == device);
        let online = known.is_some_and(|known| known.session.is_some());
        let gone = known.is_none_or(|known| !known.counts(now_ms, &rules));
        Ok(Some((Route { device, peer: found.peer, online, gone }, found.alias)))
    }
}
