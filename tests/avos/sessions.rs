//! Sessions: who is open where, who watches whom, and what a lost connection means.

use std::time::Duration;

use tidings::client::{Event, KeySigner, OpenOptions, Outgoing, Pause, RequestError, SendError};
use tidings::id::{DeviceId, PeerId};
use tidings::limits::WATCHED_MAX;
use tidings::reason::Reason;

use crate::harness::{Seat, Server, on, peer, peers, send_refused, soon};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_peer_id_is_whatever_the_app_chooses() {
    let longest = "x".repeat(64);
    let server = Server::start().await;
    let ids = ["42", "ann@example.org", "Zoë 名前 🙂", "{\"user\" 7}", "ANN", "ann", &longest];
    let client = server.client().await;
    let mut seats = Vec::new();
    for id in ids {
        seats.push(Seat::open(&client, OpenOptions::new(peer(id))).await.unwrap());
    }
    for (at, id) in ids.iter().enumerate() {
        let next = (at + 1) % ids.len();
        seats[at].send(Outgoing::to(peer(ids[next]), (*id).to_owned())).await.unwrap();
        let message = seats[next].message().await;
        assert_eq!((message.from.as_str(), message.to), (*id, vec![peer(ids[next])]));
    }
    // Each of them is another peer: nobody got what was for somebody else.
    for seat in &mut seats {
        assert_eq!(seat.news().await, []);
    }
    for refused in ["", "a:b", "a\nb", &"x".repeat(65)] {
        assert!(refused.parse::<PeerId>().is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn one_peer_is_open_on_many_devices_and_all_get_its_messages() {
    let server = Server::start().await;
    let mut bobs = Vec::new();
    for device in ["phone", "tablet", "laptop"] {
        bobs.push(server.open_as(on("bob", device)).await);
    }
    let ann = server.open("ann").await;
    let sent = ann.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    ann.send_transient(Outgoing::to(peer("bob"), "typing")).unwrap();
    for bob in &mut bobs {
        let mut ids = [bob.message().await.id, bob.message().await.id];
        ids.sort_unstable();
        assert_eq!(ids[1], sent.id);
    }
    // One of them is enough for the peer to be online.
    bobs.pop().unwrap().close().await.unwrap();
    bobs.pop().unwrap().close().await.unwrap();
    assert_eq!(ann.status(peers("bob")).await.unwrap(), peers("bob"));
}

#[tokio::test]
async fn many_peers_share_one_device() {
    let server = Server::start().await;
    let client = server.client().await;
    let phone: DeviceId = "the family's tablet".parse().unwrap();
    let mut family = Vec::new();
    for id in ["ann", "bob", "cat", "dan"] {
        let options = OpenOptions::new(peer(id)).device(phone.clone());
        family.push(Seat::open(&client, options).await.unwrap());
    }
    let eve = server.open("eve").await;
    for seat in &mut family {
        let words = format!("for {}", seat.peer());
        eve.send(Outgoing::to(seat.peer(), words.clone())).await.unwrap();
        assert_eq!(seat.text().await, words);
        assert_eq!(*seat.device(), phone);
    }
    for seat in &mut family {
        assert_eq!(seat.news().await, [], "only what is for the peer");
    }
    // Whoever logs out on the device does so alone.
    family[0].close().await.unwrap();
    assert_eq!(eve.status(peers("ann bob")).await.unwrap(), peers("bob"));
}

#[tokio::test]
async fn open_takes_the_first_watch_list_and_tells_who_is_online() {
    let server = Server::start().await;
    let _bob = server.open("bob").await;
    let _dan = server.open("dan").await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("bob cat"))).await;
    assert_eq!(ann.opening.online, peers("bob"));
    assert_eq!((ann.watching(), ann.online()), (peers("bob cat"), peers("bob")));
    let _cat = server.open("cat").await;
    assert_eq!(ann.next().await, Event::Online(peers("cat")));
    let everybody: Vec<PeerId> =
        (0..WATCHED_MAX - 1).map(|n| peer(&format!("p{n}"))).chain(peers("dan")).collect();
    let eve = server.open_as(on("eve", "phone").watch(everybody)).await;
    assert_eq!(eve.opening.online, peers("dan"));
}

#[tokio::test]
async fn close_is_log_out_and_nothing_more_arrives() {
    let server = Server::start().await;
    let (ann, mut laptop) = (server.open("ann").await, server.open_as(on("bob", "laptop")).await);
    let mut phone = server.open_as(on("bob", "phone")).await;
    ann.send(Outgoing::to(peer("bob"), "before")).await.unwrap();
    assert_eq!(phone.text().await, "before");
    phone.has_had_all().await;
    phone.close().await.unwrap();
    ann.send(Outgoing::to(peer("bob"), "after")).await.unwrap();
    assert_eq!(laptop.texts(2).await, ["before", "after"]);
    while let Some(event) = soon("the end", phone.incoming.next()).await {
        assert!(!matches!(event, Event::Message(_)), "{event:?}");
    }
    assert_eq!(phone.send(Outgoing::to(peer("ann"), "x")).await, Err(SendError::Ended));
    assert_eq!(phone.ping().await, Err(RequestError::Ended));
    laptop.go().await;
    // What came meanwhile was for the devices that were not logged out.
    let phone = server.open_as(on("bob", "phone")).await;
    assert_eq!(phone.opening.waiting, 0);
}

#[tokio::test]
async fn a_lost_network_pauses_and_resumes_by_itself_and_what_was_unsent_arrives() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address.parse().unwrap(), Duration::ZERO).await;
    let mut bob = server.open("bob").await;
    let reached = server.reached_at(&proxy.address().to_string());
    let client = tidings::client::Client::connect(reached).await;
    let options = OpenOptions::new(peer("ann")).watch(peers("bob"));
    let mut ann = Seat::open(&client.unwrap(), options).await.unwrap();
    ann.send(Outgoing::to(peer("bob"), "0")).await.unwrap();
    proxy.cut();
    let mut sendings = Vec::new();
    for number in 1..=5 {
        let outgoing = Outgoing::to(peer("bob"), number.to_string());
        sendings.push(ann.start_send(outgoing).await.unwrap());
    }
    assert_eq!(ann.next().await, Event::Paused(Pause::Unanswered));
    assert_eq!(ann.status(peers("bob")).await, Err(RequestError::Paused));
    sendings.push(ann.start_send(Outgoing::to(peer("bob"), "6")).await.unwrap());
    proxy.mend();
    let Event::Resumed(opening) = ann.next().await else { panic!("not resumed") };
    assert_eq!(opening.online, peers("bob"), "the watch list came back too");
    for sending in sendings {
        soon("an answer", sending).await.unwrap();
    }
    assert_eq!(bob.texts(7).await, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(bob.news().await, [], "each of them once");
}

