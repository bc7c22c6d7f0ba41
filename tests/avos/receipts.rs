//! What becomes of a message: delivered, read, recalled.

use std::time::Duration;

use tidings::client::{Event, Mark, NewGroup, Outgoing, Recalled};
use tidings::id::{ConversationId, MessageId};
use tidings::reason::Reason;

use crate::harness::{Seat, Server, on, peer, peers, refused, text};

fn chat() -> ConversationId {
    ConversationId::of_peers(&peers("ann bob"))
}

fn delivered(event: Event) -> Option<Mark> {
    if let Event::Delivered(mark) = event { Some(mark) } else { None }
}

fn read(event: Event) -> Option<Mark> {
    if let Event::Read(mark) = event { Some(mark) } else { None }
}

fn recalled(event: Event) -> Option<Recalled> {
    if let Event::Recalled(recalled) = event { Some(recalled) } else { None }
}

fn is_mark(event: &Event) -> bool {
    matches!(event, Event::Delivered(_) | Event::Read(_))
}

async fn marks(seat: &mut Seat) -> Vec<Event> {
    seat.news().await.into_iter().filter(is_mark).collect()
}

#[tokio::test]
async fn a_delivery_is_told_to_whom_asked_for_it() {
    let server = Server::start().await;
    let mut ann = server.open_as(on("ann", "phone")).await;
    let mut bob = server.open_as(on("bob", "phone")).await;
    ann.send(Outgoing::to(peer("bob"), "not asked")).await.unwrap();
    let sent = ann.send(Outgoing::to(peer("bob"), "asked").receipt()).await.unwrap();
    assert_eq!(bob.text().await, "not asked");
    let message = bob.message().await;
    assert!(message.receipt);
    assert_eq!(marks(&mut ann).await, [], "the app has not had it");
    bob.has_had_all().await;
    let mark = ann.find("a receipt", delivered).await;
    assert_eq!((mark.conversation, mark.peer, mark.sequence), (chat(), peer("bob"), 2));
    assert!(mark.at_ms >= sent.at_ms);
    // The first device counts; another one is no news.
    let mut laptop = server.open_as(on("bob", "laptop")).await;
    laptop.has_had_all().await;
    laptop.go().await;
    ann.send(Outgoing::to(peer("bob"), "last").receipt()).await.unwrap();
    bob.has_had_all().await;
    assert_eq!(ann.find("a receipt", delivered).await.sequence, 3);
    assert_eq!(marks(&mut ann).await, []);
}

#[tokio::test]
async fn a_delivery_is_asked_for_of_single_peers_only() {
    let server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    bob.join(group).await.unwrap();
    ann.send(Outgoing::to(peers("bob cat"), "to two").receipt()).await.unwrap();
    ann.send(Outgoing::to(group, "to all").receipt()).await.unwrap();
    ann.send_transient(Outgoing::to(peer("bob"), "typing").receipt()).unwrap();
    ann.send(Outgoing::to(peer("bob"), "to one").receipt()).await.unwrap();
    bob.has_had_all().await;
    assert_eq!(ann.find("a receipt", delivered).await.conversation, chat());
    assert_eq!(marks(&mut ann).await, [], "of nothing else");
}

#[tokio::test]
async fn what_is_read_is_told_to_the_others_and_to_the_peers_own_other_devices() {
    let server = Server::start().await;
    let (mut ann, mut eve) = (server.open("ann").await, server.open("eve").await);
    let mut phone = server.open_as(on("bob", "phone")).await;
    let mut laptop = server.open_as(on("bob", "laptop")).await;
    for words in ["1", "2", "3"] {
        ann.send(Outgoing::to(peer("bob"), words)).await.unwrap();
    }
    phone.read_up_to(chat(), 2).await.unwrap();
    let mark = ann.find("a mark", read).await;
    assert_eq!((mark.conversation, &mark.peer, mark.sequence), (chat(), &peer("bob"), 2));
    assert_eq!(laptop.find("a mark", read).await, mark);
    // Marks never go back, nor beyond what there is.
    phone.read_up_to(chat(), 1).await.unwrap();
    phone.read_up_to(chat(), 99).await.unwrap();
    assert_eq!(ann.find("a mark", read).await.sequence, 3);
    assert_eq!(laptop.find("a mark", read).await.sequence, 3);
    assert_eq!(marks(&mut phone).await, [], "who says it knows it");
    assert_eq!(marks(&mut ann).await, []);
    // It is nobody else's affair.
    assert_eq!(refused(eve.read_up_to(chat(), 3).await), Reason::NoSuchMessage);
    assert_eq!(eve.news().await, []);
}

