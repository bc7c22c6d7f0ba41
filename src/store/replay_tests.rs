//! A replay arrives at the truth: whatever part of the ledger had reached the state when the
//! server stopped, the log behind the checkpoint makes the rest of it.

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::group::Rules as GroupRules;
use crate::id::{Alias, ConversationId, DeviceFlag, DeviceId, GroupId, SessionId};
use crate::limits::{DEVICES_PER_PEER_MAX, INBOX_MESSAGES_MAX, RECIPIENTS_MAX, RECORD_BYTES_MAX};
use crate::metrics::Metrics;
use crate::store::entry::{
    Counts, Ending, Entry, GroupAction, Message, NewUpstream, Opening, Origin, Placed, Recall,
    Repeat, SendNumber,
};
use crate::store::peer::{Rules, Waiting};
use crate::store::receipts::Due;
use crate::store::sender::Verdict;
use crate::store::state::State;

const PEERS: [&str; 4] = ["ann", "bob", "cid", "dan"];
const DEVICES: [&str; 3] = ["phone", "laptop", "tablet"];
const ALIASES: [&str; 2] = ["red", "blue"];
const BOOKS: usize = 6;
const GROUPS: [GroupId; 2] = [GroupId([1; 12]), GroupId([2; 12])];
const RULES: Rules = Rules {
    window_messages: 3,
    window_age_ms: 7 * 24 * 3600 * 1000,
    away_after_ms: 60_000,
    inbox_max: 8,
    devices_max: 2,
};
const T0: i64 = 1_767_225_600_000;
const SEGMENT: u32 = 1;

#[derive(Clone, Debug)]
enum Step {
    Open(usize, usize, bool),
    End(usize, usize, bool),
    Send {
        from: usize,
        to: usize,
        /// A bit for each device that it is for; 0 for all.
        on: usize,
        receipt: bool,
        ttl_ms: i64,
    },
    SendToGroup(usize, usize),
    /// So many entries back.
    Ack(usize, usize, i64),
    Read(usize, usize, u32),
    /// So many messages back.
    Recall(usize),
    Group(usize, usize, usize, usize),
    Nonce(usize, u8),
    /// A device, an alias, bound or not.
    Alias(usize, usize, bool),
    Block(usize, bool),
    /// A message of the back end with one of a few keys.
    Push(usize, u8),
    Upstream(usize),
    /// The oldest message to the back end is done.
    UpstreamDone(bool),
    Wait(i64),
    /// A peer has not come back since the start.
    Missing(usize),
    /// A part of the ledger reaches the state, and no checkpoint says so.
    WritePeer(usize),
    WriteGroup,
    WriteBook(usize),
    /// So many steps of a flush of everything.
    Flush(usize),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, device, group) = (0..PEERS.len(), 0..DEVICES.len(), 0..GROUPS.len());
    let open = (peer.clone(), device.clone(), any::<bool>());
    let end = open.clone();
    let ttl_ms = prop_oneof![3 => Just(0), 1 => Just(90_000i64)];
    let on = prop_oneof![1 => Just(0), 1 => 1..1usize << DEVICES.len()];
    let send = (peer.clone(), peer.clone(), on, any::<bool>(), ttl_ms);
    let change = (group.clone(), peer.clone(), 0..9usize, peer.clone());
    let alias = (device.clone(), 0..ALIASES.len(), prop::bool::weighted(0.7));
    prop_oneof![
        4 => open.prop_map(|(p, d, c)| Step::Open(p, d, c)),
        3 => end.prop_map(|(p, d, c)| Step::End(p, d, c)),
        8 => send.prop_map(|(from, to, on, receipt, ttl_ms)| {
            Step::Send { from, to, on, receipt, ttl_ms }
        }),
        8 => (peer.clone(), group).prop_map(|(p, g)| Step::SendToGroup(p, g)),
        5 => (peer.clone(), device, 0..6i64).prop_map(|(p, d, b)| Step::Ack(p, d, b)),
        3 => (peer.clone(), 0..4usize, 1..9u32).prop_map(|(p, c, s)| Step::Read(p, c, s)),
        3 => (0..8usize).prop_map(Step::Recall),
        8 => change.prop_map(|(g, by, what, whom)| Step::Group(g, by, what, whom)),
        2 => (peer.clone(), 0..3u8).prop_map(|(p, n)| Step::Nonce(p, n)),
        6 => alias.prop_map(|(d, a, bound)| Step::Alias(d, a, bound)),
        2 => (peer.clone(), any::<bool>()).prop_map(|(p, blocked)| Step::Block(p, blocked)),
        2 => (peer.clone(), 0..3u8).prop_map(|(p, key)| Step::Push(p, key)),
        3 => peer.clone().prop_map(Step::Upstream),
        2 => any::<bool>().prop_map(Step::UpstreamDone),
        2 => peer.clone().prop_map(Step::Missing),
        2 => prop_oneof![Just(1_000), Just(61_000)].prop_map(Step::Wait),
        6 => peer.prop_map(Step::WritePeer),
        2 => Just(Step::WriteGroup),
        8 => (0..BOOKS).prop_map(Step::WriteBook),
        4 => (1..8usize).prop_map(Step::Flush),
        4 => Just(Step::Crash),
    ]
}

