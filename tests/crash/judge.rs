//! What the server says of groups, history, marks and devices when it is asked after the last
//! kill, held against the ledger.
//!
//! # Invariants
//!
//! * Nothing is asked before everything has arrived, so there is one right answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings::client::{Conversation, Past, Session};
use tidings::id::{ConversationId, DeviceFlag, GroupId, MessageId, PeerId};

use crate::clients::{Seat, World};
use crate::ledger::{Ledger, Place, body};

/// Asks as one peer, in the session of its phone.
pub(crate) struct Judge {
    world: Arc<World>,
    peer: usize,
    session: Session,
    broken: Vec<String>,
}

impl Judge {
    /// Asks everything; gives what is wrong.
    pub(crate) async fn ask(seat: &Seat, session: &Session) -> Vec<String> {
        let (world, session) = (seat.world.clone(), session.clone());
        let mut judge = Self { world, peer: seat.peer, session, broken: Vec::new() };
        let groups = judge.world.ledger().groups.all();
        for group in groups {
            judge.ask_members(group).await;
        }
        judge.ask_conversations().await;
        judge.ask_pair().await;
        judge.ask_devices().await;
        judge.use_again(seat).await;
        judge.broken
    }

    fn wrong(&mut self, what: String) {
        let peer = &self.world.peers[self.peer];
        self.broken.push(format!("{peer}: {what}"));
    }

    /// The members of a group, which only they are told, and its history.
    async fn ask_members(&mut self, group: GroupId) {
        let (members, (since, _)) = {
            let ledger = self.world.ledger();
            (ledger.groups.members(group), ledger.groups.stint(group, self.peer))
        };
        let told = self.session.members(group, None, 500).await;
        if !members.contains(&self.peer) {
            if told.is_ok() {
                self.wrong(format!("is told who is in {group:?}, but is no member"));
            }
            return;
        }
        let expected: Vec<PeerId> =
            members.iter().map(|peer| self.world.peers[*peer].clone()).collect();
        let (is_founder, founder, version) = {
            let ledger = self.world.ledger();
            let founder = ledger.groups.founder(group);
            let name = ledger.peers[founder].clone();
            (founder == self.peer, name, ledger.groups.version(group))
        };
        match told {
            Ok(told)
                if told.members == expected
                    && told.creator == Some(founder)
                    && told.group.version == version
                    && told.group.count == expected.len() as u64 => {}
            told => self.wrong(format!("{group:?} has {expected:?} at {version}, not {told:?}")),
        }
        // To read a whole history takes its time, so not every member does.
        if is_founder || members.last() == Some(&self.peer) {
            self.ask_history(ConversationId::Group(group), since).await;
        }
    }

    /// The history of the peer's conversation with the one behind it.
    async fn ask_pair(&mut self) {
        let other = (self.peer + 1) % self.world.peers.len();
        let conversation = self.world.ledger().conversation([self.peer, other]);
        self.ask_history(conversation, MessageId::NONE).await;
    }

    async fn ask_history(&mut self, conversation: ConversationId, since: MessageId) {
        let expected: Vec<(usize, Place)> = {
            let ledger = self.world.ledger();
            let (stored, _) = ledger.stored();
            let of = |number: usize| ledger.sends[number].conversation;
            let mut all: Vec<_> = stored
                .into_iter()
                .filter(|(number, place)| of(*number) == conversation && place.id > since)
                .collect();
            all.sort_unstable_by_key(|(_, place)| std::cmp::Reverse(place.id));
            all
        };
        let mut told = Vec::new();
        loop {
            let before = told.last().map(|past: &Past| past.id);
            match self.session.history(conversation, before, 500).await {
                Ok(page) if page.messages.is_empty() => break,
                Ok(page) => {
                    told.extend(page.messages);
                    if !page.more {
                        break;
                    }
                }
                Err(error) => return self.wrong(format!("history of {conversation}: {error:?}")),
            }
        }
        if told.len() != expected.len() {
            let (told, expected) = (told.len(), expected.len());
            self.wrong(format!("{conversation} has {told} of {expected} messages since {since}"));
        }
        let world = self.world.clone();
        let ledger = world.ledger();
        for (past, (number, place)) in told.iter().zip(expected) {
            if !is_as_stored(&ledger, past, number, place) {
                self.wrong(format!("history of {conversation}: {number}, {place:?} is {past:?}"));
                break;
            }
        }
    }

