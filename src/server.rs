//! The server: starts in order, drains in reverse.
//!
//! | task or thread | how many | ends |
//! |---|---|---|
//! | `tidings-commit`: the commit thread | 1 | after the last request, in [`Server::drain`] |
//! | `tidings-dispatch`: the dispatcher | 1 | after the last commit |
//! | `tidings-segment`: makes, closes and removes segments | 1 | after its last job |
//! | accepting connections | 1 | when the endpoint closes |
//! | a connection | 1 each | when the connection is over |
//! | a session: reader and writer, joined | 1 each | when its stream is over |
//! | telling who goes on and off line | 1 | with the server |
//! | accepting HTTP connections, if the API is on | 1 | when a drain has ended the sessions |
//! | telling a webhook endpoint | 1 each | with it, or when a drain has ended the sessions |
//! | changing a webhook endpoint | 1 each | when it is changed |
//! | an HTTP connection, and what HTTP/2 does beside it | 1 each | when the connection is over |
//! | the metrics file, if there is one | 1 | with the server |
//!
//! Nothing else runs for longer than a call.
//!
//! # Invariants
//!
//! * The QUIC port is bound after the log has been replayed: who can connect is served. The HTTP
//!   port is bound before, and tells that the server is not ready.
//! * What was accepted before a drain is committed and answered before the process ends.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http;
use crate::hub::{self, Hub};
use crate::metrics::Metrics;
use crate::net::{self, BindError, Endpoint};
use crate::presend::PreSend;
use crate::store::{OpenError, Report};
use crate::webhook::{self, Hook, Webhooks};

pub use crate::net::DrainOutcome;

