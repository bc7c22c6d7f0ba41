//! Who may use what.
//!
//! # Invariants
//!
//! * [`OPERATIONS`] has every operation that there is. A route that is added without a line here,
//!   and a line without its route, fail.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Running, answer};

/// Every operation, and the scope that it asks for; none asks for no key.
const OPERATIONS: &[(&str, &str, Option<&str>)] = &[
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/v1/docs", None),
    ("GET", "/v1/openapi.json", None),
    ("GET", "/metrics", Some("read")),
    ("GET", "/v1/stats", Some("read")),
    ("GET", "/v1/keys", Some("master")),
    ("POST", "/v1/keys", Some("master")),
    ("DELETE", "/v1/keys/{name}", Some("master")),
    ("POST", "/v1/keys/{name}/rotate", Some("master")),
    ("POST", "/v1/messages", Some("send")),
    ("POST", "/v1/messages/batch", Some("send")),
    ("POST", "/v1/messages/{id}/recall", Some("send")),
    ("POST", "/v1/aliases", Some("admin")),
    ("POST", "/v1/aliases/unbind", Some("admin")),
    ("DELETE", "/v1/aliases/{alias}", Some("admin")),
    ("GET", "/v1/aliases/{alias}", Some("read")),
    ("GET", "/v1/devices/{device}", Some("read")),
    ("GET", "/v1/upstream", Some("read")),
    ("POST", "/v1/upstream/{id}", Some("send")),
    ("POST", "/v1/peers/status", Some("read")),
    ("GET", "/v1/peers/{peer}", Some("read")),
    ("GET", "/v1/peers/{peer}/unread", Some("read")),
    ("POST", "/v1/peers/{peer}/kick", Some("admin")),
    ("PUT", "/v1/peers/{peer}/block", Some("admin")),
    ("DELETE", "/v1/peers/{peer}/block", Some("admin")),
    ("GET", "/v1/blocked", Some("read")),
    ("POST", "/v1/groups", Some("admin")),
    ("GET", "/v1/groups", Some("read")),
    ("GET", "/v1/groups/{group}", Some("read")),
    ("PATCH", "/v1/groups/{group}", Some("admin")),
    ("DELETE", "/v1/groups/{group}", Some("admin")),
    ("GET", "/v1/groups/{group}/members", Some("read")),
    ("POST", "/v1/groups/{group}/members", Some("admin")),
    ("POST", "/v1/groups/{group}/members/remove", Some("admin")),
    ("GET", "/v1/endpoints", Some("read")),
    ("POST", "/v1/endpoints", Some("admin")),
    ("GET", "/v1/endpoints/{endpoint}", Some("read")),
    ("PUT", "/v1/endpoints/{endpoint}", Some("admin")),
    ("DELETE", "/v1/endpoints/{endpoint}", Some("admin")),
    ("POST", "/v1/endpoints/{endpoint}/pause", Some("admin")),
    ("POST", "/v1/endpoints/{endpoint}/resume", Some("admin")),
    ("POST", "/v1/endpoints/{endpoint}/ping", Some("admin")),
    ("POST", "/v1/endpoints/{endpoint}/replay", Some("admin")),
    ("GET", "/v1/endpoints/{endpoint}/attempts", Some("read")),
    ("GET", "/v1/endpoints/{endpoint}/letters", Some("read")),
    ("DELETE", "/v1/endpoints/{endpoint}/letters", Some("admin")),
    ("POST", "/v1/endpoints/{endpoint}/letters/resend", Some("admin")),
    ("POST", "/v1/endpoints/{endpoint}/secrets", Some("admin")),
    ("DELETE", "/v1/endpoints/{endpoint}/secrets", Some("admin")),
    ("GET", "/v1/history", Some("read")),
    ("GET", "/v1/history/export", Some("read")),
    ("GET", "/v1/backup", Some("master")),
];

/// The operations of the document that the server tells, with their scopes.
fn told(document: &Value) -> BTreeMap<(String, String), Option<String>> {
    let mut told = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let scope = operation["x-scope"].as_str().map(str::to_owned);
            let is_open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(is_open, scope.is_none(), "{method} {path}");
            told.insert((method.to_uppercase(), path.clone()), scope);
        }
    }
    told
}

