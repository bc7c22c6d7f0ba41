//! A server in a folder of its own, its API, and clients over QUIC.
//!
//! # Invariants
//!
//! * Every wait has an end: a test that hangs fails by name.
//! * The server is set up as operators do it: by settings and by the API.

use std::sync::Once;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use tidings::client::{
    Client, ConnectOptions, Event, Fingerprint, Incoming, Message, OpenOptions, Outgoing, Sent,
    Session, Trust, UpstreamDone,
};
use tidings::config::{Config, Sources};
use tidings::id::{DeviceFlag, PeerId};
use tidings::server::Server;

use crate::receiver::Receiver;

/// How long anything may take that a test waits for, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The app that the servers serve.
pub(crate) const APP: &str = "org#app";

/// A secret as Standard Webhooks writes them, of the bytes 1 to 32.
pub(crate) const SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took too long"),
    }
}

/// A client of HTTP, which keeps its connections.
pub(crate) fn http_client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().unwrap();
    });
    // The roots of the system are of no use here, and take long to read.
    let builder = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(PATIENCE);
    builder.build().unwrap()
}

/// Settings, by their names.
pub(crate) type Settings<'a> = &'a [(&'static str, &'a str)];

/// A server on free ports of this machine.
pub(crate) struct Running {
    server: Option<Server>,
    pub(crate) config: Config,
    /// The first key, which may do everything.
    pub(crate) master: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Running {
    /// A server that may send webhooks to this machine.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], "").await
    }

    /// The same, with more of it set.
    pub(crate) async fn start_set(set: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(&[], "", set).await
    }

    /// The same with more settings, and with a configuration file.
    pub(crate) async fn start_with(settings: Settings<'_>, file: &str) -> Self {
        Self::start_as(settings, file, |_| {}).await
    }

    async fn start_as(settings: Settings<'_>, file: &str, set: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data").to_str().unwrap().to_owned();
        let own = [
            ("data", data.as_str()),
            ("listen", "127.0.0.1:0"),
            ("http_listen", "127.0.0.1:0"),
            ("app_id", APP),
            ("presence_grace", "100ms"),
            ("webhook_networks", "127.0.0.0/8"),
        ];
        let given = |name| settings.iter().any(|(given, _)| *given == name);
        let own = own.iter().filter(|(name, _)| !given(*name));
        let flags = own.chain(settings).map(|(name, text)| (*name, (*text).to_owned())).collect();
        let path = folder.path().join("tidings.toml");
        std::fs::write(&path, file).unwrap();
        let config = Config::load(&Sources { file: Some(path), environment: Vec::new(), flags });
        let mut config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        set(&mut config);
        let (http, master) = (http_client(), String::new());
        let mut running = Self { server: None, config, master, http, _folder: folder };
        running.start_again().await;
        running.master = running.server().http().unwrap().made_key().unwrap();
        running
    }

    /// Starts with the settings of now.
    pub(crate) async fn start_again(&mut self) {
        let server = soon("a start", Server::start(self.config.clone())).await.unwrap();
        // A restart is to be found where it was.
        self.config.net.listen = server.local_addr();
        self.config.http.listen = server.http_addr();
        self.server = Some(server);
    }

    /// Stops as on a signal, and starts again on the same ports.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    pub(crate) async fn stop(&mut self) {
        soon("a drain", self.server.take().unwrap().drain()).await;
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Steps the server's time.
    pub(crate) fn step(&self, by: Duration) {
        self.config.store.clock.step_ms(by.as_millis() as i64);
    }

