//! The server under load: a child process of ours, the relay, or one that runs elsewhere.
//!
//! # Invariants
//!
//! * A child never outlives the generator: it is asked to end, then killed.
//! * A spawned server has a fresh data folder on a real file system: on a tmpfs a sync costs
//!   nothing, and the figures would be lies.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::options::{Common, ServerChoice};
use crate::process;
use crate::tls::Fingerprint;

/// How long a child may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a child may take to end once asked to.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that answers.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: Fingerprint,
    /// Its process, where that can be looked at.
    pub(crate) pid: Option<u32>,
    /// Where it writes its figures.
    pub(crate) metrics: Option<PathBuf>,
    /// The type of the file system of its data.
    pub(crate) filesystem: Option<String>,
    folder: Option<Folder>,
    child: Option<Child>,
    is_relay: bool,
}

/// The folder of one run.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl Server {
    /// Starts the relay for `peers` peers.
    ///
    /// # Errors
    ///
    /// Why it did not start.
    pub(crate) async fn relay(peers: u32, pace_us: u64) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own);
        command.args(["relay", "--peers", &peers.to_string(), "--pace-us", &pace_us.to_string()]);
        command.stdin(Stdio::piped());
        let (child, address, fingerprint) = start(command, "the relay").await?;
        Ok(Self {
            address,
            fingerprint,
            pid: child.id(),
            metrics: None,
            filesystem: None,
            folder: None,
            child: Some(child),
            is_relay: true,
        })
    }

    /// Starts the server that the options ask for, or finds the one that they name.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) async fn start(common: &Common) -> Result<Self, String> {
        match common.server {
            ServerChoice::Spawn => Self::spawn(common).await,
            ServerChoice::At(address) => Ok(Self {
                address,
                fingerprint: common
                    .fingerprint
                    .ok_or("--server HOST:PORT needs --fingerprint: the server prints it")?,
                pid: common.pid,
                metrics: common.metrics_file.clone(),
                filesystem: None,
                folder: None,
                child: None,
                is_relay: false,
            }),
        }
    }

    async fn spawn(common: &Common) -> Result<Self, String> {
        let above = match &common.data {
            Some(folder) => folder.clone(),
            None => beside_own("loadtest-data")?,
        };
        let (folder, filesystem) = fresh_folder(&above, common.keep)?;
        let metrics = folder.path.join("metrics.txt");
        let (child, address, fingerprint) = serve(common, &folder.path).await?;
        Ok(Self {
            address,
            fingerprint,
            pid: child.id(),
            metrics: Some(metrics),
            filesystem: Some(filesystem),
            folder: Some(folder),
            child: Some(child),
            is_relay: false,
        })
    }

    /// Kills a spawned server and starts it again; says how long it took to be ready.
    ///
    /// # Errors
    ///
    /// When the server is not ours, or does not come back.
    pub(crate) async fn kill_and_start(&mut self, common: &Common) -> Result<Duration, String> {
        let (Some(folder), Some(child)) = (&self.folder, &mut self.child) else {
            return Err("only a server that was spawned can be killed".into());
        };
        child.kill().await.map_err(|error| format!("cannot kill the server: {error}"))?;
        let started = Instant::now();
        let (child, address, fingerprint) = serve(common, &folder.path).await?;
        let took = started.elapsed();
        self.pid = child.id();
        self.child = Some(child);
        (self.address, self.fingerprint) = (address, fingerprint);
        Ok(took)
    }

    /// Files outside the log file that sled made: its pages spilled, and those are never synced.
    pub(crate) fn blob_files(&self) -> Option<u64> {
        self.folder.as_ref().map(|folder| count_blobs(&folder.path.join("data")))
    }

    /// Ends a child and removes its folder.
    ///
    /// # Errors
    ///
    /// When it did not end well.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if self.is_relay {
            drop(child.stdin.take());
        } else if let Some(pid) = child.id() {
            let kill = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
            kill.map_err(|error| format!("cannot ask the server to end: {error}"))?;
        }
        let status: ExitStatus = match tokio::time::timeout(END_TIMEOUT, child.wait()).await {
            Ok(ended) => ended.map_err(|error| error.to_string())?,
            Err(_) => {
                // Dropping the child kills it.
                return Err(format!("the server did not end within {END_TIMEOUT:?}"));
            }
        };
        if status.success() {
            return Ok(());
        }
        let tail = self.folder.as_ref().map(|folder| log_tail(&folder.path)).unwrap_or_default();
        Err(format!("the server ended with {status}{tail}"))
    }
}