#[tokio::test]
async fn a_crash_of_the_server_pauses_and_resumes_and_what_was_unsent_arrives() {
    let mut server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    ann.send(Outgoing::to(peer("bob"), "0")).await.unwrap();
    assert_eq!(bob.text().await, "0");
    server.kill();
    let mut sendings = Vec::new();
    for number in 1..=5 {
        let outgoing = Outgoing::to(peer("bob"), number.to_string());
        sendings.push(ann.start_send(outgoing).await.unwrap());
    }
    server.revive().await;
    for sending in sendings {
        soon("an answer", sending).await.unwrap();
    }
    let mut events = ann.news().await;
    // What it sent it has read.
    events.retain(|event| !matches!(event, Event::Read(_)));
    assert!(matches!(events[..], [Event::Paused(_), Event::Resumed(_)]), "{events:?}");
    assert_eq!(ann.counts().resumes, 1);
    let (events, _) = bob.come_back().await;
    assert_eq!(events, []);
    assert_eq!(bob.texts(5).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(bob.news().await, []);
}

#[tokio::test]
async fn watch_and_unwatch_one_or_many_at_any_time() {
    let server = Server::start().await;
    let mut ann = server.open("ann").await;
    let client = server.client().await;
    let open = |id| Seat::open(&client, OpenOptions::new(peer(id)));
    let bob = open("bob").await.unwrap();
    assert_eq!(ann.watch(peers("bob")).await.unwrap(), peers("bob"));
    assert_eq!(ann.watch(peers("cat dan eve")).await.unwrap(), []);
    assert_eq!(ann.watching(), peers("bob cat dan eve"), "one is added to the other");
    let cat = open("cat").await.unwrap();
    assert_eq!(ann.next().await, Event::Online(peers("cat")));
    assert_eq!(ann.watch(peers("bob cat")).await.unwrap(), peers("bob cat"));
    ann.unwatch(peers("cat")).await.unwrap();
    ann.unwatch(peers("bob dan")).await.unwrap();
    assert_eq!((ann.watching(), ann.online()), (peers("eve"), vec![]));
    bob.close().await.unwrap();
    cat.close().await.unwrap();
    let _dan = open("dan").await.unwrap();
    let _eve = open("eve").await.unwrap();
    assert_eq!(ann.next().await, Event::Online(peers("eve")), "nothing of the others");
    let many: Vec<PeerId> = (0..WATCHED_MAX).map(|n| peer(&format!("p{n}"))).collect();
    let refused = ann.watch(many).await.unwrap_err();
    assert!(matches!(refused, RequestError::TooMany { .. }), "{refused}");
}

#[tokio::test]
async fn watchers_hear_of_online_and_offline_once_each() {
    let server = Server::start().await;
    let mut watchers = [
        server.open_as(on("ann", "phone").watch(peers("bob cat"))).await,
        server.open_as(on("ann", "laptop").watch(peers("bob cat"))).await,
        server.open_as(on("dan", "phone").watch(peers("bob cat"))).await,
    ];
    let mut stranger = server.open("eve").await;
    let phone = server.open_as(on("bob", "phone")).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await, Event::Online(peers("bob")));
    }
    // Other devices of the same peer are no news, whether they come or go.
    let laptop = server.open_as(on("bob", "laptop")).await;
    phone.close().await.unwrap();
    laptop.close().await.unwrap();
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await, Event::Offline(peers("bob")));
        assert!(!watcher.is_online(&peer("bob")));
    }
    let _cat = server.open("cat").await;
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await, Event::Online(peers("cat")));
    }
    assert_eq!(stranger.news().await, [], "who does not watch hears nothing");
}

