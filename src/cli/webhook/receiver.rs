//! Hears requests, verifies and prints them, and answers.
//!
//! # Invariants
//!
//! * The lines of one request stand together.
//! * What does not verify is not refused for good: it comes again once the secret is right.
//! * No text of somebody else can do anything to a terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use tidings::webhook::dialect::Dialect;
use tidings::webhook::sign::{self, Claim, Secret, VerifyError};

use super::events::{Told, is_question, told};
use crate::cli::chat::clock::Clock;
use crate::cli::words::{count, printable};

/// Bytes of a request: several times the longest that a server sends.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How far the time of a request may be from now, in seconds: what Standard Webhooks advises.
const TOLERANCE_S: u64 = 300;

/// How requests are verified, shown and answered.
pub(super) struct Receiver {
    pub(super) dialect: Dialect,
    /// None: nothing is verified.
    pub(super) secrets: Vec<Secret>,
    pub(super) status: u16,
    pub(super) delay: Duration,
    pub(super) clock: Clock,
    pub(super) in_colour: bool,
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, receiver: Receiver) -> io::Result<()> {
    let router = Router::new()
        .fallback(receive)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(receiver));
    axum::serve(listener, router).await
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now_ms = Clock::now_ms();
    let verified = receiver.verify(&headers, &body, (now_ms / 1000) as i64);
    let told = told(receiver.dialect, uri.query(), &body);
    let shown = receiver.show(&uri, &headers, &verified, &told, now_ms);
    if let Err(error) = io::stdout().lock().write_all(shown.as_bytes()) {
        // Nobody reads any more what this is for.
        eprintln!("cannot print: {error}");
    }
    tokio::time::sleep(receiver.delay).await;
    if verified.is_err() {
        // A refusal would make dead letters of what only the wrong secret was given for.
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let status = StatusCode::from_u16(receiver.status).unwrap_or(StatusCode::OK);
    let asks = told.is_ok_and(|told| is_question(receiver.dialect, uri.query(), &told));
    let answer = if asks { ALLOWED } else { "{}" };
    (status, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

/// The message may be sent: in the words of each dialect.
const ALLOWED: &str = r#"{"allow":true,"valid":true}"#;

impl Receiver {
    /// Whether a request is of who has the secret; `None`: nobody can tell.
    fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_s: i64,
    ) -> Result<Option<()>, VerifyError> {
        if self.secrets.is_empty() {
            return Ok(None);
        }
        let of = |name| header_of(headers, name);
        let claim = Claim {
            id: of(sign::ID),
            timestamp: of(sign::TIMESTAMP),
            signature: of(sign::SIGNATURE),
        };
        sign::verify(&self.secrets, claim, body, now_s, TOLERANCE_S).map(Some)
    }

    /// A line about the request, and one for each event.
    fn show(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        verified: &Result<Option<()>, VerifyError>,
        told: &Result<Vec<Told>, String>,
        now_ms: u64,
    ) -> String {
        let time = self.clock.time(now_ms);
        let id = printable(header_of(headers, sign::ID).as_bytes());
        let place = printable(uri.to_string().as_bytes());
        let events = told.as_ref().map_or(0, Vec::len);
        let about = format!("{time} {place} {id}: {}", count(events as u64, "event"));
        let mut text = match verified {
            Ok(Some(())) => self.painted(DIM, &format!("{about}, verified")),
            Ok(None) => self.painted(DIM, &format!("{about}, not verified")),
            Err(error) => {
                let about = format!("{about}, DOES NOT VERIFY: {error}");
                self.painted(RED, &about)
            }
        };
        text.push('\n');
        match told {
            Ok(told) => told.iter().for_each(|told| self.show_event(told, &mut text)),
            Err(problem) => {
                let problem = printable(problem.as_bytes());
                text.push_str(&self.painted(RED, &format!("  {problem}")));
                text.push('\n');
            }
        }
        text
    }

    fn show_event(&self, told: &Told, text: &mut String) {
        let kind = self.painted(BOLD, &printable(told.kind.as_bytes()));
        let (id, all) = (printable(told.id.as_bytes()), printable(told.all.as_bytes()));
        let id = if id.is_empty() { id } else { format!(" {id}") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {kind}{id} {all}");
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.in_colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

const DIM: &str = "2";
const BOLD: &str = "1";
const RED: &str = "31";

fn header_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
