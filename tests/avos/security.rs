//! Signatures: what is signed, by which formula, and what becomes of one that is not right.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::hmac;

use tidings::client::{
    BoxFuture, Client, Event, KeySigner, NewGroup, OpenError, OpenOptions, Outgoing, RequestError,
    SignAction, SignError, SignRequest, Signed, Signer,
};
use tidings::id::PeerId;
use tidings::reason::Reason;

use crate::harness::{
    Seat, Server, Setting, on, open_refused, peer, peers, refused, send_refused, soon,
};

const APP: &str = "app";
const KEY: &str = "your-master-key";

fn settings(signatures: &str) -> [Setting<'_>; 3] {
    [("app-id", APP), ("signing-key", KEY), ("signatures", signatures)]
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The signature that AVOS Cloud's page describes: HMAC-SHA1 of a text, in lower-case digits.
fn hmac_sha1(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    hmac::sign(&key, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An app's back end, which signs by the formulas as they are written on AVOS Cloud's page.
#[derive(Clone)]
struct BackEnd {
    key: &'static str,
    app: &'static str,
    /// Whose ids it takes off every list.
    blocked: Vec<PeerId>,
    /// Added to the time, in seconds.
    clock: i64,
    is_in_milliseconds: bool,
    /// Every text that it signed.
    signed: Arc<Mutex<Vec<String>>>,
}

impl BackEnd {
    fn new() -> Self {
        let signed = Arc::default();
        let (clock, is_in_milliseconds) = (0, false);
        Self { key: KEY, app: APP, blocked: Vec::new(), clock, is_in_milliseconds, signed }
    }

    fn sign_now(&self, request: SignRequest) -> Signed {
        let SignRequest { peer, action, mut ids, .. } = request;
        ids.retain(|id| !self.blocked.contains(id));
        let mut sorted: Vec<&str> = ids.iter().map(PeerId::as_str).collect();
        sorted.sort_unstable();
        let list = sorted.join(":");
        let nonce = format!("{:05}-{}", fastrand::u32(..), self.signed.lock().unwrap().len());
        let timestamp = seconds().saturating_add_signed(self.clock);
        let timestamp = if self.is_in_milliseconds { timestamp * 1000 } else { timestamp };
        let (app, tail) = (self.app, format!("{timestamp}:{nonce}"));
        let text = match action {
            SignAction::Open | SignAction::Watch => format!("{app}:{peer}:{list}:{tail}"),
            SignAction::Join { group } => {
                let group = group.map_or(String::new(), |group| group.to_string());
                format!("{app}:{peer}:{group}:{list}:{tail}:join")
            }
            SignAction::Invite { group } => format!("{app}:{peer}:{group}:{list}:{tail}:invite"),
            SignAction::Kick { group } => format!("{app}:{peer}:{group}:{list}:{tail}:kick"),
            _ => panic!("{action:?} is new"),
        };
        let signature = hmac_sha1(self.key, &text);
        self.signed.lock().unwrap().push(text);
        Signed { ids, nonce, timestamp, signature }
    }

    /// What it signed, without times and nonces.
    fn log(&self) -> Vec<String> {
        let signed = self.signed.lock().unwrap();
        let without = |text: &String| {
            let is_time = |part: &&str| part.parse().is_ok_and(|time: u64| time > 1_000_000_000);
            let parts: Vec<&str> = text.split(':').collect();
            let at = parts.iter().position(is_time).unwrap();
            [&parts[..at], &parts[at + 2..]].concat().join(":")
        };
        signed.iter().map(without).collect()
    }
}

impl Signer for BackEnd {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        Box::pin(std::future::ready(Ok(self.sign_now(request))))
    }
}

/// Gives the same signature every time, or none.
struct Always(Option<Signed>);

impl Signer for Always {
    fn sign(&self, _: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        let signed = self.0.clone().ok_or_else(|| SignError::new("banned"));
        Box::pin(std::future::ready(signed))
    }
}

/// Signs everything with one nonce.
struct OneNonce(String);

impl Signer for OneNonce {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        let SignRequest { peer, action, ids, .. } = request;
        let (timestamp, nonce) = (seconds(), self.0.clone());
        let list: Vec<&str> = ids.iter().map(PeerId::as_str).collect();
        let text = match action {
            SignAction::Join { group: None } => format!("{APP}:{peer}:::{timestamp}:{nonce}:join"),
            _ => format!("{APP}:{peer}:{}:{timestamp}:{nonce}", list.join(":")),
        };
        let signature = hmac_sha1(KEY, &text);
        Box::pin(std::future::ready(Ok(Signed { ids, nonce, timestamp, signature })))
    }
}

/// A back end's signature for an open of `ann` that watches nobody.
fn signed_open(back_end: &BackEnd) -> Signed {
    let (timestamp, nonce) = (seconds(), format!("{:032x}", fastrand::u128(..)));
    let signature = hmac_sha1(back_end.key, &format!("{}:ann::{timestamp}:{nonce}", back_end.app));
    Signed { ids: Vec::new(), nonce, timestamp, signature }
}

fn ann() -> OpenOptions {
    on("ann", "phone")
}

#[test]
fn the_formula_is_the_one_of_the_published_samples() {
    let samples = [
        ("your-app-id:1:2:3:4:1416290728:85561", "cf4a1b6b55ff87753da4ae7f5dd2c33273108b62"),
        (
            "your-app-id:1:4ad934r23bjhcas:2:3:4:1416290879:07995:join",
            "d31efcdea5d74db8d510ce0e9a4833e9bbc205e3",
        ),
    ];
    for (text, signature) in samples {
        assert_eq!(hmac_sha1("your-master-key", text), signature);
    }
}

#[tokio::test]
async fn signatures_are_optional_or_enforced_or_off() {
    let mut server = Server::start_with(&settings("optional")).await;
    let wrong = || BackEnd { key: "another key", ..BackEnd::new() };
    server.open_as(ann()).await.close().await.unwrap();
    server.open_as(ann().signer(BackEnd::new())).await.close().await.unwrap();
    let refused_open = server.try_open(ann().signer(wrong())).await;
    assert_eq!(open_refused(refused_open), Reason::BadSignature);
    server.crash_into(&settings("enforced")).await;
    let missing = server.try_open(ann()).await;
    assert_eq!(open_refused(missing), Reason::SignatureMissing);
    server.open_as(ann().signer(BackEnd::new())).await.close().await.unwrap();
    server.crash_into(&settings("off")).await;
    server.open_as(ann().signer(wrong())).await.close().await.unwrap();
}

#[tokio::test]
async fn open_watch_join_invite_and_kick_are_signed_and_leave_unwatch_and_close_are_not() {
    let server = Server::start_with(&settings("enforced")).await;
    let back_end = BackEnd::new();
    let options = ann().watch(peers("dan bob")).signer(back_end.clone());
    let ann = server.open_as(options).await;
    ann.watch(peers("eve cat")).await.unwrap();
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    ann.invite(group, peers("cat bob")).await.unwrap();
    ann.kick(group, peers("cat")).await.unwrap();
    ann.unwatch(peers("cat dan")).await.unwrap();
    ann.status(peers("cat")).await.unwrap();
    ann.send(Outgoing::to(group, "hello")).await.unwrap();
    ann.leave(group).await.unwrap();
    ann.join(group).await.unwrap();
    ann.close().await.unwrap();
    let expected = [
        "app:ann:bob:dan".to_owned(),
        "app:ann:cat:eve".to_owned(),
        "app:ann:::join".to_owned(),
        format!("app:ann:{group}:bob:cat:invite"),
        format!("app:ann:{group}:cat:kick"),
        format!("app:ann:{group}::join"),
    ];
    assert_eq!(back_end.log(), expected);
    // Opening and watching need no ids, and leave two colons in a row.
    let back_end = BackEnd::new();
    server.open_as(on("ann", "phone").signer(back_end.clone())).await;
    assert_eq!(back_end.log(), ["app:ann:"]);
}

#[tokio::test]
async fn each_request_that_is_signed_is_refused_with_a_wrong_signature() {
    let server = Server::start_with(&settings("optional")).await;
    let wrong = BackEnd { key: "another key", ..BackEnd::new() };
    let right = server.open_as(on("bob", "phone").signer(BackEnd::new())).await;
    let group = right.create_group(NewGroup::default()).await.unwrap().id;
    // The first is right, so that there is a session whose later requests are wrong.
    struct OnlyFirst(BackEnd, BackEnd);
    impl Signer for OnlyFirst {
        fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
            let back_end = if request.action == SignAction::Open { &self.0 } else { &self.1 };
            back_end.sign(request)
        }
    }
    let ann = server.open_as(ann().signer(OnlyFirst(BackEnd::new(), wrong))).await;
    let bad = Reason::BadSignature;
    assert_eq!(refused(ann.watch(peers("bob")).await), bad);
    assert_eq!(refused(ann.create_group(NewGroup::default()).await), bad);
    assert_eq!(refused(ann.join(group).await), bad);
    assert_eq!(refused(ann.invite(group, peers("cat")).await), bad);
    assert_eq!(refused(ann.kick(group, peers("bob")).await), bad);
    assert_eq!(right.members(group, None, 10).await.unwrap().members, peers("bob"));
    assert_eq!(ann.watching(), []);
}

