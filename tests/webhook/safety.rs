//! Where webhooks may go, how they are protected on their way, and what never leaves the server.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::harness::{Running, SECRET};
use crate::receiver::{Answer, Receiver, Request};
use crate::standard::{one, verifies};

/// A server that may send nowhere but to the open Internet.
async fn strict() -> Running {
    Running::start_with(&[("webhook_networks", "")], "").await
}

async fn create(server: &Running, url: &str) -> crate::harness::Answer {
    let definition = json!({"id": "back-end", "url": url, "dialect": "tidings", "interval_ms": 10});
    server.post("/v1/endpoints", definition).await
}

/// Each of these is refused when an endpoint is made of it.
async fn refuses(hosts: &[&str]) {
    let server = strict().await;
    for host in hosts {
        let refused = create(&server, &format!("http://{host}:7480/")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{host}: {}", refused.text);
        assert!(refused.text.contains("webhook_networks"), "{host}: {}", refused.text);
    }
    assert_eq!(server.get("/v1/endpoints").await["endpoints"], json!([]));
}

#[tokio::test]
async fn a_private_address_of_version_4_is_refused() {
    refuses(&["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"]).await;
}

#[tokio::test]
async fn a_private_address_of_version_6_is_refused() {
    refuses(&["[fc00::1]", "[fd12:3456::1]"]).await;
}

#[tokio::test]
async fn a_loopback_address_is_refused() {
    refuses(&["127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0", "[::]"]).await;
}

#[tokio::test]
async fn an_address_of_version_4_inside_one_of_version_6_is_refused() {
    // Mapped, compatible, translated, 6to4.
    let mapped = ["[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[::ffff:192.168.1.1]"];
    refuses(&mapped).await;
    refuses(&["[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]"])
        .await;
}

#[tokio::test]
async fn a_link_local_address_is_refused() {
    refuses(&["169.254.0.1", "169.254.255.254", "[fe80::1]", "[febf::1]"]).await;
}

#[tokio::test]
async fn an_address_where_clouds_keep_metadata_is_refused() {
    refuses(&["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"]).await;
}

#[tokio::test]
async fn an_address_for_tests_many_or_nobody_is_refused() {
    refuses(&["198.18.0.1", "192.0.2.1", "203.0.113.7", "224.0.0.1", "255.255.255.255"]).await;
    refuses(&["[ff02::1]", "[2001:db8::1]"]).await;
}

#[tokio::test]
async fn an_address_that_is_written_in_another_way_is_refused() {
    refuses(&["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "127.0.0.1."]).await;
}

#[tokio::test]
async fn an_endpoint_whose_network_is_not_allowed_any_more_is_halted_and_not_reached() {
    let (mut server, receiver) = (Running::start().await, Receiver::start().await);
    create(&server, &receiver.url()).await.expect(StatusCode::CREATED);
    server.say("ann", "bob", "hello").await;
    receiver.had(1).await;
    let allowed = std::mem::take(&mut server.config.webhook.allowed);
    server.stop().await;
    let count = receiver.count();
    server.start_again().await;
    server.say("ann", "bob", "are you there?").await;
    let why =
        |it: &Value| it["halted"].as_str().is_some_and(|why| why.contains("webhook_networks"));
    server.until("back-end", "halted", why).await;
    assert_eq!(receiver.count(), count, "nothing reached it");
    // Allowed again, it goes on where it was.
    server.config.webhook.allowed = allowed;
    server.restart().await;
    let tells = |request: &Request| String::from_utf8_lossy(&request.body).contains("there?");
    receiver.until("what it missed", |had| had.iter().any(tells).then_some(())).await;
}

#[tokio::test]
async fn only_http_and_https_without_a_user_can_be_an_endpoint() {
    let server = strict().await;
    for url in [
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "a.example",
        "",
        "http://",
        "unix:/run/docker.sock",
        "http://user:geheim@a.example/",
        "http://user@a.example/",
    ] {
        let refused = create(&server, url).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {}", refused.text);
        assert!(!refused.text.contains("geheim"), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_refused_when_it_is_connected_to() {
    let (server, receiver) = (strict().await, Receiver::start().await);
    let url = format!("http://localhost:{}/", receiver.address.port());
    create(&server, &url).await.expect(StatusCode::CREATED);
    let ping = server.post("/v1/endpoints/back-end/ping", json!({})).await.expect(StatusCode::OK);
    assert_eq!((&ping["outcome"], &ping["status"]), (&json!("failed"), &Value::Null), "{ping}");
    server.say("ann", "bob", "hello").await;
    let failed = |it: &Value| it["health"]["failed"].as_u64() >= Some(2);
    server.until("back-end", "refused", failed).await;
    assert_eq!(receiver.count(), 0, "nothing reached it");
    // With the network allowed, the same name is reached.
    let server = Running::start().await;
    create(&server, &url).await.expect(StatusCode::CREATED);
    server.say("ann", "bob", "hello").await;
    receiver.had(1).await;
}

#[tokio::test]
async fn only_the_networks_of_the_setting_are_reached() {
    let settings = [("webhook_networks", "127.0.0.1/32,10.0.0.0/8")];
    let server = Running::start_with(&settings, "").await;
    for (host, status) in [
        ("127.0.0.2", StatusCode::UNPROCESSABLE_ENTITY),
        ("192.168.0.1", StatusCode::UNPROCESSABLE_ENTITY),
        ("[::1]", StatusCode::UNPROCESSABLE_ENTITY),
        ("169.254.169.254", StatusCode::UNPROCESSABLE_ENTITY),
        ("127.0.0.1", StatusCode::CREATED),
    ] {
        let answer = create(&server, &format!("http://{host}:9/")).await;
        assert_eq!(answer.status, status, "{host}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_never_followed() {
    let (server, receiver, inner) =
        (Running::start().await, Receiver::start().await, Receiver::start().await);
    let (to, metadata) = (inner.url(), "http://169.254.169.254/latest/meta-data/".to_owned());
    receiver.answers(move |request| {
        let status = [301, 302, 303, 307, 308][request.number % 5];
        let to = if request.number % 2 == 0 { &to } else { &metadata };
        match request.number {
            0..5 => Answer::status(status).header("location", to),
            _ => Answer::ok(),
        }
    });
    server.endpoint("back-end", &receiver, json!({"interval_ms": 10})).await;
    server.say("ann", "bob", "hello").await;
    let requests = receiver.had(6).await;
    assert!(requests.iter().all(|request| request.id() == requests[0].id() || request.number > 5));
    assert_eq!(inner.count(), 0);
}

#[tokio::test]
async fn of_a_long_answer_only_the_beginning_is_read_and_little_is_kept() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    server.endpoint("back-end", &receiver, json!({"interval_ms": 10})).await;
    receiver.answers(|request| match request.number {
        0 => Answer::status(500).body(vec![b'x'; 10_000_000]),
        _ => Answer::ok().body(vec![b'y'; 10_000_000]),
    });
    server.say("ann", "bob", "hello").await;
    let taken = server.until("back-end", "taken", |it| it["health"]["ok"] == 1).await;
    let said = taken["health"]["last_error"]["why"].as_str().unwrap();
    assert!(said.len() <= 200, "{} bytes", said.len());
}

/// A certificate by an authority of the test's own, which is written to a file.
struct Authority {
    folder: tempfile::TempDir,
    acceptor: TlsAcceptor,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = || rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = key();
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let leaf_key = key();
        let leaf = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![leaf.der().clone()], private).unwrap();
        Self { folder, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn file(&self) -> String {
        self.folder.path().join("ca.pem").to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn https_is_spoken_to_who_has_a_certificate_of_an_authority_that_is_trusted() {
    let authority = Authority::new("127.0.0.1");
    let receiver = Receiver::start_with(Some(authority.acceptor.clone())).await;
    assert!(receiver.url().starts_with("https:"));
    let server = Running::start_with(&[("webhook_ca", &authority.file())], "").await;
    server.endpoint("back-end", &receiver, json!({"secret": SECRET, "interval_ms": 10})).await;
    server.say("ann", "bob", "hello").await;
    one(&receiver, "message.sent", |event| event.text() == "hello").await;
    assert!(verifies(SECRET, &receiver.requests()[0]));
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_name_is_refused() {
    let (authority, other) = (Authority::new("127.0.0.1"), Authority::new("127.0.0.1"));
    let misnamed = Authority::new("a.example");
    for (trusted, shown) in [(&other, &authority), (&misnamed, &misnamed)] {
        let receiver = Receiver::start_with(Some(shown.acceptor.clone())).await;
        let server = Running::start_with(&[("webhook_ca", &trusted.file())], "").await;
        server.endpoint("back-end", &receiver, json!({"interval_ms": 10})).await;
        server.say("ann", "bob", "hello").await;
        let failed = |it: &Value| it["health"]["failed"].as_u64() >= Some(1);
        let overview = server.until("back-end", "refused", failed).await;
        let said = overview["health"]["last_error"]["why"].to_string();
        assert!(said.to_lowercase().contains("certificate"), "{said}");
        assert_eq!(receiver.count(), 0);
    }
}

#[tokio::test]
async fn secrets_are_in_no_listing_and_in_no_answer() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let url = receiver.url_of("/hook?token=geheim-7&x=1");
    let made = server.endpoint_at("back-end", &url, json!({"secret": SECRET})).await;
    let bad = json!({"id": "b", "url": url, "dialect": "tidings", "secret": "whsec_geheim"});
    let refused = server.post("/v1/endpoints", bad).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    receiver.answers_with(500);
    server.say("ann", "bob", "hello").await;
    let failed = |it: &Value| it["health"]["failed"] != 0;
    let overview = server.until("back-end", "failing", failed).await;
    let attempts = server.get("/v1/endpoints/back-end/attempts").await;
    let list = server.get("/v1/endpoints").await;
    let metrics = server.ask(Method::GET, "/metrics", None).await.text;
    // What is wrong with a secret may be told in words, but never with the secret.
    let wrong = refused.text.replace("behind whsec_ a secret has", "");
    let shown = [made.to_string(), wrong, overview.to_string(), attempts.to_string()];
    for text in shown.iter().chain([&list.to_string(), &metrics]) {
        for secret in ["whsec", "AQIDBAUG", "geheim"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    // They are kept where only the server's user reads them.
    let file = server.config.webhook.dir.join("endpoints.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(file).unwrap().contains(SECRET));
}

#[tokio::test]
async fn health_figures_and_attempts_tell_how_an_endpoint_does() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    server
        .endpoint("back-end", &receiver, json!({"interval_ms": 10, "events": ["message.sent"]}))
        .await;
    receiver.answers(|request| match request.number {
        0 => Answer::status(503).body("overloaded"),
        1 => Answer::lost(),
        _ => Answer::ok(),
    });
    server.say("ann", "bob", "hello").await;
    let taken = |it: &Value| it["health"]["ok"] == 1 && it["health"]["oldest_ms"].is_null();
    let overview = server.until("back-end", "taken", taken).await;
    let health = &overview["health"];
    assert_eq!((&health["failed"], &health["refused"]), (&json!(2), &json!(0)), "{health}");
    assert_eq!((&health["events"], &health["letters"]), (&json!(1), &json!(0)));
    assert!(health["lag_ms"].as_i64().unwrap() >= 250, "two waits: {health}");
    assert!(health["events_per_second"].as_f64().unwrap() > 0.0, "{health}");
    let attempts = server.get("/v1/endpoints/back-end/attempts").await;
    let attempts = attempts["attempts"].as_array().unwrap();
    let brief: Vec<_> = attempts.iter().map(|it| json!([it["status"], it["outcome"]])).collect();
    assert_eq!(brief, [json!([200, "ok"]), json!([null, "failed"]), json!([503, "failed"])]);
    assert!(attempts[2]["why"].as_str().unwrap().contains("overloaded"));
    let id = receiver.requests()[0].id().to_owned();
    assert!(attempts.iter().all(|attempt| attempt["request"] == id));
    let metrics = server.ask(Method::GET, "/metrics", None).await.text;
    for (name, value) in [("ok", "1"), ("failed", "2")] {
        let is_it = |line: &&str| {
            line.starts_with("tidings_webhook_")
                && line.contains("back-end")
                && line.contains(&format!("\"{name}\""))
                && line.ends_with(&format!(" {value}"))
        };
        assert!(metrics.lines().any(|line| is_it(&line)), "{name} is not counted: {metrics}");
    }
}
