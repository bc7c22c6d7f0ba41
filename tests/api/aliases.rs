//! Aliases: bound and taken away, looked up both ways.

use reqwest::StatusCode;
use serde_json::{Value, json};

use tidings::client::OpenOptions;

use crate::harness::{Online, Running};

/// The peer on a device with this name.
async fn open(server: &Running, peer: &str, device: &str) -> Online {
    let options = OpenOptions::new(peer.parse().unwrap()).device(device.parse().unwrap());
    server.open_with(options).await
}

/// What becomes of these bindings: a status each, or the name of the problem.
async fn change(server: &Running, path: &str, bindings: &[(&str, &str)]) -> Vec<String> {
    let binding = |(alias, device): &(&str, &str)| json!({"alias": alias, "device": device});
    let bindings: Vec<_> = bindings.iter().map(binding).collect();
    let told = server.post(path, json!({"bindings": bindings})).await.ok();
    let outcome = |(index, result): (usize, &Value)| {
        let Some(problem) = result.get("problem") else { return result["status"].to_string() };
        assert_eq!(problem["status"], result["status"]);
        assert_eq!(problem["instance"], format!("#/bindings/{index}"));
        let kind = problem["type"].as_str().unwrap();
        kind.strip_prefix("urn:tidings:problem:").unwrap().to_owned()
    };
    told["results"].as_array().unwrap().iter().enumerate().map(outcome).collect()
}

async fn bind(server: &Running, bindings: &[(&str, &str)]) -> Vec<String> {
    change(server, "/v1/aliases", bindings).await
}

async fn unbind(server: &Running, bindings: &[(&str, &str)]) -> Vec<String> {
    change(server, "/v1/aliases/unbind", bindings).await
}

/// The devices of an alias; none if there is no such alias.
async fn devices(server: &Running, alias: &str) -> Vec<String> {
    let answer = server.get(&format!("/v1/aliases/{alias}")).await;
    if answer.status == StatusCode::NOT_FOUND {
        assert_eq!(answer.problem(), "no-such-alias");
        return Vec::new();
    }
    let told = answer.ok();
    let name = |device: &Value| device["device"].as_str().unwrap().to_owned();
    let mut devices: Vec<_> = told["devices"].as_array().unwrap().iter().map(name).collect();
    devices.sort();
    devices
}

async fn alias(server: &Running, device: &str) -> Option<String> {
    let told = server.get(&format!("/v1/devices/{device}")).await.ok();
    told.get("alias").map(|alias| alias.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_alias_is_looked_up_both_ways_and_outlives_a_restart() {
    let mut server = Running::start().await;
    let phone = open(&server, "ann", "phone").await;
    let _pad = open(&server, "bob", "pad").await;
    assert_eq!(bind(&server, &[("home", "phone"), ("home", "pad")]).await, ["204", "204"]);
    phone.session.close().await.unwrap();
    let told = server.get("/v1/aliases/home").await.ok();
    assert_eq!(told["alias"], "home");
    for expected in [
        json!({"device": "pad", "peer": "bob", "online": true, "gone": false}),
        json!({"device": "phone", "peer": "ann", "online": false, "gone": true}),
    ] {
        assert!(told["devices"].as_array().unwrap().contains(&expected), "{told}");
        let device = expected["device"].as_str().unwrap();
        let mut with_alias = expected.clone();
        with_alias["alias"] = json!("home");
        assert_eq!(server.get(&format!("/v1/devices/{device}")).await.ok(), with_alias);
    }
    server.restart().await;
    assert_eq!(devices(&server, "home").await, ["pad", "phone"]);
    // Who opens on the device from now on is reached by its alias.
    let _cat = open(&server, "cat", "phone").await;
    let expected = json!({
        "device": "phone", "peer": "cat", "online": true, "gone": false, "alias": "home",
    });
    assert_eq!(server.get("/v1/devices/phone").await.ok(), expected);
}

#[tokio::test]
async fn a_device_has_one_alias_and_a_new_one_takes_its_place() {
    let server = Running::start().await;
    let _phone = open(&server, "ann", "phone").await;
    assert_eq!(alias(&server, "phone").await, None);
    assert_eq!(bind(&server, &[("old", "phone"), ("old", "phone")]).await, ["204", "204"]);
    assert_eq!(bind(&server, &[("new", "phone")]).await, ["204"]);
    assert_eq!(alias(&server, "phone").await.as_deref(), Some("new"));
    assert_eq!(devices(&server, "new").await, ["phone"]);
    assert_eq!(devices(&server, "old").await, [""; 0]);
}

#[tokio::test]
async fn an_alias_has_ten_devices_and_not_one_more() {
    let server = Running::start().await;
    let mut online = Vec::new();
    let names: Vec<_> = (0..11).map(|index| format!("d{index}")).collect();
    for name in &names {
        online.push(open(&server, name, name).await);
    }
    let all: Vec<_> = names.iter().map(|name| ("family", name.as_str())).collect();
    let mut expected = vec!["204"; 10];
    expected.push("alias-full");
    assert_eq!(bind(&server, &all).await, expected);
    assert_eq!(devices(&server, "family").await.len(), 10);
    let full = online[10].session.bind_alias(&"family".parse().unwrap()).await;
    assert!(full.is_err());
    assert_eq!(unbind(&server, &[("family", "d0")]).await, ["204"]);
    assert_eq!(bind(&server, &[("family", "d10")]).await, ["204"]);
}

#[tokio::test]
async fn a_binding_that_is_refused_holds_up_no_other() {
    let server = Running::start().await;
    let (_phone, _pad) = (open(&server, "ann", "phone").await, open(&server, "bob", "pad").await);
    let longest = "\u{e4}".repeat(80);
    let long = format!("{longest}x");
    let all =
        [("a", "phone"), ("a", "none"), ("", "pad"), (&long, "pad"), ("a", ""), (&longest, "pad")];
    let told = bind(&server, &all);
    let expected = ["204", "no-such-device", "invalid-body", "invalid-body", "invalid-body", "204"];
    assert_eq!(told.await, expected);
    assert_eq!(alias(&server, "pad").await, Some(longest));
    let wrong = json!([{"alias": "a", "device": "pad", "more": 1}, {"alias": "a"}, 7]);
    let told = server.post("/v1/aliases", json!({"bindings": wrong})).await.ok();
    for result in told["results"].as_array().unwrap() {
        assert_eq!(result["status"], 422);
    }
    assert_eq!(devices(&server, "a").await, ["phone"]);
}

#[tokio::test]
async fn a_thousand_bindings_come_at_once_and_not_one_more() {
    let server = Running::start().await;
    let _phone = open(&server, "ann", "phone").await;
    let names: Vec<_> = (0..1000).map(|index| format!("a{index}")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), "phone")).collect();
    assert_eq!(bind(&server, &all).await, ["204"; 1000]);
    // They are bound in their order.
    assert_eq!(alias(&server, "phone").await.as_deref(), Some("a999"));
    for path in ["/v1/aliases", "/v1/aliases/unbind"] {
        let binding = json!({"alias": "a", "device": "phone"});
        for refused in [vec![binding.clone(); 1001], Vec::new()] {
            let refused = server.post(path, json!({"bindings": refused})).await;
            assert_eq!(refused.problem(), "invalid-body");
        }
        let unknown = server.post(path, json!({"bindings": [binding], "more": 1})).await;
        assert_eq!(unknown.problem(), "invalid-body");
    }
}

