//! What happens when the disk fails or the process dies: `tidings serve` as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Raw, Session, library, open, send, soon};
use tidings::client::{Client, Event, OpenOptions, Outgoing, Trust};
use tidings::limits::KEEP_ALIVE;
use tidings::wire::{Deliver, ServerFrame};

/// A server in a process of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    fingerprint: String,
}

impl Process {
    /// Starts the server on what `folder` holds, with these points of failure.
    pub(crate) async fn start(folder: &TempDir, listen: &str, failpoints: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDINGS_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", listen, "--http-listen", "off", "--data", "data"]);
        command.current_dir(folder.path());
        command.env("FAILPOINTS", failpoints).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).map(|_| line)
        });
        let line = soon("a start", line).await.unwrap().unwrap();
        let ready = line.trim_end().strip_prefix("ready: listening on ").expect(&line);
        let (address, fingerprint) = ready.split_once(", fingerprint ").expect(&line);
        let (address, fingerprint) = (address.parse().unwrap(), fingerprint.to_owned());
        Self { child, address, fingerprint }
    }

    async fn open(&self, folder: &TempDir, name: &str) -> Session {
        let certificate = folder.path().join("data/keys/certificate.pem");
        Raw::connect(self.address, &certificate).await.open(open(name)).await
    }

    async fn client(&self) -> Client {
        let fingerprint = self.fingerprint.parse().unwrap();
        library(self.address, Trust::Fingerprint(fingerprint)).await
    }

    /// Kibibytes of its memory.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits for its end.
    async fn end(mut self) -> ExitStatus {
        let wait = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the end of the server", wait).await
    }

    /// Ends it as a crash would.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends to Bob until the server fails, a few under way; the bodies of those that were answered.
async fn send_until_it_fails(ann: &mut Session) -> Vec<String> {
    let mut answered = Vec::new();
    let mut number = 0;
    loop {
        for _ in 0..2 {
            number += 1;
            ann.say(send(number, &["bob"], number.to_string())).await;
        }
        for _ in 0..2 {
            // Nothing comes any more when the server has failed.
            match tokio::time::timeout(Duration::from_secs(3), ann.hear_or_end()).await {
                Ok(Some(ServerFrame::Sent(sent))) => answered.push(sent.request.to_string()),
                // The session may be told that it is over before the process is.
                Ok(Some(ServerFrame::Error(error))) if error.request == 0 => return answered,
                Ok(Some(frame)) => panic!("{frame:?} instead of Sent"),
                Ok(None) | Err(_) => return answered,
            }
        }
        assert!(number < 1000, "it never failed");
    }
}

/// Everything that waits for Bob.
async fn hear_waiting(bob: &mut Session) -> Vec<Deliver> {
    let count = bob.opened().waiting as usize;
    bob.hear_messages(count).await
}

/// Lets a point fail after the server has started, and looks at what is left.
async fn what_was_acknowledged_outlasts(point: &str) {
    let folder = TempDir::new().unwrap();
    let failpoints = format!("{point}=15*off->return");
    let server = Process::start(&folder, "127.0.0.1:0", &failpoints).await;
    let mut ann = server.open(&folder, "ann").await;
    let answered = send_until_it_fails(&mut ann).await;
    assert!(!answered.is_empty(), "it failed before the first answer");
    assert!(answered.len() < 50, "more than Bob's window: {}", answered.len());
    let status = server.end().await;
    assert_eq!(status.code(), Some(70), "{status}");

    let server = Process::start(&folder, "127.0.0.1:0", "").await;
    let mut bob = server.open(&folder, "bob").await;
    let waiting = hear_waiting(&mut bob).await;
    let bodies = crate::harness::bodies(&waiting);
    for body in &answered {
        assert!(bodies.contains(&body.as_str()), "{body} was acknowledged and is lost");
    }
    let numbers: Vec<u32> = waiting.iter().map(|message| message.sequence).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    // What was not acknowledged may be there or not, but nothing is there twice.
    let mut once = bodies.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), bodies.len());
    assert!(bodies.len() <= answered.len() + 2);
    let mut ann = server.open(&folder, "ann").await;
    ann.send(&["bob"], "goes on").await;
    assert_eq!(bob.hear_message().await.body, "goes on");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_process_ends() {
    what_was_acknowledged_outlasts("store-sync").await;
}

#[tokio::test]
async fn after_a_full_disk_nothing_is_acknowledged_and_the_process_ends() {
    what_was_acknowledged_outlasts("store-write").await;
}

#[tokio::test]
async fn a_client_notices_a_crash_at_once_and_resends_by_itself() {
    let folder = TempDir::new().unwrap();
    let mut server = Process::start(&folder, "127.0.0.1:0", "").await;
    let client = server.client().await;
    let (bob, mut to_bob) = client.open(OpenOptions::new("bob".parse().unwrap())).await.unwrap();
    let (ann, _to_ann) = client.open(OpenOptions::new("ann".parse().unwrap())).await.unwrap();
    let mut sent = vec![ann.send(Outgoing::to(bob.peer(), "0")).await.unwrap()];
    for round in 1..=3 {
        server.kill();
        let sending = ann.start_send(Outgoing::to(bob.peer(), round.to_string())).await.unwrap();
        let (address, fingerprint) = (server.address.to_string(), server.fingerprint.clone());
        server = Process::start(&folder, &address, "").await;
        assert_eq!(server.fingerprint, fingerprint);
        let began = Instant::now();
        sent.push(soon("the answer", sending).await.unwrap());
        // Without a stateless reset it would take the idle time of 45 s.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let mut heard = Vec::new();
    while heard.len() < sent.len() {
        match soon("a message", to_bob.next()).await.unwrap() {
            Event::Message(message) => heard.push((message.id, message.sequence)),
            Event::Opened(_) | Event::Paused(_) | Event::Resumed(_) => {}
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(heard, sent.iter().map(|sent| (sent.id, sent.sequence)).collect::<Vec<_>>());
    assert_eq!(heard.last().unwrap().1, 4, "each was stored once");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_told_of_a_crash_as_soon_as_the_server_is_back() {
    let folder = TempDir::new().unwrap();
    let mut server = Process::start(&folder, "127.0.0.1:0", "").await;
    let (bob, mut to_bob) = {
        let client = server.client().await;
        client.open(OpenOptions::new("bob".parse().unwrap())).await.unwrap()
    };
    soon("the session", async { while !matches!(to_bob.next().await, Some(Event::Opened(_))) {} })
        .await;
    server.kill();
    let address = server.address.to_string();
    let _server = Process::start(&folder, &address, "").await;
    let back = async { while !matches!(to_bob.next().await, Some(Event::Resumed(_))) {} };
    // By itself it would ask only after the time of a keep-alive.
    tokio::time::timeout(KEEP_ALIVE / 2, back).await.expect("nobody told it");
    drop(bob);
}