fn peer(index: usize) -> PeerId {
    PeerId::new(PEERS[index]).unwrap()
}

fn alias(index: usize) -> Alias {
    Alias::new(ALIASES[index]).unwrap()
}

fn device(index: usize) -> DeviceId {
    DeviceId::new(DEVICES[index]).unwrap()
}

/// A ledger, and the log that made it.
struct Run {
    ledger: Ledger,
    settling: Settling,
    log: Vec<Placed>,
    next: i64,
    now_ms: i64,
    folder: TempDir,
}

fn ledger(folder: &TempDir) -> Ledger {
    let opened = State::open(folder.path()).unwrap();
    assert!(!opened.fell_back);
    let checkpoint = opened.state.checkpoint().unwrap().unwrap_or_default();
    Ledger::new(Arc::new(opened.state), RULES, checkpoint, Arc::new(Metrics::new())).unwrap()
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, settling) = (ledger(&folder), Settling::default());
        let mut run = Self { ledger, settling, log: Vec::new(), next: 1, now_ms: T0, folder };
        run.put(Entry::Started { run: 1 });
        run
    }

    fn head(&self) -> MessageId {
        MessageId(self.next - 1)
    }

    /// A peer as it is, without having the ledger touch it.
    fn peer(&self, who: usize) -> Peer {
        let (id, ledger) = (peer(who), &self.ledger);
        let known = ledger.peers.get(&id).map(|peer| Peer::clone(peer));
        let mut peer = known.or_else(|| ledger.state.peer(&id).unwrap()).unwrap_or_default();
        peer.enter_run(ledger.checkpoint.run, ledger.checkpoint.started_ms, &RULES);
        peer
    }

    fn put(&mut self, entry: Entry) {
        let placed = Placed { id: MessageId(self.next), at_ms: self.now_ms, entry };
        self.next += 1;
        self.ledger.replay(&placed, SEGMENT).unwrap();
        self.log.push(placed);
    }

    fn message(&mut self, from: usize, to: Option<usize>, group: usize, step: &Step) {
        let (on, receipt, ttl_ms, key) = match step {
            Step::Send { on, receipt, ttl_ms, .. } => (*on, *receipt, *ttl_ms, None),
            Step::Push(_, key) => (0, false, 0, Some([*key; 16])),
            _ => (0, false, 0, None),
        };
        let from = peer(from);
        let to: Vec<PeerId> = to.map(peer).into_iter().collect();
        let conversation = match to.first() {
            Some(to) => ConversationId::of_peers([&from, to]),
            None => ConversationId::Group(GROUPS[group]),
        };
        let sequence = self.ledger.next(&conversation.key(), SEGMENT).unwrap().sequence;
        let message = Message {
            id: MessageId(self.next),
            sequence,
            at_ms: self.now_ms,
            expires_ms: if ttl_ms == 0 { 0 } else { self.now_ms + ttl_ms },
            conversation,
            from,
            to,
            devices: (0..DEVICES.len()).filter(|at| on >> at & 1 == 1).map(device).collect(),
            receipt,
            client_msg_no: Default::default(),
            body: format!("body {}", self.next).into(),
        };
        let origin = match key {
            Some(key) => {
                let repeat = Some(Repeat { key, content: 0 });
                Origin::Backend { repeat, system: true }
            }
            None => Origin::Client(self.number()),
        };
        let (push, absent) = Default::default();
        self.put(Entry::Message { message: message.into(), origin, hash: 0, push, absent });
    }

    fn number(&self) -> SendNumber {
        let number = self.next as u64;
        SendNumber { device: device(0), instance: 1, number, answered: 0 }
    }

    fn change_alias(&mut self, on: usize, which: usize, bound: bool) {
        let (alias, device, state) = (alias(which), device(on), self.ledger.state.clone());
        let directory = &mut self.ledger.directory;
        let is_allowed = if bound {
            directory.judge(&state, &alias, &device, 2).unwrap() == Ok(true)
        } else {
            directory.has(&state, &device, &alias).unwrap()
        };
        if is_allowed {
            self.put(Entry::Alias { alias, device, bound });
        }
    }

    fn group(&mut self, group: usize, by: usize, what: usize, whom: usize) {
        let (group, by) = (GROUPS[group], peer(by));
        let found = self.ledger.groups.find(&self.ledger.state, group).unwrap();
        if self.ledger.groups.is_deleted(group) {
            return;
        }
        let Some(found) = found else {
            let members = vec![by.clone()];
            let (rules, metadata) = (GroupRules::default(), Default::default());
            let action = GroupAction::Create { open: false, rules, metadata, members };
            return self.put(Entry::GroupCreated { group, by: Some(by), action });
        };
        let action = match what {
            0 => GroupAction::Join,
            1 => GroupAction::Leave,
            2 => GroupAction::Invite(vec![peer(whom), peer(0)]),
            3 => GroupAction::Kick(vec![peer(whom)]),
            4 => GroupAction::Delete { version: None },
            _ => {
                let metadata = Some(self.next.to_string().into());
                GroupAction::Edit { rules: None, metadata, version: None }
            }
        };
        let applied = self.ledger.checkpoint.applied;
        let is_deletion = matches!(action, GroupAction::Delete { .. });
        let by = (!is_deletion).then_some(by);
        let Ok(Some(change)) = found.judge(by.as_ref(), action, 3, applied) else { return };
        drop(found);
        let key = ConversationId::Group(group).key();
        let sequence = self.ledger.next(&key, SEGMENT).unwrap().sequence - 1;
        self.put(Entry::GroupChanged { group, by, change, sequence });
    }

    /// What a device has had, by an acknowledgement or an Open; with the receipts that are due.
    fn has_had(&mut self, who: usize, entry: Entry) {
        let (mut known, mut session) = (self.peer(who), SessionId(self.next));
        let now_ms = self.now_ms;
        if let Entry::Opened { .. } = &entry {
            self.end_orphans(who);
            (known, session) = (self.peer(who), SessionId(self.next));
        }
        let (due, forgotten) = match &entry {
            Entry::Opened { opening, .. } => {
                let found = known.open(opening, session, now_ms, &RULES);
                (found.receipts, found.forgotten)
            }
            Entry::Acked { device, id, .. } => {
                (known.acknowledge(device, *id, now_ms, &RULES), Vec::new())
            }
            _ => Default::default(),
        };
        self.put(entry);
        for device in forgotten {
            let (peer, state) = (peer(who), self.ledger.state.clone());
            let known = self.ledger.directory.device(&state, &device).unwrap();
            if known.is_some_and(|known| known.peer == peer) {
                self.put(Entry::Forgotten { peer, device });
            }
        }
        for Due { to, conversation, sequence, messages, .. } in due {
            let (by, device) = (peer(who), device(0));
            let entry = Entry::Delivered { to, by, device, conversation, sequence, messages };
            self.put(entry);
        }
    }

    /// The ends of the sessions that a peer had when the server stopped.
    fn end_orphans(&mut self, who: usize) {
        for (device, session) in self.peer(who).orphans() {
            let (peer, flag, counts) = (peer(who), DeviceFlag::App, Counts::default());
            let ending = Ending::Stopped;
            self.put(Entry::Ended { peer, device, flag, session, ending, counts });
        }
    }

    fn recall(&mut self, back: usize) {
        let mut messages = self.log.iter().rev().filter_map(|placed| match &placed.entry {
            Entry::Message { message, .. } => Some(message.clone()),
            _ => None,
        });
        let Some(message) = messages.nth(back) else { return };
        if self.ledger.recalled.contains(message.id) {
            return;
        }
        self.put(Entry::Recalled(Recall {
            message: message.id,
            conversation: message.conversation,
            sequence: message.sequence,
            by: Some(message.from.clone()),
            concerned: message.to.iter().chain([&message.from]).cloned().collect(),
        }));
    }

    fn is_member(&mut self, who: usize, group: usize) -> bool {
        let found = self.ledger.groups.find(&self.ledger.state, GROUPS[group]).unwrap();
        found.is_some_and(|group| group.member_since(&peer(who)).is_some())
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Open(who, on, has_cursor) => {
                let cursor = if has_cursor { self.head() } else { MessageId::NONE };
                let (peer, device) = (peer(who), device(on));
                let (flag, client, address) = (DeviceFlag::App, String::new(), String::new());
                let opening = Opening { peer, device, flag, instance: 1, client, address, cursor };
                self.has_had(who, Entry::Opened { opening, counts: Counts::default() });
            }
            Step::End(who, on, closed) => {
                let (peer, device) = (peer(who), device(on));
                let mut known = self.peer(who);
                let session = known.device(&device).and_then(|device| device.session);
                let session = session.unwrap_or(SessionId(1));
                let (flag, counts) = Default::default();
                let ending = if closed { Ending::Closed } else { Ending::Lost };
                self.put(Entry::Ended { peer, device, flag, session, ending, counts });
            }
            Step::Send { from, to, .. } => self.message(from, Some(to), 0, step),
            Step::SendToGroup(from, group) => {
                if self.is_member(from, group) {
                    self.message(from, None, group, step);
                }
            }
            Step::Ack(who, on, back) => {
                let id = MessageId((self.next - 1 - back).max(1));
                let entry = Entry::Acked { peer: peer(who), device: device(on), id };
                self.has_had(who, entry);
            }
            Step::Read(who, which, sequence) => {
                let peer = peer(who);
                let parts = self.peer(who).parts;
                let (page, _) = parts.page(MessageId(i64::MAX), 9);
                let Some((conversation, part)) = page.into_iter().nth(which) else { return };
                let sequence = sequence.min(part.sequence);
                let others = part.others.to_vec();
                self.put(Entry::Read { peer, conversation, sequence, others });
            }
            Step::Recall(back) => self.recall(back),
            Step::Group(group, by, what, whom) => self.group(group, by, what, whom),
            Step::Nonce(who, nonce) => {
                let (peer, nonce) = (peer(who), vec![nonce]);
                if self.ledger.nonces.judge(&peer, &nonce, self.now_ms).is_ok() {
                    let expires_ms = self.now_ms + 60_000;
                    self.put(Entry::Nonce { peer, nonce: nonce.into(), expires_ms });
                }
            }
            Step::Wait(ms) => self.now_ms += ms,
            Step::Missing(who) => self.end_orphans(who),
            _ => self.take_for_backend(step),
        }
    }

    fn take_for_backend(&mut self, step: &Step) {
        match *step {
            Step::Alias(on, which, bound) => self.change_alias(on, which, bound),
            Step::Block(who, blocked) => {
                if self.ledger.blocked.judge(&peer(who), blocked) == Ok(true) {
                    self.put(Entry::Blocked { peer: peer(who), blocked });
                }
            }
            Step::Push(to, key) => {
                let now_ms = self.now_ms;
                if self.ledger.keys.judge(&[key; 16], 0, now_ms) == Verdict::New {
                    self.message(3, Some(to), 0, step);
                }
            }
            Step::Upstream(who) => {
                let body = format!("upstream {}", self.next).into();
                let new = NewUpstream { from: peer(who), number: self.number(), body };
                self.put(Entry::Upstream(new));
            }
            Step::UpstreamDone(accepted) => {
                let (waiting, _) = self.upstreams(1);
                if let Some(oldest) = waiting.into_iter().next() {
                    let (upstream, peer) = (oldest.id, oldest.from);
                    self.put(Entry::UpstreamDone { upstream, peer, accepted });
                }
            }
            _ => self.write(step),
        }
    }

    fn write(&mut self, step: &Step) {
        let (head, mut changes) = (self.head(), Changes::default());
        let ledger = &mut self.ledger;
        match *step {
            Step::WritePeer(who) => {
                write_peer(&peer(who), ledger, head, &mut changes);
            }
            Step::WriteGroup => {
                ledger.groups.flush_one(ledger.checkpoint.applied, &mut changes);
            }
            Step::WriteBook(which) => match which {
                0 => drop(ledger.nonces.flush_some(1, &mut changes)),
                1 => drop(ledger.blocked.flush_some(&mut ledger.blocks, 1, &mut changes)),
                2 => drop(ledger.directory.flush_some(1, &mut changes)),
                3 => drop(ledger.keys.flush_some(1, &mut changes)),
                4 => drop(ledger.upstreams.flush_some(1, &mut changes)),
                _ => ledger.recalls.pop().into_iter().for_each(|(id, by)| changes.recalled(id, by)),
            },
            Step::Flush(steps) => {
                self.settling.want_flush();
                for _ in 0..steps {
                    self.settling.step(ledger, head, self.now_ms).unwrap();
                }
            }
            _ => self.crash(),
        }
        changes.apply(&self.ledger.state).unwrap();
    }

    /// Drops the ledger, replays what the state does not show, and compares.
    fn crash(&mut self) {
        let truth = self.seen();
        let empty = tempfile::tempdir().unwrap();
        // Two databases cannot be open in one folder.
        self.ledger = ledger(&empty);
        self.ledger = ledger(&self.folder);
        self.settling = Settling::default();
        let applied = self.ledger.checkpoint.applied;
        for placed in self.log.iter().filter(|placed| placed.id > applied) {
            self.ledger.replay(placed, SEGMENT).unwrap();
        }
        for (replayed, truth) in self.seen().iter().zip(&truth) {
            assert_eq!(replayed, truth, "{applied} of {} was applied", self.head());
        }
        let run = self.ledger.checkpoint.run + 1;
        self.put(Entry::Started { run });
    }

    /// All that the ledger knows, in words.
    fn seen(&mut self) -> Vec<String> {
        let mut seen: Vec<String> = (0..PEERS.len()).map(|who| self.seen_of(who)).collect();
        let tail_bytes: usize = self.ledger.peers.values().map(|peer| peer.tail_bytes).sum();
        assert_eq!(self.ledger.tail_bytes, tail_bytes);
        let waiting = (0..PEERS.len()).map(|who| self.peer(who).waiting.len()).sum::<usize>();
        assert_eq!(self.ledger.waiting, waiting);
        for group in GROUPS {
            let found = self.ledger.groups.find(&self.ledger.state, group).unwrap();
            seen.extend(found.map(|group| {
                let crate::store::Group { creator, rules, metadata, version, .. } = &*group;
                let members: Vec<_> = group.members().collect();
                format!("{creator:?} {rules:?} {metadata:?} {version} {members:?}")
            }));
            let key = ConversationId::Group(group).key();
            seen.push(format!("{:?}", self.ledger.next(&key, SEGMENT).unwrap().sequence));
        }
        for who in 0..PEERS.len() {
            for nonce in 0..3 {
                let judged = self.ledger.nonces.judge(&peer(who), &[nonce], self.now_ms);
                seen.push(format!("{who} {nonce} {judged:?}"));
            }
        }
        let ids = (1..self.next).map(MessageId);
        let recalled: Vec<_> = ids.filter(|id| self.ledger.recalled.contains(*id)).collect();
        seen.push(format!("recalled {recalled:?}, {} groups", self.ledger.groups.count));
        seen.push(self.seen_of_backend());
        seen
    }

    fn upstreams(&self, max: usize) -> (Vec<crate::store::Upstream>, bool) {
        let (range, ledger) = ((MessageId::NONE, self.head()), &self.ledger);
        ledger.upstreams.page(&ledger.state, range, max).unwrap()
    }

    fn seen_of_backend(&mut self) -> String {
        let mut seen = format!("{:?}\n", self.upstreams(99));
        let Ledger { directory, state, keys, blocked, groups, .. } = &mut self.ledger;
        seen += &format!("{} {:?}\n", directory.aliased, blocked.page(None, 9));
        for on in 0..DEVICES.len() {
            let found = directory.device(state, &device(on)).unwrap();
            let found = found.map(|found| (found.peer.clone(), found.alias.clone()));
            seen += &format!("{on} {found:?}\n");
        }
        for which in 0..ALIASES.len() {
            seen += &format!("{:?}\n", directory.devices_of(state, &alias(which)).unwrap());
        }
        for key in 0..3 {
            seen += &format!("{:?}\n", keys.judge(&[key; 16], 0, self.now_ms));
        }
        let (page, more) = groups.page(state, GroupId::default(), 9).unwrap();
        let ids: Vec<_> = page.iter().map(|group| group.id).collect();
        seen + &format!("{ids:?} {more}")
    }

    fn seen_of(&mut self, who: usize) -> String {
        let (id, state) = (peer(who), self.ledger.state.clone());
        let peer = self.peer(who);
        let rows = peer.rows.iter();
        let rows: Vec<Item> =
            rows.flat_map(|row| state.row(&id, row.first, |_| true).unwrap()).collect();
        let mut seen = format!(
            "{id} {} {} {} {} {:?}\n{:?}\n",
            peer.run, peer.ended_run, peer.away_at_ms, peer.away_count, peer.loss, peer.devices
        );
        let online = (peer.online_since, peer.online_until);
        seen += &format!("{online:?} {:?} {}\n", peer.notices, peer.mortal);
        for waiting in &peer.waiting {
            let stored = rows.iter().find(|item| item.id() == waiting.id);
            let entry = &self.log[waiting.id.0 as usize - 1].entry;
            let shared = match entry {
                Entry::Message { message, .. } => message.to.is_empty(),
                Entry::UpstreamDone { .. } => false,
                Entry::Recalled(recall) => {
                    matches!(recall.conversation, ConversationId::Group(_))
                }
                _ => true,
            };
            let item = waiting.body.as_ref().or(stored).filter(|_| !shared);
            assert!(shared || item.is_some(), "what waits is nowhere: {waiting:?}");
            let aim = peer.aims.of(waiting.id);
            seen += &format!(
                "{} {} {} {aim:?} {item:?}\n",
                waiting.id, waiting.at_ms, waiting.expires_ms
            );
        }
        let aimed = peer.waiting.iter().filter(|waiting| peer.aims.of(waiting.id).is_some());
        assert_eq!(aimed.count(), peer.aims.iter().count(), "what is aimed waits");
        for (conversation, part) in peer.parts.page(MessageId(i64::MAX), 99).0 {
            let part = crate::store::Part { dirty: false, ..part };
            seen += &format!("{conversation:?} {part:?}\n");
        }
        seen + &format!("{:?}", peer.receipts.due)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Default::default()
    })]

    #[test]
    fn a_replay_arrives_at_the_truth_whatever_had_reached_the_state(
        steps in prop::collection::vec(step(), 20..120),
    ) {
        let mut run = Run::new();
        steps.iter().for_each(|step| run.take(step));
        run.crash();
        run.crash();
    }
}

