//! What tests of webhooks start: all of it over real sockets, but for the log, which is in memory.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::client::Names;
use super::journal_tests::MemoryJournal;
use super::receiver_tests::PATIENCE;
use super::*;
use crate::clock::Clock;
use crate::id::EndpointId;
use crate::metrics::Metrics;

/// A name that leads where a test wants.
#[derive(Default)]
pub(super) struct Led(pub(super) Mutex<Vec<Vec<&'static str>>>);

impl Names for Led {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut answers = self.0.lock();
        let next = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async move { Ok(next.iter().map(|text| text.parse().unwrap()).collect()) })
    }
}

pub(super) struct House {
    pub(super) journal: Arc<MemoryJournal>,
    folder: TempDir,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) names: Arc<Led>,
    pub(super) allowed: Vec<Network>,
    pub(super) configured: Vec<Definition>,
}

impl House {
    pub(super) fn new() -> Self {
        Self {
            journal: MemoryJournal::new(),
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            names: Arc::default(),
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
            configured: Vec::new(),
        }
    }

    pub(super) async fn start(&self) -> Webhooks {
        let options = Options {
            dir: self.folder.path().to_owned(),
            configured: self.configured.clone(),
            allowed: self.allowed.clone(),
            app_id: "acme#chat".into(),
            ..Options::default()
        };
        let (journal, metrics) = (self.journal.clone(), self.metrics.clone());
        let clock = self.clock.clone();
        Webhooks::start_with(options, journal, metrics, clock, self.names.clone()).await.unwrap()
    }

    /// Says something in each of many conversations.
    pub(super) fn chat(&self, from: u32, count: u32) {
        for number in from..from + count {
            let conversation = number % 97;
            self.journal.say(conversation, number + 2, self.clock.now_ms(), "hello");
        }
    }
}

pub(super) fn id(text: &str) -> EndpointId {
    text.parse().unwrap()
}

pub(super) fn definition(name: &str, url: String) -> Definition {
    Definition {
        id: name.into(),
        url: Some(url),
        interval: Some("20ms".into()),
        timeout: Some("2s".into()),
        secret: Some(SecretText("geheim".into())),
        ..Definition::default()
    }
}

pub(super) async fn until(what: impl Fn() -> bool) {
    let so = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.expect("it has not come to that");
}
