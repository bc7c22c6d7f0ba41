//! The server under load: a child process of ours, the relay, a broker, or one that runs elsewhere.
//!
//! # Invariants
//!
//! * A child never outlives the generator: it is asked to end, then killed.
//! * A spawned server has a fresh data folder on a real file system: on a tmpfs a sync costs
//!   nothing, and the figures would be lies.

mod broker;
mod starting;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidings::client::Fingerprint;
use tokio::process::{Child, Command};

use self::starting::{Started, Wanted, log_tail, serve, start};
use crate::http::Api;
use crate::options::{Against, Common, ServerChoice};
use crate::process;
use crate::tls::Trust;

/// A free port of the loopback interface.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// What our server is called.
const NAME: &str = "tidings";
/// What carries its protocol.
const QUIC: &str = "QUIC, TLS 1.3";
/// How long a child may take to end once asked to.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// How a server is spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// In the protocol of the server, which has the certificate with this fingerprint.
    Quic(Fingerprint),
    /// In MQTT; over TLS, if it is said whom to believe.
    Mqtt(Option<Trust>),
}

/// What a server is, and what it promises.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) transport: &'static str,
    /// What it has kept when it acknowledges.
    pub(crate) durability: &'static str,
}

/// Whose child a server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Nobody's, or the real server.
    Own,
    Relay,
    Broker,
}

