//! The endpoints that there are, and the flusher that tells each of them.
//!
//! # Invariants
//!
//! * An endpoint has one flusher at the most: the one before has ended when the next begins.
//! * When the server has begun, the journal knows the endpoints that there are, and no others.
//! * An endpoint that the settings name no more is told nothing, and loses nothing: it goes on
//!   where it was when they name it again, or is removed by request.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ChangeError, Overview, StartError};
use crate::clock::Clock;
use crate::id::EndpointId;
use crate::limits::ENDPOINTS_MAX;
use crate::metrics::Metrics;
use crate::private_file::FileError;
use crate::store::{EndpointChange, Journal};
use crate::webhook::backlog::Backlog;
use crate::webhook::book::{Book, Content};
use crate::webhook::client::Client;
use crate::webhook::definition::{Definition, DefinitionError};
use crate::webhook::dialect::Style;
use crate::webhook::endpoint::{Endpoint, House};
use crate::webhook::flusher::Flusher;
use crate::webhook::health::Board;

/// What the clones of the webhooks share.
pub(super) struct Shared {
    pub(super) house: House,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) book: Arc<Book>,
    pub(super) tasks: TaskTracker,
    /// Ends all flushers.
    pub(super) stop: CancellationToken,
    /// What the file holds; held while anything is changed.
    pub(super) content: Mutex<Content>,
    pub(super) known: RwLock<BTreeMap<EndpointId, Known>>,
}

/// Why an endpoint takes nothing that the settings named, and do so no more.
const LEFT: &str = "it is not in the settings any more";

/// Why an endpoint that there is is told nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The settings named it, and do so no more.
    #[error("{LEFT}")]
    Left,
    /// It was made by request, and what is written about it is of no use any more.
    #[error("it cannot be told any more: {0}")]
    Wrong(DefinitionError),
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Left => Self::Left,
            Fault::Wrong(wrong) => Self::Definition(wrong),
        }
    }
}

/// An endpoint that there is.
pub(super) struct Known {
    pub(super) definition: Definition,
    pub(super) configured: bool,
    pub(super) endpoint: Result<Arc<Endpoint>, Fault>,
    pub(super) board: Arc<Board>,
    pub(super) flusher: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Known {
    pub(super) fn overview(&self, now_ms: i64) -> Overview {
        let mut definition = self.definition.clone();
        let mut health = self.board.health(now_ms);
        let endpoint = match &self.endpoint {
            Ok(endpoint) => endpoint,
            Err(fault) => {
                health.halted = Some(fault.to_string());
                let definition = definition.bare();
                return Overview { definition, secrets: 0, configured: false, health };
            }
        };
        let shown = &endpoint.shown;
        definition.url = definition.url.and(shown.first().cloned());
        let rest = usize::from(definition.url.is_some());
        definition.urls = shown.iter().skip(rest).cloned().collect();
        (definition.secret, definition.secrets) = (None, Vec::new());
        let secrets = endpoint.secrets.len();
        Overview { definition, secrets, configured: self.configured, health }
    }
}

impl Shared {
    /// Checks the endpoints that there are to be, and knows them.
    pub(super) fn add_all(
        &self,
        all: impl IntoIterator<Item = (Definition, bool)>,
    ) -> Result<(), StartError> {
        let mut known = self.known.write();
        for (definition, configured) in all {
            let id = definition.id.clone();
            let wrong = |source| StartError::Definition { id: id.clone(), source };
            let key = EndpointId::new(&id).map_err(DefinitionError::Id).map_err(wrong)?;
            let endpoint = match Endpoint::new(&definition, &self.house) {
                Err(error) if configured => return Err(wrong(error)),
                Err(error) => {
                    tracing::error!(endpoint = %key, "it cannot be told any more: {error}");
                    Err(Fault::Wrong(error))
                }
                Ok(endpoint) => Ok(endpoint),
            };
            match known.contains_key(&key) {
                false => {
                    let one = self.known(&key, definition, configured, endpoint);
                    known.insert(key, one);
                }
                true if configured => return Err(StartError::Twice(id)),
                true => tracing::warn!(
                    endpoint = %key,
                    "one was made by request, and one is in the settings: that is in force"
                ),
            }
        }
        Ok(())
    }