#[tokio::test]
async fn a_signature_holds_for_what_was_signed_and_nothing_else() {
    let server = Server::start_with(&settings("enforced")).await;
    let good = || signed_open(&BackEnd::new());
    let upper = |signed: Signed| Signed { signature: signed.signature.to_uppercase(), ..signed };
    let mut forged = vec![
        signed_open(&BackEnd { key: "another key", ..BackEnd::new() }),
        signed_open(&BackEnd { app: "another app", ..BackEnd::new() }),
        Signed { nonce: "another".into(), ..good() },
        Signed { timestamp: good().timestamp + 60, ..good() },
        Signed { signature: hmac_sha1(KEY, ""), ..good() },
        Signed { signature: "00".into(), ..good() },
    ];
    if upper(good()).signature != good().signature {
        forged.push(upper(good()));
    }
    for signed in forged {
        let open = server.try_open(ann().signer(Always(Some(signed.clone())))).await;
        assert_eq!(open_refused(open), Reason::BadSignature, "{signed:?}");
    }
    // What was signed for ann opens nobody else, and lets ann watch nobody.
    let open = server.try_open(on("bob", "phone").signer(Always(Some(good())))).await;
    assert_eq!(open_refused(open), Reason::BadSignature);
    let signed = Signed { ids: peers("bob"), ..good() };
    let open = ann().watch(peers("bob")).signer(Always(Some(signed)));
    assert_eq!(open_refused(server.try_open(open).await), Reason::BadSignature);
    server.open_as(ann().signer(Always(Some(good())))).await;
}

