//! `tidings admin`: each command against a server of its own.
//!
//! # Invariants
//!
//! * What a command shows is held to what the server's clients see.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Running, in_time, run, serve, text, tidings};

/// A server with its API, and who asks it.
struct Asked {
    home: TempDir,
    server: Running,
    /// Of QUIC.
    address: String,
    url: String,
    /// The master key.
    key: String,
}

impl Asked {
    fn start() -> Self {
        let home = TempDir::new().unwrap();
        let (mut server, address, _) = serve(&home, &["--http-listen", "127.0.0.1:0"]);
        let line = server.hears("http: listening on ");
        let url = line.rsplit_once(' ').unwrap().1.to_owned();
        server.hears("A master key for the HTTP API was made");
        assert_eq!(server.line(), "");
        let key = server.line().trim_start().to_owned();
        assert!(key.starts_with("tdk_"), "{key}");
        Self { home, server, address, url, key }
    }

    /// Asks with the key of the data folder.
    fn ask(&self, args: &[&str]) -> Output {
        run(&self.home, &[&["admin", "--url", &self.url], args].concat())
    }

    /// What a command says that has to go well.
    fn says(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{args:?}");
        text(&output.stdout)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[args, &["--json"]].concat())).unwrap()
    }

    /// What a command says that has to fail with this code.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args:?}");
        text(&output.stderr)
    }

    /// A peer that listens, with its device.
    fn listen(&self, peer: &str) -> (Running, String) {
        let mut listener =
            Running::start(tidings(&self.home, &["listen", peer, "--server", &self.address]));
        listener.await_log(&format!("{peer} listens on device"));
        let device = self.json(&["peer", peer])["sessions"][0]["device"].clone();
        (listener, device.as_str().unwrap().to_owned())
    }

    fn stop(self) {
        assert_eq!(self.server.stop("TERM").0.code(), Some(0));
    }
}

/// The columns of a line that begins with this word.
fn columns<'a>(said: &'a str, first: &str) -> Vec<&'a str> {
    let line = said.lines().find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_else(|| panic!("no {first} in\n{said}")).split_whitespace().collect()
}