/// Starts the server on the data in `folder`.
async fn serve(common: &Common, folder: &Path) -> Result<(Child, SocketAddr, Fingerprint), String> {
    let program = match &common.tidings {
        Some(program) => program.clone(),
        None => beside_own("tidings")?,
    };
    if !program.is_file() {
        return Err(format!(
            "there is no server at {}; build it with `cargo build --release`, or name it with \
             --tidings PATH",
            program.display()
        ));
    }
    let log = std::fs::File::options().create(true).append(true).open(folder.join("server.log"));
    let log = log.map_err(|error| format!("cannot write the server's log: {error}"))?;
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data"]);
    command.arg(folder.join("data"));
    command.arg("--metrics-file").arg(folder.join("metrics.txt"));
    command.args(common.server_arguments()).stdin(Stdio::null()).stderr(log);
    let started = start(command, "the server").await;
    started.map_err(|why| format!("{why}{}", log_tail(folder)))
}

/// Starts a child and awaits the line that says where it listens.
async fn start(
    mut command: Command,
    who: &str,
) -> Result<(Child, SocketAddr, Fingerprint), String> {
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot start {who}: {error}"))?;
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let ready = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(found) = ready_line(&line) {
                return Some(found);
            }
        }
        None
    };
    match tokio::time::timeout(READY_TIMEOUT, ready).await {
        Ok(Some((address, fingerprint))) => {
            // Whatever else it prints must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            Ok((child, address, fingerprint))
        }
        Ok(None) => Err(format!("{who} ended before it was ready")),
        Err(_) => Err(format!("{who} was not ready within {READY_TIMEOUT:?}")),
    }
}

/// Reads `ready: listening on ADDRESS, fingerprint HEX`.
fn ready_line(line: &str) -> Option<(SocketAddr, Fingerprint)> {
    let (_, rest) = line.split_once("listening on ")?;
    let (address, rest) = rest.split_once([',', ' '])?;
    let (_, fingerprint) = rest.split_once("fingerprint ")?;
    Some((address.parse().ok()?, fingerprint.split_ascii_whitespace().next()?.parse().ok()?))
}

/// A path beside the running program, which is in the build folder.
fn beside_own(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name(name))
}

/// Makes an empty folder below `above` and names its file system.
fn fresh_folder(above: &Path, keep: bool) -> Result<(Folder, String), String> {
    let path = above.join(format!("run-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    std::fs::create_dir_all(&path)
        .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    let folder = Folder { path, keep };
    let filesystem = process::filesystem(&folder.path).unwrap_or_else(|| "unknown".into());
    if matches!(filesystem.as_str(), "tmpfs" | "ramfs") {
        return Err(format!(
            "{} is a {filesystem}: nothing is durable there; name another place with --data DIR",
            above.display()
        ));
    }
    Ok((folder, filesystem))
}

fn log_tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.iter().rev().map(|line| format!("\n  server: {line}")).collect()
}

fn count_blobs(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    folders
        .map(|entry| match entry.file_name() == "blobs" {
            true => std::fs::read_dir(entry.path()).map_or(0, |files| files.count() as u64),
            false => count_blobs(&entry.path()),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_ready_server_is_read() {
        let hex = "ab".repeat(32);
        let line = format!("ready: listening on 127.0.0.1:7400, fingerprint {hex}");
        let (address, fingerprint) = ready_line(&line).unwrap();
        assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], 7400)));
        assert_eq!(fingerprint.to_string(), hex);
        assert!(ready_line("starting").is_none());
        assert!(ready_line("listening on nowhere, fingerprint 12").is_none());
    }

    #[test]
    fn blobs_are_found_in_every_segment() {
        let above = std::env::current_exe().unwrap().with_file_name("loadtest-test");
        let (folder, _) = fresh_folder(&above, false).unwrap();
        std::fs::create_dir_all(folder.path.join("log/0001/blobs")).unwrap();
        assert_eq!(count_blobs(&folder.path), 0);
        std::fs::write(folder.path.join("log/0001/blobs/7"), b"spilled").unwrap();
        assert_eq!(count_blobs(&folder.path), 1);
    }
}
