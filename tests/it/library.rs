//! The client library against the real server: trust, and what it makes of the promise.

use std::time::Duration;

use crate::harness::{Running, library, soon, until};
use tidings::client::{
    Client, ConnectError, ConnectOptions, Event, Fingerprint, GroupChange, Incoming, Message,
    NewGroup, OpenError, OpenOptions, Outgoing, Refusal, RequestError, SendError, Session, Trust,
};
use tidings::id::Alias;
use tidings::limits::SESSIONS_PER_CONNECTION_MAX;
use tidings::net::CertificateFiles;
use tidings::reason::Reason;
use tidings::store::{AliasChange, GroupAction};

async fn open(client: &Client, name: &str) -> (Session, Incoming) {
    let opening = client.open(OpenOptions::new(name.parse().unwrap()));
    let (session, mut incoming) = soon("an opening", opening).await.unwrap();
    assert!(matches!(soon("opened", incoming.next()).await, Some(Event::Opened(_))));
    (session, incoming)
}

async fn next_message(incoming: &mut Incoming) -> Message {
    match soon("a message", incoming.next()).await {
        Some(Event::Message(message)) => message,
        event => panic!("{event:?} is no message"),
    }
}

async fn assert_talks(client: &Client) {
    let (ann, _to_ann) = open(client, "ann").await;
    let (bob, mut to_bob) = open(client, "bob").await;
    let sent = ann.send(Outgoing::to(bob.peer(), "hello")).await.unwrap();
    assert_eq!(next_message(&mut to_bob).await.id, sent.id);
}

#[tokio::test]
async fn a_server_is_trusted_by_its_fingerprint() {
    let server = Running::start().await;
    assert_talks(&server.client().await).await;
}

#[tokio::test]
async fn a_wrong_fingerprint_is_refused() {
    let server = Running::start().await;
    let trust = Trust::Fingerprint(Fingerprint::of(b"another certificate"));
    let options = ConnectOptions::new(server.address().to_string()).trust(trust);
    let error = soon("a refusal", Client::connect(options)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted(_)), "{error:?}");
    assert!(!error.is_retryable());
    until("no connection", || server.connections() == 0).await;
}

