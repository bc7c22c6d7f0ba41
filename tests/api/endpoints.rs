//! Endpoints of webhooks: made, changed and watched over the API.

use reqwest::StatusCode;
use reqwest::header::{CACHE_CONTROL, LOCATION};
use serde_json::{Value, json};

use tidings::webhook::Definition;

use crate::harness::{Answer, Running, soon};
use crate::receiver::{Receiver, Reply, allow_this_machine};

async fn start() -> Running {
    Running::start_with(allow_this_machine).await
}

/// A server whose settings name an endpoint.
async fn start_with_endpoint(id: &str, url: &str) -> Running {
    let definition = Definition { id: id.into(), url: Some(url.into()), ..Definition::default() };
    Running::start_with(|config| {
        allow_this_machine(config);
        config.webhook.configured.push(definition);
    })
    .await
}

async fn create(server: &Running, settings: Value) -> Value {
    server.post("/v1/endpoints", settings).await.expect(StatusCode::CREATED)
}

async fn send(server: &Running, text: &str) -> String {
    let message = json!({"to": {"peers": ["bob"]}, "body": text});
    let sent = server.post("/v1/messages", message).await.expect(StatusCode::CREATED);
    sent["messages"][0]["id"].as_str().unwrap().to_owned()
}

fn problem(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.problem())
}

