//! A receiver of webhooks on a real socket, which answers as a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long anything that is waited for may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) at: Instant,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The events of a body in the dialect `tidings`.
    pub(super) events: Arc<[Value]>,
    /// What was answered.
    pub(super) status: u16,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(super) fn events(&self) -> Vec<Value> {
        self.events.to_vec()
    }
}

fn events_of(body: &[u8]) -> Arc<[Value]> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["events"].as_array().cloned().unwrap_or_default().into()
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) wait: Duration,
    pub(super) body: Vec<u8>,
}

pub(super) fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), wait: Duration::ZERO, body: b"said".to_vec() }
}

type Answers = Box<dyn FnMut(&Heard) -> Reply + Send>;

struct Shared {
    heard: Mutex<Vec<Heard>>,
    /// The ids of the events that were taken.
    taken: Mutex<BTreeSet<String>>,
    count: watch::Sender<usize>,
    answers: Mutex<Answers>,
}

/// See above.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(super) async fn start(answers: impl FnMut(&Heard) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            heard: Mutex::default(),
            taken: Mutex::default(),
            count: watch::Sender::new(0),
            answers: Mutex::new(Box::new(answers)),
        });
        let receiver = Self { address, shared };
        let mine = receiver.clone();
        let hear = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let mine = mine.clone();
            async move { mine.hear(uri, headers, body).await }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(hear)).await });
        receiver
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers otherwise from now on.
    pub(super) fn answer(&self, answers: impl FnMut(&Heard) -> Reply + Send + 'static) {
        *self.shared.answers.lock() = Box::new(answers);
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().clone()
    }

    /// Waits until what came is as it should be.
    pub(super) async fn until(&self, is_so: impl Fn(&[Heard]) -> bool) {
        let mut count = self.shared.count.subscribe();
        let so = count.wait_for(|_| is_so(&self.shared.heard.lock()));
        if tokio::time::timeout(PATIENCE, so).await.is_err() {
            let heard = self.heard();
            let told: Vec<_> = heard.iter().map(|one| (one.status, one.events().len())).collect();
            panic!("it has not come to that: {told:?}");
        }
    }

    /// Waits until these many different events were taken.
    pub(super) async fn until_taken(&self, count: usize) {
        self.until(|_| self.taken() >= count).await;
    }

    /// How many different events were taken.
    pub(super) fn taken(&self) -> usize {
        self.shared.taken.lock().len()
    }

    async fn hear(&self, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
        let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
        let events = events_of(&body);
        let mut heard = Heard { at: Instant::now(), path, headers, body, events, status: 0 };
        let reply = (self.shared.answers.lock())(&heard);
        heard.status = reply.status;
        self.shared.taken.lock().extend(taken(std::slice::from_ref(&heard)));
        self.shared.heard.lock().push(heard);
        self.shared.count.send_modify(|count| *count += 1);
        tokio::time::sleep(reply.wait).await;
        let mut response = Response::builder().status(reply.status);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        response.body(Body::from(reply.body)).unwrap()
    }
}

/// The ids of the events that were taken.
pub(super) fn taken(heard: &[Heard]) -> BTreeSet<String> {
    let taken = heard.iter().filter(|one| (200..300).contains(&one.status));
    taken.flat_map(Heard::events).map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Requests with the same id are the same, byte for byte.
pub(super) fn assert_stable(heard: &[Heard]) {
    let mut bodies: BTreeMap<&str, &Bytes> = BTreeMap::new();
    for one in heard {
        let first = bodies.entry(one.id()).or_insert(&one.body);
        assert_eq!(*first, &one.body, "{} has become another", one.id());
    }
}

/// The messages of each conversation came first in their order.
pub(super) fn assert_ordered(heard: &[Heard]) {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for event in heard.iter().filter(|one| one.status < 300).flat_map(Heard::events) {
        let conversation = event["data"]["conversation"].to_string();
        let version: i64 = event["version"].as_str().unwrap().parse().unwrap();
        if seen.insert(event["id"].to_string()) {
            let before = last.insert(conversation, version).unwrap_or(0);
            assert!(before <= version, "{before} came before {version}");
        }
    }
}
