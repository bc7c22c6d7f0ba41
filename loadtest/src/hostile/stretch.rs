//! Some seconds of the honest load, and what disk, server and generator did meanwhile.
//!
//! # Invariants
//!
//! * A new stretch begins where the server has just written its figures, so that the syncs of one
//!   are not those of another, but for the second in which the server writes them.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::measure::{Measure, Spent};
use crate::process;
use crate::record::Times;
use crate::report::Brief;
use crate::scenario::{Stage, rounded};

/// How often the server's memory is read.
const LOOK: Duration = Duration::from_millis(100);

/// How the others fared for some seconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Stretch {
    /// From the intended send of the others' messages to their apps.
    pub(super) latency_ms: Option<Brief>,
    /// How long the disk took for the server's syncs.
    sync_ms: Option<Brief>,
    /// CPU of the server and of the generator, its hostile client included; 100 is one core.
    server_cpu_percent: Option<f64>,
    generator_cpu_percent: Option<f64>,
    /// The most memory of the server.
    pub(super) rss_mib: Option<f64>,
}

impl Stretch {
    /// Measures from now on.
    ///
    /// # Errors
    ///
    /// When the server or every session is gone.
    pub(super) async fn measure(
        stage: &Stage<'_>,
        name: &str,
        length: Duration,
    ) -> Result<Self, String> {
        stage.progress.begin(name, length.as_millis() as u64);
        let measure = Measure::begin_after_reading(stage.server).await;
        let (fleet, began) = (&stage.fleet, Instant::now());
        fleet.run.records.take_samples();
        let mut rss_kib = None;
        while began.elapsed() < length {
            tokio::time::sleep(LOOK).await;
            rss_kib = rss_kib.max(stage.server.pid.and_then(process::rss_kib));
            stage.progress.reach(began.elapsed().as_millis() as u64);
            fleet.wait_until(0, stage.progress).await?;
        }
        let samples = fleet.run.records.take_samples();
        let mut times = Times::default();
        samples.deliveries.iter().for_each(|one| times.add_ns(u64::from(one.took_us) * 1_000));
        let Spent { seconds, server_cpu_us, own_cpu_us, sync_ms, .. } = measure.end().await;
        let percent = |us: Option<u64>| us.map(|us| rounded(us as f64 / seconds / 1e4));
        Ok(Self {
            latency_ms: Brief::of(&times),
            sync_ms,
            server_cpu_percent: percent(server_cpu_us),
            generator_cpu_percent: percent(own_cpu_us),
            rss_mib: rss_kib.map(|kib| rounded(kib as f64 / 1024.0)),
        })
    }

    /// What a person reads.
    pub(super) fn told(&self) -> String {
        let latency = match self.latency_ms {
            Some(Brief { p50, p99, max }) => format!("p50 {p50:.1}, p99 {p99:.1}, max {max:.0} ms"),
            None => "nothing delivered".into(),
        };
        let sync = self.sync_ms.map_or_else(String::new, |Brief { p99, max, .. }| {
            format!("; syncs p99 {p99:.1}, max {max:.0} ms")
        });
        let (server, generator) = (self.server_cpu_percent, self.generator_cpu_percent);
        let cpu = server.zip(generator).map_or_else(String::new, |(server, generator)| {
            format!("; CPU {server:.0} % server, {generator:.0} % generator")
        });
        latency + &sync + &cpu
    }

    #[cfg(test)]
    pub(super) fn of(p99: f64) -> Self {
        Self {
            latency_ms: Some(Brief { p50: 1.0, p99, max: 60.0 }),
            sync_ms: None,
            server_cpu_percent: Some(30.0),
            generator_cpu_percent: None,
            rss_mib: Some(100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_told() {
        let stretch = Stretch::of(2.0);
        assert_eq!(stretch.told(), "p50 1.0, p99 2.0, max 60 ms");
        let sync_ms = Some(Brief { p50: 0.2, p99: 1.25, max: 13.0 });
        let known = Stretch { sync_ms, generator_cpu_percent: Some(20.0), ..stretch };
        assert_eq!(
            known.told(),
            "p50 1.0, p99 2.0, max 60 ms; syncs p99 1.2, max 13 ms; CPU 30 % server, 20 % generator"
        );
    }
}
