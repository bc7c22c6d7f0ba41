//! Groups as the back end runs them, and what their members hear of it.

use futures_util::future::join_all;
use reqwest::header::{ETAG, IF_MATCH, LOCATION};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use tidings::client::{Event, GroupEdit, NewGroup, Outgoing};
use tidings::group::{GroupChange, Rules, Who};
use tidings::id::{GroupId, PeerId};

use crate::harness::{Answer, Online, Running, answer};

fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

fn peers(ids: &str) -> Vec<PeerId> {
    ids.split_whitespace().map(peer).collect()
}

/// A group with these members.
async fn made(server: &Running, members: &[&str]) -> Value {
    server.post("/v1/groups", json!({"members": members})).await.expect(StatusCode::CREATED)
}

fn path_of(group: &Value) -> String {
    format!("/v1/groups/{}", group["group"].as_str().unwrap())
}

fn id_of(group: &Value) -> GroupId {
    group["group"].as_str().unwrap().parse().unwrap()
}

/// A request that demands a version.
async fn demanding(server: &Running, method: Method, path: &str, tag: &str, body: Value) -> Answer {
    let request = server.request(method, path, Some(&server.master)).header(IF_MATCH, tag);
    answer(if body.is_null() { request } else { request.json(&body) }).await
}

async fn members(server: &Running, group: &Value) -> Value {
    server.get(&format!("{}/members", path_of(group))).await.ok()["items"].clone()
}