/// A request to an operation, whose path has a value for each variable.
async fn ask(server: &Running, method: &str, path: &str, key: Option<&str>) -> Answer {
    let value = |part: &str| if part.starts_with('{') { "none" } else { part }.to_owned();
    let path = path.split('/').map(value).collect::<Vec<_>>().join("/");
    let request = server.request(Method::from_bytes(method.as_bytes()).unwrap(), &path, key);
    // A body that no route can do anything with.
    answer(if method == "GET" { request } else { request.json(&json!("nothing")) }).await
}

#[tokio::test]
async fn every_operation_asks_for_a_key_with_its_scope() {
    let server = Running::start().await;
    let document = answer(server.request(Method::GET, "/v1/openapi.json", None)).await.ok();
    let expected = OPERATIONS.iter().map(|(method, path, scope)| {
        (((*method).to_owned(), (*path).to_owned()), scope.map(str::to_owned))
    });
    let expected: BTreeMap<_, _> = expected.collect();
    assert_eq!(told(&document), expected, "the table here and the routes differ");

    let mut keys = Vec::new();
    for scope in ["send", "read", "admin"] {
        keys.push((scope, server.key(scope, &[scope]).await));
    }
    for (method, path, scope) in OPERATIONS {
        let Some(needed) = scope else {
            let open = ask(&server, method, path, None).await;
            assert!(open.status.is_success(), "{method} {path}: {open:?}");
            continue;
        };
        for (scope, key) in &keys {
            let answer = ask(&server, method, path, Some(key)).await;
            if scope == needed {
                assert!(!matches!(answer.status.as_u16(), 401 | 403 | 429), "{method} {path}");
            } else {
                assert_eq!(answer.problem(), "forbidden", "{method} {path} with {scope}");
                let challenge = answer.header(WWW_AUTHENTICATE).unwrap();
                assert!(challenge.contains(&format!("scope=\"{needed}\"")), "{challenge}");
            }
        }
        let answer = ask(&server, method, path, Some(&server.master)).await;
        assert!(!matches!(answer.status.as_u16(), 401 | 403 | 429), "{method} {path}");
    }
}

#[tokio::test]
async fn every_operation_refuses_who_has_no_key_or_a_wrong_one() {
    let mut server = Running::start().await;
    let wrong = format!("tdk_{}", "A".repeat(43));
    let gated = OPERATIONS.iter().filter(|(.., scope)| scope.is_some());
    for (index, (method, path, _)) in gated.enumerate() {
        // Each server takes ten failures at once.
        if index % 5 == 4 {
            server.restart().await;
        }
        for key in [None, Some(wrong.as_str())] {
            let answer = ask(&server, method, path, key).await;
            assert_eq!(answer.problem(), "unauthorized", "{method} {path}");
            let challenge = answer.header(WWW_AUTHENTICATE).unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), key.is_some(), "{challenge}");
        }
    }
}

#[tokio::test]
async fn a_key_is_made_and_used_and_removed_at_once() {
    let mut server = Running::start().await;
    let listed = server.get("/v1/keys").await.ok();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed["keys"][0]["name"], &listed["keys"][0]["scopes"][0]),
        (&json!("master"), &json!("master"))
    );

    let made = server.post("/v1/keys", json!({"name": "push-1", "scopes": ["send", "read"]})).await;
    let key = made.expect(StatusCode::CREATED);
    assert_eq!(made.header(reqwest::header::CACHE_CONTROL), Some("no-store"));
    let secret = key["secret"].as_str().unwrap();
    assert_eq!((secret.len(), &secret[..4]), (47, "tdk_"));
    assert_eq!(key["ending"].as_str().unwrap(), &secret[43..]);
    assert_eq!(key["scopes"], json!(["send", "read"]));
    assert!(key["created_ms"].as_i64().unwrap() > 1_700_000_000_000);

    let stats = |key: &str| answer(server.request(Method::GET, "/v1/stats", Some(key)));
    stats(secret).await.ok();
    let listed = server.get("/v1/keys").await;
    assert!(!listed.text.contains(secret) && !listed.text.contains(&server.master));
    assert_eq!(listed.ok()["keys"][1]["name"], "push-1");

    assert_eq!(server.delete("/v1/keys/push-1").await.status, StatusCode::NO_CONTENT);
    assert_eq!(stats(secret).await.problem(), "unauthorized");
    assert_eq!(server.delete("/v1/keys/push-1").await.problem(), "no-such-key");

    // What was changed is on the disk.
    let other = server.key("other", &["read"]).await;
    server.restart().await;
    let stats = |key: &str| answer(server.request(Method::GET, "/v1/stats", Some(key)));
    stats(&other).await.ok();
    assert_eq!(stats(secret).await.problem(), "unauthorized");
}

