//! What can be asked about the endpoints of webhooks.
//!
//! # Invariants
//!
//! * What is left out on the command line is left out of the request: the server has the defaults.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::call::{Call, Segment, given};
use super::command::PageArgs;
use super::history::{duration, time};
use super::plan::Planned;
use super::show::Part::{self, Fields, Next, Rows, Said};

const ENDPOINT: &[Part] = &[Fields(&[
    "id",
    "urls",
    "dialect",
    "events",
    "interval_ms",
    "timeout_ms",
    "in_flight",
    "gzip_over",
    "offline_array",
    "nested_ext",
    "secrets",
    "secret",
    "configured",
    "halted",
    "health/ok",
    "health/failed",
    "health/refused",
    "health/events",
    "health/events_per_second",
    "health/lag_ms",
    "health/oldest_ms",
    "health/waiting",
    "health/breaker_open",
    "health/letters",
    "health/last_ok_ms",
    "health/last_error/at_ms",
    "health/last_error/status",
    "health/last_error/why",
])];
const ENDPOINTS: &[Part] = &[Rows(
    "endpoints",
    &[
        "id",
        "dialect",
        "halted",
        "health/events",
        "health/failed",
        "health/refused",
        "health/lag_ms",
        "health/oldest_ms",
        "health/letters",
        "urls",
    ],
)];
const ATTEMPT: &[&str] =
    &["at_ms", "took_ms", "status", "outcome", "events", "number", "request", "url", "why"];
const LETTERS: &[Part] = &[
    Rows("items", &["place", "at_ms", "kind", "event", "status", "tries", "why"]),
    Next("--after"),
];