/// A part of what the steps do reaches the state, and then the server stops.
fn replays(steps: &[Step]) {
    let mut run = Run::new();
    steps.iter().for_each(|step| run.take(step));
    run.crash();
    run.crash();
}

#[test]
fn a_deletion_in_the_state_does_not_hide_for_whom_earlier_messages_were() {
    let delete = Step::Group(0, 0, 4, 0);
    let member = |who| Step::Group(0, who, 0, 0);
    let before = [member(0), member(1), Step::Flush(99), Step::SendToGroup(0, 0), delete];
    for writes in 1..4 {
        replays(&[&before[..], &vec![Step::WriteGroup; writes]].concat());
    }
}

#[test]
fn rows_of_the_back_end_that_reached_the_state_alone_do_not_mislead_a_replay() {
    use Step::{Alias, Block, Flush, Open, Push, Upstream, UpstreamDone, WriteBook};
    let scripts: [&[Step]; 7] = [
        // The row of a device, without that of its alias; then both, of another alias.
        &[Open(0, 0, false), Flush(99), Alias(0, 0, true), WriteBook(2)],
        &[Open(0, 0, false), Alias(0, 0, true), Flush(99), Alias(0, 1, true), WriteBook(2)],
        &[Open(0, 0, false), Alias(0, 0, true), Flush(99), Alias(0, 0, false), WriteBook(2)],
        &[Block(0, true), Flush(99), Block(0, false), WriteBook(1), Block(0, true)],
        &[Push(0, 1), WriteBook(3), Push(0, 2)],
        &[Upstream(0), WriteBook(4), UpstreamDone(true)],
        &[Upstream(0), Upstream(0), Flush(99), UpstreamDone(false), WriteBook(4)],
    ];
    scripts.iter().for_each(|steps| replays(steps));
}

