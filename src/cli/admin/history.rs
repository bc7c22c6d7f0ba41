//! Which part of history, and its export.
//!
//! # Invariants
//!
//! * An export is printed as it comes, and fails if it was cut.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use serde_json::Value;

use super::call::Call;
use super::remote::Remote;
use crate::cli::chat::clock::Clock;
use crate::cli::{Exit, Failure, Outcome};

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("of").args(["group", "with", "conversation", "from"])))]
pub(super) struct HistoryArgs {
    /// Of this group.
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// Of the conversation of just these peers, separated by `,`, or by `:` if an id has a `,`.
    #[arg(long, value_name = "PEER,PEER")]
    with: Option<String>,
    /// Of this conversation.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Sent by this peer.
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// Sent then or later: a time such as 2026-11-21T21:58:03Z, or so long ago, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Sent then or earlier.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// Before this message.
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// How many messages at the most.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Print all of it, one message as JSON on each line; the last line is {"end":true}.
    #[arg(long)]
    pub(super) export: bool,
}

impl HistoryArgs {
    /// The request.
    pub(super) fn call(self) -> Call {
        let path = if self.export { "/v1/history/export" } else { "/v1/history" };
        Call::get(path)
            .query("group", self.group)
            .query("peers", self.with)
            .query("conversation", self.conversation)
            .query("sender", self.from)
            .query("since_ms", self.since)
            .query("until_ms", self.until)
            .query("before", self.before)
            .query("limit", self.limit)
    }
}

/// Prints an export, and says whether it is whole.
pub(super) async fn export(remote: &Remote, call: &Call) -> Outcome {
    let mut response = remote.begin(call).await?;
    let mut lines = Lines::default();
    let mut out = io::stdout().lock();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                out.write_all(&chunk)?;
                lines.take(&chunk);
            }
            Ok(None) => break,
            Err(error) if lines.last.is_empty() => return Err(remote.failed(error)),
            Err(_) => break,
        }
    }
    out.flush()?;
    lines.check()?;
    Ok(Exit::Done)
}

/// The last lines of an export.
#[derive(Default)]
struct Lines {
    /// The last that is whole.
    last: Vec<u8>,
    /// What came behind it.
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.rest.split_off(end + 1);
            self.rest.pop();
            let start = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.last = self.rest.split_off(start);
            self.rest = rest;
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let last: Value = serde_json::from_slice(&self.last).unwrap_or_default();
        if self.rest.is_empty() && last["end"] == true {
            return Ok(());
        }
        Err(match last["id"].as_str() {
            Some(id) => format!("the export was cut: go on with --before {id}").into(),
            None => "the export was cut: begin again".into(),
        })
    }
}

/// How long: `10m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; such as 90s, 10m or 2h"))
}

/// Milliseconds since 1970 UTC, of a time or of how long ago it was.
pub(super) fn time(text: &str) -> Result<u64, String> {
    if let Ok(at) = humantime::parse_rfc3339_weak(text) {
        return Ok(ms(at));
    }
    let ago = duration(text).map_err(|_| "neither 2026-11-21T21:58:03Z nor such as 2h")?;
    Ok(Clock::now_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

fn ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_whole_only_with_its_end() {
        let check = |chunks: &[&str], expected: Option<&str>| {
            let mut lines = Lines::default();
            chunks.iter().for_each(|chunk| lines.take(chunk.as_bytes()));
            let failure = lines.check().err().map(|failure| failure.to_string());
            assert_eq!(failure.as_deref(), expected, "{chunks:?}");
        };
        check(&["{\"id\":\"8\"}\n{\"id\"", ":\"7\"}\n{\"end\":", "true}\n"], None);
        check(&["{\"end\":true}\n"], None);
        let on = Some("the export was cut: go on with --before 7");
        check(&["{\"id\":\"8\"}\n{\"id\":\"7\"}\n", "{\"id\":\"6\"}"], on);
        check(&["{\"id\":\"7\"}\n{\"end\":true}"], on);
        check(&["{\"id\":"], Some("the export was cut: begin again"));
        check(&[], Some("the export was cut: begin again"));
    }

    #[test]
    fn a_time_is_one_or_so_long_ago() {
        assert_eq!(time("2026-11-21T21:58:03Z"), Ok(1_795_298_283_000));
        assert_eq!(time("2026-11-21 21:58:03"), Ok(1_795_298_283_000));
        let before = Clock::now_ms();
        let hour_ago = time("1h").unwrap() + 3_600_000;
        assert!((before..=Clock::now_ms()).contains(&hour_ago));
        assert!(time("soon").is_err());
    }
}
