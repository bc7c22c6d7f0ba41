//! Starting a child and hearing what it says of itself.
//!
//! # Invariants
//!
//! * A child counts as started once it has said all that is wanted of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tidings::client::Fingerprint;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::beside_own;
use crate::broker::version_in;
use crate::options::Common;

/// How long a child may take to be ready; a server may have a long log to look through.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What a child must say before it counts as started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// Where it listens for QUIC.
    Quic,
    /// And for HTTP.
    Http,
    /// And the key that it has made.
    HttpAndKey,
}

/// A child that is ready.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    pub(super) fingerprint: Fingerprint,
    pub(super) http: Option<SocketAddr>,
    pub(super) key: Option<String>,
}

/// What a child has said.
#[derive(Debug, Default, Eq, PartialEq)]
struct Said {
    quic: Option<(SocketAddr, Fingerprint)>,
    http: Option<SocketAddr>,
    key: Option<String>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        if let Some(url) = line.strip_prefix("http: listening on http://") {
            self.http = url.trim().parse().ok();
        } else if let Some(found) = ready_line(line) {
            self.quic = Some(found);
        } else if line.trim().starts_with("tdk_") {
            self.key = Some(line.trim().to_owned());
        }
    }

    fn is_enough(&self, wanted: Wanted) -> bool {
        self.quic.is_some()
            && (wanted == Wanted::Quic || self.http.is_some())
            && (wanted != Wanted::HttpAndKey || self.key.is_some())
    }
}

/// Starts the server on the data in `folder`, and at an address for QUIC and one for HTTP.
///
/// # Errors
///
/// Why it did not start, with the end of its log.
pub(super) async fn serve(
    common: &Common,
    folder: &Path,
    [quic, http]: [SocketAddr; 2],
    wanted: Wanted,
) -> Result<Started, String> {
    let program = program(common)?;
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
    command.args(["serve", "--http-listen", &http.to_string(), "--listen", &quic.to_string()]);
    command.arg("--data").arg(folder.join("data"));
    command.arg("--metrics-file").arg(folder.join("metrics.txt"));
    command.args(common.server_arguments()).stdin(Stdio::null()).stderr(log);
    let started = start(command, "the server", wanted).await;
    started.map_err(|why| format!("{why}{}", log_tail(folder)))
}

/// Where the server's program is.
fn program(common: &Common) -> Result<PathBuf, String> {
    match &common.tidings {
        Some(program) => Ok(program.clone()),
        None => beside_own("tidings"),
    }
}

/// What the server's program finds in the data of a server that has ended; `None` if it has no
/// `fsck`.
///
/// # Errors
///
/// When it says that the data is not sound.
pub(super) async fn fsck(common: &Common, data: &Path) -> Result<Option<String>, String> {
    let program = program(common)?;
    let text = |error: std::io::Error| format!("cannot look through the data: {error}");
    let known = Command::new(&program).args(["fsck", "--help"]).output().await.map_err(text)?;
    if !known.status.success() {
        return Ok(None);
    }
    let output = Command::new(&program).arg("fsck").arg("--data").arg(data).output().await;
    let output = output.map_err(text)?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() {
        true => Ok(Some(found)),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("the data is not sound: {found} {said}"))
        }
    }
}

/// What the server's program says that it is.
pub(super) async fn version(common: &Common) -> Option<String> {
    let output = Command::new(program(common).ok()?).arg("--version").output().await.ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

/// Starts a child and awaits the lines that say where it listens.
///
/// # Errors
///
/// Why it is not ready.
pub(super) async fn start(
    mut command: Command,
    who: &str,
    wanted: Wanted,
) -> Result<Started, String> {
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot start {who}: {error}"))?;
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut said = Said::default();
    let ready = async {
        while let Ok(Some(line)) = lines.next_line().await {
            said.hear(&line);
            if said.is_enough(wanted) {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(READY_TIMEOUT, ready).await {
        Ok(true) => {}
        Ok(false) => return Err(format!("{who} ended before it was ready")),
        Err(_) => return Err(format!("{who} was not ready within {READY_TIMEOUT:?}")),
    }
    // Whatever else it prints must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let Said { quic, http, key } = said;
    let (address, fingerprint) = quic.ok_or("the child does not say where it listens")?;
    Ok(Started { child, address, fingerprint, http, key })
}

/// The end of the server's log, to be put behind a problem.
pub(super) fn log_tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.iter().rev().map(|line| format!("\n  server: {line}")).collect()
}

/// Reads `ready: listening on ADDRESS, fingerprint HEX`.
fn ready_line(line: &str) -> Option<(SocketAddr, Fingerprint)> {
    let (_, rest) = line.split_once("listening on ")?;
    let (address, rest) = rest.split_once([',', ' '])?;
    let (_, fingerprint) = rest.split_once("fingerprint ")?;
    Some((address.parse().ok()?, fingerprint.split_ascii_whitespace().next()?.parse().ok()?))
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
    fn a_child_has_said_enough_once_all_that_is_wanted_is_known() {
        let hex = "ab".repeat(32);
        let mut said = Said::default();
        said.hear(&format!("ready: listening on 127.0.0.1:7400, fingerprint {hex}"));
        assert!(said.is_enough(Wanted::Quic) && !said.is_enough(Wanted::Http));
        said.hear("http: listening on http://127.0.0.1:7401");
        assert!(said.is_enough(Wanted::Http) && !said.is_enough(Wanted::HttpAndKey));
        said.hear("A master key for the HTTP API was made. It is kept in x/api-keys.json:");
        assert!(!said.is_enough(Wanted::HttpAndKey));
        said.hear("    tdk_secret");
        assert!(said.is_enough(Wanted::HttpAndKey));
        said.hear("    curl -H 'Authorization: Bearer tdk_other' http://127.0.0.1:7401/v1/stats");
        assert_eq!(said.key.as_deref(), Some("tdk_secret"));
        assert_eq!(said.http, Some(SocketAddr::from(([127, 0, 0, 1], 7401))));
    }
}
