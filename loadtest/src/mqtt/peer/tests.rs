//! What a peer says to a broker and hears from it, without a socket.
//!
//! # Invariants
//!
//! * Time is what the test says it is.

use super::*;
use crate::flight::Flight;
use crate::group::Groups;

const PEERS: u32 = 4;
const PAYLOAD: usize = 64;
const PACKET_BYTES_MAX: usize = 1_000;

struct Play {
    run: Run,
    peer: Peer,
    now_ns: u64,
}

impl Play {
    /// A peer with index 0 that has asked for its session.
    fn ask(work: Work, members: u32) -> Self {
        let mut run = Run::new(PEERS, PAYLOAD, true);
        run.groups = Groups::new(1, members);
        run.measure(0, u64::MAX);
        let peer = Peer::new(0, &run, work).unwrap();
        Self { run, peer, now_ns: 1_000 }
    }

    /// A peer with index 0 whose session is open.
    fn open(work: Work, members: u32) -> Self {
        let mut play = Self::ask(work, members);
        play.connected(false).unwrap();
        let granted = [SubscribeReasonCode::Success(QoS::AtLeastOnce); 2];
        let topics = 1 + usize::from(members > 0);
        let ack = SubAck::new(SUBSCRIPTION, granted[..topics].to_vec());
        play.hear(Packet::SubAck(ack)).unwrap();
        assert!(play.peer.is_open());
        play.said();
        play
    }

    fn connected(&mut self, session_present: bool) -> Result<(), String> {
        self.hear(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, session_present)))
    }

    fn hear(&mut self, packet: Packet) -> Result<(), String> {
        self.peer.take(packet, &mut self.run.moment(self.now_ns, &mut self.run.records.own()))
    }

    fn hear_message(&mut self, sender: u32, number: u64, topic: String) -> Result<(), String> {
        let mut body = BytesMut::new();
        Stamp { sender, number, intended_ns: self.now_ns }.put(&mut body, PAYLOAD);
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, body.freeze());
        publish.pkid = number as u16;
        self.hear(Packet::Publish(publish))
    }

    fn own_topic(&self) -> String {
        topics::peer(&self.run.names, 0)
    }

    /// Lets the peer speak and returns what it said.
    fn speak(&mut self, due: &[u64]) -> Vec<Packet> {
        let mut due = due.iter().copied().collect();
        let mut record = self.run.records.own();
        self.peer.speak(&mut due, &mut self.run.moment(self.now_ns, &mut record)).unwrap();
        drop(record);
        self.said()
    }

    /// What has been said.
    fn said(&mut self) -> Vec<Packet> {
        let mut said = Vec::new();
        while !self.peer.out.is_empty() {
            said.push(Packet::read(&mut self.peer.out, PACKET_BYTES_MAX).unwrap());
        }
        said
    }
}

fn packet_ids(said: &[Packet]) -> Vec<u16> {
    let sends = said.iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some(publish.pkid),
        _ => None,
    });
    sends.collect()
}

