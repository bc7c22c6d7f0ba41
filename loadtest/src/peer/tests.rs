//! What a peer says and hears, without a socket.
//!
//! # Invariants
//!
//! * Time is what the test says it is.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidings::group::{GroupChange, Rules};
use tidings::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId, SessionId};
use tidings::wire::{
    Closed, Decoder, Deliver, Dropped, GroupEvent, Invited, Join, Joined, Pong, Presence, Sent,
    ServerFrame, Target,
};

use super::*;
use crate::acks::due_after;
use crate::group::Groups;
use crate::roster::Roster;
use crate::tide::{Level, Mark};

const PEERS: u32 = 4;

struct Play {
    run: Run,
    peer: Peer,
    now_ns: u64,
}

impl Play {
    /// A peer with index 0 whose server allows 24 unanswered sends.
    fn new(work: Work, waiting: u64, dropped: u64) -> Self {
        let run = Run::new(PEERS, 64, true);
        run.measure(0, u64::MAX);
        let opened = Opened {
            session: SessionId(1),
            epoch: 1,
            device: DeviceId::random(),
            next_number: 1,
            waiting,
            dropped,
            at_ms: 0,
            online: Vec::new(),
            frame_bytes_max: 1_000,
            body_bytes_max: 1_000,
            recipients_max: 1,
            sends_max: 24,
        };
        let peer = Peer::new(0, &run, work, &opened);
        Self { run, peer, now_ns: 1_000 }
    }

    /// Lets the peer speak and returns what it said.
    fn speak(&mut self) -> Vec<ClientFrame> {
        self.speak_of(&mut VecDeque::new())
    }

    fn speak_of(&mut self, due: &mut VecDeque<u64>) -> Vec<ClientFrame> {
        self.peer.speak(due, &mut self.run.moment(self.now_ns, &mut self.run.records.own()));
        let mut decoder = Decoder::new(5_000);
        decoder.push(self.peer.out.split().freeze());
        let mut said = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            said.push(ClientFrame::decode(frame).unwrap());
        }
        said
    }

    fn hear(&mut self, frame: impl Into<ServerFrame>) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        frame.into().encode(&mut bytes);
        let mut decoder = Decoder::new(5_000);
        decoder.push(bytes.freeze());
        let frame = decoder.next_frame().unwrap().unwrap();
        self.peer.take(frame, &mut self.run.moment(self.now_ns, &mut self.run.records.own()))
    }

    fn message(&self, id: u64, sender: u32, number: u64) -> Deliver {
        let peer = |index| {
            let name = self.run.names.name(index);
            PeerId::new(std::str::from_utf8(&name).unwrap()).unwrap()
        };
        let mut body = sender.to_be_bytes().to_vec();
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(&self.now_ns.to_be_bytes());
        body.resize(64, 0);
        Deliver {
            transient: false,
            receipt: false,
            waited: false,
            own: false,
            id: MessageId(id as i64),
            sequence: number as u32,
            at_ms: 0,
            conversation: ConversationId::Peers([0; 16]),
            from: peer(sender),
            to: vec![peer(0)],
            client_msg_no: "".into(),
            body: Bytes::from(body),
        }
    }
}

fn sent(request: u64) -> Sent {
    Sent { request, id: MessageId(request as i64), sequence: 1, at_ms: 0 }
}

fn numbers(said: &[ClientFrame]) -> Vec<(u64, u64)> {
    let sends = said.iter().filter_map(|frame| match frame {
        ClientFrame::Send(send) => Some((send.number, send.answered)),
        _ => None,
    });
    sends.collect()
}

#[test]
fn a_peer_writes_what_is_due_a_few_at_a_time() {
    let mut play = Play::new(Work::Tide(Mark::default()), 0, 0);
    play.run.enter(Phase::Send);
    play.run.tide.turn(Level::Closed { window: 20 });
    let lengths: Vec<_> = (0..4).map(|_| numbers(&play.speak()).len()).collect();
    assert_eq!(lengths, [8, 8, 4, 0], "the server may not admit all at once");
}

