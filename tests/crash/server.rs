//! The server as a process of its own, to be killed.
//!
//! # Invariants
//!
//! * All runs have the same port and the same data folder.
//! * A server that ends by itself fails the test.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take that the test waits for, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The app that the server serves.
pub(crate) const APP: &str = "crash";
/// What its back end signs with.
pub(crate) const SIGNING_KEY: &str = "a key for nothing else";
/// How long after a start those who were online before it count as online: long enough to come
/// back on a busy machine.
pub(crate) const RESTART_GRACE: Duration = Duration::from_secs(6);

/// Where the server runs, again and again.
pub(crate) struct Place {
    folder: PathBuf,
    pub(crate) address: String,
}

impl Place {
    pub(crate) fn new(folder: &Path) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        Self { folder: folder.to_owned(), address }
    }

    /// Starts the server; it is not ready yet.
    pub(crate) fn start(&self) -> Server {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDINGS_") {
                command.env_remove(name);
            }
        }
        let restart_grace = format!("{RESTART_GRACE:?}");
        command.args(["serve", "--listen", &self.address, "--app-id", APP, "--http-listen", "off"]);
        command.args(["--signatures", "optional", "--signing-key", SIGNING_KEY]);
        command.args(["--presence-grace", "300ms", "--presence-restart-grace", &restart_grace]);
        command.current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(log));
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tx, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            // A server that is killed while it starts says nothing, and nobody asks.
            let _ = lines.next().and_then(Result::ok).map(|line| tx.send(line));
        });
        Server { child, line, started, ready: None }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// What all the servers logged.
    fn lines(&self) -> Vec<String> {
        let Ok(log) = File::open(self.log()) else { return Vec::new() };
        BufReader::new(log).lines().map_while(Result::ok).collect()
    }

    pub(crate) fn last_log(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// What the servers found wrong; a kill is no reason for that, but for a record that it left
    /// half written.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| {
            let warns = line.contains(r#""level":"WARN""#) && line.contains(r#""target":"tidings"#);
            let is_cut = line.contains("the last record is not whole");
            warns && !is_cut || line.contains(r#""level":"ERROR""#)
        });
        lines
    }
}

/// A run of the server.
pub(crate) struct Server {
    child: Child,
    line: mpsc::Receiver<String>,
    started: Instant,
    /// The server's fingerprint, and how long the start took.
    ready: Option<(String, Duration)>,
}

impl Server {
    /// Waits until clients may come; the server's fingerprint, and how long the start took.
    pub(crate) fn ready(&mut self) -> (String, Duration) {
        let (line, started) = (&self.line, self.started);
        let ready = self.ready.get_or_insert_with(|| {
            let line = line.recv_timeout(PATIENCE).expect("the server did not start");
            let (_, fingerprint) = line.rsplit_once(", fingerprint ").expect(&line);
            (fingerprint.to_owned(), started.elapsed())
        });
        ready.clone()
    }

    /// Kills it with SIGKILL. It must have run until now.
    pub(crate) fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
