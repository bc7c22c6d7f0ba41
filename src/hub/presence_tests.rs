//! What watchers are promised: every change once, and none that was no change.

use std::net::SocketAddr;

use super::*;
use crate::hub::Next;
use crate::hub::session::{About, Datagrams};
use crate::id::{DeviceFlag, DeviceId, MessageId, SessionId};
use crate::limits::FRAME_BYTES_MAX;
use crate::store::{Loss, Opened};
use crate::wire::{Decoder, Pong, ServerFrame};

const GRACE: Duration = Duration::from_secs(5);
const RESTART_GRACE: Duration = Duration::from_secs(20);

struct NoDatagrams;

impl Datagrams for NoDatagrams {
    fn send(&self, _frame: &[u8]) -> bool {
        false
    }
}

/// Presence some time after the start.
async fn settled() -> Presence {
    let presence = starting();
    presence.tell().await;
    tokio::time::advance(RESTART_GRACE).await;
    presence
}

fn starting() -> Presence {
    Presence::new(Arc::new(Router::new(2)), GRACE, RESTART_GRACE)
}

fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

fn peers(ids: &[&str]) -> Vec<PeerId> {
    ids.iter().map(|id| peer(id)).collect()
}

fn about() -> About {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    About { flag: DeviceFlag::App, client: "test".into(), address }
}

/// A session that is open and has nothing to catch up with.
fn session(id: &str) -> Arc<Session> {
    let device = DeviceId::random();
    let session = Session::new(peer(id), device.clone(), 1, about(), Box::new(NoDatagrams));
    let opened = Opened {
        session: SessionId(1),
        device,
        cursor: MessageId::NONE,
        next_number: 1,
        waiting: 0,
        loss: Loss::default(),
        replaced: None,
        at_ms: 0,
        marks: Vec::new(),
    };
    session.open(&opened);
    session.outbox().feed(std::iter::empty(), MessageId::NONE, Some(MessageId::NONE));
    Arc::new(session)
}

fn attached(presence: &Presence, id: &str) -> Arc<Session> {
    let session = session(id);
    presence.attach(&session);
    session
}

/// Watches, and has had the answer: who is online.
fn watch(presence: &Presence, watcher: &Arc<Session>, ids: &[&str]) -> Vec<PeerId> {
    let online = presence.watch(watcher, &peers(ids), &[]).unwrap();
    watcher.outbox().release_presence();
    online
}

/// What a session is told next: `+` before who went on line, `-` before who went off line, and
/// the numbers of answers.
fn heard(session: &Session) -> Vec<String> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut heard = Vec::new();
    while let Next::Write(bytes) = session.outbox().next() {
        decoder.push(bytes);
        while let Some(raw) = decoder.next_frame().unwrap() {
            match ServerFrame::decode(raw).unwrap() {
                ServerFrame::Presence(told) => {
                    heard.extend(told.online.iter().map(|peer| format!("+{peer}")));
                    heard.extend(told.offline.iter().map(|peer| format!("-{peer}")));
                }
                ServerFrame::Pong(pong) => heard.push(pong.request.to_string()),
                other => panic!("{other:?}"),
            }
        }
    }
    heard
}

async fn told(presence: &Presence, session: &Session) -> Vec<String> {
    presence.tell().await;
    heard(session)
}

fn rows(presence: &Presence) -> usize {
    presence.shards.iter().map(|shard| shard.lock().rows.len()).sum()
}

const NOTHING: [&str; 0] = [];

