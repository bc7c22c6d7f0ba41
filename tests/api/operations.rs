//! How the server is: alive, ready, its figures; and how it speaks HTTP.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, StatusCode, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Running, answer, http_client, http_client_with, soon};
use crate::metrics::{busy_server, value};
use tidings::chain::Chain;
use tidings::clock::Clock;
use tidings::http;
use tidings::hub::Hub;
use tidings::metrics::Metrics;
use tidings::webhook::{self, Webhooks};

fn options(folder: &TempDir, listen: SocketAddr) -> http::Options {
    http::Options { listen: Some(listen), ..http::Options::new(folder.path().join("keys")) }
}

/// The API alone, before there is a hub.
async fn without_hub(folder: &TempDir) -> http::Server {
    let options = options(folder, (Ipv4Addr::LOCALHOST, 0).into());
    let started = http::Server::start(&options, Arc::new(Metrics::new()), Clock::system()).await;
    started.unwrap().unwrap()
}

#[tokio::test]
async fn the_port_is_open_and_not_ready_while_the_log_is_replayed() {
    let folder = TempDir::new().unwrap();
    let server = without_hub(&folder).await;
    let key = server.made_key().unwrap();
    let client = http_client();
    let get = |path: &str| answer(client.get(format!("{}{path}", server.url())).bearer_auth(&key));
    assert_eq!(get("/healthz").await.ok(), json!({"healthy": true}));
    let why = get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(why, json!({"ready": false, "why": "replaying"}));
    let stats = get("/v1/stats").await;
    assert_eq!((stats.status.as_u16(), stats.problem().as_str()), (503, "starting"));
    assert_eq!(stats.header(RETRY_AFTER), Some("1"));
    assert_eq!(get("/metrics").await.status, StatusCode::OK);
    assert_eq!(get("/v1/keys").await.status, StatusCode::OK);

    let store = tidings::store::Options::new(folder.path().join("data"));
    let metrics = Arc::new(Metrics::new());
    let open = || Hub::open(tidings::hub::Options::default(), store, metrics);
    let hub = Arc::new(open().unwrap());
    let dir = folder.path().join("webhooks");
    let webhooks = webhook::Options { dir, ..webhook::Options::default() };
    let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
    let webhooks = Webhooks::start(webhooks, hub.journal(), metrics, clock).await.unwrap();
    server.serve(hub, webhooks);
    assert_eq!(get("/readyz").await.ok(), json!({"ready": true}));
    get("/v1/stats").await.ok();
}

