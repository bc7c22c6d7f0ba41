//! What an endpoint of webhooks was told, what it did not take, and telling it again.
//!
//! # Invariants
//!
//! * A letter is kept until it was taken or dropped.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use std::fmt;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::endpoint_values::DeliveryAttempt;
use super::endpoints::Hooks;
use super::extract::{Json, Path, Query};
use super::page::{Page, limit};
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use super::text::{EndpointName, Spoken, Text, TextError};
use super::values::Body;
use crate::id::{EndpointId, MessageId};
use crate::limits::{HTTP_LETTERS_PAGE_MAX, WEBHOOK_ATTEMPTS_MAX, WEBHOOK_RESEND_MAX};
use crate::store::{Letter, Position};
use crate::webhook::{Outcome as AttemptOutcome, Since, Webhooks};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Admin, routes!(ping))
        .serve(Scope::Admin, routes!(replay))
        .serve(Scope::Read, routes!(attempts))
        .serve(Scope::Read, routes!(letters))
        .serve(Scope::Admin, routes!(drop_letters))
        .serve(Scope::Admin, routes!(resend))
}

/// Where an event stands in the log: the id of its entry, and which of the entry's events it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place(Position);

/// The place of a letter.
type LetterPlace = Text<Place>;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.entry, self.0.part)
    }
}

impl Spoken for Place {
    const NAME: &str = "LetterPlace";
    const MEANS: &str = "Where an event stands in the log; an endpoint has one letter of it.";
    const PATTERN: &str = "^[1-9][0-9]{0,18}-[0-9]{1,10}$";
    const EXAMPLE: &str = "252174817923072000-0";

    fn parse(text: &str) -> Result<Self, TextError> {
        let place = text.split_once('-').and_then(|(entry, part)| {
            let entry = MessageId::parse(entry).ok()?;
            let is_decimal = part.bytes().all(|byte| byte.is_ascii_digit());
            let part = part.parse().ok().filter(|_| is_decimal)?;
            Some(Self(Position { entry, part }))
        });
        place.ok_or(TextError::NotPlace)
    }
}

/// From where an endpoint hears again what it was told: one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from_ms": 1_795_298_283_000_i64}))]
pub(super) struct Replay {
    /// From the event or message with this id on.
    from_id: Option<String>,
    /// From this time on.
    #[schema(minimum = 0)]
    from_ms: Option<i64>,
}

/// How many requests.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptsPart {
    /// How many at the most; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The newest requests to an endpoint, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryAttempts {
    attempts: Vec<DeliveryAttempt>,
}

/// A part of the letters of an endpoint.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LettersPart {
    /// Letters behind this place: what `next` of the last page says.
    #[param(value_type = Option<String>)]
    after: Option<LetterPlace>,
    /// How many at the most; 20 if it is left out.
    #[param(minimum = 1, maximum = 20)]
    limit: Option<usize>,
}

/// An event that was given up.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetter {
    #[schema(value_type = String, example = "252174817923072000-0")]
    place: LetterPlace,
    /// The id of the event.
    event: String,
    /// What kind of event it is.
    kind: String,
    /// When it was given up.
    at_ms: i64,
    /// What the endpoint answered last; null if it did not answer.
    status: Option<u16>,
    /// Why it was given up.
    why: String,
    /// How often it was tried.
    tries: u32,
    /// The id of the request.
    request: String,
    /// What the URL of the request has behind the endpoint's.
    query: String,
    #[serde(flatten)]
    said: Body,
}

/// Which letters are sent again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resending {
    /// Their places; without any the oldest hundred.
    #[serde(default)]
    #[schema(max_items = 100, value_type = Vec<String>)]
    letters: Vec<LetterPlace>,
}

/// What came of sending letters again.
#[derive(Serialize, ToSchema)]
pub(super) struct Resent {
    /// How many were taken; these are letters no more.
    resent: usize,
    /// What was sent, in this order, up to the first that was not answered.
    letters: Vec<ResentLetter>,
}

/// What came of sending one letter again.
#[derive(Serialize, ToSchema)]
pub(super) struct ResentLetter {
    #[schema(value_type = String)]
    place: LetterPlace,
    attempt: DeliveryAttempt,
}

/// Which letters are dropped.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Places {
    /// Their places, with commas between them; all if it is left out.
    places: Option<String>,
}

/// How many letters were dropped.
#[derive(Serialize, ToSchema)]
pub(super) struct DroppedLetters {
    dropped: usize,
}

/// Finds out whether an endpoint answers: sends it a request that tells nothing.
#[utoipa::path(
    post, path = "/v1/endpoints/{endpoint}/ping", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = DeliveryAttempt)),
)]
async fn ping(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
) -> Outcome<Json<DeliveryAttempt>> {
    Ok(Json(webhooks.ping(&endpoint).await?.into()))
}

/// Tells an endpoint again what it has heard, from an event or a time on, as far as the log goes
/// back. It may hear events twice, with the same ids.
#[utoipa::path(
    post, path = "/v1/endpoints/{endpoint}/replay", tag = "endpoints", request_body = Replay,
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 204, description = "It goes on there")),
)]
async fn replay(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Json(replay): Json<Replay>,
) -> Outcome<StatusCode> {
    let since = match (replay.from_id, replay.from_ms) {
        (Some(id), None) => Since::Entry(entry_of(&id)?),
        (None, Some(from_ms)) if from_ms >= 0 => Since::Time(from_ms),
        _ => {
            let detail = "exactly one of from_id and from_ms is required";
            return Err(Problem::new(Kind::InvalidBody, detail));
        }
    };
    webhooks.replay(&endpoint, since).await?;
    tracing::info!(%endpoint, "an endpoint hears again what it was told");
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the newest requests to an endpoint; the last 1,000 are remembered while the server runs.
#[utoipa::path(
    get, path = "/v1/endpoints/{endpoint}/attempts", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path), AttemptsPart),
    responses((status = 200, body = DeliveryAttempts)),
)]
async fn attempts(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Query(part): Query<AttemptsPart>,
) -> Outcome<Json<DeliveryAttempts>> {
    let max = limit(part.limit, WEBHOOK_ATTEMPTS_MAX)?;
    let attempts = webhooks.attempts(&endpoint, max)?;
    Ok(Json(DeliveryAttempts { attempts: attempts.into_iter().map(Into::into).collect() }))
}

