//! What one peer says to a broker and hears from it: the protocol without its socket.
//!
//! # Invariants
//!
//! * Every message is checked: whom it is for, its number, its place among those of its sender,
//!   and whether the app has had it before. A repeat counts as a duplicate even if it is marked as
//!   one: nothing in MQTT 3.1.1 lets a client drop it.
//! * A message is acknowledged whatever is wrong with it, as an app would, and in the same turn.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Disconnect, Packet, PingReq, PubAck, Publish, SubAck,
    Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use tidings::limits::KEEP_ALIVE;

use super::topics;
use crate::flight::Send;
use crate::group::Taken;
use crate::peer::Work;
use crate::proof::{Arrival, Order};
use crate::run::{Moment, Phase, Run};
use crate::stamp::Stamp;
use crate::talker::Talker;

/// Sends of a session that may await their answers.
const SENDS_MAX: usize = 1_024;
/// Packet ids: 1 to this.
const PACKET_IDS: u64 = 65_535;
/// Bytes that a session may have to say.
const OUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The one packet id of a subscription.
const SUBSCRIPTION: u16 = 1;

/// How far the session is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Connecting,
    Subscribing,
    Open,
}

/// Whether the last sign of life has been asked for and given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fence {
    Ahead,
    Asked,
    Passed,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    index: u32,
    topic: String,
    group: Option<String>,
    work: Work,
    talker: Talker,
    order: Order,
    stage: Stage,
    fence: Fence,
    /// Pings that await their answers.
    pings: u32,
    /// Messages that the app has had.
    came: u64,
    /// The packet that the next send is written with.
    publish: Publish,
    bodies: BytesMut,
    /// Packets to be written.
    pub(super) out: BytesMut,
}

impl Peer {
    /// A peer that asks for its session.
    ///
    /// # Errors
    ///
    /// When the request cannot be written.
    pub(super) fn new(index: u32, run: &Run, mut work: Work) -> Result<Self, String> {
        match &mut work {
            Work::Drain { opened_ns } => *opened_ns = run.now_ns(),
            // A topic need not be founded.
            Work::Found { .. } => work = Work::Member,
            _ => {}
        }
        let mut connect = Connect::new(topics::client(&run.names, index));
        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        connect.clean_session = matches!(work, Work::Forget);
        let mut out = BytesMut::new();
        connect.write(&mut out).map_err(|error| error.to_string())?;
        Ok(Self {
            index,
            topic: topics::peer(&run.names, index),
            group: topics::group(run, index),
            work,
            talker: Talker::new(index, 1),
            order: Order::default(),
            stage: Stage::Connecting,
            fence: Fence::Ahead,
            pings: 0,
            came: 0,
            publish: Publish::new("", QoS::AtLeastOnce, []),
            bodies: BytesMut::new(),
            out,
        })
    }

    /// Whether the broker has opened the session, and subscribed it.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the peer has done all that it will do.
    pub(super) fn is_done(&self) -> bool {
        let passing = matches!(self.work, Work::Drain { .. } | Work::Enrol);
        passing && self.fence == Fence::Passed
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self) {
        self.pings += 1;
        PingReq.write(&mut self.out).expect("a ping has a fixed form");
    }

    /// Ends the session's connection in order.
    pub(super) fn say_farewell(&mut self) {
        Disconnect.write(&mut self.out).expect("a farewell has a fixed form");
    }

    /// Takes a packet that has come.
    ///
    /// # Errors
    ///
    /// Why the session is over.
    pub(super) fn take(&mut self, packet: Packet, moment: &mut Moment<'_>) -> Result<(), String> {
        match packet {
            Packet::Publish(publish) => self.delivered(&publish, moment)?,
            Packet::PubAck(ack) => self.answered(ack.pkid, moment)?,
            Packet::PingResp => self.answered_ping(moment.run)?,
            Packet::ConnAck(ack) if self.stage == Stage::Connecting => self.connected(ack)?,
            Packet::SubAck(ack) if self.stage == Stage::Subscribing => {
                self.subscribed(&ack, moment.run)?;
            }
            other => return Err(format!("a packet that nobody asked for: {other:?}")),
        }
        match self.out.len() > OUT_BYTES_MAX {
            true => Err("the broker does not read what it is told".into()),
            false => Ok(()),
        }
    }

