//! What the server spends during the measured time, and what goes over UDP.
//!
//! # Invariants
//!
//! * CPU times are differences of two readings of one process; what cannot be read is `None`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::metrics::{self, Metrics};
use crate::process::{self, Udp};
use crate::report::Brief;
use crate::server::{Access, Server};

/// How often memory and the log's size are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// What the names of the threads of the server's log begin with.
const LOG_THREADS: &str = "tidings-commit";

/// What was spent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    pub(crate) server_cpu_us: Option<u64>,
    pub(crate) log_cpu_us: Option<u64>,
    pub(crate) own_cpu_us: Option<u64>,
    pub(crate) commits: Option<u64>,
    pub(crate) syncs: Option<u64>,
    pub(crate) sync_ms: Option<Brief>,
    /// What went over UDP, on all of this machine.
    pub(crate) udp: Option<Udp>,
    /// Messages handed to apps in each second.
    pub(crate) delivered_each_second: Vec<u64>,
    /// The most that was seen.
    pub(crate) rss_kib: Option<u64>,
    /// The most that was seen.
    pub(crate) log_bytes: Option<u64>,
}

/// A measurement under way.
pub(crate) struct Measure<'a> {
    server: &'a Server,
    before: Reading,
    metrics: JoinHandle<Option<Metrics>>,
    watch: JoinHandle<()>,
    most: Arc<Most>,
}

struct Reading {
    at: Instant,
    server_cpu_us: Option<u64>,
    log_cpu_us: Option<u64>,
    own_cpu_us: Option<u64>,
    udp: Option<Udp>,
}

/// The greatest values seen; 0 for none.
#[derive(Default)]
struct Most {
    rss_kib: AtomicU64,
    log_bytes: AtomicU64,
}

impl<'a> Measure<'a> {
    /// Begins to measure now.
    pub(crate) fn begin(server: &'a Server) -> Self {
        let most = Arc::new(Most::default());
        Self {
            server,
            before: Reading::of(server),
            metrics: read_metrics(server),
            watch: tokio::spawn(watch(server.pid, server.metrics.clone(), most.clone())),
            most,
        }
    }

    /// Begins to measure once the server's own figures have been read, for what is soon over.
    pub(crate) async fn begin_after_reading(server: &'a Server) -> Self {
        let metrics = read_metrics(server).await.ok().flatten();
        Self { metrics: tokio::spawn(std::future::ready(metrics)), ..Self::begin(server) }
    }

    /// Ends the measured time now; the server's own figures may be a second younger.
    pub(crate) async fn end(self) -> Spent {
        let after = Reading::of(self.server);
        let metrics_after = read_metrics(self.server).await.ok().flatten();
        let metrics_before = self.metrics.await.ok().flatten();
        self.watch.abort();
        let both = metrics_before.as_ref().zip(metrics_after.as_ref());
        let risen = |name| both.and_then(|(before, after)| after.risen(before, name));
        let since = |before: Option<u64>, after: Option<u64>| Some(after? - before?);
        let most = |value: &AtomicU64| Some(value.load(Ordering::Relaxed)).filter(|most| *most > 0);
        Spent {
            seconds: (after.at - self.before.at).as_secs_f64(),
            server_cpu_us: since(self.before.server_cpu_us, after.server_cpu_us),
            log_cpu_us: since(self.before.log_cpu_us, after.log_cpu_us),
            own_cpu_us: since(self.before.own_cpu_us, after.own_cpu_us),
            commits: risen("tidings_commits_total"),
            syncs: risen("tidings_syncs_total"),
            sync_ms: both.and_then(|(before, after)| after.sync_ms(before)),
            udp: self.before.udp.zip(after.udp).map(|(before, after)| Udp {
                sent: after.sent - before.sent,
                dropped: after.dropped - before.dropped,
            }),
            delivered_each_second: Vec::new(),
            rss_kib: most(&self.most.rss_kib),
            log_bytes: most(&self.most.log_bytes),
        }
    }
}

impl Reading {
    fn of(server: &Server) -> Self {
        Self {
            at: Instant::now(),
            server_cpu_us: server.pid.and_then(process::cpu_us),
            log_cpu_us: server.pid.and_then(|pid| process::threads_cpu_us(pid, LOG_THREADS)),
            own_cpu_us: process::cpu_us(std::process::id()),
            udp: matches!(server.access, Access::Quic(_)).then(process::udp).flatten(),
        }
    }
}

fn read_metrics(server: &Server) -> JoinHandle<Option<Metrics>> {
    let file = server.metrics.clone();
    tokio::spawn(async move { metrics::read_fresh(file.as_deref()?).await })
}

async fn watch(pid: Option<u32>, metrics: Option<std::path::PathBuf>, most: Arc<Most>) {
    loop {
        if let Some(kib) = pid.and_then(process::rss_kib) {
            most.rss_kib.fetch_max(kib, Ordering::Relaxed);
        }
        let text = metrics.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(bytes) = text.and_then(|text| Metrics::parse(&text).value("tidings_log_bytes"))
        {
            most.log_bytes.fetch_max(bytes as u64, Ordering::Relaxed);
        }
        tokio::time::sleep(LOOK).await;
    }
}