#[tokio::test]
async fn sending_needs_a_watch_only_where_signatures_are_enforced_and_receiving_never() {
    let signed =
        |signatures| [("app-id", "app"), ("signing-key", "key"), ("signatures", signatures)];
    let signer = || KeySigner::new("app", "key");
    let mut server = Server::start().await;
    let free = [
        &[][..],
        &signed("optional"),
        &[&signed("enforced")[..], &[("watch-before-send", "false")]].concat(),
    ];
    for settings in free {
        server.crash_into(settings).await;
        let ann = server.open_as(on("ann", "phone").signer(signer())).await;
        ann.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    }
    server.crash_into(&signed("enforced")).await;
    let ann = server.open_as(on("ann", "phone").signer(signer())).await;
    let mut bob = server.open_as(on("bob", "phone").signer(signer())).await;
    assert_eq!(bob.texts(3).await, ["hello"; 3]);
    let to_bob = || Outgoing::to(peer("bob"), "watched");
    assert_eq!(send_refused(ann.send(to_bob()).await), Reason::NotWatched);
    ann.watch(peers("bob")).await.unwrap();
    ann.send(to_bob()).await.unwrap();
    assert_eq!((bob.text().await, bob.watching()), ("watched".into(), vec![]));
    let both = Outgoing::to(peers("bob cat"), "not all watched");
    assert_eq!(send_refused(ann.send(both).await), Reason::NotWatched);
    ann.unwatch(peers("bob")).await.unwrap();
    assert_eq!(send_refused(ann.send(to_bob()).await), Reason::NotWatched);
    assert_eq!(bob.news().await, []);
}