#[derive(Debug, Subcommand)]
pub(super) enum EndpointCommand {
    /// List all endpoints, and how they do.
    List,
    /// Show an endpoint, and how it does.
    Show { endpoint: Segment },
    /// Make an endpoint, which hears of all that happens from now on. Its secret is shown this
    /// once, if the server has made it.
    Create {
        id: String,
        #[command(flatten)]
        settings: EndpointSettings,
    },
    /// Give an endpoint other settings. Its secrets stay, unless one is given.
    Replace {
        endpoint: Segment,
        #[command(flatten)]
        settings: EndpointSettings,
    },
    /// Delete an endpoint, and what it was not told yet.
    Delete { endpoint: Segment },
    /// Send nothing to an endpoint until it is resumed; nothing is lost.
    Pause { endpoint: Segment },
    /// Go on where an endpoint was paused or has halted.
    Resume { endpoint: Segment },
    /// Find out whether an endpoint answers.
    Ping { endpoint: Segment },
    /// Tell an endpoint again what it has heard.
    Replay {
        endpoint: Segment,
        /// From the event with this id on, or from this message on.
        #[arg(long, value_name = "ID", required_unless_present = "since")]
        from: Option<String>,
        /// From this time on: RFC 3339, or ago, such as 2h.
        #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "from")]
        since: Option<u64>,
    },
    /// Show what was sent to an endpoint last, the newest first.
    Attempts {
        endpoint: Segment,
        /// How many at the most.
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// List what an endpoint did not take, the oldest first.
    Letters {
        endpoint: Segment,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Send letters of an endpoint again: these, or its oldest.
    Resend {
        endpoint: Segment,
        #[arg(value_name = "PLACE")]
        letters: Vec<String>,
    },
    /// Drop letters of an endpoint: these, or all.
    Drop {
        endpoint: Segment,
        #[arg(value_name = "PLACE", required_unless_present = "all")]
        letters: Vec<String>,
        /// All of them.
        #[arg(long, conflicts_with = "letters")]
        all: bool,
    },
    /// Give an endpoint a new secret, which is shown this once. It signs beside the one of before
    /// until that is forgotten.
    Rotate {
        endpoint: Segment,
        /// The new secret, instead of one that the server makes.
        #[arg(long)]
        secret: Option<String>,
    },
    /// Forget the secrets of an endpoint but its newest.
    ForgetSecrets { endpoint: Segment },
}

/// What can be set about an endpoint.
#[derive(Args, Debug)]
pub(super) struct EndpointSettings {
    /// Where it is; give it again for more, over which requests are spread.
    #[arg(long = "target", value_name = "URL", required = true)]
    urls: Vec<String>,
    /// How it is told: tidings, wukongim, easemob or getui.
    #[arg(long)]
    dialect: Option<String>,
    /// A kind of event that it hears of; give it again for more. All that its dialect speaks of
    /// without one.
    #[arg(long = "event", value_name = "KIND")]
    events: Vec<String>,
    /// What requests are signed with.
    #[arg(long)]
    secret: Option<String>,
    /// How long an event waits for others to share a request with.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    interval: Option<Duration>,
    /// How long a request may take.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Requests on their way at once.
    #[arg(long, value_name = "COUNT")]
    in_flight: Option<usize>,
    /// wukongim: compress the recipients of a message that has more of them; 0 never does.
    #[arg(long, value_name = "COUNT")]
    gzip_over: Option<usize>,
    /// wukongim: tell offline messages as an array.
    #[arg(long)]
    offline_array: bool,
    /// easemob: values in `ext` may be arrays and objects.
    #[arg(long)]
    nested_ext: bool,
}

impl EndpointCommand {
    pub(super) fn plan(self) -> Planned {
        let at = |endpoint: &Segment| format!("/v1/endpoints/{endpoint}");
        let below = |endpoint: &Segment, name: &str| format!("/v1/endpoints/{endpoint}/{name}");
        Ok(match self {
            Self::List => (Call::get("/v1/endpoints"), ENDPOINTS),
            Self::Show { endpoint } => (Call::get(at(&endpoint)), ENDPOINT),
            Self::Create { id, settings } => {
                let mut body = settings.body();
                body.insert("id".into(), id.into());
                (Call::post("/v1/endpoints").json(&body)?, ENDPOINT)
            }
            Self::Replace { endpoint, settings } => {
                (Call::put(at(&endpoint)).json(&settings.body())?, ENDPOINT)
            }
            Self::Delete { endpoint } => {
                (Call::delete(at(&endpoint)), &[Said("the endpoint is deleted")])
            }
            Self::Pause { endpoint } => {
                (Call::post(below(&endpoint, "pause")), &[Said("the endpoint is paused")])
            }
            Self::Resume { endpoint } => {
                (Call::post(below(&endpoint, "resume")), &[Said("the endpoint goes on")])
            }
            Self::Ping { endpoint } => (Call::post(below(&endpoint, "ping")), &[Fields(ATTEMPT)]),
            Self::Replay { endpoint, from, since } => {
                let body = match since {
                    Some(since) => json!({"from_ms": since}),
                    None => json!({"from_id": from}),
                };
                let call = Call::post(below(&endpoint, "replay"));
                (call.json(&body)?, &[Said("the endpoint hears it again")])
            }
            Self::Attempts { endpoint, limit } => (
                Call::get(below(&endpoint, "attempts")).query("limit", limit),
                &[Rows("attempts", ATTEMPT)],
            ),
            Self::Letters { endpoint, page } => {
                (page.of(Call::get(below(&endpoint, "letters"))), LETTERS)
            }
            Self::Resend { endpoint, letters } => {
                let body = if letters.is_empty() { json!({}) } else { json!({"letters": letters}) };
                let call = Call::post(below(&endpoint, "letters/resend"));
                (call.json(&body)?, &[Fields(&["resent"])])
            }
            Self::Drop { endpoint, letters, .. } => {
                let places = (!letters.is_empty()).then(|| letters.join(","));
                let call = Call::delete(below(&endpoint, "letters"));
                (call.query("places", places), &[Fields(&["dropped"])])
            }
            Self::Rotate { endpoint, secret } => {
                let body = given([("secret", secret)]);
                (Call::post(below(&endpoint, "secrets")).json(&body)?, ENDPOINT)
            }
            Self::ForgetSecrets { endpoint } => {
                (Call::delete(below(&endpoint, "secrets")), ENDPOINT)
            }
        })
    }
}

impl EndpointSettings {
    fn body(self) -> Map<String, Value> {
        let ms = |duration: Duration| Value::from(duration.as_millis() as u64);
        let flag = |is_set: bool| is_set.then_some(Value::Bool(true));
        let events = (!self.events.is_empty()).then(|| self.events.into());
        let fields = [
            ("urls", Some(self.urls.into())),
            ("dialect", self.dialect.map(Value::from)),
            ("events", events),
            ("secret", self.secret.map(Value::from)),
            ("interval_ms", self.interval.map(ms)),
            ("timeout_ms", self.timeout.map(ms)),
            ("in_flight", self.in_flight.map(Value::from)),
            ("gzip_over", self.gzip_over.map(Value::from)),
            ("offline_array", flag(self.offline_array)),
            ("nested_ext", flag(self.nested_ext)),
        ];
        let given = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?));
        fields.into_iter().filter_map(given).collect()
    }
}
