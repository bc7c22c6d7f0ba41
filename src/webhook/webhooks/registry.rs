//! The endpoints that there are, and the flusher that tells each of them.
//!
//! # Invariants
//!
//! * An endpoint has one flusher at the most: the one before has ended when the next begins.
//! * When the server has begun, the journal knows the endpoints that there are, and no others.

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
use crate::store::{EndpointChange, Journal};
use crate::webhook::book::{Book, BookError, Content};
use crate::webhook::client::Client;
use crate::webhook::definition::Definition;
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

/// An endpoint that there is.
pub(super) struct Known {
    pub(super) definition: Definition,
    pub(super) configured: bool,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) board: Arc<Board>,
    pub(super) flusher: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Known {
    pub(super) fn overview(&self, now_ms: i64) -> Overview {
        let mut definition = self.definition.clone();
        let shown = &self.endpoint.shown;
        definition.url = definition.url.and(shown.first().cloned());
        let rest = usize::from(definition.url.is_some());
        definition.urls = shown.iter().skip(rest).cloned().collect();
        (definition.secret, definition.secrets) = (None, Vec::new());
        let health = self.board.health(now_ms);
        let secrets = self.endpoint.secrets.len();
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
            let endpoint = Endpoint::new(&definition, &self.house)
                .map_err(|source| StartError::Definition { id: id.clone(), source })?;
            let one = self.known(definition, configured, endpoint);
            if known.insert(one.endpoint.id.clone(), one).is_some() {
                return Err(StartError::Twice(id));
            }
        }
        if known.len() > ENDPOINTS_MAX { Err(StartError::TooMany) } else { Ok(()) }
    }

    pub(super) fn known(
        &self,
        definition: Definition,
        configured: bool,
        endpoint: Endpoint,
    ) -> Known {
        let board = Arc::new(Board::new(self.metrics.webhooks.of(&endpoint.id)));
        Known { definition, configured, endpoint: Arc::new(endpoint), board, flusher: None }
    }

    /// Has the journal know the endpoints that there are, and tells them all.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<(), StartError> {
        let mut content = self.content.lock().await;
        let mut fresh = content.clone();
        fresh.dialects.clear();
        for id in self.journal.endpoints().await? {
            if !self.known.read().contains_key(&id) {
                tracing::warn!(endpoint = %id, "an endpoint is not in the settings any more");
                self.journal.note(id, EndpointChange::Removed).await?;
            }
        }
        let ids: Vec<EndpointId> = self.known.read().keys().cloned().collect();
        for id in &ids {
            let Ok((endpoint, _)) = self.endpoint(id) else { continue };
            let dialect = endpoint.style.dialect.name();
            let before = content.dialects.get(id.as_str());
            let after = match self.journal.endpoint(id.clone()).await? {
                None => Some(self.journal.head()),
                // Its lanes mean something else in another dialect.
                Some(state) if before.is_some_and(|before| before != dialect) => {
                    Some(state.behind())
                }
                Some(_) => None,
            };
            if let Some(after) = after {
                self.journal.note(id.clone(), EndpointChange::Began { after }).await?;
            }
            fresh.dialects.insert(id.to_string(), dialect.to_owned());
        }
        if fresh != *content {
            *content = self.write(fresh).await?;
        }
        for id in &ids {
            self.flush(id, 0);
        }
        Ok(())
    }

    /// Starts the flusher of an endpoint. One that is halted ends by itself.
    pub(super) fn flush(&self, id: &EndpointId, resumed_ms: i64) {
        let mut known = self.known.write();
        let Some(known) = known.get_mut(id) else { return };
        let stop = self.stop.child_token();
        let flusher = Flusher {
            endpoint: known.endpoint.clone(),
            journal: self.journal.clone(),
            client: self.client.clone(),
            board: known.board.clone(),
            clock: self.clock.clone(),
            resumed_ms,
            stop: stop.clone(),
        };
        known.flusher = Some((stop, self.tasks.spawn(flusher.run())));
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

    pub(super) fn endpoint(
        &self,
        id: &EndpointId,
    ) -> Result<(Arc<Endpoint>, Arc<Board>), ChangeError> {
        let known = self.known.read();
        let known = known.get(id).ok_or(ChangeError::Unknown)?;
        Ok((known.endpoint.clone(), known.board.clone()))
    }

    pub(super) fn overview(&self, id: &EndpointId) -> Result<Overview, ChangeError> {
        let now_ms = self.clock.now_ms();
        self.known.read().get(id).map(|one| one.overview(now_ms)).ok_or(ChangeError::Unknown)
    }

    pub(super) async fn show_kept(&self, id: &EndpointId) -> Result<(), ChangeError> {
        let state = self.journal.endpoint(id.clone()).await?;
        if let (Some(state), Ok((_, board))) = (state, self.endpoint(id)) {
            board.kept(&state);
        }
        Ok(())
    }

    pub(super) async fn write(&self, content: Content) -> Result<Content, BookError> {
        let book = self.book.clone();
        let written = tokio::task::spawn_blocking(move || {
            book.write(&content)?;
            Ok(content)
        });
        written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}
