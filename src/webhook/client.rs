//! Requests to endpoints.
//!
//! # Invariants
//!
//! * A connection is made only to an address that webhooks may go to: the addresses that are
//!   checked are those that are connected to, whatever a name leads to a moment later.
//! * Redirects are not followed, and no proxy is used.
//! * Of an answer no more is read than the limit, and nothing of it but its beginning is kept.
//! * No error tells a URL, a header or a body.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, ClientBuilder, Response, Url};
use tokio::time::Instant;

use super::addresses::{Network, literal, may_reach};
use super::attempts::short;
use super::dialect::Outgoing;
use super::retry::{Verdict, retry_after};
use super::sign::{self, Secret};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::limits::{WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_CONNECT_MAX, WEBHOOK_IN_FLIGHT_MAX};

/// Why requests cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file of authorities has none.
    #[error("{0} is not a PEM file with certificates")]
    Authorities(PathBuf),
    /// TLS cannot be set up.
    #[error("cannot speak HTTP")]
    Http(#[source] reqwest::Error),
}

/// Finds out which addresses a name has.
pub(super) trait Names: Send + Sync {
    /// The addresses of a name.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// What the system knows of names.
#[derive(Debug)]
pub(super) struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Lets names lead only to where webhooks may go.
struct Guard {
    names: Arc<dyn Names>,
    allowed: Arc<[Network]>,
}

/// A name leads nowhere that webhooks may go.
#[derive(Debug, thiserror::Error)]
#[error("the host has no address that webhooks may go to")]
struct Forbidden;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, allowed) = (self.names.clone(), self.allowed.clone());
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = names.addresses(name).await?;
            let may = |address: &IpAddr| may_reach(*address, &allowed);
            let reachable: Vec<SocketAddr> =
                found.into_iter().filter(may).map(|address| SocketAddr::new(address, 0)).collect();
            if reachable.is_empty() {
                return Err(Forbidden.into());
            }
            let reachable: Addrs = Box::new(reachable.into_iter());
            Ok(reachable)
        })
    }
}

/// What makes requests; clones share their connections.
#[derive(Clone)]
pub(super) struct Client(Arc<Shared>);

struct Shared {
    names: Arc<dyn Names>,
    allowed: Arc<[Network]>,
    authorities: Vec<Certificate>,
    /// By whether they are secure and how long they may take to connect, made when first needed.
    clients: Mutex<BTreeMap<(bool, Duration), reqwest::Client>>,
    clock: Clock,
}

/// A request of one body.
#[derive(Clone, Debug)]
pub(super) struct Letterhead {
    pub(super) url: Url,
    /// The id of the request.
    pub(super) id: String,
    pub(super) secrets: Vec<Secret>,
    /// How long it may take.
    pub(super) timeout: Duration,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// There was no connection.
    Nowhere,
    /// The connection ended before there was an answer.
    Cut,
    /// There was a connection, and no answer in time.
    Late,
    /// It was answered.
    Answered,
}

/// What came of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// When it was made, in milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) took: Duration,
    /// The status; 0 if there was no answer.
    pub(super) status: u16,
    pub(super) verdict: Verdict,
    pub(super) reach: Reach,
    /// How long the endpoint wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Why there was no answer, or how one that was no success begins.
    pub(super) said: String,
}

impl Client {
    /// Reads the further authorities, if there are any. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`ClientError`] says what is of no use.
    pub(super) fn new(
        allowed: Vec<Network>,
        ca: Option<&Path>,
        names: Arc<dyn Names>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        // Another part of the process may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = ca.map(authorities).transpose()?.unwrap_or_default();
        let allowed: Arc<[Network]> = allowed.into();
        let plain = builder(names.clone(), allowed.clone()).tls_certs_only([]);
        plain.build().map_err(ClientError::Http)?;
        let clients = Mutex::default();
        let shared = Shared { names, allowed, authorities, clients, clock };
        Ok(Self(Arc::new(shared)))
    }

    /// Makes a request, signed at this moment. What goes wrong is a part of the answer.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have made the request, or not.
    pub(super) async fn post(&self, to: &Letterhead, outgoing: Outgoing) -> Answer {
        let (at_ms, began) = (self.0.clock.now_ms(), Instant::now());
        let answer = self.try_post(to, outgoing, at_ms).await;
        let (reach, (status, retry_after, said)) = match answer {
            Ok(answer) => (Reach::Answered, answer),
            Err(Silence { reach, said }) => (reach, (0, None, said)),
        };
        let (verdict, took, said) = (Verdict::of(status), began.elapsed(), short(&said));
        Answer { at_ms, took, status, verdict, reach, retry_after, said }
    }

