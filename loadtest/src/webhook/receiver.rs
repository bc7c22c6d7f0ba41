//! An app's back end inside the generator: it takes webhooks, slowly and with errors if asked to.
//!
//! # Invariants
//!
//! * It answers 204 only to what it has noted; what it answers with 503 it has not.
//! * While it is down, nobody listens on its port.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::heard::{Heard, Told};
use super::signature::Secret;
use crate::run::Run;
use crate::stamp::Stamp;

/// Bytes of a request's body; the server's batches have a quarter of it.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// How long it thinks before it answers.
    pub(crate) latency: Duration,
    /// Of a hundred requests, so many are answered with 503.
    pub(crate) fail_percent: u8,
}

/// What all connections share.
struct Desk {
    run: Arc<Run>,
    heard: Arc<[Heard]>,
    secret: Secret,
    manners: Manners,
}

/// A receiver on a port of its own.
pub(crate) struct Receiver {
    address: SocketAddr,
    desk: Arc<Desk>,
    serving: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens.
    ///
    /// # Errors
    ///
    /// Why there is no port.
    pub(crate) async fn start(
        run: Arc<Run>,
        heard: Arc<[Heard]>,
        secret: Secret,
        manners: Manners,
    ) -> Result<Self, String> {
        let desk = Arc::new(Desk { run, heard, secret, manners });
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut receiver = Self { address: any, desk, serving: None };
        receiver.up().await?;
        Ok(receiver)
    }

    /// Where an endpoint hears.
    pub(crate) fn url(&self, endpoint: u32) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// Listens, again on the same port if it did before.
    ///
    /// # Errors
    ///
    /// Why there is no port.
    pub(crate) async fn up(&mut self) -> Result<(), String> {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.map_err(|error| format!("cannot take webhooks: {error}"))?;
        self.address = listener.local_addr().map_err(|error| error.to_string())?;
        self.serving = Some(tokio::spawn(serve(listener, self.desk.clone())));
        Ok(())
    }

    /// Listens no more, and breaks every connection.
    pub(crate) async fn down(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Listens no more.
    pub(crate) async fn stop(mut self) {
        self.down().await;
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let desk = desk.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let desk = desk.clone();
                async move { Ok::<_, Infallible>(desk.answer(request).await) }
            });
            // A connection that breaks is the server's to notice.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Deserialize)]
struct Events<'a> {
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    conversation: Cow<'a, str>,
    sequence: u32,
    /// The body, if it is text; random bytes may be.
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    base64: Option<Cow<'a, str>>,
}

impl Data<'_> {
    /// The body of the message.
    fn body(&self) -> Option<Cow<'_, [u8]>> {
        match (&self.text, &self.base64) {
            (Some(text), None) => Some(Cow::Borrowed(text.as_bytes())),
            (None, Some(base64)) => BASE64_STANDARD.decode(&**base64).ok().map(Cow::Owned),
            _ => None,
        }
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Empty<Bytes>> {
        let endpoint = request.uri().path().trim_start_matches('/').parse::<usize>().ok();
        let heard = endpoint.and_then(|endpoint| self.heard.get(endpoint));
        let (head, body) = request.into_parts();
        let body = http_body_util::Limited::new(body, BODY_BYTES_MAX).collect().await;
        let status = match (heard, body) {
            (Some(heard), Ok(body)) => self.take(heard, &head.headers, &body.to_bytes()).await,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    }

    async fn take(&self, heard: &Heard, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let read = self.verified(headers, body).and_then(|id| Some((id, read(body)?)));
        let Some((id, events)) = read else {
            heard.bad();
            self.run.trouble("a webhook's signature or body is not what it should be".into());
            return StatusCode::BAD_REQUEST;
        };
        heard.request(id, body);
        tokio::time::sleep(self.manners.latency).await;
        if fastrand::u8(..100) < self.manners.fail_percent {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        heard.batch(&events, self.run.now_ns(), |ns| self.run.is_measured(ns));
        StatusCode::NO_CONTENT
    }

    /// The id of a request whose signature verifies.
    fn verified<'a>(&self, headers: &'a HeaderMap, body: &[u8]) -> Option<&'a str> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (id, at) = (text("webhook-id")?, text("webhook-timestamp")?);
        self.secret.verifies(id, at, body, text("webhook-signature")?).then_some(id)
    }
}

/// The messages that a body tells of.
fn read(body: &[u8]) -> Option<Vec<Told>> {
    let Events { events } = serde_json::from_slice(body).ok()?;
    let told = |event: &Event<'_>| {
        let bytes = event.data.body()?;
        let conversation = u128::from_str_radix(&event.data.conversation, 16).ok()?;
        let stamp = Stamp::of(&bytes).filter(|_| event.kind == "message.sent")?;
        Some(Told { stamp, conversation, sequence: event.data.sequence })
    };
    events.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_a_body_are_read() {
        let stamp = BASE64_STANDARD.encode([&[0u8; 3][..], &[1; 17], b"..."].concat());
        let body = format!(
            r#"{{"type":"events","timestamp":"2026-01-01T00:00:00Z","events":[{{"id":"7-0",
            "type":"message.sent","version":"7","at_ms":1,"data":{{"message":"7","sequence":3,
            "conversation":"000000000000000000000000000000ff","from":"a","base64":"{stamp}"}}}}]}}"#
        );
        let told = read(body.as_bytes()).unwrap();
        assert_eq!((told.len(), told[0].conversation, told[0].sequence), (1, 255, 3));
        assert_eq!(told[0].stamp.sender, 1);
        let escaped: String =
            "00010000000200000009".chars().map(|digit| format!(r"\u000{digit}")).collect();
        let text = body.replace("base64", "text").replace(&stamp, &escaped);
        assert_eq!(read(text.as_bytes()).unwrap()[0].stamp.sender, 1);
        assert!(read(body.replace("message.sent", "message.read").as_bytes()).is_none());
        assert!(read(b"{}").is_none());
    }
}
