//! The port of the API: connections are accepted, served, and ended in order.
//!
//! # Invariants
//!
//! * Connections and handshakes are bounded, in number and in time; those of one address have a
//!   bound of their own, so that nobody takes all.
//! * A request that was taken is answered before its connection ends, unless a drain runs out of
//!   time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gate::Origin;
use super::steady::Steady;
use crate::address::{Callers, network};
use crate::limits::{
    HANDSHAKE_TIMEOUT, HTTP_CONNECTIONS_MAX, HTTP_END_TIMEOUT, HTTP_HEADERS_BYTES_MAX,
    HTTP_HEADERS_TIMEOUT, HTTP_PING_AFTER, HTTP_STREAMS_MAX,
};
use crate::metrics::Metrics;
use crate::reason::Reason;

/// How long to wait before accepting again when the system has no more file handles.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What serves connections.
pub(super) struct Port {
    tasks: TaskTracker,
    /// Nothing more is accepted; connections end after their requests.
    end: CancellationToken,
    /// Connections end now.
    cut: CancellationToken,
    shared: Arc<Shared>,
}

/// What the connections share.
struct Shared {
    router: Router,
    /// What new connections get.
    tls: RwLock<Option<TlsAcceptor>>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    callers: Arc<Callers>,
    connections_per_address_max: usize,
    end: CancellationToken,
    cut: CancellationToken,
}

/// Runs what HTTP/2 does beside its connection, so that a drain waits for it.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl Port {
    /// Begins to accept.
    pub(super) fn open(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        router: Router,
        metrics: Arc<Metrics>,
        connections_per_address_max: usize,
    ) -> Self {
        let (tasks, end, cut) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let (ending, cutting, tls) = (end.clone(), cut.clone(), RwLock::new(tls));
        let shared = Arc::new(Shared {
            router,
            tls,
            metrics,
            tasks: tasks.clone(),
            callers: Arc::default(),
            connections_per_address_max,
            end,
            cut,
        });
        tasks.spawn(accept(listener, shared.clone()));
        Self { tasks, end: ending, cut: cutting, shared }
    }

    /// Connections that come from now on shake hands with this.
    pub(super) fn set_tls(&self, tls: TlsAcceptor) {
        *self.shared.tls.write() = Some(tls);
    }

    /// Accepts nothing more, lets what was asked be answered, and cuts the rest when the time is
    /// over.
    pub(super) async fn drain(&self, within: Duration) {
        self.end.cancel();
        self.tasks.close();
        let within = within.max(HTTP_END_TIMEOUT);
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "requests were cut short");
        }
        self.cut.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.end.cancel();
        self.cut.cancel();
    }
}

/// Accepts connections, each when there is room for it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let end = shared.end.clone();
    let accept = async {
        while let Ok(permit) = room.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let network = network(address.ip());
                    if shared.callers.of(network) >= shared.connections_per_address_max {
                        tracing::debug!(%address, "its network has too many connections");
                        shared.metrics.refuse(Reason::TooManyConnections);
                        continue;
                    }
                    let held = (permit, shared.callers.enter(network));
                    let shared = shared.clone();
                    let tasks = shared.tasks.clone();
                    tasks.spawn(async move {
                        connection(stream, address, &shared).await;
                        drop(held);
                    });
                }
                Err(error) if is_about_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    };
    end.run_until_cancelled(accept).await;
}

/// Whether only the one connection has failed that was to be accepted.
fn is_about_the_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection until it is over.
async fn connection(stream: TcpStream, address: SocketAddr, shared: &Arc<Shared>) {
    shared.metrics.http_connections.inc();
    let serving = async {
        // Without it an answer may wait for an acknowledgement; it fails only for a dead socket.
        let _ = stream.set_nodelay(true);
        let tls = shared.tls.read().clone();
        match tls {
            None => serve(stream, address, shared).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => serve(stream, address, shared).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS handshake"),
                Err(_) => tracing::debug!(%address, "the TLS handshake took too long"),
            },
        }
    };
    shared.cut.run_until_cancelled(serving).await;
    shared.metrics.http_connections.dec();
}

async fn serve<T>(stream: T, address: SocketAddr, shared: &Arc<Shared>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(shared.router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Origin(address));
        let answer = hyper::service::Service::call(&router, request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let builder = builder(&shared.tasks);
    let stream = TokioIo::new(Steady::new(stream));
    let mut serving = std::pin::pin!(builder.serve_connection(stream, service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = shared.end.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%address, %error, "the connection has failed");
    }
}

fn builder(tasks: &TaskTracker) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADERS_TIMEOUT)
        .max_buf_size(HTTP_HEADERS_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP_STREAMS_MAX)
        .max_header_list_size(HTTP_HEADERS_BYTES_MAX as u32)
        .keep_alive_interval(HTTP_PING_AFTER)
        .keep_alive_timeout(HTTP_PING_AFTER);
    builder
}