#[tokio::test]
async fn an_alias_is_taken_from_one_device_or_from_all() {
    let server = Running::start().await;
    let mut online = Vec::new();
    for name in ["d0", "d1", "d2", "d3"] {
        online.push(open(&server, name, name).await);
    }
    bind(&server, &[("a", "d0"), ("a", "d1"), ("a", "d2"), ("b", "d3")]).await;
    let told = unbind(&server, &[("a", "d0"), ("a", "d0"), ("a", "d3"), ("c", "d3"), ("a", "d4")]);
    let none = "no-such-alias";
    assert_eq!(told.await, ["204", none, none, none, none]);
    assert_eq!(devices(&server, "a").await, ["d1", "d2"]);
    assert_eq!(server.delete("/v1/aliases/a").await.expect(StatusCode::NO_CONTENT), Value::Null);
    assert_eq!(devices(&server, "a").await, [""; 0]);
    assert_eq!((alias(&server, "d1").await, alias(&server, "d2").await), (None, None));
    assert_eq!(devices(&server, "b").await, ["d3"]);
    assert_eq!(server.delete("/v1/aliases/a").await.problem(), none);
}

#[tokio::test]
async fn an_alias_and_a_device_may_have_any_name() {
    let server = Running::start().await;
    let names = [
        ("a/b c%d?e#f", "a%2Fb%20c%25d%3Fe%23f"),
        ("\u{5f20}\u{4e09}:4711", "%E5%BC%A0%E4%B8%89%3A4711"),
        ("a+b&c=d;\"<>\\", "a+b%26c%3Dd%3B%22%3C%3E%5C"),
        ("unbind", "%75nbind"),
    ];
    for (name, encoded) in names {
        let _online = open(&server, "ann", name).await;
        assert_eq!(bind(&server, &[(name, name)]).await, ["204"]);
        assert_eq!(devices(&server, encoded).await, [name]);
        assert_eq!(alias(&server, encoded).await.as_deref(), Some(name));
        let path = format!("/v1/aliases/{encoded}");
        server.delete(&path).await.expect(StatusCode::NO_CONTENT);
        assert_eq!(alias(&server, encoded).await, None);
    }
    for wrong in ["%ff", "%0a", &"x".repeat(161)] {
        let refused = server.get(&format!("/v1/aliases/{wrong}")).await;
        assert_eq!(refused.problem(), "invalid-path", "{wrong}");
    }
    let refused = server.get(&format!("/v1/devices/{}", "x".repeat(65))).await;
    assert_eq!(refused.problem(), "invalid-path");
    let unknown = server.get("/v1/devices/none").await;
    assert_eq!(
        (unknown.status, unknown.problem()),
        (StatusCode::NOT_FOUND, "no-such-device".into())
    );
}
