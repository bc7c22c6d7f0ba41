//! Requests that somebody asks for: whether an endpoint answers, and dead letters anew.
//!
//! # Invariants
//!
//! * A dead letter is kept until it was taken.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attempts::{Attempt, Outcome};
use super::client::{Answer, Client, Letterhead};
use super::dialect::Outgoing;
use super::endpoint::Endpoint;
use super::health::Board;
use super::retry::Verdict;
use crate::id::{MessageId, unguessable_text};
use crate::limits::WEBHOOK_RESEND_MAX;
use crate::store::{EndpointChange, Journal, Letter, Position, ReadError};

/// Asks whether an endpoint answers.
pub(super) async fn ping(client: &Client, endpoint: &Endpoint, now_ms: i64) -> Attempt {
    let id = format!("ping_{}", unguessable_text());
    post(client, endpoint, id, endpoint.style.ping(now_ms), 0, 1).await
}

/// Sends dead letters anew, up to the first that is not answered, or until this is stopped, and
/// forgets those that were taken.
///
/// # Errors
///
/// [`ReadError`] when the store is closed or the disk cannot be read.
pub(super) async fn resend(
    journal: &Arc<dyn Journal>,
    client: &Client,
    (endpoint, board): (&Endpoint, &Board),
    letters: Vec<Position>,
    stop: &CancellationToken,
) -> Result<Vec<(Position, Attempt)>, ReadError> {
    let mut sent = Vec::new();
    for position in letters.into_iter().take(WEBHOOK_RESEND_MAX) {
        let found = journal.letters(endpoint.id.clone(), before(position), 1).await?.0;
        let Some(letter) = found.into_iter().next().filter(|one| one.position == position) else {
            continue;
        };
        let Letter { request, query, body, tries, .. } = letter;
        if body.is_empty() {
            // It was too long to be kept.
            continue;
        }
        let content_type = endpoint.style.ping(0).content_type;
        let outgoing = Outgoing { query, content_type, body };
        let tried = post(client, endpoint, request, outgoing, 1, tries + 1);
        let Some(attempt) = stop.run_until_cancelled(tried).await else { break };
        board.attempts.push(attempt.clone());
        if attempt.outcome == Outcome::Ok {
            let change = EndpointChange::Dropped { letters: vec![position] };
            journal.note(endpoint.id.clone(), change).await?;
        }
        let is_there = attempt.status != 0;
        sent.push((position, attempt));
        if !is_there {
            break;
        }
    }
    Ok(sent)
}

/// The place before a place.
fn before(position: Position) -> Option<Position> {
    let Position { entry, part } = position;
    match part.checked_sub(1) {
        Some(part) => Some(Position { entry, part }),
        None => Some(Position::end_of(MessageId(entry.0 - 1))),
    }
}

async fn post(
    client: &Client,
    endpoint: &Endpoint,
    id: String,
    outgoing: Outgoing,
    events: usize,
    number: u32,
) -> Attempt {
    let (url, bytes) = (fastrand::usize(..endpoint.urls.len()), outgoing.body.len());
    let answer = client.post(&Letterhead::new(endpoint, url, id.clone()), outgoing).await;
    let Answer { at_ms, took, status, verdict, said, .. } = answer;
    let outcome = match verdict {
        Verdict::Delivered => Outcome::Ok,
        Verdict::Failed => Outcome::Failed,
        Verdict::Gone | Verdict::Refused => Outcome::Refused,
    };
    let url = endpoint.shown[url].clone();
    Attempt { at_ms, took, request: id, url, events, bytes, number, status, outcome, said }
}