#[test]
fn a_chat_keeps_its_window_in_flight_and_says_what_was_answered() {
    let mut play = Play::new(Work::Chat { window: 3 }, 0, 0);
    assert!(play.speak().is_empty(), "nothing is sent before the run sends");
    play.run.enter(Phase::Send);
    assert_eq!(numbers(&play.speak()), [(1, 1), (2, 1), (3, 1)]);
    play.hear(sent(2)).unwrap();
    assert_eq!(numbers(&play.speak()), [(4, 1)], "the first is not answered");
    play.hear(sent(1)).unwrap();
    play.hear(sent(3)).unwrap();
    assert_eq!(numbers(&play.speak()), [(5, 4), (6, 4)]);
    play.run.enter(Phase::Quiet);
    play.hear(sent(4)).unwrap();
    assert!(numbers(&play.speak()).is_empty());
    assert_eq!(play.run.ledger.verdict().acked, 4);
    assert!(play.hear(sent(4)).is_err(), "an answer must come once");
}

#[test]
fn no_more_sends_are_unanswered_than_the_server_allows() {
    let mut play = Play::new(Work::Rate, 0, 0);
    let mut due: VecDeque<u64> = (1..=40).collect();
    assert_eq!(numbers(&play.speak_of(&mut due)).len(), 24);
    assert_eq!(due.len(), 16, "the rest stays due");
    play.hear(sent(1)).unwrap();
    assert_eq!(numbers(&play.speak_of(&mut due)), [(25, 2)]);
}

#[test]
fn a_message_is_acknowledged_with_the_next_frame_or_after_a_while() {
    let mut play = Play::new(Work::Rate, 0, 0);
    play.hear(play.message(7, 1, 1)).unwrap();
    assert!(play.speak().is_empty(), "an acknowledgement waits for company");
    let said = play.speak_of(&mut VecDeque::from([5]));
    assert!(matches!(said.as_slice(), [ClientFrame::Send(_), ClientFrame::Ack(ack)]
        if ack.id == MessageId(7)));
    play.hear(play.message(8, 1, 2)).unwrap();
    play.now_ns += due_after(Duration::ZERO).as_nanos() as u64 - 1;
    assert!(play.speak().is_empty(), "not yet");
    play.now_ns += 1;
    assert!(matches!(play.speak().as_slice(), [ClientFrame::Ack(ack)]
        if ack.id == MessageId(8)));
    for id in 9..9 + 32 {
        play.hear(play.message(id, 1, id)).unwrap();
    }
    assert!(matches!(play.speak().as_slice(), [ClientFrame::Ack(ack)]
        if ack.id == MessageId(40)));
    assert!(play.speak().is_empty());
}

#[test]
fn every_message_is_checked() {
    let mut play = Play::new(Work::Listen, 0, 0);
    play.hear(play.message(1, 1, 1)).unwrap();
    play.hear(play.message(1, 1, 1)).unwrap();
    play.hear(play.message(2, 1, 1)).unwrap();
    play.hear(play.message(3, 1, 5)).unwrap();
    play.hear(play.message(4, 1, 4)).unwrap();
    let forged = Deliver { from: play.message(5, 2, 1).from, ..play.message(5, 3, 1) };
    play.hear(forged).unwrap();
    let counts = play.run.records.counts();
    assert_eq!(counts.duplicated_on_wire, 1, "the same id");
    assert_eq!(counts.duplicated, 1, "the same message under another id");
    assert_eq!(counts.out_of_order, 1);
    assert_eq!(counts.misdelivered, 1);
}

#[test]
fn a_drained_peer_had_the_newest_and_was_told_of_the_rest() {
    for (told, wrong) in [(1, 0), (2, 1)] {
        let mut play = Play::new(Work::Drain { opened_ns: 0 }, 2, told);
        play.run.stored.as_ref().unwrap()[0].lock().extend([3, 1, 2]);
        play.hear(Dropped { count: told, id: MessageId(1) }).unwrap();
        play.hear(play.message(2, 1, 1)).unwrap();
        assert!(play.speak().is_empty());
        play.hear(play.message(3, 1, 2)).unwrap();
        assert!(matches!(play.speak().as_slice(), [ClientFrame::Ack(ack), ClientFrame::Ping(_)]
            if ack.id == MessageId(3)));
        assert!(!play.peer.is_done());
        play.hear(Pong { request: FENCE, at_ms: 0 }).unwrap();
        assert!(play.peer.is_done());
        assert_eq!(play.run.wrong_windows.load(Ordering::Relaxed), wrong);
    }
}

