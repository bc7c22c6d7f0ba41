//! A server in a folder of its own, its API, and clients over QUIC.
//!
//! # Invariants
//!
//! * Every wait has an end: a test that hangs fails by name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use tidings::client::{
    Client, ConnectOptions, Event, Fingerprint, Incoming, Message, OpenOptions, Session, Trust,
};
use tidings::config::Config;
use tidings::server::Server;

/// How long anything may take that a test waits for, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took too long"),
    }
}

/// A client of the API, which keeps its connections.
pub(crate) fn http_client() -> reqwest::Client {
    http_client_with(|builder| builder)
}

pub(crate) fn http_client_with(
    set: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().unwrap();
    });
    // The roots of the system are of no use here, and take long to read.
    let builder = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(PATIENCE);
    set(builder).build().unwrap()
}

/// A server on free ports of this machine.
pub(crate) struct Running {
    server: Option<Server>,
    pub(crate) config: Config,
    /// The first key, which may do everything.
    pub(crate) master: String,
    pub(crate) http: reqwest::Client,
    _folder: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(set: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let local: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config = Config::new(folder.path().join("data"), local);
        config.http.listen = Some(local);
        set(&mut config);
        let (http, master) = (http_client(), String::new());
        let mut running = Self { server: None, config, master, http, _folder: folder };
        running.start_again().await;
        running.master = running.server().http().unwrap().made_key().unwrap();
        running
    }

    async fn start_again(&mut self) {
        let server = soon("a start", Server::start(self.config.clone())).await.unwrap();
        // A restart is to be found where it was.
        self.config.net.listen = server.local_addr();
        self.config.http.listen = server.http_addr();
        self.server = Some(server);
    }

    /// Stops as on a signal, and starts again on the same ports.
    pub(crate) async fn restart(&mut self) {
        soon("a drain", self.take().drain()).await;
        self.start_again().await;
    }

    /// The server, for a test that ends it.
    pub(crate) fn take(&mut self) -> Server {
        self.server.take().unwrap()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Steps the server's time.
    pub(crate) fn step(&self, by: Duration) {
        self.config.store.clock.step_ms(by.as_millis() as i64);
    }

    /// Steps it back.
    pub(crate) fn step_back(&self, by: Duration) {
        self.config.store.clock.step_ms(-(by.as_millis() as i64));
    }

    /// The address of a path, such as `/v1/stats`.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.config.http.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.config.http.listen.unwrap())
    }

    /// A request with this key, or with none.
    pub(crate) fn request(&self, method: Method, path: &str, key: Option<&str>) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// What the API answers to the master key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path, Some(&self.master))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::POST, path, Some(&self.master)).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::PUT, path, Some(&self.master)).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::PATCH, path, Some(&self.master)).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path, Some(&self.master))).await
    }

    /// A new key with these scopes.
    pub(crate) async fn key(&self, name: &str, scopes: &[&str]) -> String {
        let made = self.post("/v1/keys", json!({"name": name, "scopes": scopes})).await;
        made.expect(StatusCode::CREATED)["secret"].as_str().unwrap().to_owned()
    }

    /// A connection of the client library.
    pub(crate) async fn connect(&self) -> Client {
        let fingerprint: Fingerprint = self.server().fingerprint().parse().unwrap();
        let options = ConnectOptions::new(self.config.net.listen.to_string());
        let options = options.trust(Trust::Fingerprint(fingerprint));
        soon("a connection", Client::connect(options)).await.unwrap()
    }

    /// A peer on a new device, with a connection of its own. The session ends with [`Online`].
    pub(crate) async fn open(&self, peer: &str) -> Online {
        self.open_with(OpenOptions::new(peer.parse().unwrap())).await
    }

    pub(crate) async fn open_with(&self, options: OpenOptions) -> Online {
        let client = self.connect().await;
        let (session, mut incoming) = soon("an opening", client.open(options)).await.unwrap();
        assert!(matches!(soon("opened", incoming.next()).await, Some(Event::Opened(_))));
        Online { session, incoming, _client: client }
    }
}

/// A peer with a session.
pub(crate) struct Online {
    pub(crate) session: Session,
    pub(crate) incoming: Incoming,
    _client: Client,
}

impl Online {
    /// What it is told next.
    pub(crate) async fn event(&mut self) -> Event {
        soon("an event", self.incoming.next()).await.expect("the session has ended")
    }

    /// The next message; whatever else it is told before is passed over.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            if let Event::Message(message) = self.event().await {
                return message;
            }
        }
    }
}

/// What the API has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// Asks, and reads the answer to its end.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = soon("an answer", request.send()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = soon("the rest of an answer", response.text()).await.unwrap();
    Answer { status, headers, text }
}

impl Answer {
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that must have this status.
    pub(crate) fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    pub(crate) fn ok(&self) -> Value {
        self.expect(StatusCode::OK)
    }

    /// The name of the problem, whose form must be whole.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header(reqwest::header::CONTENT_TYPE), Some("application/problem+json"));
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        for field in ["title", "detail", "instance"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        let kind = problem["type"].as_str().unwrap();
        kind.strip_prefix("urn:tidings:problem:").expect(kind).to_owned()
    }
}