#[test]
fn peers_that_were_only_looked_at_are_forgotten_without_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ledger, mut settling) = (ledger(&folder), Settling::default());
    for number in 0..=2 * PEERS_CACHED_MAX {
        ledger.peers.insert(PeerId::new(&number.to_string()).unwrap(), Box::default());
    }
    settling.slice(&mut ledger, MessageId::NONE, T0).unwrap();
    assert!(ledger.peers.is_empty(), "{}", ledger.peers.len());
}

/// The sizes of all values of a state whose keys begin so.
fn sizes(ledger: &Ledger, prefix: &[u8]) -> Vec<usize> {
    let rows = ledger.state.database.scan(prefix, prefix);
    rows.map(|row| row.unwrap().1.len()).collect()
}

fn store(ledger: &mut Ledger, who: usize) {
    let mut changes = Changes::default();
    write_peer(&peer(who), ledger, MessageId::NONE, &mut changes);
    changes.apply(&ledger.state).unwrap();
}

/// A peer for whom as much waits as can, each message for another of its devices than the one
/// before, in a row of its own and for a while only.
fn overloaded() -> Peer {
    let mut peer = Peer::default();
    for index in 0..INBOX_MESSAGES_MAX as i64 {
        let (id, at_ms, expires_ms) = (MessageId(1 + index), T0 + index, T0 + 90_000);
        peer.waiting.push_back(Waiting { id, at_ms, expires_ms, body: None });
        peer.mortal += 1;
        if index % 2 == 0 {
            peer.notices.push_back(id);
        }
        peer.aims.push(id, [index as usize % DEVICES_PER_PEER_MAX].into_iter().collect());
        peer.rows.push(RowRef { first: id, last: id });
    }
    peer
}

