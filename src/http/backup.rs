//! The stream that a copy of the data folder is made from.
//!
//! # Invariants
//!
//! * It has everything that was acknowledged before it was asked for, and no keys.
//! * It ends with a frame that says so: one without it was cut.
//! * There is one at a time, and of it two parts in memory at the most. It ends when nobody reads
//!   it, though the connection may go on.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use utoipa_axum::routes;

use super::extract::Ready;
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use crate::chain::Chain;
use crate::limits::BACKUP_UNREAD_MAX;
use crate::store::Backup;

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
    let (to, parts) = mpsc::channel(1);
    // It ends with the answer that it is for.
    let mut sending = JoinSet::new();
    sending.spawn(send(backup, to));
    let parts = stream::unfold((parts, sending), |(mut parts, sending)| async {
        Some((parts.recv().await?, (parts, sending)))
    });
    let kind = [(header::CONTENT_TYPE, "application/vnd.tidings.backup")];
    Ok((kind, Body::from_stream(parts)).into_response())
}

/// A part, or that there are no more though there should be.
type Part = io::Result<Bytes>;

/// Sends all parts of a backup, for as long as they are taken.
async fn send<T: Send + 'static>(mut backup: Backup<T>, to: mpsc::Sender<Part>) {
    while let Some(room) = room(&to).await {
        match backup.next().await {
            Ok(Some(part)) => room.send(Ok(part)),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "a backup was cut");
                return room.send(Err(io::Error::other("the backup was cut")));
            }
        }
    }
}

/// Room for a part; none if nobody reads.
async fn room(to: &mpsc::Sender<Part>) -> Option<mpsc::Permit<'_, Part>> {
    match timeout(BACKUP_UNREAD_MAX, to.reserve()).await {
        Ok(room) => room.ok(),
        Err(_) => {
            tracing::warn!("a backup was cut: nobody has read from it for a minute");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backup_waits_for_its_reader_and_not_for_ever() {
        for (after, is_read) in [(BACKUP_UNREAD_MAX / 2, true), (BACKUP_UNREAD_MAX * 2, false)] {
            let (to, mut parts) = mpsc::channel(1);
            room(&to).await.unwrap().send(Ok(Bytes::from_static(b"part")));
            let began = Instant::now();
            let reading = async {
                sleep(after).await;
                parts.recv().await
            };
            let waiting = async {
                let is_read = room(&to).await.is_some();
                (is_read, began.elapsed().as_secs())
            };
            let (waited, _) = tokio::join!(waiting, reading);
            assert_eq!(waited, (is_read, after.min(BACKUP_UNREAD_MAX).as_secs()));
        }
    }

    #[tokio::test]
    async fn a_backup_ends_with_its_connection() {
        let (to, parts) = mpsc::channel(1);
        drop(parts);
        assert!(room(&to).await.is_none());
    }
}
