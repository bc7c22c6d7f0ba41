//! The commands with which people talk: `chat`, `listen` and `send`.
//!
//! # Invariants
//!
//! * A test waits for what is said, never for a time.

use std::io::Write;
use std::process::{ChildStdin, Stdio};

use tempfile::TempDir;

use crate::harness::{Running, in_time, run, serve, text, tidings};

/// A chat through pipes.
struct Chat {
    running: Running,
    stdin: Option<ChildStdin>,
}

impl Chat {
    fn start(home: &TempDir, server: &str, args: &[&str]) -> Self {
        let args = [&["chat", "--server", server], args].concat();
        let mut command = tidings(home, &args);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let stdin = running.child.stdin.take();
        let mut chat = Self { running, stdin };
        chat.hears("you are ");
        chat
    }

    fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for a line of its standard output with these words.
    fn hears(&mut self, words: &str) -> String {
        self.running.hears(words)
    }

    /// The next line of its standard output, which has these words.
    fn hears_next(&mut self, words: &str) {
        let line = self.running.line();
        assert!(line.contains(words), "{words:?} is not in {line:?}");
    }

    /// The next lines of its standard output, which have these words, in any order.
    fn hears_next_all(&mut self, words: &[&str]) {
        let lines: Vec<String> = words.iter().map(|_| self.running.line()).collect();
        for words in words {
            assert!(lines.iter().any(|line| line.contains(words)), "{words:?} is not in {lines:?}");
        }
    }

    /// Waits for a line of its standard error with these words.
    fn is_told(&mut self, words: &str) {
        self.running.await_log(words);
    }

    /// Types a command and waits until it is carried out, with all that came before.
    fn does(&mut self, command: &str, words: &str) -> String {
        self.types(command);
        self.hears(words)
    }

    /// Ends the input; the exit code and the rest of what was shown.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let (status, rest) = self.running.end();
        (status.code(), rest)
    }
}

/// The id of a group at the end of what was said before a comma.
fn group_in(line: &str) -> String {
    let id = line
        .split([' ', ',', ':'])
        .find(|word| word.len() == 24 && word.bytes().all(|digit| digit.is_ascii_hexdigit()));
    id.expect(line).to_owned()
}

