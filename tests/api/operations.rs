//! How the server is: alive, ready, its figures; and how it speaks HTTP.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Online, Running, answer, http_client, http_client_with, soon};
use tidings::chain::Chain;
use tidings::client::Outgoing;
use tidings::clock::Clock;
use tidings::http;
use tidings::hub::Hub;
use tidings::metrics::Metrics;
use tidings::reason::Reason;

fn options(folder: &TempDir, listen: SocketAddr) -> http::Options {
    http::Options { listen: Some(listen), certificate: None, keys_dir: folder.path().join("keys") }
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
    server.serve(Arc::new(open().unwrap()));
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

/// The families of a text of the form 0.0.4, with their kinds and the names of their samples.
struct Families {
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>)>,
}

/// Reads the text, and complains about whatever `promtool check metrics` would.
fn lint(text: &str) -> Families {
    let (mut kinds, mut helps, mut samples) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut family = String::new();
    for line in text.lines() {
        assert!(!line.starts_with("# UNIT") && !line.starts_with("# EOF"), "{line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(helps.insert(name.to_owned()), "{name} has two HELP lines");
            let first = help.chars().next().unwrap();
            assert!(first.is_uppercase() && help.ends_with('.'), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(name, family, "HELP and TYPE stand together");
            let suffixed = ["_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
            assert!(!suffixed, "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else {
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "{line} twice");
            let (name, labels) = sample(line);
            let base = if kinds.get(&family).is_some_and(|kind| kind == "histogram") {
                let ends = ["_bucket", "_sum", "_count"];
                ends.iter().find_map(|end| name.strip_suffix(end)).expect(line)
            } else {
                &name
            };
            assert_eq!(base, family, "a sample stands behind its TYPE");
            samples.push((name, labels));
        }
    }
    assert_eq!(helps, kinds.keys().cloned().collect());
    Families { kinds, samples }
}

/// The name and the labels of a sample, whose value must be a number.
fn sample(line: &str) -> (String, BTreeMap<String, String>) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new());
    };
    let labels = labels.strip_suffix("\"}").expect(line);
    let pairs = labels.split("\",").map(|pair| {
        let (name, value) = pair.split_once("=\"").expect(line);
        (name.to_owned(), value.to_owned())
    });
    (name.to_owned(), pairs.collect())
}

/// A server on which everything has happened that is counted, and two peers that are online.
async fn busy_server() -> (Running, [Online; 2]) {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let ann = server.open("ann").await;
    for number in 0..3 {
        let outgoing = Outgoing::to(bob.session.peer(), format!("message {number}"));
        ann.session.send(outgoing).await.unwrap();
        bob.message().await;
    }
    server.get("/v1/stats").await.ok();
    server.get("/v1/keys").await.ok();
    server.get("/v1/no/such/path").await.problem();
    answer(server.request(Method::GET, "/v1/stats", None)).await.problem();
    answer(server.request(Method::from_bytes(b"BREW").unwrap(), "/v1/stats", None)).await;
    (server, [ann, bob])
}

#[tokio::test]
async fn the_metrics_pass_the_rules_of_prometheus() {
    let (server, _online) = busy_server().await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.header(CONTENT_TYPE), Some("text/plain; version=0.0.4; charset=utf-8"));
    let families = lint(&metrics.text);
    for (name, kind) in [
        ("tidings_messages_total", "counter"),
        ("tidings_sessions", "gauge"),
        ("tidings_commit_seconds", "histogram"),
        ("tidings_http_requests_total", "counter"),
        ("tidings_http_request_seconds", "histogram"),
        ("tidings_build_info", "gauge"),
        ("tidings_start_time_seconds", "gauge"),
        ("tidings_resident_memory_bytes", "gauge"),
    ] {
        assert_eq!(families.kinds.get(name).map(String::as_str), Some(kind), "{name}");
    }
    // Labels come from sets that are known, and never from what somebody has sent.
    let document = answer(server.request(Method::GET, "/v1/openapi.json", None)).await.ok();
    let routes: HashSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).chain(["none"]).collect();
    for (name, labels) in &families.samples {
        for (label, value) in labels {
            let is_known = match label.as_str() {
                "route" => routes.contains(value.as_str()),
                "method" => ["GET", "POST", "DELETE", "PUT", "other"].contains(&value.as_str()),
                "status" => ["2xx", "4xx", "5xx"].contains(&value.as_str()),
                "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
                "version" => value == env!("CARGO_PKG_VERSION"),
                "reason" => value.bytes().all(|c| c.is_ascii()),
                _ => false,
            };
            assert!(is_known, "{name} has {label}={value}");
        }
    }
}