/// How often the metrics file is written.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("cannot open the data folder")]
    Store(#[from] OpenError),
    /// The port cannot be had.
    #[error("cannot start the endpoint")]
    Bind(#[from] BindError),
    /// The HTTP port, its certificate or its keys cannot be had.
    #[error("cannot start the HTTP API")]
    Http(#[from] http::StartError),
    /// Webhooks cannot be told.
    #[error("cannot start webhooks")]
    Webhooks(#[from] webhook::StartError),
    /// The app's back end cannot be asked about messages.
    #[error("cannot start the pre-send hook")]
    Hook(#[from] webhook::HookError),
    /// The system does not say which port it is.
    #[error("cannot tell the port")]
    Port(#[source] std::io::Error),
    /// The server was stopped before it was up.
    #[error("stopped while starting")]
    Stopped,
}

/// Why certificates that are in force stay.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// That of QUIC.
    #[error("each certificate stays as it was: that of QUIC is of no use")]
    Net(#[from] net::TlsError),
    /// That of the HTTP API.
    #[error("each certificate stays as it was: that of the HTTP API is of no use")]
    Http(#[from] http::TlsError),
    /// The server ends.
    #[error("the server stops")]
    Stopped,
}

/// A running server.
pub struct Server {
    hub: Arc<Hub>,
    endpoint: Arc<Endpoint>,
    webhooks: Webhooks,
    http: Option<Arc<http::Server>>,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    metrics_file: Option<PathBuf>,
    drain_timeout: Duration,
    stopped: CancellationToken,
}

impl Server {
    /// Opens the HTTP port and the data folder, replays what has to be, begins to tell webhooks,
    /// and binds the QUIC port.
    ///
    /// # Errors
    ///
    /// [`StartError`], with its causes.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new());
        let clock = config.store.clock.clone();
        let http = http::Server::start(&config.http, metrics.clone(), clock.clone()).await?;
        let (hook, around) = (config.hook, config.webhook.clone());
        let (asking, opening, its_clock) = (metrics.clone(), metrics.clone(), clock.clone());
        let opened = tokio::task::spawn_blocking(move || -> Result<Hub, StartError> {
            let hook = Hook::open(hook, &around, asking, its_clock)?;
            let pre_send = hook.map(|hook| Arc::new(hook) as Arc<dyn PreSend>);
            Ok(Hub::open(hub::Options { pre_send, ..config.hub }, config.store, opening)?)
        });
        let hub = Arc::new(opened.await.map_err(|_| StartError::Stopped)??);
        let journal = hub.journal();
        let webhooks = Webhooks::start(config.webhook, journal, metrics.clone(), clock).await?;
        let endpoint = Endpoint::start(&config.net, hub.clone(), metrics.clone())?;
        let address = endpoint.local_addr().map_err(StartError::Port)?;
        let (metrics_file, stopped) = (config.metrics_file, CancellationToken::new());
        if let Some(path) = metrics_file.clone() {
            let writing = write_metrics(path, metrics.clone());
            tokio::spawn(stopped.clone().run_until_cancelled_owned(writing));
        }
        let (telling, until) = (hub.clone(), stopped.clone());
        tokio::spawn(async move { telling.run_presence(until).await });
        if let Some(http) = &http {
            http.serve(hub.clone(), webhooks.clone());
        }
        let drain_timeout = config.net.drain_timeout;
        Ok(Self {
            hub,
            endpoint: Arc::new(endpoint),
            webhooks,
            http: http.map(Arc::new),
            address,
            metrics,
            metrics_file,
            drain_timeout,
            stopped,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The HTTP API, if it is on.
    pub fn http(&self) -> Option<&http::Server> {
        self.http.as_deref()
    }

    /// Where the HTTP API listens, if it is on.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http().map(http::Server::local_addr)
    }

    /// Lower-case hexadecimal SHA-256 of its certificate.
    pub fn fingerprint(&self) -> String {
        self.endpoint.fingerprint()
    }

    /// Reads the certificates of QUIC and of the HTTP API again, with their keys: connections that
    /// come from now on get them, those that there are stay as they are. None is made.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] for the first that is of no use; then all stay as they were.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may still change them.
    pub async fn reload_certificates(&self) -> Result<(), ReloadError> {
        let (endpoint, http) = (self.endpoint.clone(), self.http.clone());
        let reload = move || -> Result<(), ReloadError> {
            let quic = endpoint.read_certificate()?;
            let http = http.as_ref().map(|http| http.read_certificate()).transpose()?;
            quic();
            http.into_iter().for_each(|show| show());
            Ok(())
        };
        tokio::task::spawn_blocking(reload).await.unwrap_or(Err(ReloadError::Stopped))
    }

    /// What the start found damaged, and how much it replayed.
    pub fn report(&self) -> &Report {
        self.hub.store().report()
    }

    /// Its figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Its webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// What decides; for reading the store.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Returns when the server cannot go on, with the reason. The process has to end: nobody is
    /// answered any more, for what was stored is not known.
    pub async fn failed(&self) -> String {
        self.hub.store().failed().await
    }

    /// Stops: clients are asked to come back later, what they have sent is committed and answered,
    /// everything reaches the state.
    pub async fn drain(self) -> DrainOutcome {
        let began = Instant::now();
        if let Some(http) = &self.http {
            http.quiesce();
        }
        let outcome = self.endpoint.drain().await;
        if let Some(http) = &self.http {
            http.drain(self.drain_timeout.saturating_sub(began.elapsed())).await;
        }
        self.webhooks.stop().await;
        let hub = self.hub.clone();
        // It fails only if it panicked, and then there is nothing left to wait for.
        let _ = tokio::task::spawn_blocking(move || hub.store().close()).await;
        self.endpoint.close().await;
        self.stopped.cancel();
        if let Some(path) = &self.metrics_file {
            report_write(path, &self.metrics);
        }
        outcome
    }
}

async fn write_metrics(path: PathBuf, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(METRICS_EVERY);
    loop {
        tick.tick().await;
        report_write(&path, &metrics);
    }
}

/// Replaces the file, so that who reads it never sees half of it.
fn report_write(path: &Path, metrics: &Metrics) {
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, metrics.text()).and_then(|()| fs::rename(&fresh, path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "cannot write the metrics file");
    }
}
