//! A back end that hears webhooks, and is asked about messages.
//!
//! # Invariants
//!
//! * What was heard is kept in the order in which it came, before it is answered.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use tidings::config::Config;
use tidings::webhook::sign::{self, Claim};

use crate::harness::soon;

/// A request that came.
#[derive(Debug)]
pub(crate) struct Heard {
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The ids of the events of these kinds.
    pub(crate) fn events(&self, kind: &str) -> Vec<String> {
        let json = self.json();
        let events = json["events"].as_array().cloned().unwrap_or_default();
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether it is signed with this secret.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let claim = Claim {
            id: self.header(sign::ID),
            timestamp: self.header(sign::TIMESTAMP),
            signature: self.header(sign::SIGNATURE),
        };
        let now_s = claim.timestamp.parse().unwrap();
        sign::verify(&[secret.parse().unwrap()], claim, &self.body, now_s, 0).is_ok()
    }
}

/// What is answered to a request.
pub(crate) enum Reply {
    /// With this status and body.
    With(u16, Value),
    /// Nothing, ever.
    Never,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::With(200, Value::Null)
    }
}

type Answers = Box<dyn Fn(&Heard) -> Reply + Send + Sync>;

/// A back end on a free port of this machine.
pub(crate) struct Receiver {
    pub(crate) url: String,
    heard: Mutex<mpsc::Receiver<Heard>>,
    answers: Arc<Mutex<Answers>>,
}

#[derive(Clone)]
struct Shared {
    heard: mpsc::Sender<Heard>,
    answers: Arc<Mutex<Answers>>,
}

impl Receiver {
    pub(crate) async fn start(answers: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (heard_tx, heard) = mpsc::channel(10_000);
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Box::new(answers)));
        let shared = Shared { heard: heard_tx, answers: answers.clone() };
        let router = Router::new().fallback(receive).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, heard: Mutex::new(heard), answers }
    }

    /// Answers otherwise from now on.
    pub(crate) async fn answer(&self, answers: impl Fn(&Heard) -> Reply + Send + Sync + 'static) {
        *self.answers.lock().await = Box::new(answers);
    }

    /// The next request.
    pub(crate) async fn next(&self) -> Heard {
        let mut heard = self.heard.lock().await;
        soon("a request to the back end", heard.recv()).await.unwrap()
    }

    /// Whether nothing has come that was not taken.
    pub(crate) async fn is_quiet(&self) -> bool {
        self.heard.lock().await.is_empty()
    }

    /// The ids of the next events of a kind, as many as asked for.
    pub(crate) async fn events(&self, kind: &str, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.events(kind));
        }
        events
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let heard = Heard { headers, body };
    let reply = shared.answers.lock().await(&heard);
    shared.heard.send(heard).await.unwrap();
    match reply {
        Reply::With(status, body) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        }
        Reply::Never => std::future::pending().await,
    }
}

/// Lets webhooks go to this machine.
pub(crate) fn allow_this_machine(config: &mut Config) {
    config.webhook.allowed = vec!["127.0.0.0/8".parse().unwrap()];
}
