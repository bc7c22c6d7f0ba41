//! The app's back end: it sends over HTTP as a peer, and tries again under the same name until it
//! has an answer.
//!
//! # Invariants
//!
//! * One request after another, so its messages to one peer have an order.
//! * A request that is tried again has the same `Idempotency-Key` and the same bytes.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use hyper::StatusCode;
use tokio::sync::watch;

use super::LOOK;
use crate::http::{Answer, Api, Line};
use crate::library::Books;
use crate::run::{Phase, Run};
use crate::stamp::Stamp;

/// A back end.
pub(super) struct Backend {
    run: Arc<Run>,
    /// The peer that it sends as.
    index: u32,
    books: Arc<Books>,
    api: watch::Receiver<Api>,
    line: Option<Line>,
}

impl Backend {
    pub(super) fn new(
        run: &Arc<Run>,
        index: u32,
        books: &Arc<Books>,
        api: watch::Receiver<Api>,
    ) -> Self {
        Self { run: run.clone(), index, books: books.clone(), api, line: None }
    }

    /// Sends whenever its mail says so, until the run ends.
    pub(super) async fn send_all(mut self) {
        let run = self.run.clone();
        let mut number = 0;
        while let Some(due_ns) = run.mail[self.index as usize].next_due(&run).await {
            number += 1;
            let to = fastrand::u32(0..run.talkers);
            run.records.own().asked(due_ns, &run);
            if let Err(why) = self.send(number, to, due_ns).await {
                run.records.own().counts.refused += 1;
                run.broke(format!("a send over HTTP failed: {why}"));
                continue;
            }
            self.books.acked(self.index, number);
            run.ledger.acked(self.index, number, to);
            let mut record = run.records.own();
            record.counts.due += 1;
            record.answered(due_ns, run.now_ns(), &run);
        }
    }

    /// Sends one message, however often it takes.
    async fn send(&mut self, number: u64, to: u32, due_ns: u64) -> Result<(), String> {
        let stamp = Stamp { sender: self.index, number, intended_ns: due_ns };
        let body = self.message(&stamp, to);
        let name = format!("{}-{number}", self.run.names.peer(self.index));
        loop {
            let why = match self.post(&name, body.clone()).await {
                Ok(answer) => match answer.status {
                    StatusCode::CREATED | StatusCode::OK => return Ok(()),
                    status if may_retry(status) => answer.problem(),
                    _ => return Err(answer.problem()),
                },
                Err(why) => {
                    self.line = None;
                    why
                }
            };
            if self.run.phase() == Phase::End {
                return Err(why);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn post(&mut self, name: &str, body: Bytes) -> Result<Answer, String> {
        if self.line.is_none() {
            let api = self.api.borrow().clone();
            self.line = Some(api.open().await?);
        }
        let line = self.line.as_mut().ok_or("there is no connection")?;
        line.post_once("/v1/messages", name, body).await
    }

    /// The JSON of a message; nothing in it has to be escaped.
    fn message(&self, stamp: &Stamp, to: u32) -> Bytes {
        let mut bytes = BytesMut::new();
        stamp.put(&mut bytes, self.run.payload);
        let (from, to) = (self.run.names.peer(self.index), self.run.names.peer(to));
        let body = BASE64_STANDARD.encode(bytes);
        let to = format!("{{\"peers\":[\"{to}\"]}}");
        format!("{{\"from\":\"{from}\",\"to\":{to},\"body_base64\":\"{body}\"}}").into()
    }
}

/// Whether the same request may be granted later.
fn may_retry(status: StatusCode) -> bool {
    let told = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || told.contains(&status)
}