#[tokio::test]
async fn an_absent_sender_finds_the_marks_when_it_opens_again() {
    let mut server = Server::start().await;
    let ann = server.open_as(on("ann", "phone")).await;
    ann.send(Outgoing::to(peer("bob"), "1").receipt()).await.unwrap();
    ann.send(Outgoing::to(peer("bob"), "2").receipt()).await.unwrap();
    ann.go().await;
    let mut bob = server.open("bob").await;
    bob.has_had_all().await;
    bob.read_up_to(chat(), 1).await.unwrap();
    bob.go().await;
    server.crash().await;
    let mut ann = server.open_as(on("ann", "phone")).await;
    let told: Vec<_> = marks(&mut ann).await;
    let of = |mark: &Mark| (mark.conversation, mark.peer.clone(), mark.sequence);
    let has = |wanted: fn(Event) -> Option<Mark>, sequence| {
        let found = told.iter().cloned().filter_map(wanted).find(|mark| mark.peer == peer("bob"));
        found.as_ref().map(of) == Some((chat(), peer("bob"), sequence))
    };
    assert!(has(delivered, 2) && has(read, 1), "{told:?}");
}

#[tokio::test]
async fn what_a_peer_has_read_is_found_by_its_other_devices_when_they_open() {
    let mut server = Server::start().await;
    let ann = server.open("ann").await;
    let laptop = server.open_as(on("bob", "laptop")).await;
    laptop.go().await;
    let mut phone = server.open_as(on("bob", "phone")).await;
    ann.send(Outgoing::to(peer("bob"), "1")).await.unwrap();
    assert_eq!(phone.text().await, "1");
    phone.read_up_to(chat(), 1).await.unwrap();
    server.crash().await;
    let mut laptop = server.open_as(on("bob", "laptop")).await;
    let mark = laptop.find("a mark", read).await;
    assert_eq!((mark.conversation, mark.peer, mark.sequence), (chat(), peer("bob"), 1));
}

#[tokio::test]
async fn a_message_is_recalled_within_the_time() {
    let server = Server::start().await;
    let ann = server.open_as(on("ann", "phone")).await;
    let mut laptop = server.open_as(on("ann", "laptop")).await;
    let mut bob = server.open("bob").await;
    let cat = server.open_as(on("cat", "phone")).await;
    cat.go().await;
    let sent = ann.send(Outgoing::to(peers("bob cat"), "wrong")).await.unwrap();
    ann.send(Outgoing::to(peer("cat"), "right")).await.unwrap();
    assert_eq!(bob.text().await, "wrong");
    ann.recall(sent.id).await.unwrap();
    for seat in [&mut bob, &mut laptop] {
        let told = seat.find("a recall", recalled).await;
        assert_eq!((told.message, told.sequence), (sent.id, 1));
        assert_eq!((told.by, told.waited), (Some(peer("ann")), false));
    }
    // Again does no harm, and is not told again.
    ann.recall(sent.id).await.unwrap();
    assert_eq!(bob.news().await, []);
    // Whoever was away never sees the body, and hears of it.
    let mut cat = server.open_as(on("cat", "phone")).await;
    let events = cat.news().await;
    let texts: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Message(message) => Some(text(message)),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["right"]);
    let told: Vec<_> = events.into_iter().filter_map(recalled).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].message == sent.id && told[0].waited);
}

#[tokio::test]
async fn only_the_sender_recalls_and_nobody_after_the_time() {
    let server = Server::start_with(&[("recall-within", "1s")]).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let sent = ann.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    assert_eq!(refused(bob.recall(sent.id).await), Reason::NoSuchMessage);
    let unknown = ann.recall(MessageId(sent.id.0 + 1_000_000)).await;
    assert_eq!(refused(unknown), Reason::NoSuchMessage);
    // It is about time itself.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(refused(ann.recall(sent.id).await), Reason::TooLate);
    assert_eq!(bob.text().await, "hello");
    assert_eq!(bob.news().await, []);
}

#[tokio::test]
async fn a_recall_is_not_undone_by_a_crash() {
    let mut server = Server::start().await;
    let ann = server.open("ann").await;
    let sent = ann.send(Outgoing::to(peer("bob"), "wrong")).await.unwrap();
    ann.recall(sent.id).await.unwrap();
    server.crash().await;
    let mut bob = server.open("bob").await;
    let events = bob.news().await;
    assert!(!events.iter().any(|event| matches!(event, Event::Message(_))), "{events:?}");
    assert_eq!(events.into_iter().find_map(recalled).unwrap().message, sent.id);
}

#[tokio::test]
async fn a_group_message_is_recalled_for_all_members() {
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    bob.join(group).await.unwrap();
    ann.invite(group, peers("cat")).await.unwrap();
    let sent = ann.send(Outgoing::to(group, "wrong")).await.unwrap();
    ann.recall(sent.id).await.unwrap();
    assert_eq!(bob.find("a recall", recalled).await.message, sent.id);
    let mut cat = server.open("cat").await;
    let events = cat.news().await;
    assert!(!events.iter().any(|event| matches!(event, Event::Message(_))), "{events:?}");
    assert_eq!(events.into_iter().find_map(recalled).unwrap().message, sent.id);
}
