//! Offers more than the server carries, and looks at what becomes of it, and how soon all is well.
//!
//! ```text
//! overload > part, windows
//! ```
//!
//! # Invariants
//!
//! * The time of a send that is offered too much counts from its writing, which is when flow
//!   control admits it; what waits in a client before that is counted, and told beside it.
//! * The normal load counts from when a message was due, so a server that is still busy with the
//!   overload is found out.
//! * The top is found before and after each overload, which is compared with the mean of the two:
//!   a machine that others use, too, is not as fast all the time.

mod part;
mod windows;

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use self::part::{Part, hold};
use self::windows::{Window, recovered_ms, usual_p99_ms, within};
use crate::measure::Measure;
use crate::options::Overload;
use crate::peer::Work;
use crate::rate;
use crate::record::Samples;
use crate::report::Brief;
use crate::run::{Phase, Run};
use crate::scenario::{Outcome, Stage, per, rounded};
use crate::tide::{Level, Mark};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Overloaded {
    /// The closed loops that found the top: one before the first overload, one after each.
    pub(crate) tops: Vec<Carried>,
    /// The normal load, before any overload.
    pub(crate) normal: Carried,
    /// The p99 of a usual window of it, from when a message was due to its recipient's app.
    normal_p99_ms: Option<f64>,
    pub(crate) overloads: Vec<Over>,
    windows: Vec<Window>,
}

/// What was carried for some time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Carried {
    /// When it began, since the run did.
    from_ms: u32,
    seconds: f64,
    /// Sends acknowledged a second.
    pub(crate) acked_per_second: f64,
    /// From writing a send (or when it was due, in the normal load) to its acknowledgement.
    accepted_ms: Option<Brief>,
    /// From there to the recipient's app.
    delivered_ms: Option<Brief>,
    server_cpu_us_per_message: Option<f64>,
    /// The most resident memory.
    rss_mib: Option<f64>,
}

/// What an overload came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Over {
    /// How many times the top before it was offered.
    times: u32,
    offered_per_second: f64,
    /// Sends that were due.
    offered: u64,
    /// Of them, those that the sessions wrote.
    written: u64,
    /// Of them, those that waited in the clients and were given up.
    held_back: u64,
    #[serde(flatten)]
    carried: Carried,
    /// What was carried, in parts of the mean of the tops before and after it.
    part_of_top: f64,
    /// The most memory, in parts of the most at the first top.
    rss_ratio: Option<f64>,
    /// From the end of the overload until the p99 of the normal load was normal.
    recovered_ms: Option<f64>,
    /// The normal load after it.
    after: Carried,
    sessions_lost: u64,
}

impl Overloaded {
    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let top = |top: &Carried| ("top".to_owned(), top.told());
        let mut tops = self.tops.iter();
        let mut rows: Vec<_> = tops.next().map(top).into_iter().collect();
        rows.push(("normal".to_owned(), self.normal.told()));
        if let Some(usual) = self.normal_p99_ms {
            rows.push(("".into(), format!("p99 of a usual window: {usual:.1} ms")));
        }
        for (over, next_top) in self.overloads.iter().zip(tops) {
            rows.push((format!("offered x {}", over.times), over.told()));
            rows.push(("".into(), over.carried.told()));
            let recovered = match over.recovered_ms {
                Some(ms) => format!("normal {ms:.0} ms after it; "),
                None => "not normal any more; ".to_owned(),
            };
            rows.push(("after it".into(), recovered + &over.after.told()));
            rows.push(top(next_top));
        }
        rows
    }
}

impl Carried {
    fn told(&self) -> String {
        let times = |times: Option<Brief>| match times {
            Some(Brief { p50, p99, max }) => format!("p50 {p50:.1}, p99 {p99:.1}, max {max:.1} ms"),
            None => "never".to_owned(),
        };
        format!(
            "{:.0}/s acknowledged ({}), delivered ({}); {:.1} us of CPU each; {:.0} MiB",
            self.acked_per_second,
            times(self.accepted_ms),
            times(self.delivered_ms),
            self.server_cpu_us_per_message.unwrap_or_default(),
            self.rss_mib.unwrap_or_default(),
        )
    }
}

