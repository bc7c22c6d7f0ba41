//! A peer's own devices: what one sends, the others see; which there are, and how many.

use tidings::client::{Device, Event, NewGroup, OpenOptions, Outgoing};
use tidings::id::DeviceFlag;
use tidings::reason::Reason;

use crate::harness::{Seat, Server, on, peer, soon, text};

async fn listed(seat: &Seat) -> Vec<(String, DeviceFlag, bool)> {
    let devices = seat.devices().await.unwrap();
    let row = |device: Device| (device.device.to_string(), device.flag, device.online);
    let mut rows: Vec<_> = devices.into_iter().map(row).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn row(device: &str, flag: DeviceFlag, online: bool) -> (String, DeviceFlag, bool) {
    (device.into(), flag, online)
}

#[tokio::test]
async fn what_one_device_sends_the_others_see_as_their_own() {
    let server = Server::start().await;
    let (mut phone, mut bob) = (server.open_as(on("ann", "phone")).await, server.open("bob").await);
    let mut laptop = server.open_as(on("ann", "laptop")).await;
    let sent = phone.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    let echo = laptop.message().await;
    assert_eq!((echo.id, echo.from.clone(), echo.own), (sent.id, peer("ann"), true));
    let message = bob.message().await;
    assert_eq!((message.id, message.own), (sent.id, false));
    phone.send_transient(Outgoing::to(peer("bob"), "typing")).unwrap();
    let echo = laptop.message().await;
    assert!(echo.own && echo.transient);
    assert_eq!(bob.text().await, "typing");
    assert_eq!(phone.news().await, [], "not to the device that sent it");
    // A message to oneself is a message like any other.
    phone.send(Outgoing::to(peer("ann"), "a note")).await.unwrap();
    for seat in [&mut phone, &mut laptop] {
        assert_eq!(seat.text().await, "a note");
    }
}

#[tokio::test]
async fn what_one_device_sends_to_a_group_the_others_see_as_their_own() {
    let server = Server::start().await;
    let (mut phone, mut bob) = (server.open_as(on("ann", "phone")).await, server.open("bob").await);
    let mut laptop = server.open_as(on("ann", "laptop")).await;
    let group = phone.create_group(NewGroup::default()).await.unwrap().id;
    bob.join(group).await.unwrap();
    let sent = phone.send(Outgoing::to(group, "hello")).await.unwrap();
    let echo = laptop.message().await;
    assert_eq!((echo.id, echo.own), (sent.id, true));
    let message = bob.message().await;
    assert_eq!((message.id, message.own), (sent.id, false));
    for seat in [&mut phone, &mut laptop, &mut bob] {
        let more = seat.news().await;
        assert!(!more.iter().any(|event| matches!(event, Event::Message(_))), "{more:?}");
    }
    // Nor does it wait for the one that sent it.
    phone.go().await;
    let phone = server.open_as(on("ann", "phone")).await;
    assert_eq!(phone.opening.waiting, 0);
}

#[tokio::test]
async fn an_own_message_never_waits_for_a_device_that_was_away() {
    let server = Server::start().await;
    let laptop = server.open_as(on("ann", "laptop")).await;
    laptop.go().await;
    let phone = server.open_as(on("ann", "phone")).await;
    let sent = phone.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    let mut laptop = server.open_as(on("ann", "laptop")).await;
    let messages = laptop.news().await;
    assert!(!messages.iter().any(|event| matches!(event, Event::Message(_))), "{messages:?}");
    // It finds it in the history.
    let chat = tidings::id::ConversationId::of_peers(&[peer("ann"), peer("bob")]);
    assert_eq!(laptop.history(chat, None, 10).await.unwrap().messages[0].id, sent.id);
}

#[tokio::test]
async fn a_peer_lists_its_devices_and_what_they_are() {
    let mut server = Server::start().await;
    let open = |device, flag| on("ann", device).flag(flag);
    let phone = server.open_as(open("phone", DeviceFlag::App)).await;
    let browser = server.open_as(open("browser", DeviceFlag::Web)).await;
    let laptop = server.open_as(open("laptop", DeviceFlag::Pc)).await;
    server.open_as(on("bob", "another's phone")).await;
    browser.go().await;
    let expected = [
        row("browser", DeviceFlag::Web, false),
        row("laptop", DeviceFlag::Pc, true),
        row("phone", DeviceFlag::App, true),
    ];
    assert_eq!(listed(&laptop).await, expected);
    let devices = laptop.devices().await.unwrap();
    assert!(devices.iter().all(|device| device.seen_ms >= phone.opening.at_ms));
    laptop.go().await;
    phone.go().await;
    server.crash().await;
    let phone = server.open_as(open("phone", DeviceFlag::App)).await;
    let online: Vec<bool> = listed(&phone).await.into_iter().map(|row| row.2).collect();
    assert_eq!(online, [false, false, true], "known after a crash too");
}

#[tokio::test]
async fn a_device_over_the_limit_takes_the_place_of_the_oldest() {
    let server = Server::start_with(&[("devices-per-peer-max", "2")]).await;
    let mut first = server.open_as(on("ann", "first")).await;
    let second = server.open_as(on("ann", "second")).await;
    // The one that has no session goes first, though another has been there for longer.
    second.go().await;
    let third = server.open_as(on("ann", "third")).await;
    let names = async |seat: &Seat| {
        listed(seat).await.into_iter().map(|row| row.0).collect::<Vec<String>>()
    };
    assert_eq!(names(&third).await, ["first", "third"]);
    assert_eq!(first.news().await, []);
    let mut fourth = server.open_as(on("ann", "fourth")).await;
    let ended = soon("the end", first.incoming.next()).await;
    let Some(Event::Ended(refusal)) = ended else { panic!("{ended:?}") };
    assert_eq!(refusal.reason(), Some(Reason::Replaced));
    assert_eq!(names(&fourth).await, ["fourth", "third"]);
    let bob = server.open("bob").await;
    bob.send(Outgoing::to(peer("ann"), "hello")).await.unwrap();
    assert_eq!(fourth.text().await, "hello");
}

#[tokio::test]
async fn the_same_device_opened_again_replaces_the_older_session() {
    let server = Server::start().await;
    let mut older = server.open_as(on("ann", "phone")).await;
    let mut newer = server.open_as(on("ann", "phone")).await;
    let ended = soon("the end", older.incoming.next()).await;
    let Some(Event::Ended(refusal)) = ended else { panic!("{ended:?}") };
    assert_eq!(refusal.reason(), Some(Reason::Replaced));
    let bob = server.open("bob").await;
    bob.send(Outgoing::to(peer("ann"), "hello")).await.unwrap();
    assert_eq!(text(&newer.message().await), "hello");
    assert_eq!(listed(&newer).await.len(), 1);
}

#[tokio::test]
async fn a_device_without_an_id_is_given_one_to_keep() {
    let server = Server::start().await;
    let first = server.open_as(OpenOptions::new(peer("ann"))).await;
    let state = first.state();
    assert!(!state.device.as_str().is_empty());
    let other = server.open_as(OpenOptions::new(peer("ann"))).await;
    assert_ne!(other.device(), first.device());
    first.go().await;
    let options = OpenOptions::new(peer("ann")).device(state.device.clone()).resume(state.cursor);
    let again = server.open_as(options).await;
    assert_eq!((again.device(), listed(&again).await.len()), (&state.device, 2));
}