#[tokio::test(start_paused = true)]
async fn a_peer_is_online_from_its_first_session_to_the_close_of_its_last() {
    let presence = settled().await;
    let watcher = session("w");
    assert!(watch(&presence, &watcher, &["a", "b"]).is_empty());
    let first = attached(&presence, "a");
    assert_eq!(told(&presence, &watcher).await, ["+a"]);
    let second = attached(&presence, "a");
    assert!(presence.detach(&first, true));
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    assert_eq!(presence.status(&peers(&["a", "b", "a"]), &[]), peers(&["a"]));
    assert!(presence.detach(&second, true));
    assert_eq!(told(&presence, &watcher).await, ["-a"]);
    assert!(!presence.detach(&second, true), "it has gone before");
    assert_eq!(told(&presence, &watcher).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_within_the_grace_was_never_away() {
    let presence = settled().await;
    let (watcher, lost) = (session("w"), attached(&presence, "a"));
    assert_eq!(watch(&presence, &watcher, &["a"]), peers(&["a"]));
    presence.detach(&lost, false);
    tokio::time::advance(GRACE - Duration::from_millis(1)).await;
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    let back = attached(&presence, "a");
    tokio::time::advance(GRACE * 2).await;
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    presence.detach(&back, false);
    tokio::time::advance(GRACE).await;
    assert_eq!(told(&presence, &watcher).await, ["-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_the_grace_of_a_session_that_was_lost_before() {
    let presence = settled().await;
    let (watcher, lost) = (session("w"), attached(&presence, "a"));
    watch(&presence, &watcher, &["a"]);
    presence.detach(&lost, false);
    presence.detach(&lost, true);
    assert_eq!(told(&presence, &watcher).await, ["-a"]);
    tokio::time::advance(GRACE).await;
    assert_eq!(told(&presence, &watcher).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_peer_in_its_grace_is_online_for_who_asks_and_leaves_no_row_behind() {
    let presence = settled().await;
    let lost = attached(&presence, "a");
    presence.detach(&lost, false);
    assert_eq!(presence.status(&peers(&["a"]), &[]), peers(&["a"]));
    assert_eq!(rows(&presence), 1);
    tokio::time::advance(GRACE).await;
    presence.tell().await;
    assert!(presence.status(&peers(&["a"]), &[]).is_empty());
    assert_eq!(rows(&presence), 0);
}

#[tokio::test(start_paused = true)]
async fn who_was_online_before_the_start_and_does_not_come_back_is_told_once() {
    let presence = starting();
    presence.tell().await;
    let watcher = session("w");
    let (all, were) = (peers(&["a", "b", "c"]), peers(&["a", "b"]));
    assert_eq!(presence.unknown(&all), all);
    assert_eq!(presence.watch(&watcher, &all, &were).unwrap(), were);
    watcher.outbox().release_presence();
    assert_eq!(presence.unknown(&all), peers(&["c"]));
    let _back = attached(&presence, "a");
    tokio::time::advance(RESTART_GRACE - Duration::from_millis(1)).await;
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(told(&presence, &watcher).await, ["-b"]);
    tokio::time::advance(RESTART_GRACE).await;
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    assert!(presence.unknown(&all).is_empty(), "the store is not asked any more");
}

#[tokio::test(start_paused = true)]
async fn who_came_back_after_the_start_and_closed_is_not_expected_again() {
    let presence = starting();
    let back = attached(&presence, "a");
    presence.detach(&back, true);
    assert!(presence.unknown(&peers(&["a"])).is_empty());
    assert!(presence.status(&peers(&["a"]), &peers(&["a"])).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_again_what_was_told_is_not_told() {
    let presence = settled().await;
    let watcher = session("w");
    watch(&presence, &watcher, &["a", "b"]);
    let a = attached(&presence, "a");
    let _b = attached(&presence, "b");
    presence.detach(&a, true);
    assert_eq!(told(&presence, &watcher).await, ["+b"]);
    // In different batches, of which the session has read none.
    presence.attach(&a);
    presence.tell().await;
    presence.detach(&a, true);
    assert_eq!(told(&presence, &watcher).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_leaves_no_moment_off_line() {
    let presence = Presence::new(Arc::new(Router::new(2)), Duration::ZERO, Duration::ZERO);
    let (watcher, older) = (session("w"), attached(&presence, "a"));
    watch(&presence, &watcher, &["a"]);
    let newer = attached(&presence, "a");
    presence.detach(&older, false);
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    presence.detach(&newer, false);
    assert_eq!(told(&presence, &watcher).await, ["-a"], "without a grace, at once");
}

#[test]
fn one_peer_too_many_is_not_watched_and_none_that_came_with_it() {
    let presence = starting();
    let watcher = session("w");
    let ids: Vec<PeerId> = (0..WATCHED_MAX).map(|n| peer(&format!("p{n}"))).collect();
    presence.watch(&watcher, &ids[1..], &[]).unwrap();
    let two = peers(&["x", "y"]);
    assert_eq!(presence.watch(&watcher, &two, &[]), Err(Reason::TooManyWatched));
    assert!(!presence.watches(&watcher, &two[0]));
    presence.watch(&watcher, &ids, &[]).unwrap();
    assert_eq!(presence.watch(&watcher, &two[..1], &[]), Err(Reason::TooManyWatched));
    presence.unwatch(&watcher, &ids[..1]);
    presence.watch(&watcher, &two[..1], &[]).unwrap();
    assert!(presence.watches(&watcher, &two[0]));
    assert_eq!(rows(&presence), WATCHED_MAX);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_watch_any_more_is_not_told_what_waited() {
    let presence = settled().await;
    let (watcher, other) = (session("w"), session("o"));
    watch(&presence, &watcher, &["a"]);
    watch(&presence, &other, &["a"]);
    let a = attached(&presence, "a");
    presence.tell().await;
    presence.unwatch(&watcher, &peers(&["a", "stranger"]));
    assert_eq!(heard(&watcher), NOTHING);
    assert_eq!(heard(&other), ["+a"]);
    presence.detach(&a, true);
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    assert_eq!(heard(&other), ["-a"]);
}

#[test]
fn the_end_of_a_session_removes_its_watches() {
    let presence = starting();
    let watcher = session("w");
    watch(&presence, &watcher, &["a", "b"]);
    assert_eq!(rows(&presence), 2);
    presence.leave(&watcher);
    assert_eq!(rows(&presence), 0);
    assert_eq!(Arc::strong_count(&watcher), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_between_watching_and_the_answer_is_told_behind_the_answer() {
    let presence = settled().await;
    let (watcher, a) = (session("w"), attached(&presence, "a"));
    assert_eq!(presence.watch(&watcher, &peers(&["a"]), &[]).unwrap(), peers(&["a"]));
    presence.detach(&a, true);
    assert_eq!(told(&presence, &watcher).await, NOTHING);
    watcher.tell(true, &Pong { request: 1, at_ms: 0 }.into());
    assert_eq!(heard(&watcher), ["1"]);
    watcher.outbox().release_presence();
    assert_eq!(heard(&watcher), ["-a"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_answer_of_a_repeated_watch_tells_is_not_told_again() {
    let presence = settled().await;
    let watcher = session("w");
    watch(&presence, &watcher, &["a", "b"]);
    let _a = attached(&presence, "a");
    presence.tell().await;
    let _b = attached(&presence, "b");
    assert_eq!(watch(&presence, &watcher, &["a", "b"]), peers(&["a", "b"]));
    assert_eq!(told(&presence, &watcher).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_after_their_company_and_wake_the_writer() {
    let presence = Arc::new(settled().await);
    let watcher = session("w");
    watch(&presence, &watcher, &["a"]);
    let stopped = CancellationToken::new();
    let (running, until) = (presence.clone(), stopped.clone());
    let run = tokio::spawn(async move { running.run(until).await });
    tokio::task::yield_now().await;
    let _a = attached(&presence, "a");
    let began = Instant::now();
    watcher.outbox().changed().await;
    assert!(began.elapsed() <= PRESENCE_COMPANY + Duration::from_millis(1));
    assert_eq!(heard(&watcher), ["+a"]);
    stopped.cancel();
    run.await.unwrap();
}

/// A client that checks what it is told: each change must be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_meets_no_change_is_missed_or_repeated() {
    let presence = Arc::new(Presence::new(Arc::new(Router::new(2)), Duration::ZERO, GRACE));
    let (watcher, a) = (session("w"), session("a"));
    let stopped = CancellationToken::new();
    // However this ends, so do the others.
    let _stopping = stopped.clone().drop_guard();
    let (telling, until) = (presence.clone(), stopped.clone());
    let tell = tokio::spawn(async move {
        while !until.is_cancelled() {
            telling.tell().await;
            tokio::task::yield_now().await;
        }
    });
    let (flipping, until) = (presence.clone(), stopped.clone());
    let flip = tokio::task::spawn_blocking(move || {
        while !until.is_cancelled() {
            flipping.attach(&a);
            std::thread::yield_now();
            flipping.detach(&a, true);
            std::thread::yield_now();
        }
        flipping.attach(&a);
    });
    let ids = peers(&["a"]);
    let heed = |known: &mut bool| {
        let changes = heard(&watcher);
        for change in &changes {
            assert_ne!(*known, change == "+a", "{change} is known");
            *known = change == "+a";
        }
        changes.len()
    };
    let mut changes = 0;
    while changes < 100 {
        let mut known = !presence.watch(&watcher, &ids, &[]).unwrap().is_empty();
        watcher.outbox().release_presence();
        watcher.outbox().changed().await;
        changes += heed(&mut known);
        changes += heed(&mut known);
        presence.unwatch(&watcher, &ids);
        assert_eq!(heard(&watcher), NOTHING);
    }
    let mut known = !presence.watch(&watcher, &ids, &[]).unwrap().is_empty();
    watcher.outbox().release_presence();
    stopped.cancel();
    flip.await.unwrap();
    tell.await.unwrap();
    presence.tell().await;
    heed(&mut known);
    assert!(known, "the last change has been told");
}
