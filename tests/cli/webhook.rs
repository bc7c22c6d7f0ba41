//! `tidings webhook listen`, told by a server.

use tempfile::TempDir;

use crate::harness::{Running, run, serve, tidings};

/// A receiver on a free port, with its URL.
fn listen(home: &TempDir, more: &[&str]) -> (Running, String) {
    let args = [&["webhook", "listen", "--port", "0"], more].concat();
    let mut receiver = Running::start(tidings(home, &args));
    let line = receiver.await_log("listening on ");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect(&line);
    let url = url.to_owned();
    (receiver, url)
}

#[test]
fn a_receiver_verifies_and_prints_what_a_server_tells_and_allows_what_it_asks() {
    let home = TempDir::new().unwrap();
    let (mut good, url) = listen(&home, &["--secret", "geheim"]);
    let (mut bad, other) = listen(&home, &["--secret", "wrong", "--dialect", "wukongim"]);
    let table = format!("[[endpoint]]\nid = 'b'\nurl = '{other}'\ndialect = 'wukongim'\n");
    std::fs::write(home.path().join("t.toml"), table + "secret = 'geheim'\n").unwrap();
    let networks = ["--webhook-networks", "127.0.0.0/8", "--webhook-secret", "geheim"];
    let hook = ["--hook-url", &url, "--hook-secret", "geheim", "--hook-timeout", "5s"];
    let more = ["--config", "t.toml", "--webhook-url", &url, "--hook-on-error", "refuse"];
    let (server, address, _) = serve(&home, &[&networks[..], &hook, &more].concat());
    let send = ["send", "--server", &address, "--from", "ann", "--to", "bob", "hello \u{1b}[31m"];
    let sent = run(&home, &send);
    assert!(sent.status.success(), "{sent:?}");
    let asked = good.hears("message.ask");
    assert!(asked.contains("hello \\u001b[31m"), "{asked}");
    good.hears(", verified");
    good.hears("message.sent");
    let line = bad.hears("DOES NOT VERIFY");
    assert!(line.contains("?event="), "{line}");
    // It was not refused, so it comes again.
    bad.hears("DOES NOT VERIFY");
    drop(server);
    let (status, _) = good.stop("INT");
    assert!(status.success(), "{status}");
}

#[test]
fn a_secret_that_is_none_is_not_repeated() {
    let home = TempDir::new().unwrap();
    let failed = run(&home, &["webhook", "listen", "--port", "0", "--secret", "whsec_geheim"]);
    assert_eq!(failed.status.code(), Some(64), "{failed:?}");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("--secret") && !said.contains("geheim"), "{said}");
}
