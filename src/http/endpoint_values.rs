//! Endpoints of webhooks as they stand in requests and in answers.
//!
//! # Invariants
//!
//! * Of secrets an answer has how many there are, and one that the server has just made.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::{Kind, Outcome, Problem};
use super::text::{EndpointName, Text};
use crate::base64::base64;
use crate::id::{EndpointId, unguessable_text};
use crate::limits::{WEBHOOK_IN_FLIGHT, WEBHOOK_INTERVAL, WEBHOOK_TIMEOUT};
use crate::webhook::event::Kind as EventKind;
use crate::webhook::{Attempt, Definition, Dialect, Health, Overview, SecretText};

/// Random bytes of a secret that the server makes for Standard Webhooks.
const SECRET_BYTES: usize = 32;
/// Random bytes of one that is a text.
const TEXT_SECRET_BYTES: usize = 16;

/// What can be set about an endpoint.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"id": "orders", "url": "https://app.example/tidings"}))]
pub(super) struct EndpointSettings {
    /// What it is called; the server names it if this is left out. It never changes.
    #[schema(value_type = Option<String>)]
    id: Option<EndpointName>,
    /// Where it is: an http or https URL without a user and a password.
    url: Option<String>,
    /// Where it is, if at several places; requests are spread over them.
    #[schema(max_items = 8)]
    urls: Vec<String>,
    /// How it is told: `tidings` (which it is if this is left out), `wukongim`, `easemob` or
    /// `getui`.
    dialect: Option<String>,
    /// The kinds of events that it hears of; all that its dialect speaks of if there are none.
    #[schema(example = json!(["message.sent", "message.offline"]))]
    events: Vec<String>,
    /// What requests are signed with: `whsec_` and base64 of 24 to 64 bytes, or any other text of
    /// 1 to 256 bytes.
    secret: Option<String>,
    /// The same while a secret is being replaced, the new one first. Proofs of which a request
    /// has only one are made with the last: `X-Signature-256`, `security` of `easemob`, `sign` of
    /// `getui`.
    #[schema(max_items = 4)]
    secrets: Vec<String>,
    /// How long an event waits for others to share a request with; 500 if it is left out.
    #[schema(minimum = 10, maximum = 60_000)]
    interval_ms: Option<u64>,
    /// How long a request may take; 10,000 if it is left out.
    #[schema(minimum = 1, maximum = 60_000)]
    timeout_ms: Option<u64>,
    /// Requests on their way at once; 8 if it is left out.
    #[schema(minimum = 1, maximum = 64)]
    in_flight: Option<usize>,
    /// `wukongim`: the recipients of an offline message are compressed if there are more of them;
    /// never if it is 0 or left out.
    gzip_over: Option<usize>,
    /// `wukongim`: offline messages are told as an array.
    offline_array: bool,
    /// `easemob`: values in `ext` may be arrays and objects.
    nested_ext: bool,
}

impl EndpointSettings {
    /// The definition that these are, of the endpoint with this id if it is one that there is.
    ///
    /// # Errors
    ///
    /// A problem if they name another endpoint.
    pub(super) fn definition(self, of: Option<&EndpointId>) -> Outcome<Definition> {
        let named = self.id.map(|Text(id)| id);
        let id = match (of, named) {
            (Some(of), Some(named)) if *of != named => {
                return Err(Problem::new(Kind::InvalidBody, "the id of an endpoint stays"));
            }
            (Some(id), _) => id.to_string(),
            (None, Some(named)) => named.to_string(),
            (None, None) => unguessable_text(),
        };
        let ms = |ms: u64| format!("{ms}ms");
        Ok(Definition {
            id,
            url: self.url,
            urls: self.urls,
            dialect: self.dialect,
            events: self.events,
            secret: self.secret.map(SecretText),
            secrets: self.secrets.into_iter().map(SecretText).collect(),
            interval: self.interval_ms.map(ms),
            timeout: self.timeout_ms.map(ms),
            in_flight: self.in_flight,
            gzip_over: self.gzip_over,
            offline_array: self.offline_array,
            nested_ext: self.nested_ext,
        })
    }
}

/// An endpoint, and how it does.
#[derive(Serialize, ToSchema)]
pub(super) struct Endpoint {
    id: String,
    /// Where it is; values in a query are not told, for they may be secrets.
    urls: Vec<String>,
    /// How it is told.
    #[schema(value_type = String, example = "tidings")]
    dialect: &'static str,
    /// The kinds of events that it hears of.
    events: Vec<String>,
    /// How long an event waits for others to share a request with.
    interval_ms: u64,
    /// How long a request may take.
    timeout_ms: u64,
    /// Requests on their way at once.
    in_flight: usize,
    /// `wukongim`: the recipients of an offline message are compressed if there are more of them.
    gzip_over: Option<usize>,
    /// `wukongim`: offline messages are told as an array.
    offline_array: bool,
    /// `easemob`: values in `ext` may be arrays and objects.
    nested_ext: bool,
    /// Secrets that its requests are signed with.
    secrets: usize,
    /// The secret that the server has just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The settings of the server name it, so that no request can change it.
    configured: bool,
    /// Why it is told nothing, if it is not: it was paused, has halted by itself, or was named by
    /// the settings and is no more.
    halted: Option<String>,
    health: EndpointHealth,
}