fn invited(peers: &[u32], run: &Run, id: i64) -> GroupEvent {
    GroupEvent {
        waited: false,
        id: MessageId(id),
        group: GroupId([7; 12]),
        change: GroupChange::Invited,
        by: Some(run.names.peer(0)),
        peers: peers.iter().map(|index| run.names.peer(*index)).collect(),
        at_ms: 0,
    }
}

#[test]
fn a_founder_invites_the_others_a_hundred_at_a_time_and_then_sends() {
    let mut play = Play::new(Work::Found { asked: false, invited: 1 }, 0, 0);
    play.run.groups = Groups::new(1, 150);
    assert!(matches!(play.speak().as_slice(), [ClientFrame::Join(join)]
        if join.group == Join::NEW && !join.open));
    assert!(play.speak().is_empty(), "one request at a time");
    let joined = Joined {
        request: FOUND,
        group: GroupId([7; 12]),
        open: false,
        version: MessageId(1),
        count: 1,
        rules: Rules::default(),
        metadata: Bytes::new(),
    };
    play.hear(joined).unwrap();
    for count in [100, 49] {
        assert!(matches!(play.speak().as_slice(), [ClientFrame::Invite(invite)]
            if invite.peers.len() == count));
        play.hear(Invited { request: FOUND, version: MessageId(2) }).unwrap();
    }
    let mut due = VecDeque::from([5]);
    assert!(matches!(play.speak_of(&mut due).as_slice(), [ClientFrame::Send(send)]
        if send.target == Target::Group(GroupId([7; 12]))));
    play.hear(sent(1)).unwrap();
    assert_eq!(play.run.records.counts().due, 149, "all the others");
}

#[test]
fn a_member_knows_that_it_is_one_and_takes_the_messages_of_its_group_alone() {
    let mut play = Play::new(Work::Member, 0, 0);
    play.run.groups = Groups::new(1, PEERS);
    play.run.groups.of(0).created(GroupId([7; 12]));
    play.hear(invited(&[2, 3], &play.run, 1)).unwrap();
    assert_eq!(play.run.groups.count(), 0);
    play.hear(invited(&[0, 1], &play.run, 2)).unwrap();
    play.hear(invited(&[0, 1], &play.run, 2)).unwrap();
    assert_eq!(play.run.groups.count(), 1);
    let joined = |peers: &[u32], id| GroupEvent {
        change: GroupChange::Joined,
        ..invited(peers, &play.run, id)
    };
    let (own, others) = (joined(&[0], 3), joined(&[1], 4));
    play.hear(own).unwrap();
    assert_eq!(play.run.records.counts().misdelivered, 0, "a founder joins its group");
    play.hear(others).unwrap();
    let to_group = |message: Deliver, group| Deliver {
        conversation: ConversationId::Group(GroupId([group; 12])),
        to: Vec::new(),
        ..message
    };
    play.hear(to_group(play.message(5, 1, 1), 7)).unwrap();
    play.hear(to_group(play.message(6, 1, 1), 7)).unwrap();
    play.hear(to_group(play.message(7, 1, 2), 8)).unwrap();
    let counts = play.run.records.counts();
    assert_eq!((counts.delivered, counts.duplicated), (2, 1));
    assert_eq!((counts.misdelivered, counts.duplicated_on_wire), (2, 1));
}

#[test]
fn a_watcher_hears_each_change_once() {
    let mut play = Play::new(Work::Watch, 0, 0);
    play.run.roster = Roster::new(0..1, 1..PEERS);
    play.run.roster.change(2, false, 600);
    let peer = play.run.names.peer(2);
    let offline = Presence { online: Vec::new(), offline: vec![peer] };
    play.hear(offline.clone()).unwrap();
    let counts = play.run.records.counts();
    assert_eq!((counts.delivered, counts.offline_notices, counts.unasked_notices), (1, 1, 0));
    play.hear(offline).unwrap();
    assert_eq!(play.run.records.counts().unasked_notices, 1);
    assert_eq!(play.run.roster.lost(), 0);
}

