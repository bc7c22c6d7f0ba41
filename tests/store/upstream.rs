//! Messages to the back end: they wait for it, and who sent them hears what has become of them.

use tidings::id::{ConversationId, MessageId};
use tidings::limits::{UPSTREAM_AGE, UPSTREAM_WAITING_MAX};
use tidings::reason::Reason;
use tidings::store::{
    Item, NewMessage, NewUpstream, News, Notice, Outcome, Request, Told, Upstream,
};

use super::harness::{
    MINUTE_MS, Running, conversation, device, new_message, peer, refusal, send_number,
};

const HOUR_MS: i64 = 60 * MINUTE_MS;

fn ask(running: &mut Running, from: &str, number: u64, body: &str) -> Outcome<u64> {
    let body = body.to_owned().into();
    let new = NewUpstream { from: peer(from), number: send_number(number), body };
    running.outcome(Request::Upstream(new))
}

fn stored(outcome: &Outcome<u64>) -> MessageId {
    match outcome {
        Outcome::UpstreamStored { id, .. } => *id,
        other => panic!("not stored: {other:?}"),
    }
}

/// All that waits for the back end, in pages of two.
fn waiting(running: &Running) -> Vec<Upstream> {
    let (mut all, mut after) = (Vec::new(), MessageId::NONE);
    loop {
        let (page, more) = running.block_on(running.store.upstream(after, 2)).unwrap();
        after = page.last().map_or(after, |last: &Upstream| last.id);
        all.extend(page);
        if !more {
            return all;
        }
    }
}

fn bodies(running: &Running) -> Vec<String> {
    let body = |message: Upstream| String::from_utf8(message.body.to_vec()).unwrap();
    waiting(running).into_iter().map(body).collect()
}

fn done(running: &mut Running, upstream: MessageId, accepted: bool) -> Outcome<u64> {
    running.outcome(Request::UpstreamDone { upstream, accepted })
}

/// What a peer is told of its messages to the back end.
fn told(running: &Running, who: &str) -> Vec<(MessageId, bool)> {
    let news = |item| match item {
        Item::Notice(notice) => match notice.news {
            News::Upstream(upstream, accepted) => Some((upstream, accepted)),
            _ => None,
        },
        Item::Message(_) => None,
    };
    running.inbox(who).0.into_iter().filter_map(news).collect()
}

#[test]
fn messages_to_the_back_end_wait_for_it_in_their_order() {
    let mut running = Running::new();
    running.open("alice", "d");
    let now_ms = running.clock().now_ms();
    for number in 1..=5 {
        stored(&ask(&mut running, "alice", number, &format!("help {number}")));
    }
    for _ in 0..2 {
        let all = ["help 1", "help 2", "help 3", "help 4", "help 5"];
        assert_eq!(bodies(&running), all);
        let first = waiting(&running).remove(0);
        assert_eq!((first.from, first.device), (peer("alice"), device("d")));
        assert!((now_ms..now_ms + 20_000).contains(&first.at_ms));
        running = running.crash();
    }
    running = running.restart();
    assert_eq!(bodies(&running).len(), 5);
    assert_eq!(running.metrics.upstream_waiting.get(), 5);
    assert_eq!(running.store.report().damage, [""; 0]);
}

#[test]
fn a_repeat_is_the_same_message_and_its_number_is_used_for_nothing_else() {
    let mut running = Running::new();
    running.open("alice", "d");
    let first = stored(&ask(&mut running, "alice", 1, "help"));
    for _ in 0..2 {
        let again = ask(&mut running, "alice", 1, "help");
        let Outcome::Repeated { id, sequence: 0, .. } = again else { panic!("{again:?}") };
        assert_eq!(id, first);
        let other = ask(&mut running, "alice", 1, "Help");
        assert_eq!(refusal(&other), Some(Reason::NumberReused));
        let to_itself = NewMessage {
            conversation: ConversationId::of_peers([&peer("alice")]),
            ..new_message("alice", "alice", 1, b"help")
        };
        let send = running.outcome(Request::Message(to_itself));
        assert_eq!(refusal(&send), Some(Reason::NumberReused));
        assert_eq!(bodies(&running), ["help"]);
        running = running.crash();
        running.open("alice", "d");
    }
    // Done, it is still the same message.
    done(&mut running, first, true);
    assert!(matches!(ask(&mut running, "alice", 1, "help"), Outcome::Repeated { .. }));
    assert_eq!(bodies(&running), [""; 0]);
    assert_eq!(running.open("alice", "d").next_number, 2);
}

