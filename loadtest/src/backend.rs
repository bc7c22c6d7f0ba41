//! An app's back end, which sends over HTTP as a peer, and asks again under the same name until it
//! has an answer.
//!
//! # Invariants
//!
//! * One request after another, so its messages to one peer have an order.
//! * A request that is asked again has the same `Idempotency-Key` and the same bytes.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use hyper::StatusCode;
use serde::Deserialize;

use crate::http::{Answer, Api, Line};
use crate::library::Books;
use crate::run::{Phase, Run};
use crate::stamp::Stamp;

/// How long it waits before it asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Messages of a request that sends many: as many as the server takes.
const BATCH: usize = tidings::limits::HTTP_BATCH_MAX;

/// A back end.
pub(crate) struct Backend {
    run: Arc<Run>,
    /// The peer that it sends as.
    index: u32,
    books: Arc<Books>,
    api: Api,
    line: Option<Line>,
    /// Its last message.
    number: u64,
}

#[derive(Deserialize)]
struct Outcomes {
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
}

impl Backend {
    /// A back end that sends as the peer `index`.
    pub(crate) fn new(run: &Arc<Run>, index: u32, books: &Arc<Books>, api: Api) -> Self {
        Self { run: run.clone(), index, books: books.clone(), api, line: None, number: 0 }
    }

    /// Sends one message to a random talker whenever its mail says so, until the run ends.
    pub(crate) async fn send_all(mut self) {
        let run = self.run.clone();
        while let Some(due_ns) = run.mail[self.index as usize].next_due(&run).await {
            let to = fastrand::u32(0..run.talkers);
            let sent = self.send(to, due_ns).await;
            self.note(&sent.map(|number| vec![(number, to)]), 1, due_ns);
        }
    }

    /// Sends a message to each of these peers, many with a request.
    pub(crate) async fn send_many(&mut self, to: &[u32]) {
        for some in to.chunks(BATCH) {
            let due_ns = self.run.now_ns();
            let sent = self.send_batch(some, due_ns).await;
            self.note(&sent, some.len() as u64, due_ns);
        }
    }

    /// Writes down what was answered, or that so many were not.
    fn note(&self, sent: &Result<Vec<(u64, u32)>, String>, count: u64, due_ns: u64) {
        let run = &self.run;
        match sent {
            Ok(sent) => {
                for (number, to) in sent {
                    self.books.acked(self.index, *number);
                    run.ledger.acked(self.index, *number, *to);
                    let mut record = run.records.own();
                    record.counts.due += 1;
                    record.answered(due_ns, run.now_ns(), run);
                }
            }
            Err(why) => {
                run.records.own().counts.refused += count;
                run.broke(format!("a send over HTTP failed: {why}"));
            }
        }
    }

    async fn send(&mut self, to: u32, due_ns: u64) -> Result<u64, String> {
        let message = self.message(to, due_ns);
        self.post("/v1/messages", message.into()).await?;
        Ok(self.number)
    }

    async fn send_batch(&mut self, to: &[u32], due_ns: u64) -> Result<Vec<(u64, u32)>, String> {
        let mut sent = Vec::new();
        let mut body = String::from("{\"messages\":[");
        for peer in to {
            body += if sent.is_empty() { "" } else { "," };
            body += &self.message(*peer, due_ns);
            sent.push((self.number, *peer));
        }
        let answer = self.post("/v1/messages/batch", (body + "]}").into()).await?;
        let outcomes: Outcomes = answer.read(StatusCode::OK)?;
        let taken = outcomes.results.iter().filter(|outcome| outcome.status < 300).count();
        match taken == to.len() {
            true => Ok(sent),
            false => Err(format!("{taken} of {} messages of a batch were taken", to.len())),
        }
    }

    /// Posts until there is an answer that means something.
    async fn post(&mut self, path: &str, body: Bytes) -> Result<Answer, String> {
        let name = format!("{}-{}", self.run.names.peer(self.index), self.number);
        loop {
            let why = match self.try_post(path, &name, body.clone()).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) if may_retry(answer.status) => answer.problem(),
                Ok(answer) => return Err(answer.problem()),
                Err(why) => {
                    self.line = None;
                    why
                }
            };
            if self.run.phase() == Phase::End {
                return Err(why);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn try_post(&mut self, path: &str, name: &str, body: Bytes) -> Result<Answer, String> {
        let line = match &mut self.line {
            Some(line) => line,
            none => none.insert(self.api.open().await?),
        };
        line.post_once(path, name, body).await
    }

    /// The JSON of the next message; nothing in it has to be escaped.
    fn message(&mut self, to: u32, due_ns: u64) -> String {
        self.number += 1;
        self.run.records.own().asked(due_ns, &self.run);
        let stamp = Stamp { sender: self.index, number: self.number, intended_ns: due_ns };
        let mut bytes = BytesMut::new();
        stamp.put(&mut bytes, self.run.payload);
        let (from, to) = (self.run.names.peer(self.index), self.run.names.peer(to));
        let body = BASE64_STANDARD.encode(bytes);
        let to = format!("{{\"peers\":[\"{to}\"]}}");
        format!("{{\"from\":\"{from}\",\"to\":{to},\"body_base64\":\"{body}\"}}")
    }
}

/// Whether the same request may be granted later.
fn may_retry(status: StatusCode) -> bool {
    let told = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || told.contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_with_its_stamp() {
        let (run, books) = (Arc::new(Run::new(3, 64, false)), Arc::new(Books::plain(3)));
        let api = Api::new(([127, 0, 0, 1], 1).into(), "key").unwrap();
        let mut backend = Backend::new(&run, 2, &books, api);
        let json: serde_json::Value = serde_json::from_str(&backend.message(1, 9)).unwrap();
        assert_eq!(json["from"], run.names.peer(2).as_str());
        assert_eq!(json["to"]["peers"][0], run.names.peer(1).as_str());
        let body = BASE64_STANDARD.decode(json["body_base64"].as_str().unwrap()).unwrap();
        assert_eq!(Stamp::of(&body), Some(Stamp { sender: 2, number: 1, intended_ns: 9 }));
        assert_eq!(body.len(), 64);
    }

    #[test]
    fn what_a_server_on_its_way_says_is_asked_again() {
        assert!(may_retry(StatusCode::SERVICE_UNAVAILABLE));
        assert!(!may_retry(StatusCode::UNPROCESSABLE_ENTITY));
    }
}