    /// Each conversation, how far it goes and how far it was read.
    async fn ask_conversations(&mut self) {
        let mut told: BTreeMap<ConversationId, Conversation> = BTreeMap::new();
        let mut before = None;
        loop {
            let page = match self.session.conversations(before, 40).await {
                Ok(page) => page,
                Err(error) => return self.wrong(format!("conversations: {error:?}")),
            };
            before = page.conversations.last().map(|last| last.last);
            told.extend(page.conversations.into_iter().map(|told| (told.conversation, told)));
            if !page.more {
                break;
            }
        }
        let world = self.world.clone();
        let expected = world.ledger().parts(self.peer);
        for conversation in told.keys().filter(|told| !expected.contains_key(told)) {
            self.wrong(format!("takes part in {conversation}, and nobody knows why"));
        }
        for (conversation, part) in &expected {
            let is_right = told.get(conversation).is_some_and(|told| part.is(told));
            if !is_right {
                let told = told.get(conversation);
                self.wrong(format!("{conversation} is {part:?}, not {told:?}"));
            }
        }
    }

    /// The peer's devices: only the one that asks is on line.
    async fn ask_devices(&mut self) {
        let mut expected: Vec<_> = {
            let ledger = self.world.ledger();
            let own = ledger.devices.iter().filter(|device| device.peer == self.peer);
            own.filter_map(|device| Some((device.id.clone()?, device.name))).collect()
        };
        expected.sort();
        let told = self.session.devices().await;
        let is_right = told.as_ref().is_ok_and(|told| {
            let mut told = told.clone();
            told.sort_by(|one, other| one.device.cmp(&other.device));
            told.len() == expected.len()
                && told.iter().zip(&expected).all(|(told, (id, name))| {
                    let flag = if *name == "tablet" { DeviceFlag::Web } else { DeviceFlag::App };
                    told.device == *id
                        && told.flag == flag
                        && told.online == (*name == "phone")
                        && told.seen_ms > 0
                })
        });
        if !is_right {
            self.wrong(format!("has the devices {expected:?}, not {told:?}"));
        }
    }

    /// No signature that the peer used for a group is good for a second time.
    async fn use_again(&mut self, seat: &Seat) {
        let Some(notary) = &seat.notary else { return };
        let used: Vec<_> = {
            let ledger = self.world.ledger();
            ledger.used.iter().filter(|used| used.peer == self.peer).cloned().collect()
        };
        for used in &used {
            if let Err(problem) = notary.again(&self.session, used).await {
                self.wrong(problem);
            }
        }
    }
}

/// Whether history has a message as it was sent, or without its body if it was recalled.
fn is_as_stored(ledger: &Ledger, past: &Past, number: usize, place: Place) -> bool {
    let recalled = ledger.groups.recalled.contains_key(&number);
    let is_as_sent = if recalled { past.body.is_empty() } else { past.body == body(number) };
    let told = Place { id: past.id, sequence: past.sequence, at_ms: past.at_ms };
    past.recalled == recalled
        && is_as_sent
        && told == place
        && past.from == ledger.peers[ledger.sends[number].from]
}

/// A peer's part in a conversation, as it must be told.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) sequence: u32,
    /// It was read up to here at least and at the most.
    pub(crate) read: (u32, u32),
    pub(crate) is_member: bool,
}

impl Part {
    fn is(&self, told: &Conversation) -> bool {
        told.sequence == self.sequence
            && (self.read.0..=self.read.1).contains(&told.read)
            && told.unread == told.sequence - told.read
            && told.member == self.is_member
    }
}
