//! The HTTP API of an app's back end, and what operators ask a server.
//!
//! A route stands in the file of what it is about, and is added there with its scope.
//!
//! # Invariants
//!
//! * The port is open before the log has been replayed: who asks is told that it is not ready.
//! * Whatever goes wrong is told as problem details, with a type that stays the same.
//! * Every route but the open ones asks for a key with its scope.

mod aliases;
mod api;
mod backup;
mod blocked;
mod document;
mod endpoint_log;
mod endpoint_values;
mod endpoints;
mod export;
mod extract;
mod failures;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod groups;
mod history;
mod key_routes;
mod keys;
mod layers;
mod listener;
mod many;
mod members;
mod messages;
mod metadata;
mod observe;
mod operations;
mod page;
mod peers;
mod posting;
mod problem;
mod repeats;
mod routes;
mod rules;
mod scope;
mod secret;
mod steady;
mod text;
mod tls;
mod unread;
mod upstream;
mod values;
mod version;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use tokio::net::TcpListener;

pub use keys::master_key;
pub use tls::{CertificateFiles, TlsError};

use crate::clock::Clock;
use crate::hub::Hub;
use crate::limits::HTTP_CONNECTIONS_PER_ADDRESS_MAX;
use crate::metrics::Metrics;
use crate::private_file::FileError;
use crate::webhook::Webhooks;
use api::Api;
use keys::Keys;
use listener::Port;
use routes::Routes;

/// The parts of the API, each of which adds its routes.
const PARTS: &[fn(Routes) -> Routes] = &[
    aliases::add,
    backup::add,
    blocked::add,
    document::add,
    endpoint_log::add,
    endpoints::add,
    export::add,
    groups::add,
    history::add,
    key_routes::add,
    members::add,
    messages::add,
    operations::add,
    peers::add,
    unread::add,
    upstream::add,
];

/// What can be set about the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where to listen; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The certificate; without one it is plain HTTP.
    pub certificate: Option<CertificateFiles>,
    /// Where the keys of back ends are kept.
    pub keys_dir: PathBuf,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
}

impl Options {
    /// The defaults of `limits.rs`, and no address.
    pub fn new(keys_dir: PathBuf) -> Self {
        let connections_per_address_max = HTTP_CONNECTIONS_PER_ADDRESS_MAX;
        Self { listen: None, certificate: None, keys_dir, connections_per_address_max }
    }
}

/// Why the API cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be had.
    #[error("cannot listen on {address}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no usable certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There are no usable keys.
    #[error(transparent)]
    Keys(#[from] FileError),
}

/// The API, listening. Dropping it ends all its connections.
pub struct Server {
    api: Arc<Api>,
    port: Port,
    address: SocketAddr,
    certificate: Option<CertificateFiles>,
}

impl Server {
    /// Opens the port; requests are told that the server is starting. `None`: it is off.
    ///
    /// # Errors
    ///
    /// [`StartError`] says which file or address is of no use.
    pub async fn start(
        options: &Options,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Option<Self>, StartError> {
        let Some(address) = options.listen else { return Ok(None) };
        let tls = options.certificate.as_ref().map(tls::acceptor).transpose()?;
        let socket = |source| StartError::Socket { address, source };
        let listener = TcpListener::bind(address).await.map_err(socket)?;
        let bound = listener.local_addr().map_err(socket)?;
        let keys = Keys::open(&options.keys_dir, clock.now_ms())?;
        let api = Arc::new(Api::new(keys, metrics.clone(), clock));
        if tls.is_none() && !bound.ip().is_loopback() {
            tracing::warn!(
                address = %bound,
                "the HTTP API is open to the network without TLS, so that keys can be read on the \
                 way: set http_certificate and http_key, or let a proxy speak TLS and listen on \
                 127.0.0.1"
            );
        }
        let port =
            Port::open(listener, tls, router(&api), metrics, options.connections_per_address_max);
        let certificate = options.certificate.clone();
        Ok(Some(Self { api, port, address: bound, certificate }))
    }

    /// Reads the certificate and its key again, if there are any. What is returned has connections
    /// that come from then on get it; those that there are stay as they are. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file is of no use.
    pub fn read_certificate(&self) -> Result<impl FnOnce(), TlsError> {
        let tls = self.certificate.as_ref().map(tls::acceptor).transpose()?;
        Ok(move || tls.into_iter().for_each(|tls| self.port.set_tls(tls)))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The file of the keys.
    pub fn keys_file(&self) -> &Path {
        self.api.keys.path()
    }

    /// The master key, if this start has made it: it is shown once.
    pub fn made_key(&self) -> Option<String> {
        self.api.keys.made()
    }

    /// Begins to serve what needs the hub and the webhooks.
    pub fn serve(&self, hub: Arc<Hub>, webhooks: Webhooks) {
        self.api.serve(hub, webhooks);
    }

    /// Takes no more requests that need the hub; what was taken goes on.
    pub fn quiesce(&self) {
        self.api.quiesce();
    }

    /// Ends: what was taken is answered, and cut when the time is over.
    pub async fn drain(&self, within: Duration) {
        self.port.drain(within).await;
    }
}

fn router(api: &Arc<Api>) -> Router {
    let routes = PARTS.iter().fold(Routes::new(api), |routes, add| add(routes));
    let (router, document) = routes.finish();
    let json = document.to_json().unwrap_or_default();
    // It is made once, here.
    let _ = api.document.set(Bytes::from(json));
    layers::around(router, api)
}