#[test]
fn the_sender_hears_what_has_become_of_its_message_wherever_it_is() {
    let mut running = Running::new();
    running.open("alice", "d");
    let first = stored(&ask(&mut running, "alice", 1, "one"));
    let second = stored(&ask(&mut running, "alice", 2, "two"));
    let Outcome::Told { told: Some(Told { notice, to }), .. } = done(&mut running, first, true)
    else {
        panic!("not told")
    };
    assert_eq!(*to, [peer("alice")]);
    let conversation = ConversationId::of_peers([&peer("alice")]);
    let Notice { id, at_ms, .. } = *notice;
    let news = News::Upstream(first, true);
    assert_eq!(*notice, Notice { id, at_ms, conversation, by: None, news });
    done(&mut running, second, false);
    let both = [(first, true), (second, false)];
    assert_eq!(told(&running, "alice"), both);
    running.settle();
    assert_eq!(told(&running, "alice"), both);
    running = running.crash().restart().crash();
    assert_eq!(told(&running, "alice"), both);
    assert_eq!(running.open("alice", "d").waiting, 2);
    running.ack("alice", "d", id);
    assert_eq!(told(&running, "alice"), both[1..]);
    assert_eq!(running.part("alice", conversation), None);
}

#[test]
fn what_is_done_or_was_never_there_cannot_be_done() {
    let mut running = Running::new();
    running.open("alice", "d");
    let upstream = stored(&ask(&mut running, "alice", 1, "help"));
    let message = running.send("bob", "alice", "no message to the back end").id;
    done(&mut running, upstream, true);
    for _ in 0..2 {
        for id in [upstream, message, MessageId(7)] {
            assert_eq!(refusal(&done(&mut running, id, false)), Some(Reason::NoSuchMessage));
        }
        assert_eq!(told(&running, "alice"), [(upstream, true)]);
        running = running.crash();
    }
}

#[test]
fn what_the_back_end_has_not_taken_for_a_day_counts_as_refused() {
    let mut running = Running::new();
    running.open("alice", "d");
    let first = stored(&ask(&mut running, "alice", 1, "old"));
    running.step(HOUR_MS);
    let second = stored(&ask(&mut running, "alice", 2, "younger"));
    running = running.restart();
    running.step(UPSTREAM_AGE.as_millis() as i64 - HOUR_MS - MINUTE_MS);
    running.commit_something();
    assert_eq!(told(&running, "alice"), []);
    running.step(MINUTE_MS);
    running.until("the old one to be given up", |running| !told(running, "alice").is_empty());
    for _ in 0..2 {
        assert_eq!(told(&running, "alice"), [(first, false)]);
        assert_eq!(bodies(&running), ["younger"]);
        running = running.crash();
    }
    assert!(matches!(done(&mut running, second, true), Outcome::Told { told: Some(_), .. }));
    assert_eq!(told(&running, "alice"), [(first, false), (second, true)]);
}

#[test]
fn nothing_of_it_is_history_or_a_conversation() {
    let mut running = Running::new();
    running.open("alice", "d");
    stored(&ask(&mut running, "alice", 1, "help"));
    let page = running.block_on(running.store.conversations(&peer("alice"), None, 9)).unwrap();
    assert_eq!(page.0, []);
    let sent = running.send_as(2, "to Bob");
    assert!(matches!(sent, Outcome::Stored { .. }));
    let of = tidings::store::HistoryOf::Sender(peer("alice"));
    assert_eq!(running.history(&of, 9).len(), 1);
    assert_eq!(running.part("alice", conversation("alice", "bob")).unwrap().sequence, 1);
}

#[test]
fn one_message_too_many_for_the_back_end_is_refused_until_it_has_taken_one() {
    let mut running = Running::new();
    let mut callers = Vec::with_capacity(1_000);
    for begin in (0..UPSTREAM_WAITING_MAX as u64).step_by(1_000) {
        for number in begin + 1..=begin + 1_000 {
            let (number, body) = (send_number(number), "x".into());
            let new = NewUpstream { from: peer("alice"), number, body };
            callers.push(running.submit(Request::Upstream(new)));
        }
        for outcome in running.outcomes(&callers) {
            stored(&outcome);
        }
        callers.clear();
    }
    let (first, _) = running.block_on(running.store.upstream(MessageId::NONE, 1)).unwrap();
    for _ in 0..2 {
        let refused = ask(&mut running, "bob", 1, "too many");
        assert_eq!(refusal(&refused), Some(Reason::TooManyUpstream));
        running = running.restart();
    }
    done(&mut running, first[0].id, true);
    stored(&ask(&mut running, "bob", 1, "one has gone"));
    let refused = ask(&mut running, "bob", 2, "too many");
    assert_eq!(refusal(&refused), Some(Reason::TooManyUpstream));
}