#[tokio::test]
async fn open_metrics_are_served_to_whom_asks() {
    let server = Running::start().await;
    let get = |accept: &'static str| {
        let request = server.request(Method::GET, "/metrics", Some(&server.master));
        answer(request.header(ACCEPT, accept))
    };
    // What Prometheus sends.
    let asked = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for accept in [asked, "application/openmetrics-text"] {
        let open = get(accept).await;
        let kind = open.header(CONTENT_TYPE).unwrap();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        assert!(open.text.ends_with("# EOF\n"));
        assert!(open.text.contains("# TYPE tidings_messages counter\n"), "{}", open.text);
        assert!(open.text.contains("# UNIT tidings_commit_seconds seconds\n"));
    }
    for accept in ["*/*", "text/plain", "application/openmetrics-text;q=0"] {
        assert!(get(accept).await.header(CONTENT_TYPE).unwrap().starts_with("text/plain"));
    }
}

/// The sum of the samples of this name with these labels.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |had: &BTreeMap<String, String>| {
        labels.iter().all(|(label, value)| had.get(*label).is_some_and(|had| had == value))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter(|line| {
        let (found, had) = sample(line);
        found == name && has(&had)
    });
    values.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn what_happens_is_counted() {
    let (server, _online) = busy_server().await;
    let text = server.get("/metrics").await.text;
    let stats = "/v1/stats";
    for (name, labels, expected) in [
        ("tidings_messages_total", &[][..], 3.0),
        ("tidings_deliveries_total", &[], 3.0),
        ("tidings_sessions", &[], 2.0),
        ("tidings_connections", &[], 2.0),
        ("tidings_api_auth_failures_total", &[], 1.0),
        ("tidings_http_requests_total", &[("route", stats), ("status", "2xx")], 1.0),
        (
            "tidings_http_requests_total",
            &[("route", stats), ("method", "GET"), ("status", "4xx")],
            1.0,
        ),
        (
            "tidings_http_requests_total",
            &[("route", stats), ("method", "other"), ("status", "4xx")],
            1.0,
        ),
        ("tidings_http_requests_total", &[("route", "none"), ("status", "4xx")], 1.0),
        ("tidings_http_request_seconds_count", &[("route", stats)], 3.0),
        ("tidings_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(value(&text, name, labels), expected, "{name} {labels:?}");
    }
    assert!(value(&text, "tidings_http_connections", &[]) >= 1.0);
    assert!(value(&text, "tidings_start_time_seconds", &[]) > 1.7e9);
    #[cfg(target_os = "linux")]
    assert!(value(&text, "tidings_resident_memory_bytes", &[]) > 1e6);
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

/// Every string of a value.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_figures_that_there_are() {
    // A family is told from when something in it was counted.
    let metrics = Metrics::new();
    metrics.refuse(Reason::Busy);
    metrics.end(Reason::TooSlow);
    metrics.http_request("none", "GET", 200, Duration::ZERO);
    let families = lint(&metrics.classic());
    let mut known: BTreeSet<String> = families.kinds.keys().cloned().collect();
    for (name, kind) in &families.kinds {
        if kind == "histogram" {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
    }
    let dashboard: Value =
        serde_json::from_str(include_str!("../../src/http/grafana.json")).unwrap();
    let mut found = Vec::new();
    strings(&dashboard, &mut found);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = found.iter().flat_map(|text| text.split(|c| !is_part(c)));
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("tidings_")).collect();
    assert!(asked.len() > 20, "{asked:?}");
    for name in asked {
        assert!(known.contains(name), "the dashboard asks for {name}");
    }
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
    let folder = TempDir::new().unwrap();
    let binary = Binary::run(&folder).await;
    let url =
        binary.said.lines().find_map(|line| line.strip_prefix("http: listening on ")).unwrap();
    let keys = std::fs::read_to_string(folder.path().join("tidings-data/keys/api-keys.json"));
    let keys: Value = serde_json::from_str(&keys.unwrap()).unwrap();
    let key = keys["keys"][0]["secret"].as_str().unwrap().to_owned();
    let client = http_client();
    let (stats, keys) = (format!("{url}/v1/stats"), format!("{url}/v1/keys"));
    answer(client.get(&stats).bearer_auth(&key)).await.ok();
    answer(client.get(&stats).bearer_auth(format!("{key}x"))).await.problem();
    answer(client.get(format!("{stats}?key={key}"))).await.problem();
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
    for secret in [&key, &other] {
        assert!(!log.contains(&secret[4..]), "a key is in the log");
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
