//! The machine's clock is set back while the server runs.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use tidings::client::{Event, OpenOptions, Outgoing};
use tidings::id::PeerId;

use crate::harness::{Online, Running};
use crate::messages::{bodies_until, id, send};
use crate::repeats::send_as;

const HOUR: Duration = Duration::from_secs(3600);

fn bob() -> PeerId {
    "bob".parse().unwrap()
}

/// Waits for a change of who is there.
async fn presence(watcher: &mut Online) -> Event {
    loop {
        let event = watcher.event().await;
        if matches!(event, Event::Online(_) | Event::Offline(_)) {
            return event;
        }
    }
}

#[tokio::test]
async fn an_hour_back_holds_up_neither_presence_nor_repeats_nor_delivery() {
    let grace = Duration::from_millis(100);
    let server = Running::start_with(|config| config.hub.presence_grace = grace).await;
    let ann = OpenOptions::new("ann".parse().unwrap()).watch([bob()]);
    let (mut ann, mut phone) = (server.open_with(ann).await, server.open("bob").await);
    assert_eq!(presence(&mut ann).await, Event::Online(vec![bob()]));
    let before = json!({"to": {"peers": ["bob"]}, "body": "before"});
    let first = send_as(&server, &server.master, "before", &before).await;
    let first = id(&first.expect(StatusCode::CREATED));
    server.step_back(HOUR);

    let again = send_as(&server, &server.master, "before", &before).await;
    assert_eq!(id(&again.ok()), first, "it is known");
    let behind = json!({"to": {"peers": ["bob"]}, "body": "behind"});
    let second = send_as(&server, &server.master, "behind", &behind).await;
    let second = id(&second.expect(StatusCode::CREATED));
    let again = send_as(&server, &server.master, "behind", &behind).await;
    assert_eq!(id(&again.ok()), second, "it is remembered");
    assert!(second.parse::<i64>().unwrap() > first.parse().unwrap(), "{second} after {first}");
    ann.session.send(Outgoing::to(bob(), "from ann")).await.unwrap();
    assert_eq!(bodies_until(&mut phone, "from ann").await, ["before", "behind", "from ann"]);

    drop(phone);
    assert_eq!(presence(&mut ann).await, Event::Offline(vec![bob()]));
    send(&server, json!({"to": {"peers": ["bob"]}, "body": "away"})).await;
    let mut laptop = server.open("bob").await;
    assert_eq!(presence(&mut ann).await, Event::Online(vec![bob()]));
    assert!(bodies_until(&mut laptop, "away").await.len() <= 4, "nothing comes twice");
}
