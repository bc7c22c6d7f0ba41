//! No secret stands in a log, whatever is logged: a whole run of a server and its clients at the
//! level `trace`, read to its end.

use std::fs::{self, File};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::{Client as Http, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::client::{
    BoxFuture, Client, ConnectOptions, KeySigner, OpenOptions, Outgoing, SignError, SignRequest,
    Signed, Signer, Trust,
};
use tidings::id::PeerId;
use tokio::runtime::Runtime;

use crate::harness::{Running, in_time, tidings};

const SIGNING_KEY: &str = "the-signing-key-of-the-app";
const OLD_SIGNING_KEY: &str = "the-signing-key-of-before";
const WEBHOOK_SECRET: &str = "the-secret-of-the-webhook";
const HOOK_SECRET: &str = "the-secret-of-the-hook";
const URL_TOKEN: &str = "the-token-in-the-query";
const ENDPOINT_SECRET: &str = "whsec_bm9ib2R5LWtub3dzLXRoaXMtc2VjcmV0LW5vYm9keQ==";
const WRONG_KEY: &str = "tdk_a_key_of_some_other_server_entirely";

/// A command that writes all that it can say to a file of this name.
fn traced(home: &TempDir, name: &str, args: &[&str]) -> Command {
    let mut command = tidings(home, args);
    let file = File::create(home.path().join(name)).unwrap();
    command.env("TIDINGS_LOG", "trace").env("TIDINGS_APP_ID", "app").stderr(file);
    command
}

/// Signs, and remembers what it has signed.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Signer for Recorder {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        let signed = KeySigner::new("app", SIGNING_KEY).sign_now(request);
        self.0.lock().unwrap().push(signed.signature.clone());
        Box::pin(std::future::ready(Ok(signed)))
    }
}

/// A receiver of webhooks that is traced, and its port.
fn receiver(home: &TempDir) -> (Running, String) {
    let args = ["webhook", "listen", "--port", "0"];
    let mut command = traced(home, "receiver.log", &args);
    let receiver = Running::start({
        command.env("TIDINGS_WEBHOOK_SECRET", WEBHOOK_SECRET);
        command
    });
    let log = home.path().join("receiver.log");
    let url = in_time("a receiver", move || {
        loop {
            let said = fs::read_to_string(&log).unwrap();
            let mut words = said.split(|c: char| c.is_whitespace() || c == '"');
            if let Some(url) = words.find(|word| word.starts_with("http://127.0.0.1:")) {
                return url.trim_end_matches('/').to_owned();
            }
            std::thread::yield_now();
        }
    });
    (receiver, url)
}

/// A server that is traced, with all the secrets there are.
fn server(home: &TempDir, hooks: &str) -> Running {
    let url = format!("{hooks}/?token={URL_TOKEN}");
    let args = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let mut command = traced(home, "server.log", &args);
    command
        .env("TIDINGS_SIGNATURES", "enforced")
        .env("TIDINGS_SIGNING_KEY", SIGNING_KEY)
        .env("TIDINGS_SIGNING_KEY_PREVIOUS", OLD_SIGNING_KEY)
        .env("TIDINGS_SIGNING_KEY_PREVIOUS_UNTIL", "2096-01-31T00:00:00Z")
        .env("TIDINGS_WATCH_BEFORE_SEND", "false")
        .env("TIDINGS_WEBHOOK_URL", &url)
        .env("TIDINGS_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .env("TIDINGS_WEBHOOK_NETWORKS", "127.0.0.0/8")
        .env("TIDINGS_HOOK_URL", &url)
        .env("TIDINGS_HOOK_SECRET", HOOK_SECRET)
        .env("TIDINGS_HOOK_TIMEOUT", "5s");
    Running::start(command)
}

/// Asks for much over HTTP, in both of its versions; gives the secrets that were made.
async fn ask_around(url: &str, master: &str) -> Vec<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clients = [
        Http::builder().tls_certs_only([]).no_proxy().build().unwrap(),
        Http::builder().tls_certs_only([]).no_proxy().http2_prior_knowledge().build().unwrap(),
    ];
    let ask = async |client: usize, method: Method, path: &str, key: &str, body: Value| {
        let asked = clients[client].request(method, format!("{url}{path}")).bearer_auth(key);
        let answer = asked.json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    };
    let mut made = Vec::new();
    for (at, endpoint) in ["one", "two"].into_iter().enumerate() {
        let key = json!({"name": endpoint, "scopes": ["send"]});
        let (status, key) = ask(at, Method::POST, "/v1/keys", master, key).await;
        assert_eq!(status, 201, "{key}");
        let key = key["secret"].as_str().unwrap().to_owned();
        let message = json!({"to": {"peers": ["bob"]}, "body": "hello"});
        assert!(ask(at, Method::POST, "/v1/messages", &key, message).await.0 < 300);
        assert_eq!(ask(at, Method::GET, "/v1/stats", &key, Value::Null).await.0, 403);
        assert_eq!(ask(at, Method::GET, "/v1/stats", WRONG_KEY, Value::Null).await.0, 401);
        let settings = json!({"id": endpoint, "secret": ENDPOINT_SECRET,
            "url": format!("http://127.0.0.1:9/?token={URL_TOKEN}")});
        assert!(ask(at, Method::POST, "/v1/endpoints", master, settings).await.0 < 300);
        let path = format!("/v1/endpoints/{endpoint}/secrets");
        let (status, rotated) = ask(at, Method::POST, &path, master, json!({})).await;
        assert!(status < 300, "{rotated}");
        let (_, rotated_key) =
            ask(at, Method::POST, &format!("/v1/keys/{endpoint}/rotate"), master, json!({})).await;
        made.push(key);
        let secrets = [&rotated["secret"], &rotated_key["secret"]].into_iter();
        made.extend(secrets.filter_map(|secret| secret.as_str().map(str::to_owned)));
        let ping = format!("/v1/endpoints/{endpoint}/ping");
        ask(at, Method::POST, &ping, master, Value::Null).await;
    }
    made
}