    /// What the API answers to the master key.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let url = format!("http://{}{path}", self.config.http.listen.unwrap());
        let mut request = self.http.request(method, url).bearer_auth(&self.master);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = soon("an answer", request.send()).await.unwrap();
        let status = response.status();
        let text = soon("the rest of an answer", response.text()).await.unwrap();
        Answer { status, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.expect(StatusCode::OK)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Sends a message by the API; its id.
    pub(crate) async fn message(&self, message: Value) -> String {
        let sent = self.post("/v1/messages", message).await.expect(StatusCode::CREATED);
        sent["messages"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Sends from a peer to a peer by the API; its id.
    pub(crate) async fn say(&self, from: &str, to: &str, body: &str) -> String {
        self.message(json!({"from": from, "to": {"peers": [to]}, "body": body})).await
    }

    /// Sends up to 1,000 messages at once; their ids.
    pub(crate) async fn say_all(&self, messages: Vec<Value>) -> Vec<String> {
        let answer = self.post("/v1/messages/batch", json!({"messages": messages})).await;
        let results = answer.expect(StatusCode::OK)["results"].take();
        let id = |result: &Value| result["messages"][0]["id"].as_str().unwrap().to_owned();
        results.as_array().unwrap().iter().map(id).collect()
    }

    /// A connection of the client library.
    pub(crate) async fn connect(&self) -> Client {
        let fingerprint: Fingerprint = self.server().fingerprint().parse().unwrap();
        let options = ConnectOptions::new(self.config.net.listen.to_string());
        let options = options.trust(Trust::Fingerprint(fingerprint)).app(APP);
        soon("a connection", Client::connect(options.client("test/1.0"))).await.unwrap()
    }

    /// A peer on a new device, with a connection of its own. The session ends with [`Online`].
    pub(crate) async fn open(&self, peer: &str) -> Online {
        self.open_with(OpenOptions::new(id(peer))).await
    }

    pub(crate) async fn open_with(&self, options: OpenOptions) -> Online {
        let client = self.connect().await;
        let (session, mut incoming) = soon("an opening", client.open(options)).await.unwrap();
        let session_id = match soon("opened", incoming.next()).await {
            Some(Event::Opened(opening)) => opening.session.0,
            event => panic!("no session begins with {event:?}"),
        };
        Online { session, incoming, id: session_id, client }
    }
}

/// Endpoints, by the API.
impl Running {
    /// Creates an endpoint at this receiver, with what more is said of it.
    pub(crate) async fn endpoint(&self, name: &str, receiver: &Receiver, more: Value) -> Value {
        self.endpoint_at(name, &receiver.url(), more).await
    }

    pub(crate) async fn endpoint_at(&self, name: &str, url: &str, more: Value) -> Value {
        let mut definition = json!({"id": name, "url": url, "dialect": "tidings"});
        let fields = definition.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        if fields.contains_key("urls") {
            fields.remove("url");
        }
        self.post("/v1/endpoints", definition).await.expect(StatusCode::CREATED)
    }

    /// What there is to know about an endpoint.
    pub(crate) async fn overview(&self, name: &str) -> Value {
        self.get(&format!("/v1/endpoints/{name}")).await
    }

    /// Waits until something is so about an endpoint.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Value {
        let began = std::time::Instant::now();
        loop {
            let overview = self.overview(name).await;
            if is_so(&overview) {
                return overview;
            }
            assert!(began.elapsed() < PATIENCE, "not {what}: {overview}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The id of a peer.
pub(crate) fn id(peer: &str) -> PeerId {
    peer.parse().unwrap()
}

/// The options of a peer on a device of this name.
pub(crate) fn on(peer: &str, device: &str, flag: DeviceFlag) -> OpenOptions {
    OpenOptions::new(id(peer)).device(device.parse().unwrap()).flag(flag)
}

/// A peer with a session.
pub(crate) struct Online {
    pub(crate) session: Session,
    pub(crate) incoming: Incoming,
    /// The session's.
    pub(crate) id: i64,
    client: Client,
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

    /// What has become of its next message to the back end.
    pub(crate) async fn upstream_done(&mut self) -> UpstreamDone {
        loop {
            if let Event::UpstreamDone(done) = self.event().await {
                return done;
            }
        }
    }

    pub(crate) async fn send(&self, to: &str, body: &str) -> Sent {
        self.session.send(Outgoing::to(id(to), body.to_owned())).await.unwrap()
    }

    /// Ends, and is not heard of any more.
    pub(crate) async fn leave(self) {
        self.session.end().await;
        self.client.close().await;
    }
}

/// What the API has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Answer {
    /// The body of an answer that must have this status.
    pub(crate) fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The name of the problem.
    pub(crate) fn problem(&self) -> String {
        let problem: Value = serde_json::from_str(&self.text).unwrap();
        let kind = problem["type"].as_str().unwrap();
        kind.strip_prefix("urn:tidings:problem:").expect(kind).to_owned()
    }
}
