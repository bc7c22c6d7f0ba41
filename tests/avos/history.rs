//! History: whose it is, in which order and pages it comes, and what is unread.

use md5::{Digest, Md5};

use tidings::client::{HistoryPage, NewGroup, Outgoing};
use tidings::id::{ConversationId, MessageId};
use tidings::reason::Reason;

use crate::harness::{Seat, Server, on, peer, peers, refused};

/// A conversation's id as AVOS Cloud's page describes it: the MD5 of the sorted ids joined by `:`.
fn chat_of(ids: &str) -> ConversationId {
    let mut ids: Vec<&str> = ids.split_whitespace().collect();
    ids.sort_unstable();
    ConversationId::Peers(Md5::digest(ids.join(":")).into())
}

fn texts(page: &HistoryPage) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    page.messages.iter().map(|past| text(&past.body)).collect()
}

/// All messages of a conversation, read in pages of `max`; how many pages it took.
async fn all(seat: &Seat, chat: ConversationId, max: usize) -> (Vec<String>, usize) {
    let (mut read, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = seat.history(chat, before, max).await.unwrap();
        pages += 1;
        assert!(page.messages.len() <= max);
        read.extend(texts(&page));
        before = page.messages.last().map(|past| past.id).or(before);
        if !page.more {
            return (read, pages);
        }
    }
}

fn unread_of(conversations: &[tidings::client::Conversation], chat: ConversationId) -> u32 {
    conversations.iter().find(|found| found.conversation == chat).unwrap().unread
}

#[tokio::test]
async fn a_conversation_has_the_id_that_avos_computes() {
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("u1234").await, server.open("u0988").await);
    ann.send(Outgoing::to(peer("u0988"), "hello")).await.unwrap();
    let chat = chat_of("u1234 u0988");
    assert_eq!(chat.to_string(), "bcd26a54e98687390b0abb4d83683d4b");
    assert_eq!(bob.message().await.conversation, chat);
    // Whoever writes to all the others of it writes to the same conversation.
    bob.send(Outgoing::to(peer("u1234"), "hi")).await.unwrap();
    ann.send(Outgoing::to(peers("u0988 u7"), "three")).await.unwrap();
    assert_eq!(bob.message().await.conversation, chat_of("u7 u0988 u1234"));
    assert_eq!(texts(&ann.history(chat, None, 10).await.unwrap()), ["hi", "hello"]);
}

#[tokio::test]
async fn history_is_read_newest_first_in_pages_before_an_id() {
    let mut server = Server::start().await;
    let ann = server.open_as(on("ann", "phone")).await;
    let mut sent = Vec::new();
    for number in 1..=25 {
        sent.push(ann.send(Outgoing::to(peer("bob"), number.to_string())).await.unwrap());
        ann.send(Outgoing::to(peer("cat"), "of another chat")).await.unwrap();
    }
    ann.go().await;
    let chat = chat_of("ann bob");
    let newest_first: Vec<String> = (1..=25).rev().map(|number| number.to_string()).collect();
    // It comes from memory first, and after a crash from the disk.
    for _ in 0..2 {
        let bob = server.open_as(on("bob", "phone")).await;
        assert_eq!(all(&bob, chat, 10).await, (newest_first.clone(), 3));
        assert_eq!(all(&bob, chat, 1000).await, (newest_first.clone(), 1));
        let page = bob.history(chat, Some(sent[10].id), 3).await.unwrap();
        assert_eq!((texts(&page), page.more), (vec!["10".into(), "9".into(), "8".into()], true));
        let past = &page.messages[0];
        assert_eq!((past.id, past.sequence, past.at_ms), (sent[9].id, 10, sent[9].at_ms));
        assert_eq!((&past.from, &past.to, past.recalled), (&peer("ann"), &peers("bob"), false));
        let none = bob.history(chat, Some(sent[0].id), 10).await.unwrap();
        assert_eq!(none, HistoryPage { messages: vec![], more: false });
        bob.go().await;
        server.crash().await;
    }
}

#[tokio::test]
async fn a_page_of_long_messages_ends_where_a_frame_does() {
    let server = Server::start().await;
    let ann = server.open("ann").await;
    for number in 1..=30 {
        let body = format!("{number:05}").repeat(1000);
        ann.send(Outgoing::to(peer("bob"), body)).await.unwrap();
    }
    let (read, pages) = all(&ann, chat_of("ann bob"), 100).await;
    assert_eq!(read.len(), 30);
    assert!(read.is_sorted_by(|newer, older| newer > older));
    assert_eq!(pages, 3, "150 KB in frames of 60 KiB");
}