#[tokio::test]
async fn status_answers_without_watching() {
    let server = Server::start().await;
    let mut ann = server.open("ann").await;
    let bob = server.open("bob").await;
    let _cat = server.open("cat").await;
    assert_eq!(ann.status(peers("bob")).await.unwrap(), peers("bob"));
    let mut online = ann.status(peers("dan cat bob")).await.unwrap();
    online.sort_unstable();
    assert_eq!(online, peers("bob cat"));
    assert_eq!(ann.status(Vec::new()).await.unwrap(), []);
    bob.close().await.unwrap();
    assert_eq!(ann.status(peers("bob cat")).await.unwrap(), peers("cat"));
    assert_eq!((ann.watching(), ann.news().await), (vec![], vec![]), "and watches nobody");
}

#[tokio::test]
async fn a_session_that_is_dropped_counts_as_online_for_a_grace() {
    let server = Server::start_with(&[("presence-grace", "300ms")]).await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("bob cat"))).await;
    let bob = server.open_as(on("bob", "phone")).await;
    assert_eq!(ann.next().await, Event::Online(peers("bob")));
    let began = tokio::time::Instant::now();
    bob.go().await;
    assert_eq!(ann.next().await, Event::Offline(peers("bob")));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_reconnection_within_the_grace_is_silent() {
    let server = Server::start_with(&[("presence-grace", "60s")]).await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("bob cat"))).await;
    let bob = server.open_as(on("bob", "phone")).await;
    assert_eq!(ann.next().await, Event::Online(peers("bob")));
    bob.go().await;
    assert_eq!(ann.status(peers("bob")).await.unwrap(), peers("bob"), "within the grace");
    let bob = server.open_as(on("bob", "phone")).await;
    let _cat = server.open("cat").await;
    assert_eq!(ann.next().await, Event::Online(peers("cat")), "nothing of bob");
    bob.close().await.unwrap();
    assert_eq!(ann.next().await, Event::Offline(peers("bob")), "log out has no grace");
}

#[tokio::test]
async fn a_device_that_opens_again_is_silent_to_watchers() {
    let server = Server::start_with(&[("presence-grace", "0s")]).await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("bob cat"))).await;
    let mut older = server.open_as(on("bob", "phone")).await;
    ann.hears_online("bob").await;
    let newer = server.open_as(on("bob", "phone")).await;
    let ended = soon("the end", older.incoming.next()).await;
    assert!(matches!(ended, Some(Event::Ended(_))), "{ended:?}");
    assert_eq!(older.ping().await, Err(RequestError::Ended));
    let _cat = server.open("cat").await;
    ann.hears_online("cat").await;
    // Without a grace, a lost session is told at once.
    newer.go().await;
    assert_eq!(ann.next().await, Event::Offline(peers("bob")));
}

#[tokio::test]
async fn a_watch_and_an_unwatch_outlive_a_lost_connection() {
    let mut server = Server::start().await;
    let mut ann = server.open_as(on("ann", "phone").watch(peers("dan eve"))).await;
    server.kill();
    let (watched, unwatched, ()) =
        tokio::join!(ann.watch(peers("bob")), ann.unwatch(peers("eve")), server.revive());
    assert_eq!((watched.unwrap(), unwatched), (vec![], Ok(())));
    assert_eq!(ann.watching(), peers("bob dan"));
    let events = ann.news().await;
    assert!(matches!(events[..], [Event::Paused(_), Event::Resumed(_)]), "{events:?}");
    let _eve = server.open("eve").await;
    let _bob = server.open("bob").await;
    ann.hears_online("bob").await;
    let _dan = server.open("dan").await;
    ann.hears_online("dan").await;
}