/// A certificate that an authority has signed, in files, and the authority's own.
fn certificate_of_an_authority(folder: &std::path::Path, name: &str) -> (CertificateFiles, Trust) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let files = CertificateFiles { chain: folder.join("chain.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.chain, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (files, Trust::CertificateAuthority(authority_certificate.pem().into_bytes()))
}

#[tokio::test]
async fn a_server_is_trusted_by_the_authority_that_signed_its_certificate() {
    let folder = tempfile::TempDir::new().unwrap();
    let (files, trust) = certificate_of_an_authority(folder.path(), "chat.example.org");
    let server = Running::start_with(|config| config.net.certificate = Some(files)).await;
    let options = || ConnectOptions::new(server.address().to_string());
    let named = options().trust(trust.clone()).server_name("chat.example.org");
    assert_talks(&soon("a connection", Client::connect(named)).await.unwrap()).await;
    // Another name, another authority, the system's roots: none of them will do.
    let (_, other) = certificate_of_an_authority(&folder.path().join("other"), "chat.example.org");
    for options in [options().trust(trust), options().trust(other).server_name("chat.example.org")]
    {
        let error = soon("a refusal", Client::connect(options)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Untrusted(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_development_certificate_can_be_trusted_as_its_own_authority() {
    let server = Running::start().await;
    let trust = Trust::certificate_authority_file(server.certificate_file()).unwrap();
    assert_talks(&library(server.address(), trust).await).await;
}

#[tokio::test]
async fn the_library_hands_out_what_waited_and_acknowledges_it() {
    let server = Running::start().await;
    let client = server.client().await;
    let (ann, _to_ann) = open(&client, "ann").await;
    let (bob, mut to_bob) = open(&client, "bob").await;
    let device = bob.device().clone();
    for number in 0..3 {
        ann.send(Outgoing::to(bob.peer(), number.to_string())).await.unwrap();
    }
    for number in 0..3 {
        assert_eq!(next_message(&mut to_bob).await.body, number.to_string());
    }
    // The first two count as had, for the app has asked on.
    soon("an end", bob.end()).await;
    let options = OpenOptions::new(bob.peer()).device(device);
    let (_bob, mut to_bob) = soon("an opening", client.open(options)).await.unwrap();
    match soon("opened", to_bob.next()).await {
        Some(Event::Opened(opening)) => assert_eq!(opening.waiting, 1),
        event => panic!("{event:?}"),
    }
    let last = next_message(&mut to_bob).await;
    assert_eq!((&last.body[..], last.waited), (&b"2"[..], true));
}

#[tokio::test]
async fn an_absent_peer_is_told_of_drops_by_the_library() {
    let server = Running::start().await;
    let client = server.client().await;
    let (ann, _to_ann) = open(&client, "ann").await;
    let bob = || "bob".parse::<tidings::id::PeerId>().unwrap();
    for number in 0..60 {
        ann.send(Outgoing::to(bob(), number.to_string())).await.unwrap();
    }
    let (session, mut to_bob) = open(&client, "bob").await;
    match soon("a drop", to_bob.next()).await {
        Some(Event::Dropped { count, .. }) => assert_eq!(count, 10),
        event => panic!("{event:?}"),
    }
    for number in 10..60 {
        assert_eq!(next_message(&mut to_bob).await.body, number.to_string());
    }
    assert!(to_bob.try_next().is_none());
    soon("an end", session.end()).await;
}

#[tokio::test]
async fn an_app_that_is_slow_gets_everything_once_and_in_order() {
    const COUNT: u32 = 3000;
    let server = Running::start().await;
    let client = server.client().await;
    let sender = server.client().await;
    let (bob, mut to_bob) = open(&client, "bob").await;
    let (ann, _to_ann) = open(&sender, "ann").await;
    let mut sendings = Vec::new();
    for number in 0..COUNT {
        // Its turn comes though Bob takes nothing.
        let sending = ann.start_send(Outgoing::to(bob.peer(), number.to_string()));
        sendings.push(soon("a turn", sending).await.unwrap());
    }
    for sending in sendings {
        soon("an answer", sending).await.unwrap();
    }
    for number in 0..COUNT {
        assert_eq!(next_message(&mut to_bob).await.body, number.to_string());
    }
    assert_eq!(bob.counts().repeats, 0);
}

#[tokio::test]
async fn a_replaced_session_of_the_library_ends_for_good() {
    let server = Running::start().await;
    let client = server.client().await;
    let (bob, mut older) = open(&client, "bob").await;
    let options = OpenOptions::new(bob.peer()).device(bob.device().clone());
    let (_newer, _incoming) = soon("an opening", client.open(options)).await.unwrap();
    match soon("the end", older.next()).await {
        Some(Event::Ended(refusal)) => assert_eq!(refusal.reason(), Some(Reason::Replaced)),
        event => panic!("{event:?}"),
    }
    assert!(soon("nothing more", older.next()).await.is_none());
    let send = bob.send(Outgoing::to(bob.peer(), "too late"));
    assert_eq!(soon("a refusal", send).await, Err(SendError::Ended));
}

#[tokio::test]
async fn a_library_client_has_16_sessions_on_a_connection() {
    let server = Running::start().await;
    let client = server.client().await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS_PER_CONNECTION_MAX {
        sessions.push(open(&client, &format!("peer-{number}")).await);
    }
    let one_more = client.open(OpenOptions::new("one-more".parse().unwrap())).await;
    assert!(matches!(one_more, Err(OpenError::TooManySessions)));
    for number in 0..20 {
        let (first, _) = sessions.remove(0);
        soon("an end", first.end()).await;
        sessions.push(open(&client, &format!("one-more-{number}")).await);
    }
    let came_back = sessions.iter().filter(|(session, _)| session.counts().resumes > 0);
    assert_eq!((came_back.count(), server.connections()), (0, 1));
}

#[tokio::test]
async fn a_client_goes_on_over_a_new_socket() {
    let server = Running::start().await;
    let client = server.client().await;
    let (bob, mut to_bob) = open(&client, "bob").await;
    let (ann, _to_ann) = open(&client, "ann").await;
    let before = client.local_addr().unwrap();
    client.rebind().unwrap();
    assert_ne!(client.local_addr().unwrap(), before);
    let sent = soon("a send", ann.send(Outgoing::to(bob.peer(), "hello"))).await.unwrap();
    assert_eq!(next_message(&mut to_bob).await.id, sent.id);
    assert_eq!(bob.counts().resumes, 0, "the connection survives");
    assert!(soon("a ping", bob.ping()).await.unwrap() < Duration::from_secs(10));
}

async fn ended(incoming: &mut Incoming) -> Refusal {
    match soon("the end", incoming.next()).await {
        Some(Event::Ended(refusal)) => refusal,
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_session_that_the_back_end_ends_hears_its_words_and_may_come_back() {
    let server = Running::start().await;
    let (client, hub) = (server.client().await, server.server().hub());
    let (bob, mut to_bob) = open(&client, "bob").await;
    assert_eq!(hub.end_sessions(&bob.peer(), Some(bob.device()), "see the office"), 1);
    let refusal = ended(&mut to_bob).await;
    assert_eq!(refusal.reason(), Some(Reason::Kicked));
    assert_eq!(refusal.text.as_str(), "see the office");
    assert!(soon("nothing more", to_bob.next()).await.is_none());
    open(&client, "bob").await;
}

#[tokio::test]
async fn a_blocked_peer_is_out_until_it_is_blocked_no_more() {
    let server = Running::start().await;
    let (client, hub) = (server.client().await, server.server().hub());
    let (bob, mut to_bob) = open(&client, "bob").await;
    soon("a block", hub.block(bob.peer(), true)).await.unwrap();
    assert_eq!(ended(&mut to_bob).await.reason(), Some(Reason::Blocked));
    let options = || OpenOptions::new(bob.peer());
    match soon("a refusal", client.open(options())).await {
        Err(OpenError::Refused(refusal)) => {
            assert_eq!(refusal.reason(), Some(Reason::Blocked));
        }
        other => panic!("{other:?}"),
    }
    soon("the end of it", hub.block(bob.peer(), false)).await.unwrap();
    open(&client, "bob").await;
}

#[tokio::test]
async fn what_becomes_of_a_message_to_the_back_end_is_told_to_all_devices_of_its_sender() {
    let server = Running::start().await;
    let (client, hub) = (server.client().await, server.server().hub());
    let (phone, mut to_phone) = open(&client, "bob").await;
    let (tablet, to_tablet) = open(&client, "bob").await;
    let first = soon("it is stored", phone.send_upstream("one")).await.unwrap();
    let sent = phone.send(Outgoing::to("ann".parse::<tidings::id::PeerId>().unwrap(), "two"));
    let second = soon("it is stored", sent).await.unwrap();
    let third = soon("it is stored", phone.send_upstream("three")).await.unwrap();
    assert!(first.id < second.id && second.id < third.id);

    let device = tablet.device().clone();
    drop(to_tablet);
    soon("an end", tablet.end()).await;
    for (upstream, accepted) in [(third, false), (first, true)] {
        soon("it is settled", hub.settle_upstream(upstream.id, accepted)).await.unwrap();
        match soon("what became of it", to_phone.next()).await {
            Some(Event::UpstreamDone(done)) => {
                let told = (done.upstream, done.accepted, done.waited);
                assert_eq!(told, (upstream.id, accepted, false));
            }
            event => panic!("{event:?}"),
        }
    }
    let again = hub.settle_upstream(first.id, true);
    assert_eq!(soon("a refusal", again).await, Err(Reason::NoSuchMessage));

    let options = OpenOptions::new(phone.peer()).device(device);
    let (_tablet, mut to_tablet) = soon("an opening", client.open(options)).await.unwrap();
    assert!(matches!(soon("opened", to_tablet.next()).await, Some(Event::Opened(_))));
    let mut told = Vec::new();
    while told.len() < 2 {
        match soon("what waited", to_tablet.next()).await {
            Some(Event::UpstreamDone(done)) => {
                assert!(done.waited);
                told.push((done.upstream, done.accepted));
            }
            Some(Event::Message(message)) => assert!(message.own),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(told, [(third.id, false), (first.id, true)]);
}

fn refused(result: Result<(), RequestError>) -> Reason {
    match result {
        Err(RequestError::Refused(refusal)) => refusal.reason().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_alias_has_10_devices_and_a_device_one_alias() {
    let server = Running::start().await;
    let client = server.client().await;
    let [vip, other]: [Alias; 2] = ["vip: 客户", "other"].map(|alias| alias.parse().unwrap());
    let mut devices = Vec::new();
    for number in 0..10 {
        let (session, incoming) = open(&client, &format!("peer-{number}")).await;
        soon("it is bound", session.bind_alias(&vip)).await.unwrap();
        devices.push((session, incoming));
    }
    let (late, _to_late) = open(&client, "late").await;
    assert_eq!(refused(soon("a refusal", late.bind_alias(&vip)).await), Reason::AliasFull);
    assert_eq!(refused(late.unbind_alias_everywhere(&vip).await), Reason::NoSuchAlias);
    // Another alias takes the place of the one before, which has room again.
    let (first, second) = (&devices[0].0, &devices[1].0);
    soon("it is bound", first.bind_alias(&other)).await.unwrap();
    assert_eq!(refused(first.unbind_alias(&vip).await), Reason::NoSuchAlias);
    soon("it is bound", late.bind_alias(&vip)).await.unwrap();
    soon("it is unbound", second.unbind_alias_everywhere(&vip)).await.unwrap();
    assert_eq!(refused(late.unbind_alias(&vip).await), Reason::NoSuchAlias);
    soon("it is unbound", first.unbind_alias(&other)).await.unwrap();
}

#[tokio::test]
async fn a_server_may_leave_aliases_to_the_back_end() {
    let server = Running::start_with(|config| config.hub.client_aliases = false).await;
    let (client, hub) = (server.client().await, server.server().hub());
    let (bob, _to_bob) = open(&client, "bob").await;
    let alias: Alias = "bob@home".parse().unwrap();
    assert_eq!(refused(soon("a refusal", bob.bind_alias(&alias)).await), Reason::Unsupported);
    let bind = AliasChange::Bind { alias: alias.clone(), device: bob.device().clone() };
    assert_eq!(soon("it is bound", hub.change_aliases(vec![bind])).await, [Ok(())]);
    assert_eq!(refused(soon("a refusal", bob.unbind_alias(&alias)).await), Reason::Unsupported);
}

#[tokio::test]
async fn nobody_is_in_an_open_group_that_was_deleted_even_if_who_did_it_is_gone() {
    let server = Running::start().await;
    let (client, hub) = (server.client().await, server.server().hub());
    let (ann, _to_ann) = open(&client, "ann").await;
    let open = NewGroup { open: true, ..NewGroup::default() };
    let group = soon("a group", ann.create_group(open)).await.unwrap().id;
    assert_eq!(hub.open_group_count(group), 1);
    let deleting = hub.change_group(group, GroupAction::Delete { version: None });
    let _ = tokio::time::timeout(Duration::ZERO, deleting).await;
    until("an empty group", || hub.open_group_count(group) == 0).await;
}

#[tokio::test]
async fn the_members_of_a_group_that_the_back_end_deletes_have_left_it() {
    let server = Running::start().await;
    let (client, hub) = (server.client().await, server.server().hub());
    let (ann, mut to_ann) = open(&client, "ann").await;
    let group = soon("a group", ann.create_group(NewGroup::default())).await.unwrap().id;
    assert!(matches!(soon("she joins", to_ann.next()).await, Some(Event::Joined(_))));
    let deleted = hub.change_group(group, GroupAction::Delete { version: None });
    soon("it is deleted", deleted).await.unwrap();
    match soon("the end of the group", to_ann.next()).await {
        Some(Event::Left(notice)) => {
            assert_eq!((notice.group, notice.change), (group, GroupChange::Deleted));
            assert_eq!(notice.by, None);
        }
        event => panic!("{event:?}"),
    }
    let send = ann.send(Outgoing::to(group, "hello?"));
    assert!(matches!(soon("a refusal", send).await, Err(SendError::Refused(_))));
}
