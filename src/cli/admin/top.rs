//! `tidings admin top`: the rates of a server, once a second.
//!
//! # Invariants
//!
//! * A rate is over the time that has really passed between its two readings.
//! * In a terminal a server that does not answer is told of, and asked again; through a pipe it
//!   ends the command.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value};
use tokio::time::MissedTickBehavior;

use super::call::Call;
use super::figures::Figures;
use super::live::Live;
use super::remote::Remote;
use super::show::size;
use super::table::Table;
use crate::cli::chat::clock::Clock;
use crate::cli::signals::Signals;
use crate::cli::{Exit, Failure, Outcome};

/// From one reading to the next.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Print one sample, of two readings a second apart, and end.
    #[arg(long)]
    once: bool,
}

/// What a line of the table tells of a figure.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// By how much a counter grows in a second.
    Rate,
    /// How many there are.
    Count,
    /// How many bytes there are.
    Bytes,
    /// Below how many seconds lies this share of a histogram.
    Share(f64),
}

/// The table: what a line is called, the figure, and what it tells of it.
const LINES: &[(&str, &str, Kind)] = &[
    ("sends/s", "tidings_messages_total", Kind::Rate),
    ("deliveries/s", "tidings_deliveries_total", Kind::Rate),
    ("transients/s", "tidings_transients_total", Kind::Rate),
    ("http requests/s", "tidings_http_requests_total", Kind::Rate),
    ("sessions", "tidings_sessions", Kind::Count),
    ("connections", "tidings_connections", Kind::Count),
    ("commits/s", "tidings_commits_total", Kind::Rate),
    ("sync p50", "tidings_sync_seconds", Kind::Share(0.5)),
    ("sync p99", "tidings_sync_seconds", Kind::Share(0.99)),
    ("drops/s", "tidings_drops_total", Kind::Rate),
    ("log", "tidings_log_bytes", Kind::Bytes),
    ("memory", "tidings_resident_memory_bytes", Kind::Bytes),
];

impl TopArgs {
    pub(super) async fn run(self, remote: &Remote, json: bool, clock: Clock) -> Outcome {
        let mut signals = Signals::new()?;
        let mut before = tokio::select! {
            reading = Reading::take(remote) => reading?,
            () = signals.next() => return Ok(Exit::Done),
        };
        let mut live = if self.once || json { None } else { Live::open()? };
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let quit = async {
                match &mut live {
                    Some(live) => live.quit().await,
                    None => std::future::pending().await,
                }
            };
            let reading = async {
                ticks.tick().await;
                Reading::take(remote).await
            };
            let reading = tokio::select! {
                reading = reading => reading,
                () = quit => return Ok(Exit::Done),
                () = signals.next() => return Ok(Exit::Done),
            };
            let shown = match reading {
                Ok(after) => {
                    let sample = Sample::between(&before, &after);
                    before = after;
                    Ok(sample)
                }
                Err(failure) if live.is_none() => return Err(failure),
                Err(failure) => Err(failure),
            };
            let at = clock.time(Clock::now_ms());
            match (&live, shown) {
                (Some(live), shown) => live.draw(&screen(&remote.url, &at, shown))?,
                (None, Ok(sample)) => say(&sample, &at, json, self.once)?,
                (None, Err(failure)) => return Err(failure),
            }
            if self.once {
                return Ok(Exit::Done);
            }
        }
    }
}

/// The whole screen.
fn screen(url: &str, at: &str, shown: Result<Sample, Failure>) -> Vec<String> {
    let mut lines = vec![format!("{url}  {at}  (q ends)"), String::new()];
    match shown {
        Ok(sample) => lines.extend(sample.lines()),
        Err(failure) => lines.push(failure.to_string()),
    }
    lines
}

/// Prints a sample: as a table if it is the only one and somebody may look at it, or on a line.
fn say(sample: &Sample, at: &str, json: bool, once: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{}", sample.json())?,
        false if once && out.is_terminal() => {
            for line in sample.lines() {
                writeln!(out, "{line}")?;
            }
        }
        false => writeln!(out, "{at}  {}", sample.line())?,
    }
    out.flush()
}