/// Asks about an endpoint until it is as it should be.
async fn until(server: &Running, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/endpoints/{id}");
    soon("an endpoint that is as it should be", async {
        loop {
            let endpoint = server.get(&path).await.ok();
            if is_so(&endpoint) {
                return endpoint;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn an_endpoint_is_made_and_told_and_its_secret_is_shown_once() {
    let (server, receiver) = (start().await, Receiver::start(|_| Reply::ok()).await);
    let settings = json!({"id": "a/b", "url": receiver.url, "interval_ms": 10,
        "events": ["message.sent"]});
    let answer = server.post("/v1/endpoints", settings).await;
    let made = answer.expect(StatusCode::CREATED);
    assert_eq!(answer.header(CACHE_CONTROL), Some("no-store"));
    assert_eq!(answer.header(LOCATION), Some("/v1/endpoints/a%2Fb"));
    let secret = made["secret"].as_str().unwrap();
    assert_eq!((secret.len(), &secret[..6]), (6 + 44, "whsec_"));
    assert_eq!((&made["secrets"], &made["configured"]), (&json!(1), &json!(false)));
    assert_eq!((&made["interval_ms"], &made["timeout_ms"]), (&json!(10), &json!(10_000)));
    assert_eq!(made["events"], json!(["message.sent"]));

    let id = send(&server, "hello").await;
    let heard = receiver.next().await;
    assert_eq!(heard.events("message.sent"), [format!("{id}-0")]);
    assert!(heard.is_signed_with(secret));
    let told = until(&server, "a%2Fb", |told| told["health"]["ok"] == 1).await;
    assert_eq!((&told["health"]["events"], &told["health"]["failed"]), (&json!(1), &json!(0)));
    assert_eq!((&told["secret"], &told["halted"]), (&Value::Null, &Value::Null));
    let listed = server.get("/v1/endpoints").await;
    assert!(!listed.text.contains(secret) && !listed.text.contains("whsec_"), "{}", listed.text);
    assert_eq!(listed.ok()["endpoints"][0]["id"], "a/b");
    let attempts = server.get("/v1/endpoints/a%2Fb/attempts?limit=1").await.ok();
    let attempt = &attempts["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["outcome"]), (&json!(200), &json!("ok")));
    assert_eq!(attempt["request"], heard.header("webhook-id"));
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    let server = start().await;
    for settings in [
        json!({}),
        json!({"url": "ftp://app.example/"}),
        json!({"url": "http://10.0.0.1/"}),
        json!({"url": "http://169.254.169.254/latest"}),
        json!({"url": "http://ann:geheim@app.example/"}),
        json!({"url": "http://app.example/", "dialect": "klingon"}),
        json!({"url": "http://app.example/", "events": ["message.lost"]}),
        json!({"url": "http://app.example/", "secret": "whsec_geheim"}),
        json!({"url": "http://app.example/", "interval_ms": 60_001}),
        json!({"url": "http://app.example/", "interval_ms": 9}),
        json!({"url": "http://app.example/", "in_flight": 65}),
        json!({"url": "http://app.example/", "id": "a:b"}),
        json!({"url": "http://app.example/", "retries": 3}),
        json!({"url": "http://app.example/", "dialect": "getui"}),
    ] {
        let answer = server.post("/v1/endpoints", settings.clone()).await;
        assert_eq!(problem(&answer), (422, "invalid-body".into()), "{settings}");
        assert!(!answer.text.contains("geheim"), "{}", answer.text);
    }
    let settings = json!({"id": "a", "url": "http://app.example/"});
    create(&server, settings.clone()).await;
    let again = server.post("/v1/endpoints", settings.clone()).await;
    assert_eq!(problem(&again), (409, "endpoint-exists".into()));
    let other = server.put("/v1/endpoints/b", settings.clone()).await;
    assert_eq!(problem(&other), (422, "invalid-body".into()));
    for path in ["", "/attempts", "/letters"] {
        let answer = server.get(&format!("/v1/endpoints/none{path}")).await;
        assert_eq!(problem(&answer), (404, "no-such-endpoint".into()), "{path}");
    }
    for path in ["pause", "resume", "ping"] {
        let answer = server.post(&format!("/v1/endpoints/none/{path}"), json!({})).await;
        assert_eq!(problem(&answer), (404, "no-such-endpoint".into()), "{path}");
    }
    assert_eq!(server.delete("/v1/endpoints/none").await.problem(), "no-such-endpoint");
}

#[tokio::test]
async fn an_endpoint_is_changed_and_survives_a_restart_and_is_removed() {
    let (mut server, receiver) = (start().await, Receiver::start(|_| Reply::ok()).await);
    create(&server, json!({"id": "a", "url": "http://127.0.0.1:9/", "secret": "one"})).await;
    let settings = json!({"url": receiver.url, "interval_ms": 10, "events": ["message.sent"]});
    let changed = server.put("/v1/endpoints/a", settings).await.ok();
    assert_eq!((&changed["urls"][0], &changed["secrets"]), (&json!(receiver.url), &json!(1)));
    server.restart().await;
    let id = send(&server, "hello").await;
    let heard = receiver.next().await;
    assert_eq!(heard.events("message.sent"), [format!("{id}-0")]);
    assert!(heard.is_signed_with("one"), "it keeps the secret that it had");
    assert_eq!(server.delete("/v1/endpoints/a").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get("/v1/endpoints").await.ok()["endpoints"], json!([]));
}

#[tokio::test]
async fn an_endpoint_of_the_settings_is_changed_by_them_alone() {
    let receiver = Receiver::start(|_| Reply::ok()).await;
    let server = start_with_endpoint("fixed", &receiver.url).await;
    let settings = json!({"url": receiver.url});
    let at = "/v1/endpoints/fixed";
    for answer in [
        server.put(at, settings).await,
        server.delete(at).await,
        server.post(&format!("{at}/secrets"), json!({})).await,
        server.delete(&format!("{at}/secrets")).await,
    ] {
        assert_eq!(problem(&answer), (409, "configured-endpoint".into()));
    }
    assert_eq!(server.get(at).await.ok()["configured"], true);
    let pinged = server.post(&format!("{at}/ping"), json!({})).await.ok();
    assert_eq!((&pinged["outcome"], &pinged["events"]), (&json!("ok"), &json!(0)));
    assert_eq!(receiver.next().await.json()["events"], json!([]), "it tells nothing");
}

#[tokio::test]
async fn who_is_paused_hears_nothing_and_misses_nothing() {
    let receiver = Receiver::start(|_| Reply::ok()).await;
    let server = start_with_endpoint("a", &receiver.url).await;
    let paused = server.post("/v1/endpoints/a/pause", json!({})).await.ok();
    assert_eq!(paused["halted"], "paused by request");
    let first = send(&server, "one").await;
    server.post("/v1/endpoints/a/ping", json!({})).await.ok();
    assert_eq!(receiver.next().await.events("message.sent"), [""; 0], "the ping alone");
    let resumed = server.post("/v1/endpoints/a/resume", json!({})).await.ok();
    assert_eq!(resumed["halted"], Value::Null);
    assert_eq!(receiver.events("message.sent", 1).await, [format!("{first}-0")]);

    let second = send(&server, "two").await;
    assert_eq!(receiver.events("message.sent", 1).await, [format!("{second}-0")]);
    let replay = json!({"from_id": format!("{first}-0")});
    let replayed = server.post("/v1/endpoints/a/replay", replay).await;
    assert_eq!(replayed.status, StatusCode::NO_CONTENT);
    let again = receiver.events("message.sent", 2).await;
    assert_eq!(again, [format!("{first}-0"), format!("{second}-0")]);
    let replay = server.post("/v1/endpoints/a/replay", json!({"from_ms": 0})).await;
    assert_eq!(replay.status, StatusCode::NO_CONTENT);
    assert_eq!(receiver.events("message.sent", 2).await, again);
    for wrong in [
        json!({}),
        json!({"from_ms": 0, "from_id": "1"}),
        json!({"from_id": "x"}),
        json!({"from_ms": -1}),
    ] {
        let answer = server.post("/v1/endpoints/a/replay", wrong).await;
        assert_eq!(answer.problem(), "invalid-body");
    }
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_one_of_before_until_that_is_forgotten() {
    let (server, receiver) = (start().await, Receiver::start(|_| Reply::ok()).await);
    create(&server, json!({"id": "a", "url": receiver.url, "secret": "one"})).await;
    let rotated = server.post("/v1/endpoints/a/secrets", json!({})).await;
    assert_eq!(rotated.header(CACHE_CONTROL), Some("no-store"));
    let rotated = rotated.ok();
    let secret = rotated["secret"].as_str().unwrap();
    assert_eq!(rotated["secrets"], 2);
    server.post("/v1/endpoints/a/ping", json!({})).await.ok();
    let heard = receiver.next().await;
    assert!(heard.is_signed_with("one") && heard.is_signed_with(secret));
    let kept = server.delete("/v1/endpoints/a/secrets").await.ok();
    assert_eq!((&kept["secrets"], &kept["secret"]), (&json!(1), &Value::Null));
    server.post("/v1/endpoints/a/ping", json!({})).await.ok();
    let heard = receiver.next().await;
    assert!(!heard.is_signed_with("one") && heard.is_signed_with(secret));
    let given = server.post("/v1/endpoints/a/secrets", json!({"secret": "three"})).await.ok();
    assert_eq!((&given["secrets"], &given["secret"]), (&json!(2), &Value::Null));
}

/// Receivers of these dialects take a secret as it is written.
#[tokio::test]
async fn a_secret_that_is_made_for_another_dialect_is_the_key_as_it_is_written() {
    let server = Running::start_with(|config| {
        allow_this_machine(config);
        config.webhook.app_id = "acme#chat".into();
    })
    .await;
    for dialect in ["wukongim", "easemob", "getui"] {
        let settings = json!({"id": dialect, "url": "http://127.0.0.1:9/", "dialect": dialect});
        let made = create(&server, settings).await;
        let rotate = format!("/v1/endpoints/{dialect}/secrets");
        let rotated = server.post(&rotate, json!({})).await.ok();
        for secret in [&made["secret"], &rotated["secret"]] {
            let secret = secret.as_str().unwrap();
            assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let key: tidings::webhook::Secret = secret.parse().unwrap();
            assert_eq!(key.bytes(), secret.as_bytes());
        }
        assert_ne!(made["secret"], rotated["secret"]);
    }
}

#[tokio::test]
async fn what_an_endpoint_refuses_is_a_letter_that_is_sent_again_or_dropped() {
    let receiver = Receiver::start(|_| Reply::With(400, json!("not this"))).await;
    let server = start().await;
    create(
        &server,
        json!({"id": "a", "url": receiver.url, "interval_ms": 10, "events": ["message.sent"]}),
    )
    .await;
    let mut places = Vec::new();
    for text in ["one", "two", "three"] {
        places.push(format!("{}-0", send(&server, text).await));
    }
    let told = until(&server, "a", |told| told["health"]["letters"] == 3).await;
    assert_eq!(told["health"]["last_error"]["status"], 400);
    let page = server.get("/v1/endpoints/a/letters?limit=2").await.ok();
    let letter = &page["items"][0];
    assert_eq!((&letter["place"], &letter["event"]), (&json!(places[0]), &json!(places[0])));
    assert_eq!((&letter["status"], &letter["kind"]), (&json!(400), &json!("message.sent")));
    assert!(letter["body"].as_str().unwrap().contains("\"one\""), "{letter}");
    assert_eq!(page["next"], json!(places[1]));
    let rest = server.get(&format!("/v1/endpoints/a/letters?after={}", places[1])).await.ok();
    assert_eq!((&rest["items"][0]["place"], &rest["next"]), (&json!(places[2]), &Value::Null));

    let again = server.post("/v1/endpoints/a/letters/resend", json!({})).await.ok();
    assert_eq!(again["resent"], 0, "{again}");
    receiver.answer(|_| Reply::ok()).await;
    let one = json!({"letters": [places[1]]});
    let again = server.post("/v1/endpoints/a/letters/resend", one).await.ok();
    assert_eq!((&again["resent"], &again["letters"][0]["place"]), (&json!(1), &json!(places[1])));
    let drop = format!("/v1/endpoints/a/letters?places={}", places[0]);
    assert_eq!(server.delete(&drop).await.ok()["dropped"], 1);
    let left = server.get("/v1/endpoints/a/letters").await.ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0]["place"], json!(places[2]));
    assert_eq!(server.delete("/v1/endpoints/a/letters").await.ok()["dropped"], 1);
    assert_eq!(server.get("/v1/endpoints/a/letters").await.ok()["items"], json!([]));
    for query in ["limit=21", "after=x", "after=1", "more=1"] {
        let answer = server.get(&format!("/v1/endpoints/a/letters?{query}")).await;
        assert_eq!(answer.problem(), "invalid-query", "{query}");
    }
    let answer = server.delete("/v1/endpoints/a/letters?places=1,2").await;
    assert_eq!(answer.problem(), "invalid-query");
}

#[tokio::test]
async fn a_ping_tells_that_nobody_answers() {
    let server = start().await;
    create(&server, json!({"id": "a", "url": "http://127.0.0.1:9/", "timeout_ms": 5_000})).await;
    let pinged = server.post("/v1/endpoints/a/ping", json!({})).await.ok();
    assert_eq!((&pinged["status"], &pinged["outcome"]), (&Value::Null, &json!("failed")));
    assert!(!pinged["why"].as_str().unwrap().is_empty(), "{pinged}");
}