    pub(super) fn known(
        &self,
        id: &EndpointId,
        definition: Definition,
        configured: bool,
        endpoint: Result<Endpoint, Fault>,
    ) -> Known {
        let board = Arc::new(Board::new(self.metrics.webhooks.of(id)));
        Known { definition, configured, endpoint: endpoint.map(Arc::new), board, flusher: None }
    }

    /// Has the journal know the endpoints that there are, and tells them all.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<(), StartError> {
        let mut content = self.content.lock().await;
        let mut fresh = content.clone();
        fresh.dialects.clear();
        for id in self.journal.endpoints().await? {
            if self.known.read().contains_key(&id) {
                continue;
            }
            match content.dialects.get(id.as_str()) {
                Some(dialect) => {
                    self.leave(&id, dialect).await?;
                    fresh.dialects.insert(id.to_string(), dialect.clone());
                }
                // It was removed, and the server did not live to say so.
                None => self.journal.note(id, EndpointChange::Removed).await?,
            }
        }
        if self.known.read().len() > ENDPOINTS_MAX {
            return Err(StartError::TooMany);
        }
        let ids: Vec<EndpointId> = self.known.read().keys().cloned().collect();
        for id in &ids {
            let before = content.dialects.get(id.as_str()).map(String::as_str);
            let Ok((endpoint, _)) = self.endpoint(id) else {
                let dialect = before.map(|before| (id.to_string(), before.to_owned()));
                fresh.dialects.extend(dialect);
                continue;
            };
            let dialect = endpoint.style.dialect.name();
            self.place(id, dialect, before).await?;
            fresh.dialects.insert(id.to_string(), dialect.to_owned());
        }
        if fresh != *content {
            *content = self.write(fresh).await?;
        }
        for id in &ids {
            if let Ok((endpoint, _)) = self.endpoint(id) {
                self.prepare(&endpoint).await;
            }
            self.flush(id);
        }
        Ok(())
    }

    /// Keeps what there is of an endpoint that the settings name no more.
    async fn leave(&self, id: &EndpointId, dialect: &str) -> Result<(), StartError> {
        tracing::warn!(
            endpoint = %id,
            "an endpoint is not in the settings any more: until it is back there, or removed by \
             request, it is told nothing, and keeps its place and its letters"
        );
        if self.journal.endpoint(id.clone()).await?.is_some_and(|state| state.halted.is_none()) {
            let change = EndpointChange::Halted { why: Some(LEFT.to_owned()) };
            self.journal.note(id.clone(), change).await?;
        }
        let dialect = Some(dialect.to_owned());
        let definition = Definition { id: id.to_string(), dialect, ..Definition::default() };
        let known = self.known(id, definition, false, Err(Fault::Left));
        self.known.write().insert(id.clone(), known);
        Ok(())
    }

    /// Has the journal know from where an endpoint goes on, in this dialect after that one.
    async fn place(
        &self,
        id: &EndpointId,
        dialect: &str,
        before: Option<&str>,
    ) -> Result<(), StartError> {
        let state = self.journal.endpoint(id.clone()).await?;
        let has_left = state.as_ref().is_some_and(|state| state.halted.as_deref() == Some(LEFT));
        let after = match state {
            None => Some(self.journal.head()),
            // Its lanes mean something else in another dialect.
            Some(state) if before.is_some_and(|before| before != dialect) => Some(state.behind()),
            Some(_) => None,
        };
        if let Some(after) = after {
            self.journal.note(id.clone(), EndpointChange::Began { after }).await?;
        }
        if has_left {
            self.journal.note(id.clone(), EndpointChange::Halted { why: None }).await?;
        }
        Ok(())
    }