#[tokio::test]
async fn a_rotation_keeps_the_secret_of_before_for_the_grace() {
    let server = Running::start().await;
    let old = server.key("push", &["read"]).await;
    let rotated = server.post("/v1/keys/push/rotate", json!({"grace_seconds": 60})).await.ok();
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    let until_ms = rotated["previous_until_ms"].as_i64().unwrap();
    assert_eq!(server.get("/v1/keys").await.ok()["keys"][1]["previous_until_ms"], until_ms);
    let status = async |key: &str| {
        answer(server.request(Method::GET, "/v1/stats", Some(key))).await.status.as_u16()
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    server.step(Duration::from_secs(61));
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    assert_eq!(server.get("/v1/keys").await.ok()["keys"][1]["previous_until_ms"], Value::Null);
    // Without a grace the secret of before is refused at once.
    let newest = server.post("/v1/keys/push/rotate", json!({})).await.ok();
    let newest = newest["secret"].as_str().unwrap();
    assert_eq!((status(&new).await, status(newest).await), (401, 200));
    let too_long = server.post("/v1/keys/push/rotate", json!({"grace_seconds": 2_592_001})).await;
    assert_eq!(too_long.problem(), "invalid-body");
    assert_eq!(server.post("/v1/keys/none/rotate", json!({})).await.problem(), "no-such-key");
}

#[tokio::test]
async fn the_last_master_key_stays() {
    let server = Running::start().await;
    assert_eq!(server.delete("/v1/keys/master").await.problem(), "last-master-key");
    server.get("/v1/stats").await.ok();
    let second = server.key("second", &["master"]).await;
    assert_eq!(server.delete("/v1/keys/master").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get("/v1/stats").await.problem(), "unauthorized");
    let keys = answer(server.request(Method::GET, "/v1/keys", Some(&second))).await.ok();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let server = Running::start().await;
    let long = "x".repeat(65);
    for (name, scopes) in [
        ("", json!(["read"])),
        ("Big", json!(["read"])),
        (&long, json!(["read"])),
        ("ok", json!([])),
        ("ok", json!(["write"])),
        ("ok", json!("read")),
    ] {
        let made = server.post("/v1/keys", json!({"name": name, "scopes": scopes})).await;
        assert_eq!(made.problem(), "invalid-body", "{name} {scopes}");
    }
    server.key("ok", &["read"]).await;
    let again = server.post("/v1/keys", json!({"name": "ok", "scopes": ["read"]})).await;
    assert_eq!(again.problem(), "key-exists");
    for number in 0..62 {
        server.key(&format!("key-{number}"), &["send"]).await;
    }
    let one_more = server.post("/v1/keys", json!({"name": "more", "scopes": ["read"]})).await;
    assert_eq!(one_more.problem(), "too-many-keys");
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_case_and_stands_once() {
    let server = Running::start().await;
    let with = |values: &[String]| {
        let mut request = server.request(Method::GET, "/v1/stats", None);
        for value in values {
            request = request.header(AUTHORIZATION, value);
        }
        answer(request)
    };
    let key = &server.master;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        with(&[format!("{scheme} {key}")]).await.ok();
    }
    for values in [
        vec![format!("Basic {key}")],
        vec![key.clone()],
        vec!["Bearer".into()],
        vec![format!("Bearer {key}x")],
        vec![format!("Bearer {}", &key[..46])],
        vec![format!("Bearer {key}"), format!("Bearer {key}")],
    ] {
        assert_eq!(with(&values).await.problem(), "unauthorized", "{values:?}");
    }
}

#[tokio::test]
async fn failures_are_limited_and_a_valid_key_never_is() {
    let server = Running::start().await;
    let fail = || answer(server.request(Method::GET, "/v1/stats", Some("tdk_wrong")));
    for _ in 0..10 {
        assert_eq!(fail().await.problem(), "unauthorized");
    }
    let limited = fail().await;
    assert_eq!(limited.problem(), "too-many-failures");
    let wait: u64 = limited.header(RETRY_AFTER).unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    let none = answer(server.request(Method::GET, "/v1/stats", None)).await;
    assert_eq!(none.problem(), "too-many-failures");
    for _ in 0..20 {
        server.get("/v1/stats").await.ok();
    }
    answer(server.request(Method::GET, "/healthz", None)).await.ok();
}
