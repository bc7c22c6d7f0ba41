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
    let path: String = path
        .split('/')
        .map(|part| if part.starts_with('{') { "/none" } else { part })
        .collect::<Vec<_>>()
        .join("/")
        .replace("//", "/");
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
    assert_eq!(told(&document), expected.collect(), "the table here and the routes differ");

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