impl Over {
    fn told(&self) -> String {
        format!(
            "{:.0}/s, {:.3} of the top carried, {:.2} of its memory, {} sessions lost; of {} due \
             {} were written, {} held back",
            self.offered_per_second,
            self.part_of_top,
            self.rss_ratio.unwrap_or_default(),
            self.sessions_lost,
            self.offered,
            self.written,
            self.held_back,
        )
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, overload: &Overload) -> Result<Outcome, String> {
    let opening = stage.open(0..overload.sessions, Work::Tide(Mark::default())).await?;
    let run = &stage.fleet.run;
    run.enter(Phase::Send);
    start_normal(run, overload.normal)?;
    let closed = Level::Closed { window: usize::from(overload.window) };
    hold(stage, closed, overload.warmup, "warming up").await?;
    // What was sent before is of no interest.
    run.records.take_samples();
    run.measure(run.now_ns(), u64::MAX);
    let measure = Measure::begin(stage.server);
    let mut tops = vec![hold(stage, closed, overload.seconds, "the top").await?];
    // What the top has left behind is soon done.
    hold(stage, Level::Mail, 1, "calming down").await?;
    let normal = hold(stage, Level::Mail, overload.seconds, "a normal load").await?;
    let mut pairs = Vec::new();
    for times in &overload.times {
        let per_second = (tops[pairs.len()].acked_per_second() * f64::from(*times)) as u64;
        let unanswered_max = usize::from(overload.unanswered);
        let per_second = per_second.max(1);
        let level = Level::Open { from_ns: run.now_ns(), per_second, unanswered_max };
        let over = hold(stage, level, overload.seconds, &format!("{times} times the top")).await?;
        let after = hold(stage, Level::Mail, overload.seconds, "a normal load").await?;
        pairs.push((*times, over, after));
        tops.push(hold(stage, closed, overload.seconds, "the top").await?);
    }
    let spent = measure.end().await;
    stage.fleet.settle(stage.progress).await;
    let samples = run.records.take_samples();
    let found = conclude(&samples, &tops, &normal, &pairs);
    Ok(Outcome { spent, opening: Some(opening), overload: Some(found), ..Outcome::default() })
}

/// Lets random sessions send so many messages a second, whenever the mail is what counts.
fn start_normal(run: &Arc<Run>, per_second: u32) -> Result<(), String> {
    let mut random = fastrand::Rng::new();
    let going = |run: &Run| run.phase() == Phase::Send;
    rate::pace_while(run, per_second, going, move |run, due_ns| {
        if run.tide.level() == Level::Mail {
            run.mail[random.u32(0..run.talkers) as usize].ask(due_ns);
        }
    })
}

/// Puts together what was found; an overload is followed by the normal load after it, and there is
/// a top before and after each of these pairs.
fn conclude(
    samples: &Samples,
    tops: &[Part],
    normal: &Part,
    pairs: &[(u32, Part, Part)],
) -> Overloaded {
    let usual_ms = usual_p99_ms(&samples.deliveries, &normal.time_us());
    let first_kib = tops[0].rss_kib;
    let over = |(around, (times, over, after)): (&[Part], &(u32, Part, Part))| {
        let carried_over = carried(samples, over);
        let ratio = over.rss_kib.zip(first_kib).map(|(over, top)| over as f64 / top as f64);
        let top = around.iter().map(Part::acked_per_second).sum::<f64>() / around.len() as f64;
        Over {
            times: *times,
            offered_per_second: rounded(over.offered() as f64 / over.seconds()),
            offered: over.offered(),
            written: over.sent(),
            held_back: over.offered().saturating_sub(over.sent()),
            part_of_top: rounded(carried_over.acked_per_second / top),
            carried: carried_over,
            rss_ratio: ratio.map(rounded),
            recovered_ms: recovered_ms(
                &samples.deliveries,
                &after.time_us(),
                usual_ms.unwrap_or(f64::INFINITY),
            ),
            after: carried(samples, after),
            sessions_lost: over.sessions_lost() + after.sessions_lost(),
        }
    };
    let all: Range<u32> = tops[0].time_us().start..tops[tops.len() - 1].time_us().end;
    Overloaded {
        normal: carried(samples, normal),
        normal_p99_ms: usual_ms,
        overloads: tops.windows(2).zip(pairs).map(over).collect(),
        windows: windows::windows(samples, all),
        tops: tops.iter().map(|top| carried(samples, top)).collect(),
    }
}

fn carried(samples: &Samples, part: &Part) -> Carried {
    let time_us = part.time_us();
    Carried {
        from_ms: time_us.start / 1_000,
        seconds: rounded(part.seconds()),
        acked_per_second: rounded(part.acked_per_second()),
        accepted_ms: within(&samples.acks, &time_us),
        delivered_ms: within(&samples.deliveries, &time_us),
        server_cpu_us_per_message: per(part.cpu_us, part.acked() as f64),
        rss_mib: per(part.rss_kib, 1024.0),
    }
}