#[tokio::test]
async fn a_drain_is_told_and_takes_nothing_new() {
    let mut server = Running::start().await;
    let (master, url) = (server.master.clone(), server.url(""));
    let api = server.server().http().unwrap();
    api.quiesce();
    let why = server.get("/readyz").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(why, json!({"ready": false, "why": "draining"}));
    assert_eq!(server.get("/v1/stats").await.problem(), "stopping");
    server.get("/healthz").await.ok();

    // A request that was taken is answered: its body comes when the drain is under way.
    let body = json!({"name": "late", "scopes": ["read"]}).to_string();
    let mut stream = TcpStream::connect(server.config.http.listen.unwrap()).await.unwrap();
    let head = format!(
        "POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {master}\r\nExpect: \
         100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut continued = [0; 25];
    soon("a go", stream.read_exact(&mut continued)).await.unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n");
    let drained = tokio::spawn(server.take().drain());
    let refused = async {
        while TcpStream::connect(url.trim_start_matches("http://")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of accepting", refused).await;
    assert!(!drained.is_finished(), "it waits for the request");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut said = String::new();
    soon("the answer and the end", stream.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 201 Created\r\n"), "{said}");
    soon("the drain", drained).await.unwrap();
}

#[tokio::test]
async fn the_stats_tell_what_is_so() {
    let (server, _online) = busy_server().await;
    let stats = server.get("/v1/stats").await.ok();
    for (field, expected) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("sessions", json!(2)),
        ("connections", json!(2)),
        ("messages", json!(3)),
        ("deliveries", json!(3)),
        ("dropped", json!(0)),
    ] {
        assert_eq!(stats[field], expected, "{field} in {stats}");
    }
    assert!(stats["uptime_seconds"].as_u64().unwrap() < 600);
    assert!(stats["epoch"].as_str().unwrap().parse::<u64>().is_ok());
}

#[tokio::test]
async fn a_request_has_an_id() {
    let server = Running::start().await;
    let with = |id: &'static str| {
        answer(server.request(Method::GET, "/v1/nothing", None).header("x-request-id", id))
    };
    let id = |answer: &Answer| answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let named = with("order-17").await;
    assert_eq!((id(&named).as_str(), &named.json()["instance"]), ("order-17", &json!("order-17")));
    let unnamed = with("has a space").await;
    assert_eq!(id(&unnamed).len(), 32);
    assert_eq!(unnamed.json()["instance"], id(&unnamed));
    assert_ne!(id(&with("has a space").await), id(&unnamed));
}

/// A certificate for this machine, in files, and itself.
fn certificate(folder: &TempDir) -> (http::CertificateFiles, reqwest::Certificate) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (chain, key_file) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let trusted = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    (http::CertificateFiles { chain, key: key_file }, trusted)
}

#[tokio::test]
async fn http_2_and_tls_are_spoken() {
    let folder = TempDir::new().unwrap();
    let (files, trusted) = certificate(&folder);
    let mut server = Running::start_with(|config| config.http.certificate = Some(files)).await;
    let one = || http_client_with(|builder| builder.tls_certs_only([trusted.clone()]));
    let old = http_client_with(|builder| builder.tls_certs_only([trusted.clone()]).http1_only());
    for (client, version) in [(one(), Version::HTTP_2), (old, Version::HTTP_11)] {
        let response = client.get(server.url("/healthz")).send().await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
    }
    server.http = one();
    let old_tls = http_client_with(|builder| {
        builder.tls_certs_only([trusted.clone()]).tls_version_max(reqwest::tls::Version::TLS_1_2)
    });
    assert!(old_tls.get(server.url("/healthz")).send().await.unwrap_err().is_connect());
    // Nothing is answered to who does not speak TLS, and others are served meanwhile.
    let plain = http_client().get(server.url("/healthz").replace("https:", "http:"));
    assert!(soon("a refusal", plain.send()).await.is_err());
    server.get("/v1/stats").await.ok();

    let server = Running::start().await;
    let knowing = http_client_with(reqwest::ClientBuilder::http2_prior_knowledge);
    let response = knowing.get(server.url("/healthz")).send().await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
}

#[tokio::test]
async fn one_connection_over_those_of_an_address_is_closed_and_another_address_gets_in() {
    let folder = TempDir::new().unwrap();
    let options = http::Options {
        connections_per_address_max: 2,
        ..options(&folder, (Ipv4Addr::UNSPECIFIED, 0).into())
    };
    let metrics = Arc::new(Metrics::new());
    let started = http::Server::start(&options, metrics.clone(), Clock::system()).await;
    let server = started.unwrap().unwrap();
    let port = server.local_addr().port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    let mut third = TcpStream::connect(address).await.unwrap();
    let end = soon("the end", third.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "nothing is answered");
    let counted = "tidings_refused_total{reason=\"too many connections\"} 1";
    assert!(metrics.text().contains(counted));
    #[cfg(target_os = "linux")]
    {
        // Elsewhere this machine has only one address for sure.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
        let mut other = socket.connect(address).await.unwrap();
        other.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        soon("an answer", other.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    }
    drop((first, second));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_and_so_is_a_certificate_of_no_use() {
    let server = Running::start().await;
    let folder = TempDir::new().unwrap();
    let taken = server.config.http.listen.unwrap();
    let start = async |options: http::Options| {
        let started = http::Server::start(&options, Arc::default(), Clock::system()).await;
        Chain(&started.err().unwrap()).to_string()
    };
    let said = start(options(&folder, taken)).await;
    assert!(said.contains(&format!("cannot listen on {taken}: ")), "{said}");
    assert!(!folder.path().join("keys").exists(), "nothing is made in vain");
    let (mut files, _) = certificate(&folder);
    files.key = files.chain.clone();
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let said = start(http::Options { certificate: Some(files), ..options(&folder, local) }).await;
    assert!(said.contains("chain.pem is not a PEM file with a private key"), "{said}");
}

/// The binary, and what it says.
struct Binary {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    said: String,
}

impl Binary {
    /// Runs it until it has said where its API is.
    async fn run(folder: &TempDir) -> Self {
        let log = folder.path().join("server.log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .env("TIDINGS_LOG", "trace,sled=info")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let mut binary = Self { child, stdout, said: String::new() };
        while !binary.said.contains("http: ") {
            assert!(binary.read(|stdout, said| stdout.read_line(said)).await > 0, "it has ended");
        }
        binary
    }

    async fn read(
        &mut self,
        read: fn(&mut BufReader<ChildStdout>, &mut String) -> std::io::Result<usize>,
    ) -> usize {
        let (mut stdout, mut said) = (self.stdout.take().unwrap(), String::new());
        let reading = tokio::task::spawn_blocking(move || {
            let bytes = read(&mut stdout, &mut said).unwrap();
            (stdout, said, bytes)
        });
        let (stdout, said, bytes) = soon("what it says", reading).await.unwrap();
        self.stdout = Some(stdout);
        self.said += &said;
        bytes
    }

    /// Stops it, and returns all that it has said.
    async fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.read(|stdout, said| stdout.read_to_string(said)).await;
        assert!(self.child.wait().unwrap().success());
        std::mem::take(&mut self.said)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It is gone already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_key_is_printed_once_and_is_in_no_log() {
    const BODY: &str = "nobody-may-read-this";
    let folder = TempDir::new().unwrap();
    let binary = Binary::run(&folder).await;
    let url =
        binary.said.lines().find_map(|line| line.strip_prefix("http: listening on ")).unwrap();
    let keys = std::fs::read_to_string(folder.path().join("tidings-data/keys/api-keys.json"));
    let keys: Value = serde_json::from_str(&keys.unwrap()).unwrap();
    let key = keys["keys"][0]["secret"].as_str().unwrap().to_owned();
    let client = http_client();
    let (stats, keys) = (format!("{url}/v1/stats"), format!("{url}/v1/keys"));
    for client in [&client, &http_client_with(reqwest::ClientBuilder::http2_prior_knowledge)] {
        answer(client.get(&stats).bearer_auth(&key)).await.ok();
        answer(client.get(&stats).bearer_auth(format!("{key}x"))).await.problem();
    }
    answer(client.get(format!("{stats}?key={key}"))).await.problem();
    // Nor is what was sent, where it is refused.
    for body in [json!({"name": "a", "scopes": [BODY]}), json!({BODY: 1}), json!(BODY)] {
        answer(client.post(&keys).bearer_auth(&key).json(&body)).await.problem();
    }
    let body = json!({"name": "other", "scopes": ["read"]});
    let made = answer(client.post(&keys).bearer_auth(&key).json(&body)).await;
    let other = made.expect(StatusCode::CREATED)["secret"].as_str().unwrap().to_owned();
    drop(client);
    let said = binary.stop().await;
    assert_eq!(
        said.matches(&key).count(),
        2,
        "once for itself, once in what can be tried:\n{said}"
    );

    let said = Binary::run(&folder).await.stop().await;
    assert!(!said.contains("tdk_"), "{said}");
    let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap();
    assert!(log.contains("/v1/stats"), "the log has the requests");
    for secret in [&key[4..], &other[4..], BODY] {
        assert!(!log.contains(secret), "a key or a body is in the log");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_holds_up_nobody() {
    let server = Running::start().await;
    let address = server.config.http.listen.unwrap();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(soon("a connection", TcpStream::connect(address)).await.unwrap());
    }
    server.get("/v1/stats").await.ok();
    let gauge = || value(&server.server().metrics().classic(), "tidings_http_connections", &[]);
    let all = async {
        while gauge() < 51.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("all connections", all).await;
    drop(silent);
    let gone = async {
        while gauge() > 1.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("their ends", gone).await;
}