#[tokio::test]
async fn a_stale_signature_is_refused_and_seconds_and_milliseconds_are_both_understood() {
    let server = Server::start_with(&settings("enforced")).await;
    let hours = |hours: i64| hours * 3600;
    for is_in_milliseconds in [false, true] {
        let at = |clock| BackEnd { clock, is_in_milliseconds, ..BackEnd::new() };
        for stale in [-hours(6) - 60, hours(6) + 60, -hours(24 * 365)] {
            let open = server.try_open(ann().signer(at(stale))).await;
            assert_eq!(open_refused(open), Reason::StaleSignature, "{stale}");
        }
        for fresh in [0, 60 - hours(6), hours(6) - 60] {
            server.open_as(ann().signer(at(fresh))).await.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_nonce_is_used_once_also_after_a_crash() {
    let mut server = Server::start_with(&settings("enforced")).await;
    let signed = signed_open(&BackEnd::new());
    let again = || ann().signer(Always(Some(signed.clone())));
    server.open_as(again()).await.close().await.unwrap();
    assert_eq!(open_refused(server.try_open(again()).await), Reason::NonceUsed);
    server.crash().await;
    assert_eq!(open_refused(server.try_open(again()).await), Reason::NonceUsed);
    server.open_as(ann().signer(BackEnd::new())).await.close().await.unwrap();
    // Nor is it used for two requests of different kinds, each of them signed.
    let ann = server.open_as(ann().signer(OneNonce(format!("{:x}", fastrand::u128(..))))).await;
    assert_eq!(refused(ann.watch(peers("bob")).await), Reason::NonceUsed);
    assert_eq!(refused(ann.create_group(NewGroup::default()).await), Reason::NonceUsed);
}

#[tokio::test]
async fn a_session_without_a_signer_ends_when_signatures_become_enforced() {
    let mut server = Server::start_with(&settings("optional")).await;
    let mut ann = server.open_as(ann()).await;
    server.crash_into(&settings("enforced")).await;
    let lost = soon("the loss", ann.ping()).await;
    assert_eq!(lost, Err(RequestError::Paused));
    let ended = |event| if let Event::Ended(refusal) = event { refusal.reason() } else { None };
    assert_eq!(ann.find("the end", ended).await, Reason::SignatureMissing);
}

#[tokio::test]
async fn a_session_reopens_with_its_watch_list_and_a_fresh_signature_after_a_crash() {
    let mut server = Server::start_with(&settings("enforced")).await;
    let back_end = BackEnd::new();
    let options = ann().watch(peers("bob")).signer(back_end.clone());
    let mut ann = server.open_as(options).await;
    ann.watch(peers("cat dan")).await.unwrap();
    ann.unwatch(peers("dan")).await.unwrap();
    server.crash().await;
    let (_, opening) = ann.come_back().await;
    assert_eq!(opening.online, []);
    assert_eq!(back_end.log(), ["app:ann:bob", "app:ann:cat:dan", "app:ann:bob:cat"]);
    let _bob = server.open_as(on("bob", "phone").signer(BackEnd::new())).await;
    assert_eq!(ann.next().await, Event::Online(peers("bob")));
    ann.send(Outgoing::to(peers("bob cat"), "still watched")).await.unwrap();
}

#[tokio::test]
async fn a_signer_that_shrinks_the_list_is_the_blacklist() {
    let server = Server::start_with(&settings("enforced")).await;
    let blocking = BackEnd { blocked: peers("eve"), ..BackEnd::new() };
    let _eve = server.open_as(on("eve", "phone").signer(BackEnd::new())).await;
    let _bob = server.open_as(on("bob", "phone").signer(BackEnd::new())).await;
    let options = ann().watch(peers("bob eve")).signer(blocking);
    let mut ann = server.open_as(options).await;
    assert_eq!((ann.opening.online.clone(), ann.watching()), (peers("bob"), peers("bob")));
    assert_eq!(ann.watch(peers("cat eve")).await.unwrap(), []);
    assert_eq!(ann.watching(), peers("bob cat"));
    ann.send(Outgoing::to(peer("bob"), "hello")).await.unwrap();
    let to_eve = ann.send(Outgoing::to(peer("eve"), "hello")).await;
    assert_eq!(send_refused(to_eve), Reason::NotWatched);
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    ann.invite(group, peers("bob eve")).await.unwrap();
    assert_eq!(ann.members(group, None, 10).await.unwrap().members, peers("ann bob"));
    let nobody = ann.invite(group, peers("eve")).await;
    assert_eq!(nobody, Err(RequestError::Unsigned(SignError::Nobody)));
    assert!(!ann.news().await.iter().any(|event| matches!(event, Event::Online(_))));
    // A back end that signs nothing at all keeps a peer out.
    let banned = server.try_open(on("bob", "laptop").signer(Always(None))).await.err();
    assert!(matches!(banned, Some(OpenError::Unsigned(_))), "{banned:?}");
}

#[tokio::test]
async fn the_previous_key_is_good_until_its_time() {
    let until = SystemTime::now() + Duration::from_secs(4);
    let shown = humantime::format_rfc3339_seconds(until).to_string();
    let until = humantime::parse_rfc3339(&shown).unwrap();
    let rotated = [
        ("app-id", APP),
        ("signatures", "enforced"),
        ("signing-key", "the new key"),
        ("signing-key-previous", KEY),
    ];
    let mut server = Server::start_with(&settings("enforced")).await;
    let old = || ann().signer(BackEnd::new());
    let new = || ann().signer(BackEnd { key: "the new key", ..BackEnd::new() });
    server.open_as(old()).await;
    assert_eq!(open_refused(server.try_open(new()).await), Reason::BadSignature);
    let far = [&rotated[..], &[("signing-key-previous-until", "2100-01-01T00:00:00Z")]].concat();
    server.crash_into(&far).await;
    server.open_as(old()).await;
    server.open_as(new()).await;
    let soon_over = [&rotated[..], &[("signing-key-previous-until", &*shown)]].concat();
    server.crash_into(&soon_over).await;
    let opened = server.try_open(old()).await;
    if SystemTime::now() < until {
        opened.unwrap();
    }
    // It is about time itself.
    tokio::time::sleep(until.duration_since(SystemTime::now()).unwrap_or_default()).await;
    assert_eq!(open_refused(server.try_open(old()).await), Reason::BadSignature);
    server.open_as(new()).await;
}

#[tokio::test]
async fn another_app_is_refused_and_so_is_none() {
    let server = Server::start_with(&[("app-id", APP)]).await;
    let open = async |app| {
        let client = soon("a connection", Client::connect(server.reached().app(app))).await;
        Seat::open(&client.unwrap(), ann()).await
    };
    for app in ["another", "App", ""] {
        assert_eq!(open_refused(open(app).await), Reason::WrongApp, "{app:?}");
    }
    open(APP).await.unwrap();
}

#[tokio::test]
async fn a_bot_is_a_client_that_signs_for_itself() {
    let server = Server::start_with(&settings("enforced")).await;
    let mut bot = server.open_as(on("bot", "server").signer(KeySigner::new(APP, KEY))).await;
    let task = tokio::spawn(async move {
        loop {
            let message = bot.message().await;
            bot.watch(vec![message.from.clone()]).await.unwrap();
            let answer = [b"you said ", &message.body[..]].concat();
            bot.send(Outgoing::to(message.from, answer)).await.unwrap();
        }
    });
    for id in ["ann", "bob"] {
        let options = on(id, "phone").watch(peers("bot")).signer(BackEnd::new());
        let mut seat = server.open_as(options).await;
        assert_eq!(seat.opening.online, peers("bot"));
        seat.send(Outgoing::to(peer("bot"), "hello")).await.unwrap();
        let answer = seat.message().await;
        assert_eq!((answer.from, &answer.body[..]), (peer("bot"), &b"you said hello"[..]));
    }
    task.abort();
}