#[test]
fn two_chats_talk_and_see_what_becomes_of_each_message() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let mut ann = Chat::start(&home, &address, &["ann", "--with", "bob"]);
    ann.hears_next_all(&["you talk with bob", "bob is offline"]);
    let mut bob = Chat::start(&home, &address, &["bob", "--watch", "ann"]);
    bob.hears_next("ann is online");
    ann.hears_next("bob is online");

    ann.types("hello, bob");
    ann.hears_next("number 1: sent");
    ann.hears_next("number 1: delivered to bob");
    ann.hears_next("number 1: read by bob");
    bob.hears_next("ann to you: hello, bob");
    bob.types("hello?");
    bob.is_told("nobody hears you yet: /with PEER");
    bob.does("/with ann", "ann is online");
    bob.types("//hello \u{1b}[2J");
    bob.hears_next("number 2: sent");
    ann.hears_next("bob: /hello \\u{1b}[2J");

    ann.does("a mistake", "number 3: read by bob");
    bob.hears("ann: a mistake");
    ann.does("/recall", "number 3 is taken back");
    // That ann has read number 2 may come before or behind what she says next.
    bob.hears("ann has taken back number 3");
    bob.types("/history");
    bob.hears_next("1. ann: hello, bob");
    bob.hears_next("2. you: /hello \\u{1b}[2J");
    bob.hears_next("3. ann: (taken back)");
    bob.types("/history 1");
    bob.hears_next("3. ann: (taken back)");
    bob.types("/recall");
    bob.hears_next("number 2 is taken back");
    bob.types("/recall");
    bob.is_told("you have sent nothing to take back yet");
    ann.does("/conversations", "with bob: 3 messages, 0 unread");
    ann.does("/read", "everything is marked as read, up to number 3");
    bob.hears_next("number 3: read by ann");
    ann.does("/devices", "(pc): this one");

    assert_eq!(bob.end(), (Some(0), String::new()));
    ann.hears("bob is offline");
    ann.does("/who bob ann", "ann is online");
    ann.hears_next("bob is offline");
    ann.does("/unwatch bob", "bob is not watched any more");
    ann.types("/who");
    ann.is_told("you watch nobody");
    ann.types("/quit");
    assert_eq!(ann.end(), (Some(0), String::new()));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn chats_create_join_fill_and_leave_groups() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let mut ann = Chat::start(&home, &address, &["ann"]);
    let mut bob = Chat::start(&home, &address, &["bob"]);
    let group = group_in(&ann.does("/create", "you have created group "));
    ann.types("/invite bob");
    ann.hears_next(&format!("bob is invited to group {group}"));
    bob.hears_next(&format!("ann has made you a member of group {group}"));
    ann.types("lunch?");
    ann.hears_next("number 1: sent");
    bob.hears_next(&format!("ann in group {group}: lunch?"));
    bob.does(&format!("/group {group}"), "2 members");
    bob.does("soon", "number 2: sent");
    ann.hears_next("bob: soon");
    ann.types("/members");
    ann.hears_next("created by ann, 2 members: ann and bob");
    ann.hears_next("every member may invite, the creator may kick");

    let listen = ["listen", "bob", "--groups", "--watch", "ann,cat", "--server", &address];
    let mut listener = Running::start(tidings(&home, &listen));
    listener.hears("ann is online");
    listener.hears(&format!("member of group {group}, "));

    let mut cat = Chat::start(&home, &address, &["cat", "--group", &group]);
    cat.is_told("you are not a member of this group: /join it first");
    cat.does(&format!("/join {group}"), "3 members");
    ann.hears_next(&format!("cat has joined group {group}"));
    listener.hears_all(&["cat is online", &format!("cat has joined group {group}")]);
    cat.types("/kick ann");
    cat.is_told("the group does not let you do that: /members says who may");
    let send = ["send", "--from", "cat", "--group", &group, "from outside", "--server", &address];
    assert_eq!(run(&home, &send).status.code(), Some(0));
    ann.hears_next("cat: from outside");
    listener.hears(&format!("cat in group {group}: from outside"));
    cat.hears("you: from outside (from another device)");
    ann.does("/kick cat", "cat is removed from group");
    cat.hears_next(&format!("ann has removed you from group {group}"));
    cat.types("still here?");
    cat.is_told("nobody hears you yet");
    bob.hears(&format!("ann has removed cat from group {group}"));
    bob.types("/group 0123456789abcdef01234567");
    bob.is_told("there is no such group");
    bob.types("not for the group before");
    bob.is_told("nobody hears you yet");
    bob.does(&format!("/group {group}"), "2 members");
    bob.does("/leave", "you have left group");
    ann.hears_next(&format!("bob has left group {group}"));
    bob.types("/members");
    bob.is_told("you do not talk in a group");

    let open = group_in(&bob.does("/create open", "you have created open group"));
    cat.does(&format!("/join {open}"), "2 sessions");
    cat.does("/members", "created by bob, open: 2 sessions");
    assert_eq!(cat.running.line(), "the creator may edit");
    bob.does("quick!", "sent to whoever is there now");
    cat.hears_next("bob: quick!");
    assert_eq!(listener.stop("INT").0.code(), Some(0));
    for chat in [ann, bob, cat] {
        assert_eq!(chat.end(), (Some(0), String::new()));
    }
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn devices_have_aliases_and_say_things_to_the_app() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let listen = ["listen", "bob", "--alias", "customer: 4711", "--server", &address];
    let mut listener = Running::start(tidings(&home, &listen));
    listener.await_log("bob listens on device ");
    listener.await_log("\"The first push\" in the README");
    listener.await_log("this device has the alias customer: 4711");

    let mut bob = Chat::start(&home, &address, &["bob"]);
    bob.types("/unalias");
    bob.is_told("you have bound no alias in this chat: /unalias NAME");
    bob.types("/unalias customer: 4711");
    bob.is_told("this device does not have that alias");
    bob.does("/alias vip", "this device has the alias vip");
    bob.does("/unalias", "this device has the alias vip no longer");
    bob.types("/unalias vip");
    bob.is_told("this device does not have that alias");
    let first = bob.does("/upstream two  lamps", " to the app: sent");
    assert_ne!(first, bob.does("/upstream two  lamps", " to the app: sent"), "two messages");
    assert_eq!(bob.end(), (Some(0), String::new()));
    assert_eq!(listener.stop("INT").0.code(), Some(0));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_chat_that_is_interrupted_finds_what_waited_and_one_that_logs_out_does_not() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let send = |words: &str| {
        let args = ["send", "--from", "ann", "--to", "bob", words, "--server", &address];
        assert_eq!(run(&home, &args).status.code(), Some(0));
    };
    let bob = Chat::start(&home, &address, &["bob"]);
    let Chat { running, stdin } = bob;
    assert_eq!(running.stop("INT").0.code(), Some(0));
    drop(stdin);
    send("one");
    let mut bob = Chat::start(&home, &address, &["bob"]);
    bob.hears_next("ann to you: one (waited)");
    bob.types("/logout");
    let (code, rest) = bob.end();
    assert_eq!((code, rest.as_str()), (Some(0), "this device is logged out\n"));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_script_is_carried_out_to_its_end() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let mut ann = Chat::start(&home, &address, &["ann", "--with", "bob"]);
    for line in ["one", "", "/shout", "two", "/join lunch", "/history"] {
        ann.types(line);
    }
    ann.is_told("there is no command /shout: /help lists them");
    ann.is_told("\"lunch\" is no group");
    let (code, said) = ann.end();
    assert_eq!(code, Some(0));
    let said: Vec<&str> = said.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[2].ends_with("] 1. you: one") && said[3].ends_with("] 2. you: two"), "{said:?}");
    assert!(said.iter().all(|line| !line.contains('\u{1b}')), "{said:?}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_send_waits_for_its_receipt_and_says_when_there_is_none() {
    let home = TempDir::new().unwrap();
    let (server, address, fingerprint) = serve(&home, &[]);
    let args = ["listen", "bob", "--server", &address, "--fingerprint", &fingerprint];
    let mut bob = Running::start(tidings(&home, &args));
    bob.await_log("bob listens on device");
    let send = |to: &str| {
        let args = ["send", "--from", "ann", "--to", to, "hi", "--receipt", "--server", &address];
        run(&home, &args)
    };
    let output = send("bob");
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.lines().nth(1).is_some_and(|line| line.starts_with("delivered to bob")), "{said}");
    assert_eq!(bob.line(), "ann: hi");
    assert_eq!(bob.stop("INT").0.code(), Some(0));
    let output = send("cat");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("cat has not had it within 10 s; it is stored and waits"), "{said}");

    let both = ["send", "--from", "a", "--to", "b", "--to", "c", "hi", "--receipt"];
    assert_eq!(run(&home, &both).status.code(), Some(64));
    let both = ["send", "--from", "a", "--to", "b", "--group", "0123456789abcdef01234567", "hi"];
    assert_eq!(run(&home, &both).status.code(), Some(64));
    let unknown = ["send", "--from", "a", "--group", "0123456789abcdef01234567", "hi"];
    let output = run(&home, &[&unknown[..], &["--server", &address]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("tidings: there is no such group"), "{said}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_server_that_enforces_signatures_takes_those_of_the_key_and_no_others() {
    let home = TempDir::new().unwrap();
    let settings = ["--app-id", "chat", "--signatures", "enforced", "--signing-key", "the key"];
    let (server, address, _) = serve(&home, &settings);
    let send = |more: &[&str]| {
        let args = ["send", "--from", "ann", "--to", "bob", "hi", "--server", &address];
        run(&home, &[&args[..], more].concat())
    };
    let refused = |more: &[&str], words: &str| {
        let output = send(more);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.starts_with("tidings: ") && said.contains(words), "{said}");
    };
    refused(&["--app", "chat"], "start again with --app and --signing-key");
    let wrong = ["--app", "chat", "--signing-key", "another"];
    refused(&wrong, "--app and --signing-key must be those of the server");
    refused(&["--app", "mail", "--signing-key", "the key"], "the server serves another app");
    assert_eq!(send(&["--signing-key", "the key"]).status.code(), Some(64));
    let key = ["--app", "chat", "--signing-key", "the key"];
    let output = send(&key);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let mut bob = Chat::start(&home, &address, &[&["bob"], &key[..]].concat());
    bob.hears_next("ann to you: hi (waited)");
    bob.does("/with ann", "ann is offline");
    bob.does("hello", "number 2: sent");
    let group = group_in(&bob.does("/create", "you have created group"));
    bob.does("/invite ann cat", "ann and cat are invited");
    bob.does("/kick cat", "cat is removed");
    let mut ann = Chat::start(&home, &address, &[&["ann", "--group", &group], &key[..]].concat());
    ann.hears(&format!("you talk in group {group}"));
    for chat in [ann, bob] {
        assert_eq!(chat.end().0, Some(0));
    }
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn the_help_lists_every_command_and_keeps_the_key_to_itself() {
    let home = TempDir::new().unwrap();
    let help = |args: &[&str]| {
        let child = tidings(&home, args).env("TIDINGS_SIGNING_KEY", "geheim").spawn().unwrap();
        let output = in_time("help", move || child.wait_with_output().unwrap());
        assert_eq!(output.status.code(), Some(0));
        text(&output.stdout)
    };
    let all = help(&["--help"]);
    for command in ["serve", "chat", "listen", "send", "demo", "check-config"] {
        assert!(all.contains(&format!("\n  {command} ")), "no {command} in\n{all}");
    }
    let chat = help(&["chat", "--help"]);
    for command in [
        "/with PEER",
        "/group ID",
        "/create [open]",
        "/join ID",
        "/leave",
        "/invite PEER",
        "/kick PEER",
        "/members",
        "/watch PEER",
        "/unwatch PEER",
        "/who [PEER",
        "/history [N]",
        "/conversations",
        "/devices",
        "/alias NAME",
        "/unalias [NAME]",
        "/upstream TEXT",
        "/recall",
        "/read",
        "/help",
        "/quit",
        "/logout",
    ] {
        assert!(chat.contains(&format!("\n  {command}")), "no {command} in\n{chat}");
    }
    for (command, flags) in [
        ("chat", &["--with", "--group", "--watch", "--app", "--signing-key"][..]),
        ("listen", &["--watch", "--groups", "--alias", "--signing-key"]),
        ("send", &["--to", "--group", "--receipt", "--signing-key"]),
    ] {
        let text = help(&[command, "--help"]);
        assert!(!text.contains("geheim"), "{text}");
        for flag in flags {
            assert!(text.contains(flag), "no {flag} in\n{text}");
        }
    }
}
