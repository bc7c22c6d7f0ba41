//! The server as a process of its own, with the library preloaded that notes what it does.
//!
//! # Invariants
//!
//! * A run writes to a journal of its own, outside of the folder that is watched.
//! * A server that ends by itself is a failure.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidings::client::{ConnectOptions, Fingerprint, Trust};

/// How long anything may take that is waited for: where others build, one sync of the disk was seen
/// to take a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// The app that the server serves.
const APP: &str = "power";

/// What is run, and where.
pub(crate) struct Place {
    pub(crate) tidings: PathBuf,
    pub(crate) preload: PathBuf,
    /// What points of failure are set to, for a server that has some.
    pub(crate) failpoints: Option<&'static str>,
    pub(crate) work: PathBuf,
}

impl Place {
    /// The folder that is watched. The server's own is in it, for that is made by the server.
    pub(crate) fn root(&self) -> PathBuf {
        self.work.join("disk")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.work.join("journal")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.work.join("server.log")
    }

    /// Starts the server; it is not ready yet.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn start(&self) -> Result<Server, String> {
        let failed = |what: &str| format!("cannot start {}: {what}", self.tidings.display());
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.map_err(|error| failed(&error.to_string()))?;
        // That of the run before is kept to be looked at. There is none in the beginning.
        let _ = std::fs::rename(self.journal(), self.work.join("journal-before"));
        let mut command = Command::new(&self.tidings);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDINGS_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "off", "--app-id", APP]);
        command.args(["--segment-bytes-max", "16MiB"]).arg("--data").arg(self.root().join("data"));
        command.env("LD_PRELOAD", &self.preload).env("POWER_ROOT", self.root());
        command.env("POWER_JOURNAL", self.journal()).current_dir(&self.work);
        command.envs(self.failpoints.map(|points| ("FAILPOINTS", points)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let (told, line) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            // A server that is killed while it starts says nothing, and nobody asks.
            let _ = lines.next().and_then(Result::ok).map(|line| told.send(line));
            lines.for_each(drop);
        });
        Ok(Server { child, line, started: Instant::now() })
    }

    /// The end of what the servers logged.
    pub(crate) fn last_words(&self) -> String {
        let lines = File::open(self.log()).map(|log| BufReader::new(log).lines());
        let lines: Vec<String> = lines.into_iter().flatten().map_while(Result::ok).collect();
        lines[lines.len().saturating_sub(12)..].join("\n  ")
    }
}

/// A run of the server.
pub(crate) struct Server {
    child: Child,
    line: Receiver<String>,
    started: Instant,
}

impl Server {
    /// Waits until clients may come; says how they connect, and how long the start took.
    ///
    /// # Errors
    ///
    /// That it did not start.
    pub(crate) fn ready(&mut self) -> Result<(ConnectOptions, Fingerprint, Duration), String> {
        let line = self.line.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => "the server was not ready in time".to_owned(),
            RecvTimeoutError::Disconnected => "the server ended before it was ready".to_owned(),
        })?;
        let (address, fingerprint) =
            said(&line).ok_or_else(|| format!("the server says {line}"))?;
        let trust = Trust::Fingerprint(fingerprint);
        let connect = ConnectOptions::new(address.to_string()).trust(trust).app(APP);
        Ok((connect, fingerprint, self.started.elapsed()))
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    ///
    /// That it had ended before.
    pub(crate) fn kill(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("the server ended by itself: {status}"));
        }
        self.child.kill().and_then(|()| self.child.wait()).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Has it end in good order.
    ///
    /// # Errors
    ///
    /// That it did not.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let asked = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(asked), Signal::SIGTERM).map_err(|error| error.to_string())?;
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(None) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                ended => return Err(format!("the server did not end well: {ended:?}")),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `ready: listening on ADDRESS, fingerprint HEX`.
fn said(line: &str) -> Option<(SocketAddr, Fingerprint)> {
    let (_, rest) = line.split_once("listening on ")?;
    let (address, fingerprint) = rest.split_once(", fingerprint ")?;
    Some((address.parse().ok()?, fingerprint.trim().parse().ok()?))
}

/// Everything that a journal holds.
///
/// # Errors
///
/// What the system says.
pub(crate) fn journal(path: &Path) -> Result<Vec<u8>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        // It was killed before it did anything.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("cannot read the journal: {error}")),
    }
}