/// How an endpoint does, since the server was started.
#[derive(Serialize, ToSchema)]
pub(super) struct EndpointHealth {
    /// Requests that were taken.
    ok: u64,
    /// Requests that failed, and were or will be tried again.
    failed: u64,
    /// Requests that were refused.
    refused: u64,
    /// Events that were delivered.
    events: u64,
    /// Events delivered a second, over the last minute.
    events_per_second: f64,
    /// How old the oldest event of the last request was when it was taken; or how old the oldest
    /// is that is not delivered, if that is older.
    lag_ms: i64,
    /// When the oldest event happened that is not delivered.
    oldest_ms: Option<i64>,
    /// Events that are not delivered, up to 10,000; there may be more in the log.
    waiting: usize,
    /// Requests on their way.
    in_flight: usize,
    /// It fails, and one request at a time finds out whether it still does.
    breaker_open: bool,
    /// Events that were given up, and are kept.
    letters: usize,
    /// Bytes of these.
    letter_bytes: u64,
    /// When a request was taken last.
    last_ok_ms: Option<i64>,
    /// The last request that was not taken.
    last_error: Option<DeliveryAttempt>,
}

/// One request to an endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryAttempt {
    /// When it began.
    at_ms: i64,
    /// How long it took.
    took_ms: u64,
    /// The id of the request, which the endpoint has as `webhook-id`.
    request: String,
    /// Where it went.
    url: String,
    /// Events that it had; 0 for a ping.
    events: usize,
    /// Bytes of its body.
    bytes: usize,
    /// Which try it was, from 1.
    number: u32,
    /// The status of the answer; null if there was none.
    status: Option<u16>,
    /// `ok`, `failed` (it is tried again) or `refused`.
    #[schema(value_type = String, example = "ok")]
    outcome: &'static str,
    /// Why there was no answer, or how one that was no success begins.
    why: String,
}

impl Endpoint {
    /// An endpoint with the secret that the server has made for it.
    pub(super) fn with_secret(overview: Overview, secret: Option<String>) -> Self {
        Self { secret, ..overview.into() }
    }
}

impl From<Overview> for Endpoint {
    fn from(overview: Overview) -> Self {
        let Overview { definition, secrets, configured, health } = overview;
        let dialect = dialect_of(&definition);
        let spoken = EventKind::ALL.into_iter().filter(|kind| dialect.speaks(*kind));
        let events = match definition.events.is_empty() {
            true => spoken.map(|kind| kind.name().to_owned()).collect(),
            false => definition.events,
        };
        Self {
            id: definition.id,
            urls: definition.url.into_iter().chain(definition.urls).collect(),
            dialect: dialect.name(),
            events,
            interval_ms: ms(definition.interval.as_deref(), WEBHOOK_INTERVAL),
            timeout_ms: ms(definition.timeout.as_deref(), WEBHOOK_TIMEOUT),
            in_flight: definition.in_flight.unwrap_or(WEBHOOK_IN_FLIGHT),
            gzip_over: definition.gzip_over,
            offline_array: definition.offline_array,
            nested_ext: definition.nested_ext,
            secrets,
            secret: None,
            configured,
            halted: health.halted.clone(),
            health: health.into(),
        }
    }
}

impl From<Health> for EndpointHealth {
    fn from(health: Health) -> Self {
        Self {
            ok: health.ok,
            failed: health.failed,
            refused: health.refused,
            events: health.events,
            events_per_second: (health.events_per_second * 100.0).round() / 100.0,
            lag_ms: health.lag_ms,
            oldest_ms: health.oldest_ms,
            waiting: health.waiting,
            in_flight: health.in_flight,
            breaker_open: health.breaker_open,
            letters: health.letters,
            letter_bytes: health.letter_bytes,
            last_ok_ms: health.last_ok_ms,
            last_error: health.last_error.map(DeliveryAttempt::from),
        }
    }
}

impl From<Attempt> for DeliveryAttempt {
    fn from(attempt: Attempt) -> Self {
        Self {
            at_ms: attempt.at_ms,
            took_ms: attempt.took.as_millis() as u64,
            request: attempt.request,
            url: attempt.url,
            events: attempt.events,
            bytes: attempt.bytes,
            number: attempt.number,
            status: Some(attempt.status).filter(|status| *status != 0),
            outcome: attempt.outcome.name(),
            why: attempt.said,
        }
    }
}

/// A secret that nobody knows yet, for an endpoint like this: one of Standard Webhooks, or where
/// receivers take a secret as it is written, hexadecimal digits.
///
/// # Errors
///
/// A problem if the system has no random numbers.
pub(super) fn fresh_secret(definition: &Definition) -> Outcome<String> {
    let mut bytes = [0; SECRET_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Problem::new(Kind::Internal, "the system has no random numbers"))?;
    let digits = || bytes[..TEXT_SECRET_BYTES].iter().map(|byte| format!("{byte:02x}"));
    Ok(match dialect_of(definition) {
        Dialect::Tidings => format!("whsec_{}", base64(&bytes)),
        Dialect::Wukongim | Dialect::Easemob | Dialect::Getui => digits().collect(),
    })
}

/// The dialect of an endpoint; the usual one if it names none that there is.
fn dialect_of(definition: &Definition) -> Dialect {
    let named = definition.dialect.as_deref().and_then(|name| name.parse().ok());
    named.unwrap_or_default()
}

/// A duration that was checked when it was set.
fn ms(text: Option<&str>, default: Duration) -> u64 {
    let set = text.and_then(|text| humantime::parse_duration(text).ok());
    set.unwrap_or(default).as_millis() as u64
}