/// The next change of a group that a peer is told of.
async fn change(online: &mut Online) -> (GroupChange, Option<PeerId>, Vec<PeerId>) {
    loop {
        match online.event().await {
            Event::Joined(notice)
            | Event::Invited(notice)
            | Event::Left(notice)
            | Event::MembersJoined(notice)
            | Event::MembersLeft(notice)
            | Event::GroupEdited(notice) => return (notice.change, notice.by, notice.peers),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_group_is_made_and_read_as_it_was_made() {
    let mut server = Running::start().await;
    let new = json!({
        "members": ["bob", "ann", "bob"],
        "rules": {"invite": "server", "edit": "members"},
        "metadata": {"name": "Tuesday", "icons": [1.50, null]},
    });
    let made = server.post("/v1/groups", new).await;
    let group = made.expect(StatusCode::CREATED);
    let path = path_of(&group);
    assert_eq!(made.header(LOCATION), Some(path.as_str()));
    let tag = format!("\"{}\"", group["version"].as_str().unwrap());
    assert_eq!(made.header(ETAG), Some(tag.as_str()));
    assert_eq!((&group["count"], &group["open"]), (&json!(2), &json!(false)));
    assert_eq!(group["creator"], Value::Null);
    assert_eq!(group["rules"], json!({"invite": "server", "kick": "creator", "edit": "members"}));
    assert_eq!(group["metadata"], json!({"name": "Tuesday", "icons": [1.50, null]}));
    assert!(group["created_ms"].as_i64().unwrap() > 1_700_000_000_000);
    for _ in 0..2 {
        let read = server.get(&path).await;
        assert_eq!((read.ok(), read.header(ETAG)), (group.clone(), Some(tag.as_str())));
        assert_eq!(members(&server, &group).await, json!(["ann", "bob"]));
        server.restart().await;
    }
}

#[tokio::test]
async fn a_group_with_nothing_said_is_empty_and_has_the_usual_rules() {
    let server = Running::start().await;
    let group = server.post("/v1/groups", json!({})).await.expect(StatusCode::CREATED);
    assert_eq!((&group["count"], &group["metadata"]), (&json!(0), &Value::Null));
    assert_eq!(group["rules"], json!({"invite": "members", "kick": "creator", "edit": "creator"}));
    let page = server.get(&format!("{}/members", path_of(&group))).await.ok();
    assert_eq!(page, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn metadata_is_kept_as_it_was_written_but_for_white_space() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let body = "{\"members\": [\"ann\"], \"metadata\": { \"z\" : 1.10,\n\
                \"a\": 123456789012345678901, \"é\": \"\\u00e9 \\\" \" }}";
    let request = server.request(Method::POST, "/v1/groups", Some(&server.master));
    let request = request.header("content-type", "application/json").body(body);
    let made = answer(request).await;
    let group = made.expect(StatusCode::CREATED);
    let compact = "{\"z\":1.10,\"a\":123456789012345678901,\"é\":\"\\u00e9 \\\" \"}";
    assert!(made.text.contains(&format!("\"metadata\":{compact}")), "{}", made.text);
    let page = ann.session.members(id_of(&group), None, 10).await.unwrap();
    assert_eq!(page.group.metadata, compact.as_bytes());
    // What a client has written comes as it is, too.
    let loose = "{ \"b\" : 2,\"a\" : 1 }";
    let mine = NewGroup { metadata: loose.into(), ..NewGroup::default() };
    let mine = ann.session.create_group(mine).await.unwrap().id;
    let read = server.get(&format!("/v1/groups/{mine}")).await;
    assert!(read.text.contains(loose), "{}", read.text);
    assert_eq!(read.ok()["creator"], "ann");
}

#[tokio::test]
async fn metadata_has_8_kib_and_not_one_byte_more() {
    let server = Running::start().await;
    let text = |bytes: usize| json!({"metadata": "x".repeat(bytes - 2)});
    let group = server.post("/v1/groups", text(8192)).await.expect(StatusCode::CREATED);
    assert_eq!(server.post("/v1/groups", text(8193)).await.problem(), "invalid-body");
    let path = path_of(&group);
    assert_eq!(server.patch(&path, text(8193)).await.problem(), "invalid-body");
    server.patch(&path, text(8191)).await.ok();
}

#[tokio::test]
async fn what_is_no_group_is_refused() {
    let server = Running::start().await;
    for refused in [
        json!({"member": ["ann"]}),
        json!({"members": ["a:b"]}),
        json!({"members": [1]}),
        json!({"rules": {"invite": "all"}}),
        json!({"rules": {"send": "members"}}),
        json!({"open": true, "members": ["ann"]}),
        json!({"open": "yes"}),
        json!([]),
    ] {
        let answer = server.post("/v1/groups", refused.clone()).await;
        assert_eq!(answer.problem(), "invalid-body", "{refused}");
    }
    assert_eq!(server.get("/v1/groups").await.ok(), json!({"items": [], "next": null}));
    for path in ["/v1/groups/none", "/v1/groups/0123456789abcdef0123456x/members"] {
        assert_eq!(server.get(path).await.problem(), "invalid-path");
    }
    let nowhere = "/v1/groups/0123456789abcdef01234567";
    assert_eq!(server.get(nowhere).await.problem(), "no-such-group");
    assert_eq!(server.get(&format!("{nowhere}/members")).await.problem(), "no-such-group");
    assert_eq!(server.patch(nowhere, json!({})).await.problem(), "no-such-group");
    assert_eq!(server.delete(nowhere).await.problem(), "no-such-group");
    let ann = json!({"peers": ["ann"]});
    for path in ["members", "members/remove"] {
        let answer = server.post(&format!("{nowhere}/{path}"), ann.clone()).await;
        assert_eq!(answer.problem(), "no-such-group");
    }
}

#[tokio::test]
async fn a_group_has_a_thousand_members_and_not_one_more() {
    let server = Running::start().await;
    let ids = |from: usize, to: usize| (from..to).map(|i| format!("p{i:04}")).collect::<Vec<_>>();
    let full = json!({"members": ids(0, 1000)});
    let group = server.post("/v1/groups", full).await.expect(StatusCode::CREATED);
    assert_eq!(group["count"], 1000);
    let over = server.post("/v1/groups", json!({"members": ids(0, 1001)})).await;
    assert_eq!(over.problem(), "invalid-body");
    let path = format!("{}/members", path_of(&group));
    let one = server.post(&path, json!({"peers": ["one"]})).await;
    assert_eq!((one.status, one.problem()), (StatusCode::CONFLICT, "group-full".to_owned()));
    for refused in [json!({"peers": ids(0, 1001)}), json!({"peers": []}), json!({})] {
        assert_eq!(server.post(&path, refused.clone()).await.problem(), "invalid-body");
        let remove = format!("{path}/remove");
        assert_eq!(server.post(&remove, refused).await.problem(), "invalid-body");
    }
    let all = server.get(&format!("{path}?limit=1000")).await.ok();
    assert_eq!(all, json!({"items": ids(0, 1000), "next": null}));
    let mut read = Vec::new();
    let mut next = String::new();
    loop {
        let page = server.get(&format!("{path}?limit=333{next}")).await.ok();
        read.extend(page["items"].as_array().unwrap().clone());
        let Some(last) = page["next"].as_str() else { break };
        next = format!("&after={last}");
    }
    assert_eq!(json!(read), json!(ids(0, 1000)));
    for refused in ["limit=0", "limit=1001", "after=a:b", "before=ann"] {
        assert_eq!(server.get(&format!("{path}?{refused}")).await.problem(), "invalid-query");
    }
    let gone = server.post(&format!("{path}/remove"), json!({"peers": ids(0, 1000)})).await.ok();
    assert_eq!(gone["count"], 0);
}

#[tokio::test]
async fn members_are_told_who_comes_and_goes_though_the_back_end_did_it() {
    let server = Running::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let group = made(&server, &["ann"]).await;
    assert_eq!(change(&mut ann).await, (GroupChange::Invited, None, peers("ann")));

    let path = format!("{}/members", path_of(&group));
    let added = server.post(&path, json!({"peers": ["bob", "cat", "ann"]})).await;
    let state = added.ok();
    assert_eq!(state["count"], 3);
    assert_eq!(
        added.header(ETAG),
        Some(format!("\"{}\"", state["version"].as_str().unwrap()).as_str())
    );
    assert_ne!(state["version"], group["version"]);
    for online in [&mut ann, &mut bob] {
        assert_eq!(change(online).await, (GroupChange::Invited, None, peers("bob cat")));
    }
    // They are members like any other.
    ann.session.send(Outgoing::to(id_of(&group), "welcome")).await.unwrap();
    assert_eq!(bob.message().await.body, "welcome");

    let removed = server.post(&format!("{path}/remove"), json!({"peers": ["bob", "dan"]})).await;
    assert_eq!(removed.ok()["count"], 2);
    for online in [&mut ann, &mut bob] {
        assert_eq!(change(online).await, (GroupChange::Kicked, None, peers("bob")));
    }
    assert_eq!(members(&server, &group).await, json!(["ann", "cat"]));
    // Nobody new, nobody gone: nothing changes.
    let same = server.post(&path, json!({"peers": ["ann"]})).await.ok();
    assert_eq!(same["version"], removed.ok()["version"]);
    // Who was away finds it.
    let mut cat = server.open("cat").await;
    assert_eq!(change(&mut cat).await, (GroupChange::Invited, None, peers("bob cat")));
}

#[tokio::test]
async fn an_edit_changes_what_it_names_and_members_hear_of_it() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let group = made(&server, &["ann"]).await;
    let path = path_of(&group);
    change(&mut ann).await;

    let edit = json!({"rules": {"kick": "members"}, "metadata": {"name": "x"}});
    let edited = server.patch(&path, edit).await;
    let state = edited.ok();
    assert_eq!(state["rules"], json!({"invite": "members", "kick": "members", "edit": "creator"}));
    assert_eq!(state["metadata"], json!({"name": "x"}));
    assert_eq!(
        edited.header(ETAG),
        Some(format!("\"{}\"", state["version"].as_str().unwrap()).as_str())
    );
    assert_eq!(change(&mut ann).await, (GroupChange::Edited, None, vec![]));
    let rules = ann.session.members(id_of(&group), None, 1).await.unwrap().group.rules;
    assert_eq!(rules, Rules { kick: Who::Members, ..Rules::default() });

    // What is left out stays; what is so already changes nothing.
    let state = server.patch(&path, json!({"rules": {"edit": "server"}})).await.ok();
    assert_eq!(state["rules"], json!({"invite": "members", "kick": "members", "edit": "server"}));
    assert_eq!(state["metadata"], json!({"name": "x"}));
    for same in [json!({}), json!({"rules": {}}), json!({"metadata": {"name": "x"}})] {
        assert_eq!(server.patch(&path, same).await.ok()["version"], state["version"]);
    }
    let cleared = server.patch(&path, json!({"metadata": null})).await.ok();
    assert_eq!(cleared["metadata"], Value::Null);
    assert_ne!(cleared["version"], state["version"]);
    for refused in
        [json!({"members": []}), json!({"rules": {"kick": "nobody"}}), json!({"open": true})]
    {
        assert_eq!(server.patch(&path, refused).await.problem(), "invalid-body");
    }
}

#[tokio::test]
async fn an_edit_is_made_only_to_the_version_that_if_match_names() {
    let server = Running::start().await;
    let group = made(&server, &["ann"]).await;
    let path = path_of(&group);
    let first = server.get(&path).await.header(ETAG).unwrap().to_owned();
    let edit = |name: &str| json!({"metadata": {"name": name}});
    let patch = |tag: String, body: Value| {
        let (server, path) = (&server, &path);
        async move { demanding(server, Method::PATCH, path, &tag, body).await }
    };
    let second = patch(first.clone(), edit("second")).await;
    assert_eq!(second.ok()["metadata"], json!({"name": "second"}));
    let second = second.header(ETAG).unwrap().to_owned();
    assert_ne!(first, second);

    for stale in [first.clone(), format!("W/{second}"), "\"\"".to_owned(), "\"x\"".to_owned()] {
        let refused = patch(stale, edit("late")).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(refused.problem(), "version-changed");
    }
    for rules in [json!({"rules": {"kick": "server"}}), json!({})] {
        assert_eq!(patch(first.clone(), rules).await.problem(), "version-changed");
    }
    assert_eq!(server.get(&path).await.ok()["metadata"], json!({"name": "second"}));
    for malformed in ["", "7", "\"7", "\"7\"\"8\""] {
        assert_eq!(patch(malformed.to_owned(), edit("no")).await.problem(), "invalid-header");
    }
    // One of several is enough, and so is any.
    let third = patch(format!("{first}, {second}"), edit("third")).await;
    assert_eq!(third.ok()["metadata"], json!({"name": "third"}));
    assert_eq!(patch("*".to_owned(), edit("fourth")).await.ok()["metadata"]["name"], "fourth");
    // Without one, the last to write wins.
    assert_eq!(server.patch(&path, edit("fifth")).await.ok()["metadata"]["name"], "fifth");
}

#[tokio::test]
async fn of_all_that_edit_one_version_at_once_one_does() {
    let server = Running::start().await;
    let path = path_of(&made(&server, &[]).await);
    let tag = server.get(&path).await.header(ETAG).unwrap().to_owned();
    let edits = (0..20)
        .map(|number| demanding(&server, Method::PATCH, &path, &tag, json!({"metadata": number})));
    let answers = join_all(edits).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::OK).collect();
    assert_eq!(made.len(), 1);
    let refused = answers.iter().filter(|answer| answer.status != StatusCode::OK);
    refused.for_each(|answer| assert_eq!(answer.problem(), "version-changed"));
    assert_eq!(server.get(&path).await.ok(), made[0].ok());
}

#[tokio::test]
async fn rules_that_are_changed_at_once_do_not_undo_one_another() {
    let server = Running::start().await;
    let path = path_of(&made(&server, &[]).await);
    let edits = ["invite", "kick", "edit"]
        .map(|rule| server.patch(&path, json!({"rules": {rule: "server"}})));
    for answer in join_all(edits).await {
        answer.ok();
    }
    let rules = json!({"invite": "server", "kick": "server", "edit": "server"});
    assert_eq!(server.get(&path).await.ok()["rules"], rules);
}

#[tokio::test]
async fn a_deleted_group_is_no_more_and_its_members_hear_it() {
    let mut server = Running::start().await;
    let mut ann = server.open("ann").await;
    let group = made(&server, &["ann", "bob"]).await;
    let path = path_of(&group);
    let first = server.get(&path).await.header(ETAG).unwrap().to_owned();
    server.patch(&path, json!({"metadata": 1})).await.ok();
    let stale = demanding(&server, Method::DELETE, &path, &first, Value::Null).await;
    assert_eq!(stale.problem(), "version-changed");
    let now = server.get(&path).await.header(ETAG).unwrap().to_owned();
    let gone = demanding(&server, Method::DELETE, &path, &now, Value::Null).await;
    gone.expect(StatusCode::NO_CONTENT);

    while change(&mut ann).await.0 != GroupChange::Deleted {}
    let refused = ann.session.send(Outgoing::to(id_of(&group), "anyone?")).await;
    assert!(refused.is_err(), "{refused:?}");
    for _ in 0..2 {
        assert_eq!(server.get(&path).await.problem(), "no-such-group");
        assert_eq!(server.delete(&path).await.problem(), "no-such-group");
        assert_eq!(server.get("/v1/groups").await.ok()["items"], json!([]));
        server.restart().await;
    }
    let mut bob = server.open("bob").await;
    while change(&mut bob).await.0 != GroupChange::Deleted {}
}

#[tokio::test]
async fn all_groups_are_listed_in_pages() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(made(&server, &[]).await["group"].as_str().unwrap().to_owned());
    }
    ids.push(ann.session.create_group(NewGroup::default()).await.unwrap().id.to_string());
    ids.sort_unstable();
    let of = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|group| group["group"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.get("/v1/groups").await.ok();
    assert_eq!((of(&first), &first["next"]), (ids[..100].to_vec(), &json!(ids[99])));
    let rest = server.get(&format!("/v1/groups?after={}&limit=100", ids[99])).await.ok();
    assert_eq!((of(&rest), &rest["next"]), (ids[100..].to_vec(), &Value::Null));
    let mine = rest["items"].as_array().unwrap().iter().chain(first["items"].as_array().unwrap());
    assert_eq!(mine.filter(|group| group["creator"] == "ann").count(), 1);
    let one = server.get("/v1/groups?limit=1").await.ok();
    assert_eq!((of(&one), &one["next"]), (ids[..1].to_vec(), &json!(ids[0])));
    for refused in ["limit=0", "limit=101", "after=x", "group=x"] {
        assert_eq!(server.get(&format!("/v1/groups?{refused}")).await.problem(), "invalid-query");
    }
}

#[tokio::test]
async fn an_open_group_counts_the_sessions_that_are_in_it_now() {
    let server = Running::start().await;
    let new = json!({"open": true, "metadata": {"name": "the stadium"}});
    let group = server.post("/v1/groups", new).await.expect(StatusCode::CREATED);
    let path = path_of(&group);
    assert_eq!((&group["open"], &group["count"]), (&json!(true), &json!(0)));
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    assert_eq!(ann.session.join(id_of(&group)).await.unwrap().count, 1);
    bob.session.join(id_of(&group)).await.unwrap();
    assert_eq!(server.get(&path).await.ok()["count"], 2);
    assert_eq!(members(&server, &group).await, json!([]));
    bob.session.leave(id_of(&group)).await.unwrap();
    assert_eq!(server.get(&path).await.ok()["count"], 1);
    for path in [format!("{path}/members"), format!("{path}/members/remove")] {
        let refused = server.post(&path, json!({"peers": ["cat"]})).await;
        assert_eq!((refused.status, refused.problem()), (StatusCode::CONFLICT, "conflict".into()));
    }
    assert_eq!(server.patch(&path, json!({"metadata": 1})).await.ok()["metadata"], 1);
    server.delete(&path).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(server.get(&path).await.problem(), "no-such-group");
}

#[tokio::test]
async fn the_back_end_itself_is_no_member() {
    let server = Running::start_with(|config| config.hub.system = peer("office")).await;
    let refused = server.post("/v1/groups", json!({"members": ["ann", "office"]})).await;
    assert_eq!(refused.problem(), "invalid-body");
    assert!(refused.text.contains("reserved for the app's back end"), "{}", refused.text);
    let group = made(&server, &[]).await;
    let path = format!("{}/members", path_of(&group));
    let added = server.post(&path, json!({"peers": ["ann", "office"]})).await;
    assert_eq!(added.problem(), "invalid-body");
    assert_eq!(members(&server, &group).await, json!([]));
    server.post(&format!("{path}/remove"), json!({"peers": ["office"]})).await.ok();
}

#[tokio::test]
async fn the_back_end_may_do_what_members_may_not() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let rules = Rules { invite: Who::Server, kick: Who::Server, edit: Who::Server };
    let mine = NewGroup { rules, ..NewGroup::default() };
    let group = ann.session.create_group(mine).await.unwrap().id;
    let edit = GroupEdit { metadata: Some("1".into()), rules: None };
    assert!(ann.session.edit_group(group, edit).await.is_err());
    assert!(ann.session.invite(group, [peer("bob")]).await.is_err());
    let path = format!("/v1/groups/{group}");
    server.patch(&path, json!({"metadata": 1})).await.ok();
    let added = server.post(&format!("{path}/members"), json!({"peers": ["bob"]})).await.ok();
    assert_eq!(added["count"], 2);
    let left = server.post(&format!("{path}/members/remove"), json!({"peers": ["ann"]})).await.ok();
    assert_eq!(left["count"], 1);
}