    /// Makes a request, and reads the answer up to the limit.
    ///
    /// # Errors
    ///
    /// What went wrong, in words for the operator.
    pub(super) async fn ask(
        &self,
        to: &Letterhead,
        outgoing: Outgoing,
    ) -> Result<(u16, Vec<u8>), String> {
        let response = self.begin(to, outgoing, self.0.clock.now_ms()).await;
        let mut response = response.map_err(|silence| silence.said)?;
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > WEBHOOK_ANSWER_BYTES_MAX {
                return Err("the answer is too long".into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }

    /// Gets ready for requests to this URL that may take so long. Blocks on the disk, where the
    /// roots of the system are.
    ///
    /// # Errors
    ///
    /// What went wrong, in words for the operator.
    pub(super) fn prepare(&self, url: &Url, timeout: Duration) -> Result<(), String> {
        self.http(url, timeout).map(drop)
    }

    async fn try_post(
        &self,
        to: &Letterhead,
        outgoing: Outgoing,
        at_ms: i64,
    ) -> Result<(u16, Option<Duration>, String), Silence> {
        let response = self.begin(to, outgoing, at_ms).await?;
        let status = response.status().as_u16();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|text| retry_after(text, self.0.clock.now_ms()));
        // The status is what counts, whatever becomes of the rest.
        let said = beginning(response).await;
        let said = if Verdict::of(status) == Verdict::Delivered { String::new() } else { said };
        Ok((status, wait, said))
    }

    /// Makes a request; its answer has begun.
    async fn begin(
        &self,
        to: &Letterhead,
        outgoing: Outgoing,
        at_ms: i64,
    ) -> Result<Response, Silence> {
        let Outgoing { query, content_type, body } = outgoing;
        // A resolver is asked about names only.
        let host = to.url.host_str().and_then(literal);
        if host.is_some_and(|address| !may_reach(address, &self.0.allowed)) {
            return Err(Silence::nowhere(Forbidden.to_string()));
        }
        let client = self.http(&to.url, to.timeout).map_err(Silence::nowhere)?;
        let mut request = client.post(with_query(&to.url, &query)).timeout(to.timeout);
        request = request.header(CONTENT_TYPE, content_type);
        for (name, value) in sign::headers(&to.secrets, &to.id, at_ms.div_euclid(1000), &body) {
            request = request.header(name, value);
        }
        request.body(body).send().await.map_err(Silence::new)
    }

    fn http(&self, url: &Url, timeout: Duration) -> Result<reqwest::Client, String> {
        let shared = &self.0;
        let (is_secure, connect) = (url.scheme() != "http", connect_max(timeout));
        let mut clients = shared.clients.lock();
        if let Some(client) = clients.get(&(is_secure, connect)) {
            return Ok(client.clone());
        }
        let builder = builder(shared.names.clone(), shared.allowed.clone());
        let builder = match is_secure {
            true => builder.tls_certs_merge(shared.authorities.clone()),
            false => builder.tls_certs_only([]),
        };
        let client = builder.connect_timeout(connect).build().map_err(told)?;
        clients.insert((is_secure, connect), client.clone());
        Ok(client)
    }
}

/// How long a connection may take where a request may take so long: up to half of it, a power of
/// two in milliseconds, so that there are few such times. All addresses of a name share it.
fn connect_max(timeout: Duration) -> Duration {
    let half = (timeout / 2).min(WEBHOOK_CONNECT_MAX).as_millis() as u64;
    Duration::from_millis(half.checked_ilog2().map_or(1, |power| 1 << power))
}

/// There was no answer.
struct Silence {
    reach: Reach,
    /// Why, in words for the operator.
    said: String,
}

impl Silence {
    fn nowhere(said: String) -> Self {
        Self { reach: Reach::Nowhere, said }
    }

    fn new(error: reqwest::Error) -> Self {
        let reach = match (error.is_connect(), error.is_timeout()) {
            (true, _) => Reach::Nowhere,
            (false, true) => Reach::Late,
            (false, false) => Reach::Cut,
        };
        Self { reach, said: told(error) }
    }
}

fn builder(names: Arc<dyn Names>, allowed: Arc<[Network]>) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(WEBHOOK_IN_FLIGHT_MAX)
        .dns_resolver(Arc::new(Guard { names, allowed }))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let read = |source| ClientError::Read { path: path.to_owned(), source };
    let pem = std::fs::read(path).map_err(read)?;
    let found = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| ClientError::Authorities(path.to_owned()))
}

/// The URL with more behind what its query has.
fn with_query(url: &Url, more: &str) -> Url {
    let mut url = url.clone();
    if !more.is_empty() {
        let query = match url.query() {
            Some(query) if !query.is_empty() => format!("{query}&{more}"),
            _ => more.to_owned(),
        };
        url.set_query(Some(&query));
    }
    url
}

/// Reads an answer up to the limit, so that its connection can be used again, and tells how it
/// begins.
async fn beginning(mut response: Response) -> String {
    let (mut read, mut said) = (0, Vec::new());
    while let Ok(Some(chunk)) = response.chunk().await {
        if said.is_empty() {
            said.extend_from_slice(&chunk[..chunk.len().min(1024)]);
        }
        read += chunk.len();
        if read >= WEBHOOK_ANSWER_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// An error with its causes, and without the URL.
fn told(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".into();
    }
    Chain(&error.without_url()).to_string()
}
