//! The export of history: as many messages as there are, one JSON object a line.
//!
//! # Invariants
//!
//! * An export holds one page, and reads the next when the other end has taken it.
//! * The last line is `{"end":true}`, and nothing else has that form: an export without it was cut.
//! * An export ends when the other end goes, or the server does.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use utoipa_axum::routes;

use super::api::Api;
use super::extract::{Query, Ready};
use super::history::{Choice, PastMessage};
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use crate::hub::Hub;
use crate::limits::HISTORY_PAGE_MAX;
use crate::store::{Look, Page};

/// How long a caller should wait that finds too many exports going on.
const COME_BACK_AFTER: Duration = Duration::from_secs(10);

/// The last line.
const END: &[u8] = b"{\"end\":true}\n";

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve(Scope::Read, routes!(export))
}

/// Tells all that was said, the newest first, one message a line.
///
/// The lines are as the items of the history are; the last one is `{"end":true}`, and an export
/// that ends without it was cut: go on with the id of the last message as `before`.
#[utoipa::path(
    get, path = "/v1/history/export", tag = "history", params(Choice),
    responses((status = 200, body = String, content_type = "application/x-ndjson")),
)]
async fn export(
    State(api): State<Arc<Api>>,
    Ready(hub): Ready,
    Query(choice): Query<Choice>,
) -> Outcome<Response> {
    if choice.limit == Some(0) {
        return Err(Problem::new(Kind::InvalidQuery, "limit must be 1 or more"));
    }
    let left = choice.limit.unwrap_or(usize::MAX);
    let look = choice.look(left.min(HISTORY_PAGE_MAX))?;
    let permit = api.exports.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Kind::Busy, "as many exports go on as may be").retry_after(COME_BACK_AFTER)
    })?;
    // What fails at once is told as it should be; later the answer can only be cut.
    let page = read(&hub, &look).await?;
    let export = Export { api, look, left, page: Some(page), _permit: permit };
    let lines = stream::try_unfold(Some(export), next);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// An export that goes on.
struct Export {
    api: Arc<Api>,
    /// The next page.
    look: Look,
    /// How many messages are still wanted.
    left: usize,
    /// The page that was read already.
    page: Option<Page>,
    _permit: OwnedSemaphorePermit,
}

/// The lines of one page, and the export if it goes on behind them.
async fn next(export: Option<Export>) -> io::Result<Option<(Bytes, Option<Export>)>> {
    let Some(mut export) = export else { return Ok(None) };
    let page = match export.page.take() {
        Some(page) => page,
        None => {
            let gone = |_| io::Error::other("the export was cut");
            let hub = export.api.hub().map_err(gone)?;
            read(&hub, &export.look).await.map_err(gone)?
        }
    };
    export.left -= page.messages.len().min(export.left);
    let mut lines = Vec::new();
    for message in page.messages {
        serde_json::to_writer(&mut lines, &PastMessage::from(message))?;
        lines.push(b'\n');
    }
    let goes_on = page.next.filter(|_| export.left > 0);
    let Some(before) = goes_on else {
        lines.extend_from_slice(END);
        return Ok(Some((lines.into(), None)));
    };
    export.look.before = Some(before);
    export.look.max = export.left.min(HISTORY_PAGE_MAX);
    Ok(Some((lines.into(), Some(export))))
}

async fn read(hub: &Hub, look: &Look) -> Outcome<Page> {
    Ok(hub.store().history(look.clone()).await?)
}
