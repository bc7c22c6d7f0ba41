//! Where a request may go, what of its answer is read, and for how long.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::house_tests::{House, Led, definition, id};
use super::receiver_tests::{Heard, Receiver, reply};
use super::*;

#[tokio::test]
async fn a_name_leads_only_to_where_webhooks_may_go_whenever_it_is_asked() {
    let (mut house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    house.allowed = Vec::new();
    let url = format!("http://hook.example:{}/", receiver.address.port());
    for answers in [
        vec![vec!["127.0.0.1"]],
        vec![vec!["10.0.0.1", "192.168.1.1", "::1"]],
        vec![vec!["169.254.169.254"]],
        vec![vec!["::ffff:127.0.0.1"]],
        vec![vec!["fe80::1"]],
        vec![vec!["fd00:ec2::254"]],
        vec![vec![]],
        // It changes between the look at it and the connection: what is looked at is connected to.
        vec![vec!["127.0.0.1"], vec!["1.1.1.1"]],
    ] {
        house.names = Arc::new(Led(Mutex::new(answers.clone())));
        let webhooks = house.start().await;
        if webhooks.find(&id("a")).is_none() {
            webhooks.create(definition("a", url.clone())).await.unwrap();
        }
        let attempt = webhooks.ping(&id("a")).await.unwrap();
        assert_eq!((attempt.status, attempt.outcome), (0, Outcome::Failed), "{answers:?}");
        assert!(attempt.said.contains("no address that webhooks may go to"), "{}", attempt.said);
        assert!(!attempt.said.contains("hook.example"), "no error tells a URL");
        webhooks.stop().await;
    }
    assert!(receiver.heard().is_empty());
    house.allowed = vec!["127.0.0.0/8".parse().unwrap()];
    house.names = Arc::new(Led(Mutex::new(vec![vec!["10.0.0.1", "127.0.0.1"]])));
    let webhooks = house.start().await;
    assert_eq!(webhooks.ping(&id("a")).await.unwrap().status, 200, "what is allowed is");
    webhooks.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let (house, inside) = (House::new(), Receiver::start(|_| reply(200)).await);
    let target = inside.url();
    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let leading = move |_: &Heard| {
            let mut reply = reply(status);
            reply.headers.push(("location", target.clone()));
            reply
        };
        let receiver = Receiver::start(leading).await;
        let webhooks = house.start().await;
        webhooks.create(definition("a", receiver.url())).await.unwrap();
        let attempt = webhooks.ping(&id("a")).await.unwrap();
        assert_eq!((attempt.status, attempt.outcome), (status, Outcome::Failed));
        webhooks.remove(&id("a")).await.unwrap();
        webhooks.stop().await;
    }
    assert!(inside.heard().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_not_read_and_a_slow_one_takes_no_longer_than_it_may() {
    let endless = |_: &Heard| {
        let mut reply = reply(200);
        reply.body = vec![b'x'; 4 * 1024 * 1024];
        reply
    };
    let (house, receiver) = (House::new(), Receiver::start(endless).await);
    let webhooks = house.start().await;
    let mut hasty = definition("a", receiver.url());
    hasty.timeout = Some("300ms".into());
    webhooks.create(hasty).await.unwrap();
    let attempt = webhooks.ping(&id("a")).await.unwrap();
    assert_eq!((attempt.status, attempt.said.as_str()), (200, ""));
    receiver.answer(|_| {
        let mut reply = reply(200);
        reply.wait = Duration::from_secs(3600);
        reply
    });
    let attempt = webhooks.ping(&id("a")).await.unwrap();
    assert_eq!((attempt.status, attempt.said.as_str()), (0, "it took too long"));
    webhooks.stop().await;
}

#[tokio::test]
async fn an_address_that_is_not_there_leaves_time_for_the_next() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    // Its queue is full, so that nothing more is heard of whoever connects.
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 2], receiver.address.port()));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(nowhere).unwrap();
    let _listener = socket.listen(1).unwrap();
    let short = Duration::from_millis(200);
    let mut queue = Vec::new();
    while let Ok(waiting) = std::net::TcpStream::connect_timeout(&nowhere, short) {
        queue.push(waiting);
    }
    *house.names.0.lock() = vec![vec!["127.0.0.2", "127.0.0.1"]];
    let webhooks = house.start().await;
    let url = format!("http://receiver.test:{}/hook", receiver.address.port());
    webhooks.create(definition("a", url)).await.unwrap();
    house.chat(0, 1);
    receiver.until_taken(1).await;
    assert_eq!(webhooks.find(&id("a")).unwrap().health.failed, 0);
    webhooks.stop().await;
}
