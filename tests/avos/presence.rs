//! Who is online after a crash of the server.

use tidings::client::Event;

use crate::harness::{Server, on, peers};

/// Long enough for clients to come back, on a slow machine too.
const GRACE: &str = "4s";

#[tokio::test]
async fn after_a_crash_who_does_not_come_back_is_told_offline_once_and_who_does_is_silent() {
    let mut server = Server::start_with(&[("presence-restart-grace", GRACE)]).await;
    let watched = peers("bob cat dan eve");
    let mut ann = server.open_as(on("ann", "phone").watch(watched)).await;
    let mut bob = server.open_as(on("bob", "phone")).await;
    let (cat, dan) = (server.open_as(on("cat", "phone")).await, server.open("dan").await);
    ann.hears_online("bob cat dan").await;
    // Dan logs out, and so was not online when the server stopped.
    dan.close().await.unwrap();
    assert_eq!(ann.next().await, Event::Offline(peers("dan")));
    server.kill();
    drop(cat);
    server.revive().await;
    let (events, opening) = ann.come_back().await;
    assert_eq!((events, opening.online), (vec![], peers("bob cat")), "cat still may come back");
    let (events, _) = bob.come_back().await;
    assert_eq!(events, []);
    assert_eq!(ann.next().await, Event::Offline(peers("cat")), "and nothing before it");
    assert_eq!(ann.status(peers("bob cat dan")).await.unwrap(), peers("bob"));
    let eve = server.open("eve").await;
    assert_eq!(ann.next().await, Event::Online(peers("eve")), "and nothing after it");
    eve.close().await.unwrap();
    assert_eq!(ann.next().await, Event::Offline(peers("eve")));
}

#[tokio::test]
async fn a_watcher_that_comes_back_hears_what_has_changed_once() {
    let mut server = Server::start_with(&[("presence-restart-grace", "500ms")]).await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("bob cat dan"))).await;
    let mut bob = server.open_as(on("bob", "phone")).await;
    let cat = server.open_as(on("cat", "phone")).await;
    ann.hears_online("bob cat").await;
    server.kill();
    drop(cat);
    server.revive().await;
    bob.come_back().await;
    let mut dan = server.open_as(on("dan", "phone").watch(peers("cat"))).await;
    if !dan.opening.online.is_empty() {
        assert_eq!(dan.next().await, Event::Offline(peers("cat")));
    }
    // It may be back before the grace is over or dan is there, or after that.
    let (events, _) = ann.come_back().await;
    assert_eq!(events, vec![]);
    let mut told = vec![ann.next().await, ann.next().await];
    told.sort_by_key(|event| matches!(event, Event::Offline(_)));
    assert_eq!(told, [Event::Online(peers("dan")), Event::Offline(peers("cat"))]);
    assert_eq!(ann.status(peers("bob cat dan")).await.unwrap(), peers("bob dan"));
    assert_eq!(ann.news().await, []);
}

#[tokio::test]
async fn who_comes_back_with_another_device_is_not_told_offline() {
    let mut server = Server::start_with(&[("presence-restart-grace", GRACE)]).await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("bob cat dan"))).await;
    let bob = server.open_as(on("bob", "phone")).await;
    let cat = server.open("cat").await;
    ann.hears_online("bob cat").await;
    server.kill();
    drop((bob, cat));
    server.revive().await;
    let _laptop = server.open_as(on("bob", "laptop")).await;
    ann.come_back().await;
    // Cat's going is told when the grace is over, and then bob's would have been too.
    assert_eq!(ann.next().await, Event::Offline(peers("cat")));
    assert_eq!(ann.status(peers("bob cat")).await.unwrap(), peers("bob"));
    let _dan = server.open("dan").await;
    assert_eq!(ann.next().await, Event::Online(peers("dan")), "nothing of bob");
}