#[test]
fn messages_are_sent_found_and_taken_back() {
    let asked = Asked::start();
    let (mut bob, device) = asked.listen("bob");
    let said = asked.says(&["send", "--to", "bob", "--to", "cat", "--from", "ann", "hello, two"]);
    assert_eq!(columns(&said, "bob")[2], "online", "{said}");
    assert_eq!(columns(&said, "cat")[2], "offline", "{said}");
    assert_eq!(columns(&said, "online")[1], "1", "{said}");
    assert!(bob.line().contains("hello, two"));

    asked.says(&["send", "--device", &device, "--ttl", "10m", "to the device"]);
    assert_eq!(bob.line(), "system: to the device");
    asked.says(&["send", "--to", "bob", "--transient", "now"]);
    assert!(bob.line().starts_with("system: now"));
    let once = ["send", "--to", "bob", "--idempotency-key", "order-1", "once"];
    let first = asked.json(&once);
    let again = asked.json(&once);
    assert_eq!(first["messages"][0]["id"], again["messages"][0]["id"]);
    assert_eq!(again["messages"][0]["repeated"], true);
    assert_eq!(bob.line(), "system: once");

    let mut command = tidings(&asked.home, &["admin", "--url", &asked.url]);
    command.args(["send", "--to", "bob", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe\n").unwrap();
    let output = in_time("a send", move || child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(bob.line(), "system: from a pipe");

    let id = first["messages"][0]["id"].as_str().unwrap();
    assert_eq!(asked.says(&["recall", id]), "the message is taken back\n");
    bob.hears("taken back");
    let refused = asked.fails(1, &["recall", "1"]);
    assert!(refused.starts_with("tidings: There is no such message: "), "{refused}");
    assert!(refused.contains(" (request "), "{refused}");

    history_is_shown_and_exported(&asked, id);
    assert_eq!(bob.stop("INT").0.code(), Some(0));
    asked.stop();
}

/// After the messages above; `recalled` was taken back.
fn history_is_shown_and_exported(asked: &Asked, recalled: &str) {
    let ann = asked.says(&["history", "--with", "ann,bob,cat", "--since", "1h"]);
    assert_eq!(ann.lines().count(), 2, "{ann}");
    assert!(ann.ends_with("  1         ann   bob, cat  hello, two\n"), "{ann}");
    let from = asked.says(&["history", "--from", "system"]);
    let bodies = ["from a pipe", "(taken back)", "to the device"];
    for (line, body) in from.lines().skip(1).zip(bodies) {
        assert!(line.ends_with(body), "{body:?} is not in {line:?}");
    }
    assert!(from.contains(recalled), "{from}");
    assert_eq!(asked.says(&["history", "--until", "2020-01-01T00:00:00Z"]), "there are none\n");
    let page = asked.ask(&["history", "--limit", "1"]);
    let before = text(&page.stderr);
    let before = before.split('\'').nth(1).expect(&before);
    let rest = asked.json(&["history", "--before", before]);
    assert_eq!(rest["items"].as_array().unwrap().len(), 3, "{rest}");

    let export = asked.says(&["history", "--export"]);
    let lines: Vec<&str> = export.lines().collect();
    assert_eq!((lines.len(), lines[4]), (5, "{\"end\":true}"));
    for line in &lines[..4] {
        assert!(serde_json::from_str::<Value>(line).unwrap()["id"].is_string(), "{line}");
    }
    let two = asked.fails(64, &["history", "--from", "ann", "--with", "ann,bob"]);
    assert!(two.contains("cannot be used with"), "{two}");
}

#[test]
fn peers_are_looked_at_kicked_and_blocked() {
    let asked = Asked::start();
    let (mut bob, device) = asked.listen("bob");
    assert_eq!(asked.says(&["status", "bob", "ann"]), "online   bob\noffline  ann\n");
    let said = asked.says(&["peer", "bob"]);
    assert_eq!(columns(&said, "online")[1], "yes", "{said}");
    assert!(columns(&said, &device).contains(&"pc"), "{said}");
    assert!(asked.says(&["peer", "status"]).contains("no sessions\nno devices\n"));

    let ended = asked.says(&["kick", "bob", "--device", &device, "--reason", "go home"]);
    assert_eq!(ended, "ended  1\n");
    bob.await_log("go home");
    assert_eq!(bob.end().0.code(), Some(1));
    assert_eq!(asked.says(&["kick", "bob"]), "ended  0\n");

    let (mut bob, _) = asked.listen("bob");
    assert_eq!(asked.says(&["block", "bob"]), "the peer is blocked\n");
    bob.await_log("the app has blocked this peer");
    assert_eq!(bob.end().0.code(), Some(1));
    assert_eq!(asked.says(&["blocked"]), "peer\nbob\n");
    assert_eq!(columns(&asked.says(&["peer", "bob"]), "blocked")[1], "yes");
    assert_eq!(asked.says(&["unblock", "bob"]), "the peer is not blocked\n");
    assert_eq!(asked.says(&["blocked"]), "there are none\n");
    assert_eq!(asked.listen("bob").0.stop("INT").0.code(), Some(0));
    asked.stop();
}

#[test]
fn groups_are_made_changed_and_deleted() {
    let asked = Asked::start();
    let made = asked.json(&[
        "groups",
        "create",
        "--member",
        "ann",
        "--member",
        "bob",
        "--invite",
        "server",
        "--metadata",
        "{\"name\": \"Tuesday\"}",
    ]);
    let group = made["group"].as_str().unwrap();
    assert_eq!((&made["count"], &made["rules"]["invite"]), (&2.into(), &"server".into()));
    let shown = asked.says(&["groups", "show", group]);
    assert_eq!(columns(&shown, "metadata")[1], "{\"name\":\"Tuesday\"}", "{shown}");
    assert_eq!(columns(&shown, "creator")[1..], ["the", "app"], "{shown}");
    assert_eq!(columns(&asked.says(&["groups", "list"]), group)[1], "2");
    assert_eq!(asked.says(&["groups", "members", group]), "peer\nann\nbob\n");
    let page = asked.ask(&["groups", "members", group, "--limit", "1"]);
    assert_eq!(text(&page.stdout), "peer\nann\n");
    assert_eq!(text(&page.stderr), "there are more: go on with --after 'ann'\n");
    asked.says(&["groups", "add", group, "cat", "dan"]);
    asked.says(&["groups", "remove", group, "ann"]);
    assert_eq!(asked.says(&["groups", "members", group, "--after", "bob"]), "peer\ncat\ndan\n");

    asked.says(&["send", "--group", group, "--from", "bob", "to the group"]);
    let said = asked.says(&["history", "--group", group]);
    assert!(said.contains(&format!("group {group}  to the group\n")), "{said}");

    let old = made["version"].as_str().unwrap();
    let refused = asked.fails(1, &["groups", "edit", group, "--kick", "members", "--version", old]);
    assert!(refused.starts_with("tidings: It has another version by now: "), "{refused}");
    let edit = ["groups", "edit", group, "--kick", "members", "--metadata", "1.10", "--json"];
    let edited = asked.says(&edit);
    assert!(edited.contains("\"metadata\":1.10"), "as it was written: {edited}");
    let edited: Value = serde_json::from_str(&edited).unwrap();
    assert_eq!(edited["rules"]["kick"], "members");
    let open = asked.says(&["groups", "create", "--open"]);
    assert_eq!(columns(&open, "open")[1], "yes", "{open}");
    let version = edited["version"].as_str().unwrap();
    let deleted = asked.says(&["groups", "delete", group, "--version", version]);
    assert_eq!(deleted, "the group is deleted\n");
    assert!(asked.fails(1, &["groups", "show", group]).contains("There is no such group"));
    let metadata = asked.fails(64, &["groups", "create", "--metadata", "{"]);
    assert!(metadata.contains("not JSON"), "{metadata}");
    asked.stop();
}

#[test]
fn aliases_are_bound_and_looked_up_both_ways() {
    let asked = Asked::start();
    let (mut bob, device) = asked.listen("bob");
    let alias = "customer/47 11";
    assert_eq!(asked.says(&["alias", "bind", alias, &device]), "the alias is bound\n");
    let shown = asked.says(&["alias", "show", alias]);
    assert_eq!(columns(&shown, &device), [&device, "bob", "yes", "no"], "{shown}");
    assert_eq!(asked.json(&["alias", "device", &device])["alias"], alias);
    asked.says(&["send", "--alias", alias, "by its alias"]);
    assert_eq!(bob.line(), "system: by its alias");
    assert_eq!(asked.says(&["alias", "unbind", alias, &device]), "the alias is unbound\n");
    assert!(asked.fails(1, &["alias", "show", alias]).contains("There is no such alias"));
    let refused = asked.fails(1, &["alias", "unbind", alias, &device]);
    assert!(refused.starts_with("tidings: There is no such alias: "), "{refused}");
    asked.says(&["alias", "bind", alias, &device]);
    asked.says(&["alias", "unbind", alias, "--all"]);
    assert!(asked.fails(1, &["alias", "bind", alias, "none"]).contains("no such device"));
    asked.fails(64, &["alias", "unbind", alias]);
    assert_eq!(bob.stop("INT").0.code(), Some(0));
    asked.stop();
}

#[test]
fn what_clients_send_to_the_app_is_accepted_or_refused() {
    let asked = Asked::start();
    let mut chat = tidings(&asked.home, &["chat", "bob", "--server", &asked.address]);
    chat.stdin(Stdio::piped());
    let mut bob = Running::start(chat);
    let mut stdin = bob.child.stdin.take().unwrap();
    for (text, command, words, done) in [
        ("two lamps", "accept", "the message is accepted\n", "the app has accepted message "),
        ("no lamps", "refuse", "the message is refused\n", "the app has not accepted message "),
    ] {
        stdin.write_all(format!("/upstream {text}\n").as_bytes()).unwrap();
        bob.hears(" to the app: sent");
        let listed = asked.says(&["upstream", "list"]);
        assert!(listed.ends_with(&format!("{text}\n")), "{listed}");
        let waiting = asked.json(&["upstream", "list"]);
        let id = waiting["items"][0]["id"].as_str().unwrap();
        assert_eq!(asked.says(&["upstream", command, id]), words);
        bob.hears(&format!("{done}{id}"));
    }
    assert_eq!(asked.says(&["upstream", "list"]), "there are none\n");
    drop(stdin);
    assert_eq!(bob.end().0.code(), Some(0));
    asked.stop();
}

#[test]
fn keys_are_made_used_rotated_and_deleted() {
    let asked = Asked::start();
    let made = asked.says(&["keys", "create", "push", "--scope", "send"]);
    let secret = columns(&made, "secret")[1];
    let listed = asked.says(&["keys", "list"]);
    assert_eq!(columns(&listed, "push")[1..3], ["send", &secret[secret.len() - 4..]], "{listed}");
    assert!(!listed.contains(secret) && !listed.contains(&asked.key));

    let refused = asked.fails(1, &["stats", "--key", secret]);
    let title = "tidings: The key does not have the scope that is required: the scope read is \
                 required (request ";
    assert!(refused.starts_with(title), "{refused}");
    assert!(!refused.contains(secret), "{refused}");
    let mut command = tidings(&asked.home, &["admin", "send", "--to", "bob", "hello"]);
    command.env("TIDINGS_API_KEY", secret).env("TIDINGS_ADMIN_URL", &asked.url);
    command.env("TIDINGS_DATA", "nowhere");
    let child = command.spawn().unwrap();
    let output = in_time("a send", move || child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let rotated = asked.json(&["keys", "rotate", "push", "--grace", "1h"]);
    assert_ne!(rotated["secret"], secret);
    assert!(rotated["previous_until_ms"].is_u64());
    assert_eq!(asked.says(&["keys", "delete", "push"]), "the key is deleted\n");
    assert!(asked.fails(1, &["keys", "delete", "push"]).contains("There is no key of this name"));
    asked.stop();
}

#[test]
fn figures_are_shown_once_and_line_by_line() {
    let asked = Asked::start();
    let (bob, _) = asked.listen("bob");
    let stats = asked.says(&["stats"]);
    assert_eq!(columns(&stats, "sessions"), ["sessions", "1"]);
    assert_eq!(columns(&stats, "version")[1], env!("CARGO_PKG_VERSION"));
    let told = asked.json(&["stats"]);
    assert_eq!(stats.lines().count(), told.as_object().unwrap().len(), "{stats}");
    assert!(asked.says(&["metrics"]).contains("\ntidings_sessions 1\n"));

    let once = asked.says(&["top", "--once"]);
    assert_eq!(once.lines().count(), 1, "{once}");
    assert!(once.contains("  sessions 1  connections 1  "), "{once}");
    let json = asked.json(&["top", "--once"]);
    assert_eq!(json["sessions"], 1.0);
    // The reading of the figures itself.
    assert!(json["http_requests_per_second"].as_f64().unwrap() > 0.0, "{json}");
    assert!(json["memory_bytes"].as_f64().unwrap() > 1e6, "{json}");

    let mut top = Running::start(tidings(&asked.home, &["admin", "--url", &asked.url, "top"]));
    for _ in 0..2 {
        assert!(top.line().contains("sessions 1"));
    }
    assert_eq!(top.stop("INT").0.code(), Some(0));
    assert_eq!(bob.stop("INT").0.code(), Some(0));
    asked.stop();
}

#[test]
fn who_may_not_ask_or_finds_no_server_is_told_so() {
    let asked = Asked::start();
    let refused = asked.fails(1, &["stats", "--key", "tdk_wrong"]);
    let words = "tidings: A valid key is required: the key is not valid (request ";
    assert!(refused.starts_with(words), "{refused}");
    assert!(!refused.contains("tdk_wrong"), "{refused}");
    let none = asked.fails(1, &["stats", "--data", "nowhere"]);
    assert!(none.starts_with("tidings: no key: no server has run"), "{none}");
    let far = run(&asked.home, &["admin", "stats", "--url", "http://192.0.2.1:7480"]);
    assert_eq!(far.status.code(), Some(64));
    assert_eq!(text(&far.stderr), "tidings: no key: give --key, or set TIDINGS_API_KEY\n");
    let mut help = tidings(&asked.home, &["admin", "--help"]);
    help.env("TIDINGS_API_KEY", &asked.key);
    let child = help.spawn().unwrap();
    let help = in_time("help", move || child.wait_with_output().unwrap());
    assert!(text(&help.stdout).contains("--key <KEY>"));
    assert!(!text(&help.stdout).contains(&asked.key));

    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let nobody = run(&asked.home, &["admin", "stats", "--url", &url]);
    assert_eq!(nobody.status.code(), Some(1));
    let said = text(&nobody.stderr);
    assert!(said.starts_with(&format!("tidings: nothing listens at {url}")), "{said}");
    for wrong in ["ftp://127.0.0.1", &format!("{}?key=a", asked.url)] {
        let refused = run(&asked.home, &["admin", "stats", "--url", wrong]);
        assert_eq!(refused.status.code(), Some(64), "{wrong}");
    }
    asked.stop();
}