#[test]
fn a_peer_for_whom_much_waits_is_stored_in_pieces_and_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(&folder);
    ledger.peers.insert(peer(0), overloaded().into());
    store(&mut ledger, 0);
    let sizes_of_all = sizes(&ledger, b"");
    assert!(sizes_of_all.iter().all(|size| *size <= RECORD_BYTES_MAX), "{sizes_of_all:?}");
    let pieces = sizes(&ledger, b"l").len();
    assert!(pieces > 2, "{pieces}");
    let expected = Peer { pieces, stored: INBOX_MESSAGES_MAX, ..overloaded() };
    for read in [ledger.state.peer(&peer(0)), ledger.state.peer_alone(&peer(0))] {
        assert_eq!(format!("{:?}", read.unwrap().unwrap()), format!("{expected:?}"));
    }
    let (oldest, _) = ledger.state.peers_from(&[], 9, |peer| Some(peer.waiting[0].at_ms)).unwrap();
    assert_eq!(oldest, [(peer(0), T0)]);
    // What becomes shorter leaves nothing behind, and is in the end as if it had never been.
    for left in [INBOX_MESSAGES_MAX / 2, 3, 0] {
        ledger.peers.remove(&peer(0));
        let known = ledger.peer(&peer(0)).unwrap();
        (left..known.waiting.len()).for_each(|id| known.let_go(MessageId(1 + id as i64)));
        store(&mut ledger, 0);
        let known = ledger.peer(&peer(0)).unwrap();
        assert_eq!((known.waiting.len(), known.rows.len()), (left, left));
        assert_eq!(sizes(&ledger, b"l").len(), ledger.peers[&peer(0)].pieces);
    }
    assert_eq!((sizes(&ledger, b"l"), sizes(&ledger, b"p")), (vec![], vec![]));
}