    /// Starts the flusher of an endpoint, or what stands in for one that has left the settings.
    pub(super) fn flush(&self, id: &EndpointId) {
        let mut known = self.known.write();
        let Some(known) = known.get_mut(id) else { return };
        let stop = self.stop.child_token();
        let (journal, board) = (self.journal.clone(), known.board.clone());
        let (clock, token) = (self.clock.clone(), stop.clone());
        let task = match known.endpoint.clone() {
            Ok(endpoint) => {
                let client = self.client.clone();
                let (endpoint, stop) = (endpoint, token);
                let began_ms = clock.now_ms();
                let flusher = Flusher { endpoint, journal, client, board, clock, began_ms, stop };
                self.tasks.spawn(flusher.run())
            }
            Err(_) => {
                let dialect = known.definition.dialect().unwrap_or_default();
                let style = Style { dialect, ..Style::default() };
                let backlog = Backlog { id: id.clone(), journal, board, clock, style };
                self.tasks.spawn(backlog.run(token))
            }
        };
        known.flusher = Some((stop, task));
    }

    /// Gets ready for requests to an endpoint, off the threads that others wait for. What goes
    /// wrong is told by each try.
    pub(super) async fn prepare(&self, endpoint: &Endpoint) {
        let (client, urls, timeout) =
            (self.client.clone(), endpoint.urls.clone(), endpoint.timeout);
        let prepared = tokio::task::spawn_blocking(move || {
            urls.iter().try_for_each(|url| client.prepare(url, timeout))
        });
        if let Ok(Err(error)) = prepared.await {
            tracing::warn!(endpoint = %endpoint.id, "cannot get ready for webhooks: {error}");
        }
    }

    /// Stops the flusher of an endpoint, and returns when it has ended.
    pub(super) async fn quiet(&self, id: &EndpointId) {
        let flusher = self.known.write().get_mut(id).and_then(|known| known.flusher.take());
        if let Some((stop, task)) = flusher {
            stop.cancel();
            // One that has failed has ended, too.
            let _ = task.await;
        }
    }

    /// An endpoint that can be told something.
    pub(super) fn endpoint(
        &self,
        id: &EndpointId,
    ) -> Result<(Arc<Endpoint>, Arc<Board>), ChangeError> {
        let known = self.known.read();
        let known = known.get(id).ok_or(ChangeError::Unknown)?;
        let endpoint = known.endpoint.clone()?;
        Ok((endpoint, known.board.clone()))
    }

    /// How an endpoint does.
    pub(super) fn board(&self, id: &EndpointId) -> Result<Arc<Board>, ChangeError> {
        self.known.read().get(id).map(|known| known.board.clone()).ok_or(ChangeError::Unknown)
    }

    pub(super) fn is_configured(&self, id: &str) -> bool {
        let known = self.known.read();
        known.iter().any(|(known, one)| known.as_str() == id && one.configured)
    }

    /// Why no request can change an endpoint that none has made.
    pub(super) fn not_made(&self, id: &str) -> ChangeError {
        match self.known.read().iter().find(|(known, _)| known.as_str() == id) {
            None => ChangeError::Unknown,
            Some((_, known)) if matches!(known.endpoint, Err(Fault::Left)) => ChangeError::Left,
            Some(_) => ChangeError::Configured,
        }
    }

    pub(super) fn overview(&self, id: &EndpointId) -> Result<Overview, ChangeError> {
        let now_ms = self.clock.now_ms();
        self.known.read().get(id).map(|one| one.overview(now_ms)).ok_or(ChangeError::Unknown)
    }

    pub(super) async fn show_kept(&self, id: &EndpointId) -> Result<(), ChangeError> {
        let state = self.journal.endpoint(id.clone()).await?;
        if let (Some(state), Ok(board)) = (state, self.board(id)) {
            board.kept(&state);
        }
        Ok(())
    }

    pub(super) async fn write(&self, content: Content) -> Result<Content, FileError> {
        let book = self.book.clone();
        let written = tokio::task::spawn_blocking(move || {
            book.write(&content)?;
            Ok(content)
        });
        written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}
