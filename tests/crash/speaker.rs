//! What a peer does in a session: it speaks, recalls, reads, and has a hand in groups.
//!
//! # Invariants
//!
//! * Whatever happens to the server, only a peer that leaves by itself may lose the answer to a
//!   send. Other requests are asked once: a kill may take their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use tidings::client::{NewGroup, Outgoing, RequestError, Rules, SendError, Sent, Session, Who};
use tidings::id::{ConversationId, GroupId, MessageId};
use tidings::reason::Reason;

use crate::clients::World;
use crate::groups::{Act, Leaving};
use crate::ledger::{Fate, Target};
use crate::notary::{Notary, Used};

/// Sends that a session keeps under way.
pub(crate) const SPEAKERS: usize = 4;
/// The longest pause of a speaker between an answer and the next send, in milliseconds, at first.
const PAUSE_MS_MAX: u64 = 10;
/// Sends after which each pause is a millisecond longer, so that on a fast machine too what waits
/// for a device that is absent until the end stays below the most that a peer's inbox holds.
const SENDS_PER_PAUSE_MS: usize = 1000;
/// Groups in all, about.
const GROUPS: usize = 8;
/// Peers up to this one create groups, and stay in those.
const FOUNDERS: usize = 8;

/// What the speakers of one session share.
pub(crate) struct Speaker {
    pub(crate) world: Arc<World>,
    pub(crate) peer: usize,
    /// The session in the ledger.
    pub(crate) number: usize,
    /// Held while a message is numbered and queued, so that both have one order.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) session: Session,
    pub(crate) notary: Option<Arc<Notary>>,
    /// The peer leaves: answers may be lost from now on.
    pub(crate) leaves: AtomicBool,
    pub(crate) left: CancellationToken,
}