#[test]
fn a_peer_of_which_a_piece_is_missing_is_lost_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(&folder);
    ledger.peers.insert(peer(0), overloaded().into());
    ledger.peers.insert(peer(1), overloaded().into());
    [0, 1].into_iter().for_each(|who| store(&mut ledger, who));
    let mut changes = Changes::default();
    changes.remove_pieces(b"pann", 1..2);
    changes.apply(&ledger.state).unwrap();
    ledger.peers.clear();
    assert!(ledger.peer(&peer(0)).unwrap().waiting.is_empty());
    assert_eq!(ledger.peer(&peer(1)).unwrap().waiting.len(), INBOX_MESSAGES_MAX);
    assert!(ledger.state.peer_alone(&peer(0)).unwrap().is_none());
}

#[test]
fn a_row_of_messages_to_many_is_no_longer_than_a_value_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(&folder);
    let named = |index| PeerId::new(&format!("{index:064}")).unwrap();
    let mut full = Peer::default();
    for id in 1..=500 {
        let message = Message {
            id: MessageId(id),
            sequence: id as u32,
            at_ms: T0,
            expires_ms: 0,
            conversation: ConversationId::of_peers([&named(0), &named(1)]),
            from: named(0),
            to: (0..RECIPIENTS_MAX).map(named).collect(),
            devices: Vec::new(),
            receipt: false,
            client_msg_no: Default::default(),
            body: "short".into(),
        };
        let body = Some(Item::Message(message.into()));
        full.waiting.push_back(Waiting { id: MessageId(id), at_ms: T0, expires_ms: 0, body });
    }
    ledger.peers.insert(peer(0), full.into());
    store(&mut ledger, 0);
    let rows = sizes(&ledger, b"w");
    assert!(rows.len() > 1 && rows.iter().all(|size| *size <= RECORD_BYTES_MAX), "{rows:?}");
}

#[test]
fn a_damaged_group_is_as_good_as_gone_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = ledger(&folder);
    let mut changes = Changes::default();
    changes.write(&crate::store::state::group_key(GROUPS[0]), b"damaged".to_vec());
    changes.apply(&ledger.state).unwrap();
    assert_eq!(ledger.groups.find(&ledger.state, GROUPS[0]).unwrap(), None);
    assert_eq!(ledger.groups.find_ever(&ledger.state, GROUPS[0]).unwrap(), None);
}
