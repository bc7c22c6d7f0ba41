//! Problems, the document and its page.

use std::collections::{BTreeSet, HashSet};

use reqwest::header::{ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Running, answer};

async fn document(server: &Running) -> Value {
    answer(server.request(Method::GET, "/v1/openapi.json", None)).await.ok()
}

#[tokio::test]
async fn whatever_goes_wrong_is_a_problem() {
    let server = Running::start().await;
    let master = Some(server.master.as_str());
    let post = |path, kind: Option<&str>, body: String| {
        let request = server.request(Method::POST, path, master).body(body);
        answer(match kind {
            Some(kind) => request.header(CONTENT_TYPE, kind),
            None => request,
        })
    };
    let json_type = Some("application/json");
    let unknown = json!({"name": "a", "scopes": ["read"], "more": 1}).to_string();
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for (kind, body, status, name) in [
        (json_type, "{".to_owned(), 400, "malformed-json"),
        (json_type, String::new(), 400, "malformed-json"),
        (json_type, "{\"name\":\"a\",\"scopes\":[\"read\"]} {}".to_owned(), 400, "malformed-json"),
        (json_type, "{}".to_owned(), 422, "invalid-body"),
        (json_type, unknown.clone(), 422, "invalid-body"),
        (json_type, long, 413, "body-too-long"),
        (Some("text/plain"), unknown.clone(), 415, "unsupported-media-type"),
        (None, unknown, 415, "unsupported-media-type"),
    ] {
        let answer = post("/v1/keys", kind, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, name));
    }
    assert!(post("/v1/keys", json_type, "{\"x\":1}".into()).await.text.contains("unknown field"));

    for path in ["/", "/v1", "/v1/nothing", "/v1/keys/", "/v1/keys/a/b"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "not-found"),
            "{path}"
        );
    }
    let answer = server.put("/v1/keys", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (405, "method-not-allowed"));
    let allowed: BTreeSet<&str> = answer.header(ALLOW).unwrap().split(',').collect();
    assert!(allowed.is_superset(&BTreeSet::from(["GET", "POST"])), "{allowed:?}");
    let answer = server.get("/v1/keys/a%ff/rotate").await;
    assert_eq!(answer.problem(), "method-not-allowed");
    let answer = server.delete("/v1/keys/a%ff").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "invalid-path"));
}

#[tokio::test]
async fn every_problem_is_listed() {
    let server = Running::start().await;
    let document = document(&server).await;
    let mut types = HashSet::new();
    for problem in document["x-problems"].as_array().unwrap() {
        let name = problem["type"].as_str().unwrap();
        let name = name.strip_prefix("urn:tidings:problem:").expect(name);
        assert!(types.insert(name.to_owned()), "{name} twice");
        assert!((400..600).contains(&problem["status"].as_u64().unwrap()), "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty());
    }
    for name in ["unauthorized", "starting", "not-found", "too-many-failures"] {
        assert!(types.contains(name), "{name}");
    }
    let not_found = server.get("/v1/nothing").await.json();
    let listed = document["x-problems"].as_array().unwrap();
    let listed = listed.iter().find(|one| one["type"] == not_found["type"]).unwrap();
    assert_eq!((&listed["title"], &listed["status"]), (&not_found["title"], &json!(404)));
    let schema = &document["components"]["schemas"]["Problem"];
    let fields: BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["detail", "instance", "reason", "status", "title", "type"];
    assert_eq!(fields, BTreeSet::from(expected));
}

/// All references below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = Running::start().await;
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect(reference);
        assert!(document.pointer(pointer).is_some(), "{reference} points nowhere");
    }
    let tags: HashSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}: its id");
            assert!(
                operation["summary"].as_str().is_some_and(|text| text.ends_with('.')),
                "{name}"
            );
            for tag in operation["tags"].as_array().unwrap() {
                assert!(tags.contains(tag.as_str().unwrap()), "{name}: {tag}");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
            let problem = &responses["default"]["content"]["application/problem+json"];
            assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem", "{name}");
            let described: HashSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let variables = path.split('/').filter_map(|part| part.strip_prefix('{'));
            let variables = variables.map(|part| part.trim_end_matches('}'));
            assert_eq!(described, variables.collect::<HashSet<_>>(), "{name}");
        }
    }
}

#[tokio::test]
async fn bodies_of_the_document_take_no_unknown_fields() {
    let server = Running::start().await;
    let document = document(&server).await;
    let mut bodies = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(reference) = schema["$ref"].as_str() else { continue };
            let schema = document.pointer(&reference[1..]).unwrap();
            if schema["type"] == "object" {
                assert_eq!(schema["additionalProperties"], false, "{reference}");
                bodies += 1;
            }
        }
    }
    assert!(bodies >= 2, "{bodies}");
}

#[tokio::test]
async fn the_page_runs_nothing_but_itself() {
    let server = Running::start().await;
    let page = answer(server.request(Method::GET, "/v1/docs", None)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header(CONTENT_TYPE), Some("text/html; charset=utf-8"));
    let policy = page.header(CONTENT_SECURITY_POLICY).unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for outside in ["http:", "https:", "src=", "@import", "url(", "style=", "onclick="] {
        assert!(!page.text.contains(outside), "{outside}");
    }
    for opening in ["<script>", "<style>"] {
        assert_eq!(page.text.matches(opening).count(), 1, "the policy knows one {opening}");
    }
}