    fn connected(&mut self, ack: ConnAck) -> Result<(), String> {
        if ack.code != ConnectReturnCode::Success {
            return Err(format!("the broker refused: {:?}", ack.code));
        }
        match self.work {
            Work::Drain { .. } if !ack.session_present => {
                return Err("the broker has forgotten a session that was to persist".into());
            }
            Work::Drain { .. } | Work::Forget => {
                self.stage = Stage::Open;
                return Ok(());
            }
            _ => {}
        }
        let topics = std::iter::once(&self.topic).chain(&self.group);
        let filters = topics.map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = SUBSCRIPTION;
        subscribe.write(&mut self.out).map_err(|error| error.to_string())?;
        self.stage = Stage::Subscribing;
        Ok(())
    }

    fn subscribed(&mut self, ack: &SubAck, run: &Run) -> Result<(), String> {
        let wanted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        let topics = 1 + usize::from(self.group.is_some());
        let granted = ack.return_codes.iter().filter(|code| **code == wanted).count();
        if ack.pkid != SUBSCRIPTION || granted != topics {
            return Err(format!("the broker did not subscribe a session: {:?}", ack.return_codes));
        }
        run.groups.of(self.index).joined(self.index);
        self.stage = Stage::Open;
        Ok(())
    }

    fn answered_ping(&mut self, run: &Run) -> Result<(), String> {
        self.pings = self.pings.checked_sub(1).ok_or("a PINGRESP answers no PINGREQ")?;
        if self.fence == Fence::Asked && self.pings == 0 {
            self.fence = Fence::Passed;
            if !self.is_done() {
                run.fenced.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// A message has come.
    fn delivered(&mut self, publish: &Publish, moment: &mut Moment<'_>) -> Result<(), String> {
        let Moment { now_ns, run, record } = moment;
        if publish.qos != QoS::AtLeastOnce {
            return Err("a message came without QoS 1".into());
        }
        PubAck::new(publish.pkid).write(&mut self.out).map_err(|error| error.to_string())?;
        let stamp = Stamp::of(&publish.payload).filter(|_| publish.payload.len() == run.payload);
        let Some(stamp) = stamp else {
            record.counts.misdelivered += 1;
            return Ok(());
        };
        let in_group = self.group.as_ref() == Some(&publish.topic);
        if in_group && stamp.sender == self.index {
            // MQTT 3.1.1 has no way to ask not to get one's own.
            return Ok(());
        }
        let taken = match in_group {
            true => self.taken_of_group(&stamp, run),
            false => self.taken(publish, &stamp, run),
        };
        self.came += u64::from(matches!(taken, Taken::InOrder | Taken::OutOfOrder));
        record.had(taken, stamp.intended_ns, *now_ns, run);
        if let Work::Drain { opened_ns } = self.work
            && self.came == stored(run, self.index)
        {
            record.open_to_last.add_ns(now_ns.saturating_sub(opened_ns));
        }
        Ok(())
    }

    fn taken(&mut self, publish: &Publish, stamp: &Stamp, run: &Run) -> Taken {
        if publish.topic != self.topic {
            return Taken::Foreign;
        }
        match run.ledger.delivered(stamp.sender, stamp.number, self.index) {
            true => self.arrived(stamp),
            false => Taken::Repeated,
        }
    }

    fn taken_of_group(&mut self, stamp: &Stamp, run: &Run) -> Taken {
        let place = place(stamp.sender, stamp.number, run);
        match run.groups.of(self.index).delivered(self.index, stamp.sender, stamp.number, place) {
            // The place is no order of the broker's: it keeps that of each sender alone.
            Taken::InOrder | Taken::OutOfOrder => self.arrived(stamp),
            other => other,
        }
    }

    fn arrived(&mut self, stamp: &Stamp) -> Taken {
        match self.order.arrive(stamp.sender, stamp.number, stamp.number) {
            Arrival::InOrder => Taken::InOrder,
            Arrival::OutOfOrder => Taken::OutOfOrder,
        }
    }

    /// A send was acknowledged.
    fn answered(&mut self, packet_id: u16, moment: &mut Moment<'_>) -> Result<(), String> {
        let Moment { now_ns, run, record } = moment;
        let number = number_of(packet_id, self.talker.flight.first());
        let send = self.talker.flight.answered(number).ok_or("a PUBACK answers no PUBLISH")?;
        if let Some(to) = send.to {
            record.counts.due += 1;
            run.ledger.acked(self.index, number, to);
            if let Some(stored) = &run.stored {
                stored[to as usize].lock().push(number);
            }
        } else {
            record.counts.due += u64::from(run.groups.of(self.index).size() - 1);
            let agreed =
                run.groups.of(self.index).acked(self.index, number, place(self.index, number, run));
            record.counts.misdelivered += u64::from(!agreed);
        }
        record.answered(send.intended_ns, *now_ns, run);
        Ok(())
    }

    /// Puts what there is to say into [`Self::out`].
    ///
    /// # Errors
    ///
    /// When a packet cannot be written.
    pub(super) fn speak(
        &mut self,
        due: &mut VecDeque<u64>,
        moment: &mut Moment<'_>,
    ) -> Result<(), String> {
        self.put_sends(due, moment)?;
        let has_all = match self.work {
            Work::Drain { .. } => self.came >= stored(moment.run, self.index),
            Work::Enrol => true,
            _ => moment.run.phase() >= Phase::Fence,
        };
        if self.fence == Fence::Ahead && has_all {
            self.fence = Fence::Asked;
            self.ping();
        }
        Ok(())
    }

    fn put_sends(
        &mut self,
        due: &mut VecDeque<u64>,
        moment: &mut Moment<'_>,
    ) -> Result<(), String> {
        let Moment { now_ns, run, record } = moment;
        while self.talker.flight.len() < SENDS_MAX {
            let Some(send) = self.talker.next_send(&mut self.work, *now_ns, due, run) else {
                return Ok(());
            };
            let Send { intended_ns, to } = send;
            let publish = &mut self.publish;
            match (to, &self.group) {
                (Some(peer), _) => topics::write_peer(&mut publish.topic, &run.names, peer),
                (None, Some(group)) => publish.topic.clone_from(group),
                (None, None) => return Ok(()),
            }
            let number = self.talker.flight.begin(send);
            let stamp = Stamp { sender: self.index, number, intended_ns };
            stamp.put(&mut self.bodies, run.payload);
            publish.payload = self.bodies.split().freeze();
            publish.pkid = packet_id(number);
            publish.write(&mut self.out).map_err(|error| error.to_string())?;
            // So that the memory of the bodies is used again.
            publish.payload = Bytes::new();
            record.asked(intended_ns, run);
        }
        Ok(())
    }
}

/// Messages that were acknowledged for a peer that was away.
fn stored(run: &Run, index: u32) -> u64 {
    run.stored.as_ref().map_or(0, |stored| stored[index as usize].lock().len() as u64)
}

/// The place of a message in the ledger of the group, which no two messages share.
fn place(sender: u32, number: u64, run: &Run) -> u64 {
    let group = run.groups.of(sender);
    let row = number.saturating_sub(1).saturating_mul(u64::from(group.size()));
    row.saturating_add(u64::from(sender.saturating_sub(group.peers.start)) + 1)
}

/// The packet id of a send.
fn packet_id(number: u64) -> u16 {
    ((number - 1) % PACKET_IDS + 1) as u16
}

/// The send that a packet id means while `first` is the oldest that is unanswered.
fn number_of(packet_id: u16, first: u64) -> u64 {
    let ahead = u64::from(packet_id) + 2 * PACKET_IDS - u64::from(self::packet_id(first));
    first + ahead % PACKET_IDS
}

#[cfg(test)]
mod tests;
