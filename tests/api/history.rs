//! History over REST: by conversation, group and sender, and that of the whole app.

use std::collections::HashSet;
use std::time::Duration;

use md5::{Digest, Md5};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot::error::TryRecvError;

use tidings::client::{NewGroup, Outgoing, Sent};
use tidings::id::{GroupId, PeerId};

use crate::harness::{Online, Running, soon};

fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

/// A conversation's id as AVOS Cloud's page describes it.
fn md5_of(ids: &str) -> String {
    let mut ids: Vec<&str> = ids.split_whitespace().collect();
    ids.sort_unstable();
    Md5::digest(ids.join(":")).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn say(from: &Online, to: &str, text: &str) -> Sent {
    let to: Vec<PeerId> = to.split_whitespace().map(peer).collect();
    from.session.send(Outgoing::to(to, text.to_owned())).await.unwrap()
}

/// What a query of the history answers.
async fn page(server: &Running, query: &str) -> Value {
    server.get(&format!("/v1/history?{query}")).await.ok()
}

fn texts(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap()).collect()
}

/// All messages of a query, page for page.
async fn all(server: &Running, query: &str, limit: usize) -> Vec<Value> {
    let (mut read, mut before) = (Vec::new(), String::new());
    loop {
        let page = page(server, &format!("{query}&limit={limit}{before}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        read.extend(items.iter().cloned());
        let Some(next) = page["next"].as_str() else { return read };
        before = format!("&before={next}");
    }
}

/// Ann, Bob and Cat have talked in turns: to each other, to all, and in a group.
async fn talked(server: &Running) -> (GroupId, Vec<Sent>) {
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    let group = ann.session.create_group(NewGroup::default()).await.unwrap().id;
    ann.session.invite(group, [peer("bob")]).await.unwrap();
    let in_group = |from: &Online, text: &str| {
        let (session, text) = (from.session.clone(), text.to_owned());
        async move { session.send(Outgoing::to(group, text)).await.unwrap() }
    };
    let sent = vec![
        say(&ann, "bob", "a to b").await,
        in_group(&ann, "a to g").await,
        say(&bob, "ann", "b to a").await,
        say(&ann, "bob cat", "a to bc").await,
        in_group(&bob, "b to g").await,
        say(&ann, "bob", "a to b again").await,
    ];
    ann.session.close().await.unwrap();
    bob.session.close().await.unwrap();
    (group, sent)
}

#[tokio::test]
async fn a_conversation_is_read_by_the_id_that_avos_computes() {
    let mut server = Running::start().await;
    talked(&server).await;
    for _ in 0..2 {
        let chat = page(&server, &format!("conversation={}", md5_of("ann bob"))).await;
        assert_eq!(texts(&chat), ["a to b again", "b to a", "a to b"]);
        assert_eq!(chat["next"], Value::Null);
        let three = page(&server, &format!("conversation={}", md5_of("cat bob ann"))).await;
        assert_eq!(texts(&three), ["a to bc"]);
        // The peers name it too, in any order.
        for peers in ["ann,bob", "bob,ann", "bob:ann", "bob,ann,bob"] {
            assert_eq!(page(&server, &format!("peers={peers}")).await, chat);
        }
        assert_eq!(page(&server, "peers=ann,bob,cat").await, three);
        assert_eq!(texts(&page(&server, "peers=ann,cat").await), [""; 0]);
        server.restart().await;
    }
}

#[tokio::test]
async fn a_group_is_read_by_its_id() {
    let mut server = Running::start().await;
    let (group, _) = talked(&server).await;
    for _ in 0..2 {
        let told = page(&server, &format!("group={group}")).await;
        assert_eq!(texts(&told), ["b to g", "a to g"]);
        for message in told["items"].as_array().unwrap() {
            assert_eq!(message["group"], group.to_string());
            assert_eq!(message["conversation"], group.to_string());
            assert_eq!(message["to"], json!([]));
        }
        assert_eq!(page(&server, &format!("conversation={group}")).await, told);
        server.restart().await;
    }
    let nowhere = page(&server, "group=0123456789abcdef01234567").await;
    assert_eq!(nowhere, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn what_a_peer_has_sent_is_read_in_the_order_of_time() {
    let mut server = Running::start().await;
    talked(&server).await;
    for _ in 0..2 {
        let told = page(&server, "sender=ann").await;
        assert_eq!(texts(&told), ["a to b again", "a to bc", "a to g", "a to b"]);
        assert_eq!(texts(&page(&server, "sender=bob").await), ["b to g", "b to a"]);
        assert_eq!(texts(&page(&server, "sender=cat").await), [""; 0]);
        let times: Vec<_> =
            told["items"].as_array().unwrap().iter().map(|one| one["at_ms"].as_i64()).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        server.restart().await;
    }
}

#[tokio::test]
async fn the_whole_app_is_read_in_the_order_of_time() {
    let mut server = Running::start().await;
    let (_, sent) = talked(&server).await;
    let newest_first: Vec<_> = sent.iter().rev().map(|sent| sent.id.to_string()).collect();
    for _ in 0..2 {
        let told = page(&server, "").await;
        let ids: Vec<_> = told["items"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
        assert_eq!(ids, newest_first.iter().collect::<Vec<_>>());
        assert_eq!(told["next"], Value::Null);
        server.restart().await;
    }
}

#[tokio::test]
async fn a_message_is_told_with_all_that_it_has() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let text = Outgoing::to([peer("bob"), peer("cat")], "hello ☎").client_msg_no("n-1");
    let text = ann.session.send(text).await.unwrap();
    let bytes = ann.session.send(Outgoing::to(peer("bob"), vec![0xff, 0, 1])).await.unwrap();
    let told = page(&server, "").await;
    let expected = json!({
        "id": text.id.to_string(), "sequence": 1, "at_ms": text.at_ms,
        "conversation": md5_of("ann bob cat"), "from": "ann", "to": ["bob", "cat"],
        "client_msg_no": "n-1", "body": "hello ☎", "recalled": false,
    });
    assert_eq!(told["items"][1], expected);
    let expected = json!({
        "id": bytes.id.to_string(), "sequence": 1, "at_ms": bytes.at_ms,
        "conversation": md5_of("ann bob"), "from": "ann", "to": ["bob"],
        "client_msg_no": "", "body_base64": "/wAB", "recalled": false,
    });
    assert_eq!(told["items"][0], expected);
}

#[tokio::test]
async fn a_message_that_was_recalled_has_no_body() {
    let mut server = Running::start().await;
    let ann = server.open("ann").await;
    say(&ann, "bob", "kept").await;
    let secret = say(&ann, "bob", "secret").await;
    ann.session.recall(secret.id).await.unwrap();
    ann.session.close().await.unwrap();
    for _ in 0..2 {
        for query in ["peers=ann,bob", "sender=ann", ""] {
            let told = page(&server, query).await;
            let recalled = &told["items"][0];
            assert_eq!(
                (&recalled["id"], &recalled["recalled"]),
                (&json!(secret.id.to_string()), &json!(true))
            );
            assert_eq!((recalled.get("body"), recalled.get("body_base64")), (None, None));
            assert_eq!(told["items"][1]["body"], "kept");
            assert!(!told.to_string().contains("secret"), "{told}");
        }
        let export = server.get("/v1/history/export").await;
        assert!(!export.text.contains("secret"), "{}", export.text);
        server.restart().await;
    }
}

#[tokio::test]
async fn a_range_of_time_has_both_its_ends() {
    let mut server = Running::start().await;
    let ann = server.open("ann").await;
    let mut times = Vec::new();
    for number in 0..6 {
        times.push(say(&ann, "bob", &number.to_string()).await.at_ms);
        server.step(Duration::from_secs(60));
    }
    ann.session.close().await.unwrap();
    for _ in 0..2 {
        for of in ["peers=ann,bob", "sender=ann", ""] {
            let range = |since: u64, until: u64| format!("{of}&since_ms={since}&until_ms={until}");
            let told = page(&server, &range(times[2], times[4])).await;
            assert_eq!(texts(&told), ["4", "3", "2"], "{of}");
            assert_eq!(told["next"], Value::Null);
            let told = page(&server, &range(times[2] + 1, times[4] - 1)).await;
            assert_eq!(texts(&told), ["3"], "{of}");
            assert_eq!(texts(&page(&server, &range(times[3], times[3])).await), ["3"], "{of}");
            let none = all(&server, &range(times[0] + 1, times[1] - 1), 10).await;
            assert_eq!(none, Vec::<Value>::new(), "{of}");
            let since = page(&server, &format!("{of}&since_ms={}", times[4])).await;
            assert_eq!(texts(&since), ["5", "4"], "{of}");
            let until = page(&server, &format!("{of}&until_ms={}", times[1])).await;
            assert_eq!(texts(&until), ["1", "0"], "{of}");
        }
        let one_by_one = format!("sender=ann&since_ms={}&until_ms={}", times[1], times[4]);
        let read = all(&server, &one_by_one, 1).await;
        let bodies: Vec<_> = read.iter().map(|one| one["body"].as_str().unwrap()).collect();
        assert_eq!(bodies, ["4", "3", "2", "1"]);
        server.restart().await;
    }
}

#[tokio::test]
async fn a_page_has_1_to_1000_messages_and_100_if_nothing_is_said() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let mut sending = Vec::new();
    for number in 0..1001 {
        let message = Outgoing::to(peer("bob"), number.to_string());
        sending.push(ann.session.start_send(message).await.unwrap());
    }
    for sending in sending {
        sending.await.unwrap();
    }
    for (query, count) in [("", 100), ("limit=1", 1), ("limit=1000", 1000), ("limit=999", 999)] {
        for of in ["peers=ann,bob", "sender=ann", ""] {
            let told = page(&server, &format!("{of}&{query}")).await;
            let texts = texts(&told);
            assert_eq!((texts.len(), texts[0]), (count, "1000"), "{of} {query}");
            assert_eq!(told["next"], told["items"][count - 1]["id"]);
        }
    }
    for refused in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit="] {
        let refused = server.get(&format!("/v1/history?{refused}")).await;
        assert_eq!(refused.problem(), "invalid-query");
    }
}

#[tokio::test]
async fn what_is_no_choice_is_refused() {
    let server = Running::start().await;
    let digest = md5_of("ann bob");
    let many: Vec<_> = (0..52).map(|number| format!("p{number}")).collect();
    let queries = [
        "conversation=ann".to_owned(),
        "group=0123456789abcdef0123456".to_owned(),
        format!("group={digest}"),
        "sender=a:b".to_owned(),
        "sender=".to_owned(),
        "peers=".to_owned(),
        "peers=ann,,bob".to_owned(),
        format!("peers={}", many.join(",")),
        "before=0".to_owned(),
        "before=x".to_owned(),
        "since_ms=x".to_owned(),
        "since_ms=2&until_ms=1".to_owned(),
        format!("conversation={digest}&sender=ann"),
        "sender=ann&peers=ann,bob".to_owned(),
        "from=ann".to_owned(),
    ];
    for query in queries {
        for path in ["/v1/history", "/v1/history/export"] {
            let refused = server.get(&format!("{path}?{query}")).await;
            assert_eq!(refused.problem(), "invalid-query", "{query}");
        }
    }
    server.get(&format!("/v1/history?peers={}", many[..51].join(","))).await.ok();
    assert_eq!(server.get("/v1/history/export?limit=0").await.problem(), "invalid-query");
}

#[tokio::test]
async fn nothing_is_lost_or_told_twice_while_messages_are_being_sent() {
    let mut server = Running::start().await;
    let (ann, cat) = (server.open("ann").await, server.open("cat").await);
    let mut sent = Vec::new();
    for number in 0..50 {
        sent.push(say(&ann, "bob", &format!("a{number}")).await.id);
        sent.push(say(&cat, "bob", &format!("c{number}")).await.id);
    }
    let of_ann: Vec<_> = sent.iter().rev().skip(1).step_by(2).map(ToString::to_string).collect();
    let of_all: Vec<_> = sent.iter().rev().map(ToString::to_string).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let sender = ann.session.clone();
    let more = tokio::spawn(async move {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            sender.send(Outgoing::to(peer("bob"), "meanwhile")).await.unwrap();
        }
    });
    for (query, expected) in [("peers=ann,bob", &of_ann), ("sender=ann", &of_ann), ("", &of_all)] {
        for limit in [7, 100] {
            let read = all(&server, query, limit).await;
            let ids: Vec<_> = read.iter().map(|one| one["id"].as_str().unwrap()).collect();
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{query}");
            assert!(
                ids.ends_with(&expected.iter().map(String::as_str).collect::<Vec<_>>()),
                "{query}"
            );
            // In a conversation nothing between the first and the last is missing.
            if query.starts_with("peers") {
                let numbers = read.iter().map(|one| one["sequence"].as_u64().unwrap());
                let count = numbers.len() as u64;
                assert!(numbers.eq((1..=count).rev()));
            }
        }
    }
    drop(stop);
    more.await.unwrap();
    let before = all(&server, "", 64).await;
    server.restart().await;
    assert!(all(&server, "", 64).await == before);
    assert!(all(&server, "", 1000).await == before);
}

/// The lines of an export, whose last must say that it is the end.
async fn exported(server: &Running, query: &str) -> Vec<Value> {
    let answer = server.get(&format!("/v1/history/export?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header(CONTENT_TYPE), Some("application/x-ndjson"));
    assert!(answer.text.ends_with('\n'));
    let lines = answer.text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut lines: Vec<Value> = lines.collect();
    assert_eq!(lines.pop(), Some(json!({"end": true})));
    lines
}

#[tokio::test]
async fn an_export_has_what_all_pages_have_and_an_end() {
    let mut server = Running::start().await;
    let (group, sent) = talked(&server).await;
    for _ in 0..2 {
        let (first, last) = (sent[1].at_ms, sent[4].at_ms);
        for query in [
            String::new(),
            "peers=ann,bob".to_owned(),
            format!("group={group}"),
            "sender=ann".to_owned(),
            format!("since_ms={first}&until_ms={last}"),
            "sender=nobody".to_owned(),
        ] {
            assert_eq!(exported(&server, &query).await, all(&server, &query, 2).await, "{query}");
        }
        let newest = all(&server, "", 100).await;
        assert_eq!(exported(&server, "limit=3").await, newest[..3]);
        assert_eq!(exported(&server, "limit=1001").await, newest);
        let before = format!("before={}", sent[3].id);
        assert_eq!(exported(&server, &before).await, newest[3..]);
        server.restart().await;
    }
}

/// Stores so much that no buffer between server and client holds it; says how many messages.
async fn fill(server: &Running) -> usize {
    const COUNT: usize = 6_000;
    let ann = server.open("ann").await;
    let mut sending = Vec::new();
    for _ in 0..COUNT {
        let message = Outgoing::to(peer("bob"), vec![b'x'; 5 * 1024]);
        sending.push(ann.session.start_send(message).await.unwrap());
    }
    for sending in sending {
        sending.await.unwrap();
    }
    ann.session.close().await.unwrap();
    COUNT
}

#[tokio::test]
async fn a_long_export_is_whole_and_goes_no_faster_than_it_is_taken() {
    let mut server = Running::start().await;
    let count = fill(&server).await;
    let path = "/v1/history/export?peers=ann,bob";
    let export = || async {
        let request = server.request(Method::GET, path, Some(&server.master));
        soon("an export", request.send()).await.unwrap()
    };
    // Nobody reads the first ones further than their headers.
    let mut idle = Vec::new();
    for _ in 0..4 {
        let response = export().await;
        assert_eq!(response.status(), StatusCode::OK);
        idle.push(response);
    }
    let refused = server.get(path).await;
    assert_eq!(
        (refused.status, refused.problem()),
        (StatusCode::SERVICE_UNAVAILABLE, "busy".into())
    );
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(server.get("/v1/history?limit=1").await.ok()["items"].as_array().unwrap().len(), 1);

    // One of them is read to its end; another gives its place back as its reader goes.
    let read = soon("the rest", idle.pop().unwrap().text()).await.unwrap();
    assert_eq!(read.lines().count(), count + 1);
    assert_eq!(read.lines().last(), Some("{\"end\":true}"));
    idle.push(export().await);
    drop(idle.pop());
    let again = soon("a place", async {
        loop {
            let response = export().await;
            if response.status() == StatusCode::OK {
                return response;
            }
        }
    })
    .await;
    drop(again);

    // A server that goes cuts what is left of them, and says no end.
    let cut = idle.pop().unwrap();
    let reading = tokio::spawn(cut.text());
    soon("a drain", server.take().drain()).await;
    if let Ok(text) = reading.await.unwrap() {
        assert!(text.ends_with("{\"end\":true}\n"));
    }
}