/// The figures of one moment.
struct Reading {
    figures: Figures,
    at: Instant,
}

impl Reading {
    async fn take(remote: &Remote) -> Result<Self, Failure> {
        let answer = remote.ask(&Call::get("/metrics")).await?;
        let figures = Figures::parse(&String::from_utf8_lossy(&answer.body));
        Ok(Self { figures, at: Instant::now() })
    }
}

/// What two readings tell: a value for each of [`LINES`], if there is one.
struct Sample(Vec<Option<f64>>);

impl Sample {
    fn between(before: &Reading, after: &Reading) -> Self {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let (then, now) = (&before.figures, &after.figures);
        let value = |(_, figure, kind): &(&str, &str, Kind)| match kind {
            Kind::Rate => now.growth(then, figure).map(|growth| growth / seconds),
            Kind::Count | Kind::Bytes => now.sum(figure),
            Kind::Share(share) => now.quantile(then, figure, *share),
        };
        Self(LINES.iter().map(value).collect())
    }

    /// The names of the lines, and the values as people read them.
    fn shown(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        LINES.iter().zip(&self.0).map(|((name, _, kind), value)| {
            let shown = value.map(|value| match kind {
                Kind::Rate => format!("{value:.1}"),
                Kind::Count => format!("{value:.0}"),
                Kind::Bytes => size(value),
                Kind::Share(_) => format!("{:.2} ms", value * 1e3),
            });
            (*name, shown.unwrap_or_else(|| "-".into()))
        })
    }

    /// A line for each.
    fn lines(&self) -> Vec<String> {
        let mut table = Table::default();
        self.shown().for_each(|(name, value)| table.row([name.to_owned(), value]));
        table.lines("")
    }

    /// All on one line.
    fn line(&self) -> String {
        let parts = self.shown().map(|(name, value)| format!("{name} {value}"));
        parts.collect::<Vec<_>>().join("  ")
    }

    /// The bare values, in seconds and bytes.
    fn json(&self) -> Value {
        let field = |((name, _, kind), value): (&(&str, &str, Kind), &Option<f64>)| {
            let name = name.replace("/s", "_per_second").replace(' ', "_");
            let unit = match kind {
                Kind::Share(_) => "_seconds",
                Kind::Bytes => "_bytes",
                Kind::Rate | Kind::Count => "",
            };
            (name + unit, (*value).into())
        };
        Value::Object(LINES.iter().zip(&self.0).map(field).collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_time_that_has_passed() {
        let reading = |text: &str, at| Reading { figures: Figures::parse(text), at };
        let began = Instant::now();
        let before = reading("tidings_messages_total 10\n", began);
        let text = "tidings_messages_total 40\ntidings_sessions 3\ntidings_log_bytes 2048\n";
        let sample = Sample::between(&before, &reading(text, began + 2 * EVERY));
        let line = sample.line();
        assert!(line.starts_with("sends/s 15.0  deliveries/s -  "), "{line}");
        for part in ["sessions 3", "sync p99 -", "log 2.0 KiB"] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(sample.lines().len(), LINES.len());
        let json = sample.json();
        assert_eq!((&json["sends_per_second"], &json["log_bytes"]), (&15.0.into(), &2048.0.into()));
        assert_eq!(json["sync_p50_seconds"], Value::Null);
    }

    #[test]
    fn every_figure_is_one_that_the_server_tells() {
        let figures = Figures::parse(&tidings::metrics::Metrics::new().classic());
        for (name, figure, kind) in LINES {
            let told = match kind {
                Kind::Share(_) => figures.sum(&format!("{figure}_bucket")),
                _ => figures.sum(figure),
            };
            // A family has no sample before its first request.
            assert!(told.is_some() || *name == "http requests/s", "{figure}");
        }
    }
}