impl Speaker {
    /// Keeps one send under way until the load is over; then says the last word, or not.
    pub(crate) async fn speak(self: Arc<Self>, mut random: Rng, says_farewell: bool) {
        loop {
            let sent = self.world.ledger().sent();
            let pause_ms = random.u64(..PAUSE_MS_MAX) + (sent / SENDS_PER_PAUSE_MS) as u64;
            let pause = sleep(Duration::from_millis(pause_ms));
            tokio::select! {
                () = pause => {}
                () = self.world.load_over.cancelled() => break,
                () = self.left.cancelled() => return,
            }
            let to = self.target(&mut random);
            let sent = self.send(to, random.u8(..4) == 0).await;
            if let Some(sent) = sent.filter(|_| random.u8(..24) == 0) {
                self.recall(sent, &mut random).await;
            }
        }
        tokio::select! {
            () = self.world.farewell.cancelled() => {}
            () = self.left.cancelled() => return,
        }
        if says_farewell {
            for other in self.others() {
                self.send(Target::Peers(vec![other]), true).await;
            }
            self.world.said.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let peer = self.peer;
        (0..self.world.peers.len()).filter(move |other| *other != peer)
    }

    /// One other peer, or now and then two or three, or a group.
    fn target(&self, random: &mut Rng) -> Target {
        if random.u8(..8) == 0
            && let Some(group) = random.choice(self.groups())
        {
            return Target::Group(group);
        }
        let count = [1, 1, 1, 1, 1, 1, 2, 3][random.usize(..8)];
        let mut to = random.choose_multiple(self.others(), count);
        to.sort_unstable();
        Target::Peers(to)
    }

    /// The groups that the peer is a member of, as far as is known.
    fn groups(&self) -> Vec<GroupId> {
        let ledger = self.world.ledger();
        let mut groups = ledger.groups.all();
        groups.retain(|group| ledger.groups.members(*group).contains(&self.peer));
        groups
    }

    /// Sends; gives the message's number in the ledger and its place.
    async fn send(&self, to: Target, receipt: bool) -> Option<(usize, Sent)> {
        let turn = self.turn.lock().await;
        let (number, body) = self.world.ledger().send(self.peer, self.number, to.clone());
        let mut message = match &to {
            Target::Peers(to) => {
                let to: Vec<_> = to.iter().map(|to| self.world.peers[*to].clone()).collect();
                Outgoing::to(to, body)
            }
            Target::Group(group) => Outgoing::to(*group, body),
        };
        if receipt {
            message = message.receipt();
        }
        let queued = self.session.start_send(message).await;
        drop(turn);
        let answer = match queued {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        let fate = match &answer {
            Ok(sent) => Fate::Acknowledged(*sent),
            Err(SendError::MaybeStored) => Fate::Unknown,
            Err(_) => Fate::NotStored,
        };
        let is_fine = match &answer {
            Ok(_) => true,
            // What was refused is not remembered: the answer to a repeat does not say so.
            Err(SendError::MaybeStored) if self.may_be_refused(&to) => true,
            Err(SendError::MaybeStored | SendError::Ended) => self.leaves.load(Ordering::Relaxed),
            Err(SendError::Refused(refusal)) => {
                refusal.reason() == Some(Reason::NotMember) && self.may_be_refused(&to)
            }
            Err(_) => false,
        };
        if !is_fine {
            self.world.problem(self.peer, format!("send {number} to {to:?}: {answer:?}"));
        }
        self.world.ledger().settle(number, fate);
        answer.ok().map(|sent| (number, sent))
    }

    /// Whether a group may refuse: the peer may have been kicked meanwhile, but for a founder.
    fn may_be_refused(&self, to: &Target) -> bool {
        let Target::Group(group) = to else { return false };
        self.world.ledger().groups.founder(*group) != self.peer
    }

    /// Takes a message back, at once or when it may have been delivered or settled.
    async fn recall(&self, (number, sent): (usize, Sent), random: &mut Rng) {
        let after_ms = [0, 20, 200, 2500][random.usize(..4)];
        tokio::select! {
            () = sleep(Duration::from_millis(after_ms)) => {}
            () = self.world.load_over.cancelled() => return,
            () = self.left.cancelled() => return,
        }
        match self.session.recall(sent.id).await {
            Ok(()) => self.world.ledger().groups.recalls.push(number),
            Err(error) => self.unless_lost("recall", &error),
        }
    }

    /// What was asked for failed: a kill may take an answer, nothing else may go wrong.
    fn unless_lost(&self, what: &str, error: &RequestError) {
        let is_fine = match error {
            RequestError::Paused | RequestError::TimedOut => true,
            RequestError::Ended => self.leaves.load(Ordering::Relaxed),
            _ => false,
        };
        if !is_fine {
            self.world.problem(self.peer, format!("{what}: {error:?}"));
        }
    }

    /// Has a hand in groups and reads, until the load is over.
    pub(crate) async fn organise(self: Arc<Self>, mut random: Rng) {
        loop {
            tokio::select! {
                () = sleep(Duration::from_millis(random.u64(50..300))) => {}
                () = self.world.load_over.cancelled() => return,
                () = self.left.cancelled() => return,
            }
            let groups = self.world.ledger().groups.all();
            if self.peer < FOUNDERS && groups.len() < GROUPS {
                self.create(&mut random).await;
            }
            let Some(group) = random.choice(groups) else { continue };
            match random.u8(..16) {
                0..2 => self.join(group).await,
                2 => self.leave(group).await,
                3..6 => self.invite(group, &mut random).await,
                6..8 => self.kick(group, &mut random).await,
                _ => self.read(&mut random).await,
            }
        }
    }

    async fn create(&self, random: &mut Rng) {
        let kick = if random.bool() { Who::Creator } else { Who::Members };
        let new = NewGroup { rules: Rules { kick, ..Rules::default() }, ..NewGroup::default() };
        self.sign();
        let created = self.session.create_group(new).await;
        let created = created.map(|group| (group.id, group.version));
        self.acted("create", created, vec![self.peer], Vec::new());
    }

    async fn join(&self, group: GroupId) {
        self.sign();
        let joined = self.session.join(group).await.map(|joined| (group, joined.version));
        self.acted("join", joined, vec![self.peer], Vec::new());
    }

    async fn leave(&self, group: GroupId) {
        let (founder, known) = {
            let ledger = self.world.ledger();
            (ledger.groups.founder(group), ledger.groups.version(group))
        };
        if founder == self.peer {
            return;
        }
        match self.session.leave(group).await {
            Ok(()) => {
                let leaving = Leaving { group, peer: self.peer, known };
                self.world.ledger().groups.leavings.push(leaving);
            }
            Err(error) => self.unless_lost("leave", &error),
        }
    }

    async fn invite(&self, group: GroupId, random: &mut Rng) {
        let count = random.usize(1..3);
        let peers = random.choose_multiple(self.others(), count);
        let ids: Vec<_> = peers.iter().map(|peer| self.world.peers[*peer].clone()).collect();
        self.sign();
        let invited = self.session.invite(group, ids).await.map(|version| (group, version));
        self.acted_in("invite", group, invited, peers, Vec::new());
    }

    async fn kick(&self, group: GroupId, random: &mut Rng) {
        let founder = self.world.ledger().groups.founder(group);
        let others = self.others().filter(|other| *other != founder);
        let peers = random.choose_multiple(others, 1);
        let ids: Vec<_> = peers.iter().map(|peer| self.world.peers[*peer].clone()).collect();
        self.sign();
        let kicked = self.session.kick(group, ids).await.map(|version| (group, version));
        self.acted_in("kick", group, kicked, Vec::new(), peers);
    }

    /// What the notary signs from now on is for what is asked for next.
    fn sign(&self) {
        self.notary.as_ref().and_then(|notary| notary.take());
    }

    /// As [`Self::acted`], and a group may refuse who is no member, or not allowed to.
    fn acted_in(
        &self,
        what: &str,
        group: GroupId,
        acted: Result<(GroupId, MessageId), RequestError>,
        members: Vec<usize>,
        others: Vec<usize>,
    ) {
        let is_founder = self.world.ledger().groups.founder(group) == self.peer;
        let may_refuse =
            |reason| matches!(reason, Some(Reason::NotMember | Reason::NotAllowed)) && !is_founder;
        match acted {
            Err(RequestError::Refused(refusal)) if may_refuse(refusal.reason()) => {}
            acted => self.acted(what, acted, members, others),
        }
    }

    /// A request about a group was answered, or not.
    fn acted(
        &self,
        what: &str,
        acted: Result<(GroupId, MessageId), RequestError>,
        members: Vec<usize>,
        others: Vec<usize>,
    ) {
        match acted {
            Ok((group, version)) => {
                let mut ledger = self.world.ledger();
                ledger.groups.acts.push(Act { group, version, members, others });
                if let Some((action, signed)) = self.notary.as_ref().and_then(|n| n.take()) {
                    ledger.used.push(Used { peer: self.peer, action, signed });
                }
            }
            Err(error) => self.unless_lost(what, &error),
        }
    }

    /// Reads a conversation up to the last message.
    async fn read(&self, random: &mut Rng) {
        let conversations = self.world.ledger().marks.conversations(self.peer);
        if let Some(conversation) = random.choice(conversations) {
            self.read_up_to_last(conversation).await;
        }
    }

    async fn read_up_to_last(&self, conversation: ConversationId) {
        let last = self.world.ledger().marks.last(self.peer, conversation);
        let Some(sequence) = last else { return };
        read(&self.world, self.peer, &self.session, conversation, sequence)
            .await
            .unwrap_or_else(|error| self.unless_lost("read", &error));
    }
}

/// A peer reads a conversation up to a message.
pub(crate) async fn read(
    world: &World,
    peer: usize,
    session: &Session,
    conversation: ConversationId,
    sequence: u32,
) -> Result<(), RequestError> {
    world.ledger().marks.ask(peer, conversation, sequence);
    session.read_up_to(conversation, sequence).await?;
    world.ledger().marks.noted(peer, conversation, sequence);
    Ok(())
}