#[test]
fn a_restless_peer_logs_out_when_that_is_due_and_is_done_when_it_is_answered() {
    let mut play = Play::new(Work::Restless { due_ns: None }, 0, 0);
    play.run.roster = Roster::new(1..2, 0..1);
    assert!(play.speak().is_empty());
    assert!(play.hear(Closed { request: CLOSE }).is_err(), "nobody asked");
    let mut due = VecDeque::from([5, 6]);
    assert!(matches!(play.speak_of(&mut due).as_slice(), [ClientFrame::Close(_)]));
    assert!(play.speak_of(&mut due).is_empty(), "the next change is the next session's");
    assert_eq!(due, [6]);
    assert!(!play.peer.is_done());
    play.hear(Closed { request: CLOSE }).unwrap();
    assert!(play.peer.is_done());
    assert_eq!(play.run.roster.hear(1, 0, false), Some(play.now_ns));
}

#[test]
fn a_change_of_the_socket_is_over_when_the_ping_behind_it_is_answered() {
    let mut play = Play::new(Work::Rate, 0, 0);
    play.peer.move_at(&mut VecDeque::from([200, 300]));
    let said = play.speak();
    let [ClientFrame::Ping(first), ClientFrame::Ping(second)] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert!(play.speak().is_empty(), "asked once");
    let pong = |ping: &Ping| Pong { request: ping.request, at_ms: 0 };
    play.now_ns = 5_200;
    play.hear(pong(first)).unwrap();
    play.now_ns = 9_300;
    play.hear(pong(second)).unwrap();
    assert!(play.hear(pong(second)).is_err());
    let record = play.run.records.merged();
    assert_eq!(record.counts.rebinds_answered, 2);
    assert_eq!(record.gap.quantile_ms(0.5), Some(0.005));
    assert_eq!(record.gap.quantile_ms(1.0), Some(0.009));
}

#[test]
fn a_message_to_several_is_due_to_each_of_them_once() {
    let mut play = Play::new(Work::Rate, 0, 0);
    play.run.recipients = 2;
    play.run.enter(Phase::Send);
    let said = play.speak_of(&mut VecDeque::from([7]));
    let [ClientFrame::Send(send)] = &said[..] else { panic!("not one send") };
    let (first, second) = (play.run.names.peer(1), play.run.names.peer(2));
    assert_eq!(send.target, Target::Peers(vec![first, second]));
    play.hear(sent(1)).unwrap();
    assert_eq!(play.run.records.counts().due, 2);
    assert_eq!(play.run.ledger.verdict().lost, 2);
    for (place, recipient) in [(0, 1), (1, 2)] {
        assert_eq!(play.run.place(0, recipient), Some(place));
        assert!(play.run.ledger.delivered(0, play.run.entry(1, place), recipient));
    }
    assert_eq!(play.run.ledger.verdict().lost, 0);
    assert_eq!((play.run.place(0, 3), play.run.place(3, 0)), (None, Some(0)));
}

#[test]
fn a_message_to_several_is_for_those_that_it_names() {
    let mut play = Play::new(Work::Listen, 0, 0);
    play.run.recipients = 2;
    let names = play.run.names;
    let to = |indices: &[u32]| indices.iter().map(|index| names.peer(*index)).collect();
    let message = |play: &Play, id, to| Deliver { to, ..play.message(id, 3, id) };
    play.hear(message(&play, 1, to(&[0, 1]))).unwrap();
    assert_eq!(play.run.records.counts().delivered, 1);
    play.hear(message(&play, 2, to(&[1, 2]))).unwrap();
    play.hear(message(&play, 3, to(&[0]))).unwrap();
    play.hear(Deliver { to: to(&[0, 1]), ..play.message(4, 1, 1) }).unwrap();
    assert_eq!(play.run.records.counts().misdelivered, 3, "not for it, or not from who they say");
}