/// Lists the events that an endpoint did not take, the oldest first, with what was sent.
#[utoipa::path(
    get, path = "/v1/endpoints/{endpoint}/letters", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path), LettersPart),
    responses((status = 200, body = Page<DeadLetter>)),
)]
async fn letters(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Query(part): Query<LettersPart>,
) -> Outcome<Json<Page<DeadLetter>>> {
    let max = limit(part.limit, HTTP_LETTERS_PAGE_MAX)?;
    let after = part.after.map(|Text(Place(after))| after);
    let (letters, more) = webhooks.letters(&endpoint, after, max).await?;
    let next = letters.last().filter(|_| more).map(|last| Place(last.position).to_string());
    Ok(Json(Page { items: letters.into_iter().map(DeadLetter::from).collect(), next }))
}

/// Drops letters.
#[utoipa::path(
    delete, path = "/v1/endpoints/{endpoint}/letters", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path), Places),
    responses((status = 200, body = DroppedLetters)),
)]
async fn drop_letters(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Query(Places { places }): Query<Places>,
) -> Outcome<Json<DroppedLetters>> {
    let mut dropped = 0;
    if let Some(places) = places {
        let wrong = |error: TextError| Problem::new(Kind::InvalidQuery, error.to_string());
        let places = places.split(',').map(|place| Ok(Place::parse(place).map_err(wrong)?.0));
        let places: Vec<Position> = places.collect::<Outcome<_>>()?;
        dropped = places.len();
        webhooks.drop_letters(&endpoint, places).await?;
        return Ok(Json(DroppedLetters { dropped }));
    }
    loop {
        let some = oldest(&webhooks, &endpoint, HTTP_LETTERS_PAGE_MAX).await?;
        if some.is_empty() {
            return Ok(Json(DroppedLetters { dropped }));
        }
        dropped += some.len();
        webhooks.drop_letters(&endpoint, some).await?;
    }
}

/// Sends letters again, one after the other; those that are taken are letters no more.
#[utoipa::path(
    post, path = "/v1/endpoints/{endpoint}/letters/resend", tag = "endpoints",
    request_body = Resending, params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Resent)),
)]
async fn resend(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Json(resending): Json<Resending>,
) -> Outcome<Json<Resent>> {
    if resending.letters.len() > WEBHOOK_RESEND_MAX {
        let detail = format!("more than {WEBHOOK_RESEND_MAX} letters");
        return Err(Problem::new(Kind::InvalidBody, detail));
    }
    let letters = match resending.letters.is_empty() {
        true => oldest(&webhooks, &endpoint, WEBHOOK_RESEND_MAX).await?,
        false => resending.letters.into_iter().map(|Text(Place(position))| position).collect(),
    };
    let sent = webhooks.resend(&endpoint, letters).await?;
    let taken = |attempt: &crate::webhook::Attempt| attempt.outcome == AttemptOutcome::Ok;
    let resent = sent.iter().filter(|(_, attempt)| taken(attempt)).count();
    let letter =
        |(place, attempt)| ResentLetter { place: Text(Place(place)), attempt: Into::into(attempt) };
    Ok(Json(Resent { resent, letters: sent.into_iter().map(letter).collect() }))
}

/// The places of the oldest letters.
async fn oldest(webhooks: &Webhooks, endpoint: &EndpointId, max: usize) -> Outcome<Vec<Position>> {
    let (letters, _) = webhooks.letters(endpoint, None, max).await?;
    Ok(letters.into_iter().map(|letter| letter.position).collect())
}

/// The entry of an event, or of a message. The id of a message that waits may begin otherwise.
fn entry_of(id: &str) -> Outcome<MessageId> {
    let entry = id.strip_prefix("offline-").unwrap_or(id);
    let entry = entry.split_once('-').map_or(entry, |(entry, _)| entry);
    let wrong = |_| Problem::new(Kind::InvalidBody, "from_id is no id of an event or a message");
    MessageId::parse(entry).map_err(wrong)
}

impl From<Letter> for DeadLetter {
    fn from(letter: Letter) -> Self {
        Self {
            place: Text(Place(letter.position)),
            event: letter.event,
            kind: letter.kind,
            at_ms: letter.at_ms,
            status: Some(letter.status).filter(|status| *status != 0),
            why: letter.why,
            tries: letter.tries,
            request: letter.request,
            query: letter.query,
            said: Body::from(&letter.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_two_numbers_and_nothing_else() {
        let told = |text| Place::parse(text).map(|place| place.to_string()).ok();
        assert_eq!(told("252174817923072000-0").as_deref(), Some("252174817923072000-0"));
        for wrong in ["", "-", "7", "7-", "-7", "7-+3", "7--3", "+7-3", "0-3", "7-4294967296"] {
            assert_eq!(told(wrong), None, "{wrong:?}");
        }
    }
}
