//! The HTTP API of the server, as a back end sees it: connections that are kept, one request at a
//! time on each.
//!
//! # Invariants
//!
//! * A connection carries one request after another, so the server gets them in the order in which
//!   they were asked.
//! * It is hyper's own connection without a pool: what a request costs the generator, it takes away
//!   from the server beside it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// How long an answer may take: longer than the server gives itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// How often it is asked whether the server is ready.
const READY_LOOK: Duration = Duration::from_millis(10);
/// How long the server may take to say that it is ready, once it listens.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Characters of an answer that is no problem of the API, for a report.
const SHOWN: usize = 200;

/// Where the API is, and the key that opens it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    host: HeaderValue,
    key: HeaderValue,
}

/// A connection to the API.
pub(crate) struct Line {
    api: Api,
    requests: SendRequest<Full<Bytes>>,
}

/// What the server answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// An error of the API.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl Api {
    /// The API at `address`, without TLS.
    ///
    /// # Errors
    ///
    /// When the key can be none.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Result<Self, String> {
        let mut key = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| "the key of the HTTP API has characters that no key has")?;
        key.set_sensitive(true);
        Ok(Self { address, host: host(address), key })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) async fn open(&self) -> Result<Line, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot reach the HTTP API: {error}");
        let stream = TcpStream::connect(self.address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (requests, connection) = opened.map_err(|error| failed(&error))?;
        // It ends when the line is dropped; what ends it before shows in the request under way.
        tokio::spawn(connection);
        Ok(Line { api: self.clone(), requests })
    }

    /// Waits until the server says that it is ready; says how long that took.
    ///
    /// # Errors
    ///
    /// When it does not say so.
    pub(crate) async fn until_ready(&self) -> Result<Duration, String> {
        let began = Instant::now();
        let mut line = self.open().await?;
        loop {
            let answer = line.ask(Method::GET, "/readyz", "").await?;
            if answer.status == StatusCode::OK {
                return Ok(began.elapsed());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("the server is not ready: {}", answer.problem()));
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    }
}

fn host(address: SocketAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII")
}

impl Line {
    /// Asks for something and reads the whole answer.
    ///
    /// # Errors
    ///
    /// When there is no whole answer; the line is of no use then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server may have done what was asked; the line is of no use.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        self.ask_as(method, path, body, None).await
    }

    /// Posts something under a name, by which the server knows the same request when it comes
    /// again.
    ///
    /// # Errors
    ///
    /// As for [`Self::ask`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Self::ask`].
    pub(crate) async fn post_once(
        &mut self,
        path: &str,
        name: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        self.ask_as(Method::POST, path, body, Some(name)).await
    }

    async fn ask_as(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        name: Option<&str>,
    ) -> Result<Answer, String> {
        let failed = |error: hyper::Error| format!("{path} had no answer: {error}");
        let mut request = Request::builder();
        if let Some(name) = name {
            request = request.header("Idempotency-Key", name);
        }
        let request = request
            .method(method)
            .uri(path)
            .header(HOST, &self.api.host)
            .header(AUTHORIZATION, &self.api.key)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body.into()))
            .map_err(|error| format!("{path} is no path: {error}"))?;
        let asking = async {
            self.requests.ready().await?;
            let response = self.requests.send_request(request).await?;
            let status = response.status();
            Ok(Answer { status, body: response.into_body().collect().await?.to_bytes() })
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
            Ok(answered) => answered.map_err(failed),
            Err(_) => Err(format!("{path} had no answer within {ANSWER_TIMEOUT:?}")),
        }
    }
}

impl Answer {
    /// The body, if the status is the one that was wanted.
    ///
    /// # Errors
    ///
    /// What the server says instead.
    pub(crate) fn read<'a, T: Deserialize<'a>>(&'a self, wanted: StatusCode) -> Result<T, String> {
        if self.status != wanted {
            return Err(self.problem());
        }
        serde_json::from_slice(&self.body).map_err(|error| format!("an answer is wrong: {error}"))
    }

    /// What the server says is wrong, in a line.
    pub(crate) fn problem(&self) -> String {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => format!("{}: {}: {}", self.status, problem.title, problem.detail),
            Err(_) => {
                let text = String::from_utf8_lossy(&self.body);
                format!("{}: {}", self.status, text.chars().take(SHOWN).collect::<String>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn an_answer_of_another_status_is_told_in_a_line() {
        let problem = answer(404, r#"{"type":"x","title":"No such alias","detail":"a-1"}"#);
        assert_eq!(problem.read::<u32>(StatusCode::OK).unwrap_err(), {
            "404 Not Found: No such alias: a-1"
        });
        let other = answer(502, "<html>");
        assert_eq!(other.read::<u32>(StatusCode::OK).unwrap_err(), "502 Bad Gateway: <html>");
        assert_eq!(answer(200, "7").read(StatusCode::OK), Ok(7));
        assert!(answer(200, "seven").read::<u32>(StatusCode::OK).is_err());
    }

    #[test]
    fn a_key_never_shows() {
        let api = Api::new(([127, 0, 0, 1], 7401).into(), "tdk_secret").unwrap();
        assert!(!format!("{api:?}").contains("secret"));
        assert!(Api::new(([127, 0, 0, 1], 7401).into(), "a\nb").is_err());
    }
}
