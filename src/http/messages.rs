//! Messages of the back end: sent one by one or many at once, and taken back.
//!
//! # Invariants
//!
//! * An answer that tells the id of a message comes after the disk has it.
//! * Each message of a batch has an outcome of its own; those of one conversation keep their order.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::api::Api;
use super::extract::{Json, Path, Ready};
use super::many::{Many, Refused, item, merge, places, split};
use super::posting::{NewMessage, SentMessage};
use super::problem::Outcome;
use super::repeats::Repeats;
use super::routes::{Routes, with_body_of};
use super::scope::Scope;
use super::text::{Message, Text};
use crate::hub::Posted;
use crate::limits::{HTTP_BATCH_BYTES_MAX, HTTP_BATCH_MAX};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Send, routes!(send))
        .serve(Scope::Send, with_body_of(HTTP_BATCH_BYTES_MAX, routes!(send_batch)))
        .serve(Scope::Send, routes!(recall))
}

/// Messages to be sent, in this order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"messages": [
    {"to": {"alias": "customer 4711"}, "body": "Your table is ready."},
    {"from": "ann", "to": {"peers": ["bob"]}, "body": "On my way.", "receipt": true},
]}))]
struct Batch {
    #[schema(value_type = Vec<NewMessage>, min_items = 1, max_items = 1_000)]
    messages: Many<Box<RawValue>, HTTP_BATCH_MAX>,
}

/// What has become of the messages, in their order.
#[derive(Serialize, ToSchema)]
struct BatchOutcomes<'a> {
    results: Vec<BatchOutcome<'a>>,
}

/// What has become of a message.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchOutcome<'a> {
    /// It was taken.
    Taken(Taken),
    /// It was refused.
    Refused(Refused<'a>),
}

/// A message that was taken.
#[derive(Serialize, ToSchema)]
struct Taken {
    /// The status that it would have had alone: 201, or 200 if nothing new was stored.
    #[schema(example = 201)]
    status: u16,
    #[serde(flatten)]
    sent: SentMessage,
}

/// Sends a message, from the system or as a peer: to peers, to a group, to the devices of an
/// alias, or to one device.
///
/// With an `Idempotency-Key` the same request is the same message when it comes again within 24
/// hours, and before 500,000 others: it is answered with the message of before, and `repeated`.
/// With another text, or for others, it is refused. If it is for nobody by then, as when its alias
/// is gone, that is told, and nothing is sent. A transient message is never stored, and so not
/// recognised.
///
/// `outcome` of a recipient is what was so when the server took the message: `online`, `offline`
/// (it waits for the recipient), or `ignored` (the peer is blocked; or the device has logged out;
/// or the message is transient and the recipient not online).
///
/// A `receipt` of a message that is sent as a peer comes to that peer, which hears that the
/// message was delivered when a device of the recipient has it. One of a message that the system
/// sends, to however many, is told to webhooks.
#[utoipa::path(
    post, path = "/v1/messages", tag = "messages", request_body = NewMessage,
    params((
        "Idempotency-Key" = Option<String>, Header, description = "Names this request",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$",
    )),
    responses(
        (status = 201, body = SentMessage, description = "The message is stored"),
        (status = 200, body = SentMessage,
            description = "Nothing new is stored: it was before, or is for nobody, or transient"),
    ),
)]
async fn send(
    State(api): State<Arc<Api>>,
    Ready(hub): Ready,
    repeats: Repeats,
    Json(new): Json<NewMessage>,
) -> Outcome<Response> {
    let post = new.into_post(repeats.key(0))?;
    let posted = hub.post(vec![post]).await;
    let sent = merge(vec![None], posted).pop().transpose()?.unwrap_or_default();
    let status = told(&api, &sent);
    Ok((status, Json(SentMessage::from(&sent))).into_response())
}

/// Sends up to 1,000 messages. Each has an outcome of its own, and an `Idempotency-Key` names each
/// together with its place in the list.
#[utoipa::path(
    post, path = "/v1/messages/batch", tag = "messages", request_body = Batch,
    params((
        "Idempotency-Key" = Option<String>, Header, description = "Names this request",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$",
    )),
    responses((status = 200, body = BatchOutcomes<'_>)),
)]
async fn send_batch(
    State(api): State<Arc<Api>>,
    Ready(hub): Ready,
    repeats: Repeats,
    Json(batch): Json<Batch>,
) -> Response {
    let messages = batch.messages.0.iter().enumerate();
    let posts = messages.map(|(place, message)| {
        let message: NewMessage = item(message)?;
        message.into_post(repeats.key(place))
    });
    let (posts, problems) = split(posts);
    let outcomes = merge(problems, hub.post(posts).await);
    let places = places("messages", outcomes.len());
    let results = outcomes.iter().zip(&places).map(|(outcome, place)| match outcome {
        Ok(posted) => {
            let status = told(&api, posted).as_u16();
            BatchOutcome::Taken(Taken { status, sent: posted.into() })
        }
        Err(problem) => BatchOutcome::Refused(Refused::new(problem, place)),
    });
    Json(BatchOutcomes { results: results.collect() }).into_response()
}

/// Takes a message back, whoever sent it and whenever. Its recipients are told, and nobody gets
/// its body any more.
#[utoipa::path(
    post, path = "/v1/messages/{id}/recall", tag = "messages",
    params(("id" = inline(Message), Path, description = "Of the message")),
    responses((status = 204, description = "It is taken back")),
)]
async fn recall(Ready(hub): Ready, Path(Text(message)): Path<Message>) -> Outcome<StatusCode> {
    hub.recall_any(message).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts a message that was taken; says whether something new was stored.
fn told(api: &Api, posted: &Posted) -> StatusCode {
    api.metrics.api_sends.inc();
    match posted.messages.iter().any(|message| !message.repeated) {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    }
}