#[test]
fn a_session_persists_and_subscribes_to_its_own_topic_with_qos_1() {
    let mut play = Play::ask(Work::Listen, 0);
    let said = play.said();
    let [Packet::Connect(connect)] = &said[..] else { panic!("{said:?}") };
    assert!(!connect.clean_session);
    assert_eq!(connect.client_id, topics::client(&play.run.names, 0));
    play.connected(false).unwrap();
    let said = play.said();
    let [Packet::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
    let wanted = SubscribeFilter::new(play.own_topic(), QoS::AtLeastOnce);
    assert_eq!(subscribe.filters, [wanted]);
    let failed = SubAck::new(SUBSCRIPTION, vec![SubscribeReasonCode::Success(QoS::AtMostOnce)]);
    assert!(play.hear(Packet::SubAck(failed)).is_err(), "less than was asked for");
    assert!(!play.peer.is_open());
}

#[test]
fn a_refused_session_is_an_error() {
    let mut play = Play::ask(Work::Listen, 0);
    let ack = ConnAck::new(ConnectReturnCode::NotAuthorized, false);
    assert!(play.hear(Packet::ConnAck(ack)).is_err());
    assert!(play.hear(Packet::Disconnect).is_err());
}

#[test]
fn a_chat_keeps_its_window_in_flight() {
    let mut play = Play::open(Work::Chat { window: 3 }, 0);
    assert!(play.speak(&[]).is_empty(), "nothing is sent before the run sends");
    play.run.enter(Phase::Send);
    let said = play.speak(&[]);
    assert_eq!(packet_ids(&said), [1, 2, 3]);
    let Packet::Publish(publish) = &said[0] else { panic!("{said:?}") };
    assert_eq!((publish.qos, publish.payload.len()), (QoS::AtLeastOnce, PAYLOAD));
    assert_eq!(Stamp::of(&publish.payload).map(|stamp| stamp.number), Some(1));
    play.hear(Packet::PubAck(PubAck::new(2))).unwrap();
    assert_eq!(packet_ids(&play.speak(&[])), [4]);
    assert!(play.hear(Packet::PubAck(PubAck::new(2))).is_err(), "it was answered");
    let counts = play.run.records.counts();
    assert_eq!((counts.sent, counts.acked, counts.due), (4, 1, 1));
}

#[test]
fn packet_ids_go_round_and_still_mean_one_send() {
    assert_eq!(packet_id(1), 1);
    assert_eq!(packet_id(PACKET_IDS), 65_535);
    assert_eq!(packet_id(PACKET_IDS + 1), 1);
    for first in [1, 2, 65_534, 65_535, 65_536, 10 * PACKET_IDS + 7] {
        for number in [first, first + 1, first + 5, first + SENDS_MAX as u64] {
            assert_eq!(number_of(packet_id(number), first), number);
        }
    }
    let bogus = number_of(0, 1);
    assert!(Flight::new(1).answered(bogus).is_none());
}

#[test]
fn every_message_is_acknowledged_and_checked() {
    let mut play = Play::open(Work::Listen, 0);
    let own = play.own_topic();
    for number in [1, 3, 3, 2] {
        play.hear_message(1, number, own.clone()).unwrap();
    }
    play.hear_message(1, 4, topics::peer(&play.run.names, 2)).unwrap();
    play.hear_message(9, 1, own).unwrap();
    let acks = [1, 3, 3, 2, 4, 1].map(|id| Packet::PubAck(PubAck::new(id)));
    assert_eq!(play.speak(&[]), acks);
    let counts = play.run.records.counts();
    assert_eq!((counts.duplicated, counts.out_of_order), (2, 1), "nobody is peer 9");
    assert_eq!(counts.misdelivered, 1);
    assert_eq!(play.run.ledger.verdict().delivered, 3);
}

#[test]
fn a_message_without_qos_1_or_nonsense_in_one_is_noticed() {
    let mut play = Play::open(Work::Listen, 0);
    let mut short = Publish::new(play.own_topic(), QoS::AtLeastOnce, [0; 7]);
    short.pkid = 1;
    play.hear(Packet::Publish(short)).unwrap();
    assert_eq!(play.run.records.counts().misdelivered, 1);
    let careless = Publish::new(play.own_topic(), QoS::AtMostOnce, [0; PAYLOAD]);
    assert!(play.hear(Packet::Publish(careless)).is_err());
}

#[test]
fn a_group_is_a_topic_and_its_order_that_of_each_sender() {
    let mut play = Play::open(Work::Found { asked: false, invited: 1 }, 3);
    assert_eq!(play.run.groups.count(), 1);
    let group = topics::group(&play.run, 0).unwrap();
    let said = play.speak(&[7]);
    let [Packet::Publish(publish)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(publish.topic, group);
    play.hear(Packet::PubAck(PubAck::new(1))).unwrap();
    play.hear_message(0, 1, group.clone()).unwrap();
    assert_eq!(play.run.records.counts().delivered, 0, "its own is not counted");
    for (sender, number) in [(2, 1), (1, 1), (2, 2)] {
        play.hear_message(sender, number, group.clone()).unwrap();
    }
    assert_eq!(play.run.records.counts().out_of_order, 0, "senders have no common order");
    play.hear_message(1, 3, group.clone()).unwrap();
    play.hear_message(1, 2, group.clone()).unwrap();
    play.hear_message(1, 2, group).unwrap();
    let counts = play.run.records.counts();
    assert_eq!((counts.delivered, counts.out_of_order, counts.duplicated), (6, 1, 1));
    assert_eq!(play.run.groups.verdict().lost, 2, "the own message at two others");
}

#[test]
fn an_absent_peer_drains_what_was_stored_and_no_less() {
    let mut play = Play::ask(Work::Drain { opened_ns: 0 }, 0);
    play.run.stored.as_ref().unwrap()[0].lock().extend([1, 2]);
    play.said();
    assert!(play.connected(false).is_err(), "the broker has forgotten it");
    play.connected(true).unwrap();
    assert!(play.peer.is_open() && play.speak(&[]).is_empty());
    let own = play.own_topic();
    play.hear_message(1, 1, own.clone()).unwrap();
    play.hear_message(1, 1, own.clone()).unwrap();
    assert!(!play.speak(&[]).contains(&Packet::PingReq), "a repeat replaces nothing");
    play.hear_message(1, 2, own).unwrap();
    assert_eq!(play.speak(&[]), [Packet::PubAck(PubAck::new(2)), Packet::PingReq]);
    assert!(!play.peer.is_done());
    play.hear(Packet::PingResp).unwrap();
    assert!(play.peer.is_done());
    assert!(play.run.records.merged().open_to_last.quantile_ms(1.0).is_some());
    play.peer.say_farewell();
    assert_eq!(play.said(), [Packet::Disconnect]);
}

#[test]
fn a_fence_is_passed_by_its_own_answer() {
    let mut play = Play::open(Work::Listen, 0);
    play.peer.ping();
    play.run.enter(Phase::Fence);
    assert_eq!(play.speak(&[]), [Packet::PingReq, Packet::PingReq]);
    assert!(play.speak(&[]).is_empty(), "it is asked for once");
    play.hear(Packet::PingResp).unwrap();
    assert_eq!(play.run.fenced.load(Ordering::Relaxed), 0, "that was the earlier one's");
    play.hear(Packet::PingResp).unwrap();
    assert_eq!(play.run.fenced.load(Ordering::Relaxed), 1);
    assert!(play.hear(Packet::PingResp).is_err());
    assert!(!play.peer.is_done(), "it is held");
}