/// A client of this process, signed for; gives its signatures.
async fn talk(address: &str, fingerprint: &str) -> Vec<String> {
    let recorder = Recorder::default();
    let trust = Trust::Fingerprint(fingerprint.parse().unwrap());
    let connecting = ConnectOptions::new(address).trust(trust).app("app");
    let client = Client::connect(connecting).await.unwrap();
    let options = OpenOptions::new("ann".parse().unwrap());
    let (session, _incoming) = client.open(options.signer(recorder.clone())).await.unwrap();
    let bob: PeerId = "bob".parse().unwrap();
    session.watch(std::slice::from_ref(&bob)).await.unwrap();
    session.send(Outgoing::to(&bob, "hello")).await.unwrap();
    session.close().await.unwrap();
    let signatures = recorder.0.lock().unwrap().clone();
    assert!(signatures.len() >= 2);
    signatures
}

/// The lines of a private key's PEM, and what it is in other writings.
fn writings(home: &TempDir) -> Vec<String> {
    let keys = home.path().join("tidings-data/keys");
    let pem = fs::read_to_string(keys.join("certificate-key.pem")).unwrap();
    let mut all: Vec<String> =
        pem.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    assert!(!all.is_empty());
    let secret = fs::read(keys.join("secret")).unwrap();
    for part in [&secret[..32], &secret[32..]] {
        all.push(part.iter().map(|byte| format!("{byte:02x}")).collect());
        all.push(format!("{part:?}").trim_matches(['[', ']']).to_owned());
        all.push(BASE64_STANDARD.encode(part));
    }
    all
}

#[test]
fn no_secret_stands_in_a_log_of_any_level() {
    let home = TempDir::new().unwrap();
    let (receiver, hooks) = receiver(&home);
    let mut server = server(&home, &hooks);
    let ready = server.hears("ready: listening on ").replace("ready: listening on ", "");
    let (address, fingerprint) = ready.split_once(", fingerprint ").unwrap();
    let url = server.hears("http: listening on ").replace("http: listening on ", "");
    server.hears("A master key for the HTTP API was made");
    assert_eq!(server.line(), "");
    let master = server.line().trim().to_owned();

    let args = ["send", "--from", "cat", "--to", "bob", "hi", "--server", address];
    let args = [&args[..], &["--fingerprint", fingerprint]].concat();
    let mut command = traced(&home, "client.log", &args);
    let sent = command.env("TIDINGS_SIGNING_KEY", SIGNING_KEY).status().unwrap();
    assert!(sent.success());
    let mut command = traced(&home, "admin.log", &["admin", "--url", &url, "stats"]);
    assert!(command.env("TIDINGS_API_KEY", &master).status().unwrap().success());
    let runtime = Runtime::new().unwrap();
    let mut secrets = runtime.block_on(talk(address, fingerprint));
    secrets.extend(runtime.block_on(ask_around(&url, &master)));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    drop(receiver);

    secrets.extend(writings(&home));
    let named = [SIGNING_KEY, OLD_SIGNING_KEY, WEBHOOK_SECRET, HOOK_SECRET, URL_TOKEN, WRONG_KEY];
    secrets.extend(named.map(str::to_owned));
    secrets.extend([ENDPOINT_SECRET.to_owned(), master]);
    for name in ["server.log", "client.log", "admin.log", "receiver.log"] {
        let said = fs::read_to_string(home.path().join(name)).unwrap();
        let is_traced = said.contains("TRACE") || name == "receiver.log";
        assert!(is_traced, "{name} is no trace: {} bytes", said.len());
        for secret in &secrets {
            let told = said.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "{name} has the secret {secret}");
        }
    }
}