#[tokio::test]
async fn the_history_of_a_group_is_read_by_its_id() {
    let server = Server::start().await;
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    let (cat, eve) = (server.open("cat").await, server.open("eve").await);
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    let chat = ConversationId::Group(group);
    bob.join(group).await.unwrap();
    for number in 1..=3 {
        ann.send(Outgoing::to(group, number.to_string())).await.unwrap();
    }
    cat.join(group).await.unwrap();
    bob.send(Outgoing::to(group, "4")).await.unwrap();
    assert_eq!(all(&bob, chat, 2).await.0, ["4", "3", "2", "1"]);
    assert_eq!(all(&ann, chat, 10).await.0, ["4", "3", "2", "1"]);
    assert_eq!(all(&cat, chat, 10).await.0, ["4"], "since it became a member");
    assert_eq!(refused(eve.history(chat, None, 10).await), Reason::NotMember);
    bob.leave(group).await.unwrap();
    assert_eq!(refused(bob.history(chat, None, 10).await), Reason::NotMember);
}

#[tokio::test]
async fn a_peer_reads_only_what_it_took_part_in() {
    let server = Server::start().await;
    let (ann, eve) = (server.open("ann").await, server.open("eve").await);
    let sent = ann.send(Outgoing::to(peer("bob"), "secret")).await.unwrap();
    ann.send(Outgoing::to(peer("eve"), "hello")).await.unwrap();
    assert_eq!(all(&eve, chat_of("ann eve"), 10).await.0, ["hello"]);
    for before in [None, Some(MessageId(sent.id.0 + 1))] {
        let page = eve.history(chat_of("ann bob"), before, 10).await.unwrap();
        assert_eq!(page, HistoryPage { messages: vec![], more: false });
    }
    let own = eve.conversations(None, 10).await.unwrap().conversations;
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].conversation, &own[0].others), (chat_of("ann eve"), &peers("ann")));
}

#[tokio::test]
async fn unread_messages_are_counted_for_each_conversation() {
    let mut server = Server::start().await;
    let (ann, cat) = (server.open("ann").await, server.open("cat").await);
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    ann.invite(group, peers("bob")).await.unwrap();
    for number in 0..4 {
        ann.send(Outgoing::to(peer("bob"), number.to_string())).await.unwrap();
    }
    ann.send(Outgoing::to(group, "to all")).await.unwrap();
    cat.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    cat.send(Outgoing::to(peer("bob"), "hello?")).await.unwrap();
    let bob = server.open_as(on("bob", "phone")).await;
    let (with_ann, with_cat) = (chat_of("ann bob"), chat_of("bob cat"));
    let in_group = ConversationId::Group(group);
    let counts = async |seat: &Seat| {
        let found = seat.conversations(None, 10).await.unwrap().conversations;
        assert_eq!(found.len(), 3);
        [with_ann, with_cat, in_group].map(|chat| unread_of(&found, chat))
    };
    assert_eq!(counts(&bob).await, [4, 2, 1]);
    bob.read_up_to(with_ann, 3).await.unwrap();
    bob.read_up_to(in_group, 1).await.unwrap();
    // Who answers has read.
    bob.send(Outgoing::to(peer("cat"), "yes")).await.unwrap();
    assert_eq!(counts(&bob).await, [1, 0, 0]);
    bob.go().await;
    server.crash().await;
    let bob = server.open_as(on("bob", "phone")).await;
    assert_eq!(counts(&bob).await, [1, 0, 0], "also after a crash");
    // The list is by the newest message, in pages.
    let first = bob.conversations(None, 2).await.unwrap();
    let listed: Vec<_> = first.conversations.iter().map(|found| found.conversation).collect();
    assert_eq!((listed, first.more), (vec![with_cat, in_group], true));
    let rest = bob.conversations(first.conversations.last().map(|found| found.last), 2).await;
    let rest = rest.unwrap();
    assert_eq!((rest.conversations[0].conversation, rest.more), (with_ann, false));
    assert_eq!((rest.conversations[0].sequence, rest.conversations[0].read), (4, 3));
}

#[tokio::test]
async fn a_recalled_message_is_a_tombstone_in_the_history() {
    let mut server = Server::start().await;
    let ann = server.open("ann").await;
    let mut sent = Vec::new();
    for words in ["first", "wrong", "last"] {
        sent.push(ann.send(Outgoing::to(peer("bob"), words)).await.unwrap());
    }
    ann.recall(sent[1].id).await.unwrap();
    for _ in 0..2 {
        let bob = server.open_as(on("bob", "phone")).await;
        let page = bob.history(chat_of("ann bob"), None, 10).await.unwrap();
        assert_eq!(texts(&page), ["last", "", "first"]);
        let tombstone = &page.messages[1];
        assert_eq!((tombstone.id, tombstone.sequence), (sent[1].id, 2), "its place is kept");
        let recalled: Vec<bool> = page.messages.iter().map(|past| past.recalled).collect();
        assert_eq!(recalled, [false, true, false]);
        bob.go().await;
        server.crash().await;
    }
}
