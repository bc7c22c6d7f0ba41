//! A back end of the app: an HTTP server that keeps what it is sent, and behaves as it is told.
//!
//! # Invariants
//!
//! * A request is kept before it is answered, whatever becomes of its answer.
//! * Waiting is for a condition on what was kept, and has an end.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::harness::PATIENCE;

/// Bytes of a body that are shown when a test fails.
const DEBUG_BYTES: usize = 4_000;

/// A request that has come.
#[derive(Clone)]
pub(crate) struct Request {
    /// How many had come before it.
    pub(crate) number: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Behind the `?`; empty if there is none.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Request {
    /// A header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The id, which is that of every other try.
    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(DEBUG_BYTES)]);
        let (method, path, query) = (&self.method, &self.path, &self.query);
        write!(f, "{method} {path}?{query} {:?} {body}", self.headers)
    }
}

/// How a request is answered.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    when: Option<BoxFuture<'static, ()>>,
    is_lost: bool,
}

impl Answer {
    pub(crate) fn ok() -> Self {
        Self::status(200)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), when: None, is_lost: false }
    }

    /// The connection ends in its place.
    pub(crate) fn lost() -> Self {
        Self { is_lost: true, ..Self::ok() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Later.
    pub(crate) fn after(self, wait: Duration) -> Self {
        self.when(tokio::time::sleep(wait))
    }

    /// When this has happened.
    pub(crate) fn when(mut self, event: impl Future<Output = ()> + Send + 'static) -> Self {
        self.when = Some(Box::pin(event));
        self
    }
}

type Manner = Box<dyn FnMut(&Request) -> Answer + Send>;

struct Shared {
    requests: watch::Sender<Vec<Request>>,
    manner: Mutex<Manner>,
    tls: Option<TlsAcceptor>,
}

/// A back end.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
    listening: Mutex<CancellationToken>,
}

impl Receiver {
    /// Listens on a free port of this machine, and answers everything with 200.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        Self::listening(any, tls, Box::new(|_: &Request| Answer::ok())).await
    }

    /// Listens here, and answers like this.
    pub(crate) async fn start_at(
        address: SocketAddr,
        manner: impl FnMut(&Request) -> Answer + Send + 'static,
    ) -> Self {
        Self::listening(address, None, Box::new(manner)).await
    }

    async fn listening(address: SocketAddr, tls: Option<TlsAcceptor>, manner: Manner) -> Self {
        let (manner, requests) = (Mutex::new(manner), watch::Sender::new(Vec::new()));
        let shared = Arc::new(Shared { requests, manner, tls });
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listening = CancellationToken::new();
        tokio::spawn(listen(listener, shared.clone(), listening.clone()));
        Self { shared, address, listening: Mutex::new(listening) }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        self.url_of("/")
    }

    /// The URL of a path of it, with a query if it has one.
    pub(crate) fn url_of(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Answers like this from now on.
    pub(crate) fn answers(&self, manner: impl FnMut(&Request) -> Answer + Send + 'static) {
        *self.shared.manner.lock() = Box::new(manner);
    }

    /// Answers everything with this status from now on.
    pub(crate) fn answers_with(&self, status: u16) {
        self.answers(move |_| Answer::status(status));
    }

    /// Is gone: listens no more, and every connection ends without the answers that are due.
    pub(crate) fn down(&self) {
        self.listening.lock().cancel();
    }

    /// Is back, on the same port.
    pub(crate) async fn up(&self) {
        let began = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                // The listener of before may not have ended yet.
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        let listening = CancellationToken::new();
        *self.listening.lock() = listening.clone();
        tokio::spawn(listen(listener, self.shared.clone(), listening));
    }

    /// Everything that has come.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        self.shared.requests.borrow().len()
    }

    /// Waits until what has come is enough, and gives what was found in it.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut find: impl FnMut(&[Request]) -> Option<T>,
    ) -> T {
        let mut requests = self.shared.requests.subscribe();
        let mut found = None;
        let wait = requests.wait_for(|requests| {
            found = find(requests);
            found.is_some()
        });
        let ended = tokio::time::timeout(PATIENCE, wait).await.map(|waited| drop(waited.unwrap()));
        match (ended, found) {
            (Ok(()), Some(found)) => found,
            _ => panic!("{what} did not come; this did: {:#?}", self.requests()),
        }
    }

    /// Waits for so many requests, and gives all that came.
    pub(crate) async fn had(&self, count: usize) -> Vec<Request> {
        let what = format!("{count} requests");
        self.until(&what, |requests| (requests.len() >= count).then(|| requests.to_vec())).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, listening: CancellationToken) {
    while let Some(accepted) = listening.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let serving = serve(stream, shared.clone());
        tokio::spawn(listening.clone().run_until_cancelled_owned(serving));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    match &shared.tls {
        // Who does not trust the certificate goes away, and that is all there is to it.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(stream, shared.clone()).await;
            }
        }
        None => speak(stream, shared.clone()).await,
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send, shared: Arc<Shared>) {
    let service = service_fn(|request| respond(request, shared.clone()));
    let connection = hyper::server::conn::http1::Builder::new();
    // A connection that breaks is one of the things that happen here.
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> io::Result<hyper::Response<Body>> {
    let answer = keep(request, &shared).await?;
    if let Some(when) = answer.when {
        when.await;
    }
    if answer.is_lost {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Body::from(answer.body)).unwrap())
}

/// Keeps a request that has come whole, and says how it is answered.
async fn keep(request: hyper::Request<Incoming>, shared: &Shared) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.map_err(io::Error::other)?;
    let mut answer = None;
    shared.requests.send_modify(|requests| {
        let request = Request {
            number: requests.len(),
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
            at: Instant::now(),
        };
        answer = Some(shared.manner.lock()(&request));
        requests.push(request);
    });
    Ok(answer.unwrap())
}