/// A server that answers.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) access: Access,
    pub(crate) served: Served,
    /// Its process, where that can be looked at.
    pub(crate) pid: Option<u32>,
    /// Where it writes its figures.
    pub(crate) metrics: Option<PathBuf>,
    /// The type of the file system of its data.
    pub(crate) filesystem: Option<String>,
    /// Its HTTP API, where there is one.
    api: Option<Api>,
    folder: Option<Folder>,
    child: Option<Child>,
    kind: Kind,
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
        let started = start(command, "the relay", Wanted::Quic).await?;
        let served = Served {
            name: "floor".into(),
            version: None,
            transport: QUIC,
            durability: "none: it keeps nothing",
        };
        Ok(Self { kind: Kind::Relay, served, ..Self::of(started) })
    }

    /// A child of which nothing else is known.
    fn of(started: Started) -> Self {
        let Started { child, address, fingerprint, .. } = started;
        Self {
            address,
            access: Access::Quic(fingerprint),
            served: Served::default(),
            pid: child.id(),
            metrics: None,
            filesystem: None,
            api: None,
            folder: None,
            child: Some(child),
            kind: Kind::Own,
        }
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
                access: Access::Quic(
                    common
                        .fingerprint
                        .ok_or("--server HOST:PORT needs --fingerprint: the server prints it")?,
                ),
                served: Served { name: NAME.into(), transport: QUIC, ..Served::default() },
                pid: common.pid,
                metrics: common.metrics_file.clone(),
                filesystem: None,
                api: common.api()?,
                folder: None,
                child: None,
                kind: Kind::Own,
            }),
        }
    }

    /// Starts the broker that the options name, or finds it.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) async fn against(against: Against, common: &Common) -> Result<Self, String> {
        let (address, tls) = match against {
            Against::Product(product) => return Self::broker(product, common).await,
            Against::At { address, tls } => (address, tls),
        };
        let trust = match (tls, common.fingerprint, common.any_certificate) {
            (false, _, _) => None,
            (true, Some(fingerprint), _) => Some(Trust::Pinned(fingerprint)),
            (true, None, true) => Some(Trust::Anybody),
            (true, None, false) => {
                return Err("mqtts:// needs --fingerprint, or --any-certificate".into());
            }
        };
        Ok(Self {
            address,
            access: Access::Mqtt(trust),
            served: Served {
                name: against.to_string(),
                version: None,
                transport: if tls { "TCP, TLS 1.3" } else { "TCP, in plain" },
                durability: "",
            },
            pid: common.pid,
            metrics: None,
            filesystem: None,
            api: None,
            folder: None,
            child: None,
            kind: Kind::Own,
        })
    }

    async fn spawn(common: &Common) -> Result<Self, String> {
        let (folder, filesystem) = fresh_folder(&place(common)?, common.keep)?;
        let metrics = folder.path.join("metrics.txt");
        let wanted = Wanted::HttpAndKey;
        let mut started = serve(common, &folder.path, [ANY_PORT; 2], wanted).await?;
        let api = started.http.zip(started.key.take());
        let api = api.map(|(address, key)| Api::new(address, &key)).transpose()?;
        Ok(Self {
            served: Served {
                name: NAME.into(),
                version: starting::version(common).await,
                transport: QUIC,
                durability: "synced before the answer",
            },
            metrics: Some(metrics),
            filesystem: Some(filesystem),
            api,
            folder: Some(folder),
            ..Self::of(started)
        })
    }

    /// Whether it is neither the relay nor a broker.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == Kind::Own && !self.wants_enrolment()
    }

    /// Whether a peer must subscribe before messages are kept for it.
    pub(crate) fn wants_enrolment(&self) -> bool {
        matches!(self.access, Access::Mqtt(_))
    }

    /// Whether it is to be made to forget the sessions of this run.
    pub(crate) fn remembers(&self) -> bool {
        self.wants_enrolment() && self.child.is_none()
    }

    /// Its HTTP API.
    ///
    /// # Errors
    ///
    /// When nobody said where it is.
    pub(crate) fn api(&self) -> Result<&Api, String> {
        self.api.as_ref().ok_or_else(|| "--server HOST:PORT needs --http and --http-key".into())
    }

    /// Kills a spawned server and starts it again; says how long it took to be ready.
    ///
    /// # Errors
    ///
    /// When the server is not ours, or does not come back.
    pub(crate) async fn kill_and_start(&mut self, common: &Common) -> Result<Duration, String> {
        self.kill().await?;
        self.start_again(common).await
    }

    /// Kills a spawned server with SIGKILL.
    ///
    /// # Errors
    ///
    /// When the server is not ours.
    pub(crate) async fn kill(&mut self) -> Result<(), String> {
        let child = self.child.as_mut().ok_or("only a server that was spawned can be killed")?;
        child.kill().await.map_err(|error| format!("cannot kill the server: {error}"))
    }

    /// Ends a spawned server in order and starts it again; says how long it took to be ready.
    ///
    /// # Errors
    ///
    /// When the server is not ours, does not end well, or does not come back.
    pub(crate) async fn restart(&mut self, common: &Common) -> Result<Duration, String> {
        self.end().await?;
        self.start_again(common).await
    }

    /// Starts a server that has ended again, on the same data and the same ports; says how long it
    /// took to be ready.
    ///
    /// # Errors
    ///
    /// When the server is not ours, or does not come back.
    pub(crate) async fn start_again(&mut self, common: &Common) -> Result<Duration, String> {
        let folder = self.folder.as_ref().ok_or("only a spawned server can be started again")?;
        let began = Instant::now();
        let http = self.api.as_ref().map_or(ANY_PORT, Api::address);
        let started = serve(common, &folder.path, [self.address, http], Wanted::Http).await?;
        let took = began.elapsed();
        self.pid = started.child.id();
        (self.address, self.access) = (started.address, Access::Quic(started.fingerprint));
        self.child = Some(started.child);
        Ok(took)
    }

    /// Ends a spawned server in order.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub(crate) async fn drain(&mut self) -> Result<(), String> {
        self.end().await
    }

    /// Ends a spawned server and lets its program look through the data that it leaves behind;
    /// `None` if it has no `fsck`.
    ///
    /// # Errors
    ///
    /// When it does not end well, or the data is not sound.
    pub(crate) async fn fsck(&mut self, common: &Common) -> Result<Option<String>, String> {
        self.end().await?;
        let folder = self.folder.as_ref().ok_or("only a spawned server has a folder of ours")?;
        starting::fsck(common, &folder.path.join("data")).await
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
        self.end().await
    }

    async fn end(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if self.kind == Kind::Relay {
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
        // Brokers differ in what they end with when they are asked to. A goodbye is said once, and
        // of thousands at a time some are lost: those sessions the server has to cut.
        let cut_short = self.kind == Kind::Own && status.code() == Some(CUT_SHORT);
        if status.success() || self.kind == Kind::Broker || cut_short {
            return Ok(());
        }
        let tail = self.folder.as_ref().map(|folder| log_tail(&folder.path)).unwrap_or_default();
        Err(format!("the server ended with {status}{tail}"))
    }
}

/// What the server ends with when its drain had to cut sessions.
const CUT_SHORT: i32 = 75;

/// Where the folders of runs are made.
fn place(common: &Common) -> Result<PathBuf, String> {
    match &common.data {
        Some(folder) => Ok(folder.clone()),
        None => beside_own("loadtest-data"),
    }
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
    fn blobs_are_found_in_every_segment() {
        let above = std::env::current_exe().unwrap().with_file_name("loadtest-test");
        let (folder, _) = fresh_folder(&above, false).unwrap();
        std::fs::create_dir_all(folder.path.join("log/0001/blobs")).unwrap();
        assert_eq!(count_blobs(&folder.path), 0);
        std::fs::write(folder.path.join("log/0001/blobs/7"), b"spilled").unwrap();
        assert_eq!(count_blobs(&folder.path), 1);
    }
}
