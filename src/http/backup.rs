//! The stream that a copy of the data folder is made from.
//!
//! # Invariants
//!
//! * It has everything that was acknowledged before it was asked for, and no keys.
//! * It ends with a frame that says so: one without it was cut.
//! * There is one at a time, and of it one part in memory.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use utoipa_axum::routes;

use super::extract::Ready;
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use crate::chain::Chain;

/// How long a caller should wait that finds another backup going on.
const COME_BACK_AFTER: Duration = Duration::from_secs(10);

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve(Scope::Master, routes!(backup))
}

/// Sends a copy of the log and the state, for `tidings backup`, which knows its form.
///
/// It has everything that was acknowledged before, and is as the server was at one moment. Keys,
/// certificates and the secrets of endpoints are not in it.
#[utoipa::path(
    get, path = "/v1/backup", tag = "operations",
    responses((status = 200, body = String, content_type = "application/vnd.tidings.backup")),
)]
async fn backup(Ready(hub): Ready) -> Outcome<Response> {
    let begun = hub.store().backup().await?;
    let backup = begun.ok_or_else(|| {
        Problem::new(Kind::Busy, "another backup goes on").retry_after(COME_BACK_AFTER)
    })?;
    let parts = stream::try_unfold(backup, |mut backup| async {
        match backup.next().await {
            Ok(part) => Ok(part.map(|part| (part, backup))),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "a backup was cut");
                Err(io::Error::other("the backup was cut"))
            }
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/vnd.tidings.backup")];
    Ok((kind, Body::from_stream(parts)).into_response())
}
