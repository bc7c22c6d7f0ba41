//! All endpoints of the server: what is known of them, and what can be done with them.
//!
//! # Invariants
//!
//! * Each endpoint has a flusher of its own, and no two at a time; none while it is changed.
//! * A change that was begun is carried through, whether anybody waits for it or not.
//! * The journal knows the endpoints that there are, and no others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::Network;
use super::attempts::Attempt;
use super::book::{Book, BookError, Content};
use super::client::{Client, ClientError, Names, SystemNames};
use super::endpoint::{Definition, DefinitionError, Endpoint, House, SecretText};
use super::flusher::Flusher;
use super::health::{Board, Health};
use super::resending;
use crate::clock::Clock;
use crate::id::{EndpointId, MessageId};
use crate::limits::{ENDPOINTS_MAX, WEBHOOK_SECRETS_MAX};
use crate::metrics::Metrics;
use crate::store::{Closed, EndpointChange, Journal, Letter, Position, ReadError};

/// How the server's webhooks are to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of the file with the endpoints that are made by request.
    pub dir: PathBuf,
    /// The endpoints that the settings name; no request changes them.
    pub configured: Vec<Definition>,
    /// Networks that webhooks may go to although they are private.
    pub allowed: Vec<Network>,
    /// A PEM file of authorities to trust beside those of the system.
    pub ca: Option<PathBuf>,
    /// The id of the app.
    pub app_id: String,
    /// What a push service is to show for a message that says nothing of its own; may be empty.
    pub push_text: String,
}

/// Why there are no webhooks.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of endpoints is of no use.
    #[error(transparent)]
    Book(#[from] BookError),
    /// Requests cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An endpoint cannot be as it is written.
    #[error("the endpoint {id:?}")]
    Definition {
        /// Its id.
        id: String,
        /// What is wrong.
        source: DefinitionError,
    },
    /// Two endpoints have the same id.
    #[error("there are two endpoints {0:?}")]
    Twice(String),
    /// There are more endpoints than the limit.
    #[error("there are more than {ENDPOINTS_MAX} endpoints")]
    TooMany,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why something could not be done with an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of this id.
    #[error("there is no endpoint of this id")]
    Unknown,
    /// There is one of this id.
    #[error("there is an endpoint of this id already")]
    Exists,
    /// There are as many endpoints as there can be.
    #[error("there are {ENDPOINTS_MAX} endpoints already")]
    TooMany,
    /// The settings name it, so a request cannot change it.
    #[error("the endpoint is one of the settings, and changes with them")]
    Configured,
    /// It cannot be as it is written.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The change cannot be kept.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Closed> for StartError {
    fn from(closed: Closed) -> Self {
        Self::Read(closed.into())
    }
}

impl From<Closed> for ChangeError {
    fn from(closed: Closed) -> Self {
        Self::Read(closed.into())
    }
}

/// From where an endpoint is told again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// From this entry on.
    Entry(MessageId),
    /// From this time on, in milliseconds since 1970.
    Time(i64),
}

/// An endpoint as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    /// What is written about it, without secrets and the values in URLs' queries.
    pub definition: Definition,
    /// Secrets that its requests are signed with.
    pub secrets: usize,
    /// The settings name it.
    pub configured: bool,
    /// How it does.
    pub health: Health,
}

/// The server's webhooks; clones are the same.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    house: House,
    journal: Arc<dyn Journal>,
    client: Client,
    metrics: Arc<Metrics>,
    clock: Clock,
    book: Arc<Book>,
    tasks: TaskTracker,
    /// Ends all flushers.
    stop: CancellationToken,
    /// What the file holds; held while anything is changed.
    content: Mutex<Content>,
    known: RwLock<BTreeMap<EndpointId, Known>>,
}

/// An endpoint that there is.
struct Known {
    definition: Definition,
    configured: bool,
    endpoint: Arc<Endpoint>,
    board: Arc<Board>,
    flusher: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Webhooks {
    /// Begins to tell all endpoints.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what cannot be.
    pub async fn start(
        options: Options,
        journal: Arc<dyn Journal>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::start_with(options, journal, metrics, clock, Arc::new(SystemNames)).await
    }

    /// The same, asking `names` for addresses.
    pub(super) async fn start_with(
        options: Options,
        journal: Arc<dyn Journal>,
        metrics: Arc<Metrics>,
        clock: Clock,
        names: Arc<dyn Names>,
    ) -> Result<Self, StartError> {
        let Options { dir, configured, allowed, ca, app_id, push_text } = options;
        let house = House { allowed, app_id, push_text };
        let (allowed, its_clock) = (house.allowed.clone(), clock.clone());
        let opened = tokio::task::spawn_blocking(move || -> Result<_, StartError> {
            let (book, content) = Book::open(&dir)?;
            let client = Client::new(allowed, ca.as_deref(), names, its_clock)?;
            Ok((Arc::new(book), content, client))
        });
        let (book, content, client) = opened.await.map_err(|_| Closed)??;
        let made = content.endpoints.clone();
        let shared = Arc::new(Shared {
            house,
            journal,
            client,
            metrics,
            clock,
            book,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            content: Mutex::new(content),
            known: RwLock::default(),
        });
        let all = configured.into_iter().map(|one| (one, true));
        shared.add_all(all.chain(made.into_iter().map(|one| (one, false))))?;
        shared.begin().await?;
        Ok(Self(shared))
    }

    /// All endpoints, by id.
    pub fn list(&self) -> Vec<Overview> {
        let now_ms = self.0.clock.now_ms();
        self.0.known.read().values().map(|known| known.overview(now_ms)).collect()
    }

    /// An endpoint.
    pub fn find(&self, id: &EndpointId) -> Option<Overview> {
        let now_ms = self.0.clock.now_ms();
        self.0.known.read().get(id).map(|known| known.overview(now_ms))
    }

    /// Makes an endpoint, which is told of what happens from now on.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn create(&self, definition: Definition) -> Result<Overview, ChangeError> {
        self.carry_through(move |shared| async move { shared.create(definition).await }).await
    }

    /// Changes an endpoint that was made by request. It keeps its secrets if none are given.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then it is as it was.
    pub async fn replace(&self, definition: Definition) -> Result<Overview, ChangeError> {
        self.carry_through(move |shared| async move { shared.replace(definition).await }).await
    }

    /// Gives an endpoint that was made by request a new secret, and has its requests signed with
    /// those of before, too, as long as there is room; without a new one, with its newest alone.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then it is as it was.
    pub async fn rotate(
        &self,
        id: &EndpointId,
        secret: Option<SecretText>,
    ) -> Result<Overview, ChangeError> {
        let id = id.clone();
        self.carry_through(async move |shared| shared.rotate(&id, secret).await).await
    }

    /// Removes an endpoint that was made by request, with its dead letters.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn remove(&self, id: &EndpointId) -> Result<(), ChangeError> {
        let id = id.clone();
        self.carry_through(move |shared| async move { shared.remove(&id).await }).await
    }

    /// Tells an endpoint nothing more, until it is resumed. Nothing is lost meanwhile, as long as
    /// the log has it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn halt(&self, id: &EndpointId, why: &str) -> Result<Overview, ChangeError> {
        let change = EndpointChange::Halted { why: Some(why.to_owned()) };
        let id = id.clone();
        self.carry_through(move |shared| async move { shared.note(&id, change).await }).await
    }

    /// Goes on telling an endpoint where it stood.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn resume(&self, id: &EndpointId) -> Result<Overview, ChangeError> {
        let (id, change) = (id.clone(), EndpointChange::Halted { why: None });
        self.carry_through(move |shared| async move { shared.note(&id, change).await }).await
    }

    /// Tells an endpoint everything from somewhere on, again if it has been told before. What is
    /// on its way is forgotten, and told with it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn replay(&self, id: &EndpointId, since: Since) -> Result<Overview, ChangeError> {
        let journal = &self.0.journal;
        let after = match since {
            Since::Entry(entry) => MessageId(entry.0.saturating_sub(1).max(0)),
            Since::Time(at_ms) => journal.before(at_ms).await?,
        };
        let change = EndpointChange::Began { after: after.min(journal.head()) };
        let id = id.clone();
        self.carry_through(move |shared| async move { shared.note(&id, change).await }).await
    }

    /// Asks whether an endpoint answers.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unknown`].
    pub async fn ping(&self, id: &EndpointId) -> Result<Attempt, ChangeError> {
        let (endpoint, board) = self.0.endpoint(id)?;
        let attempt = resending::ping(&self.0.client, &endpoint, self.0.clock.now_ms()).await;
        board.attempts.push(attempt.clone());
        Ok(attempt)
    }

    /// Up to `max` of the newest requests to an endpoint, the newest first.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unknown`].
    pub fn attempts(&self, id: &EndpointId, max: usize) -> Result<Vec<Attempt>, ChangeError> {
        Ok(self.0.endpoint(id)?.1.attempts.newest(max))
    }

    /// Up to `max` dead letters of an endpoint behind `after`, and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unknown`], or [`ChangeError::Read`].
    pub async fn letters(
        &self,
        id: &EndpointId,
        after: Option<Position>,
        max: usize,
    ) -> Result<(Vec<Letter>, bool), ChangeError> {
        self.0.endpoint(id)?;
        let letters = self.0.journal.letters(id.clone(), after, max).await?;
        self.0.show_kept(id).await?;
        Ok(letters)
    }

    /// Sends dead letters anew, at most [`crate::limits::WEBHOOK_RESEND_MAX`] of them, one after
    /// the other. Those that are taken are dead no more. Those that there are not are left out.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unknown`], or [`ChangeError::Read`].
    pub async fn resend(
        &self,
        id: &EndpointId,
        letters: Vec<Position>,
    ) -> Result<Vec<(Position, Attempt)>, ChangeError> {
        let id = id.clone();
        self.carry_through(move |shared| async move {
            let (endpoint, board) = shared.endpoint(&id)?;
            let (journal, client) = (&shared.journal, &shared.client);
            let sent = resending::resend(journal, client, (&endpoint, &board), letters).await?;
            shared.show_kept(&id).await?;
            Ok(sent)
        })
        .await
    }

    /// Forgets dead letters.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Unknown`], or [`ChangeError::Read`].
    pub async fn drop_letters(
        &self,
        id: &EndpointId,
        letters: Vec<Position>,
    ) -> Result<(), ChangeError> {
        self.0.endpoint(id)?;
        self.0.journal.note(id.clone(), EndpointChange::Dropped { letters }).await?;
        self.0.show_kept(id).await
    }

    /// Begins nothing new, and returns when what is on its way has ended, or has had its time.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Does something in a task of its own, which goes on if nobody waits for it any more.
    async fn carry_through<T: Send + 'static, F>(
        &self,
        change: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, ChangeError>
    where
        F: Future<Output = Result<T, ChangeError>> + Send + 'static,
    {
        self.0.tasks.spawn(change(self.0.clone())).await.map_err(|_| Closed)?
    }
}

impl Known {
    fn overview(&self, now_ms: i64) -> Overview {
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
    fn add_all(&self, all: impl IntoIterator<Item = (Definition, bool)>) -> Result<(), StartError> {
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

    fn known(&self, definition: Definition, configured: bool, endpoint: Endpoint) -> Known {
        let board = Arc::new(Board::new(self.metrics.webhooks.of(&endpoint.id)));
        Known { definition, configured, endpoint: Arc::new(endpoint), board, flusher: None }
    }

    /// Has the journal know the endpoints that there are, and tells them all.
    async fn begin(self: &Arc<Self>) -> Result<(), StartError> {
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

    async fn create(self: Arc<Self>, definition: Definition) -> Result<Overview, ChangeError> {
        let mut content = self.content.lock().await;
        let endpoint = Endpoint::new(&definition, &self.house)?;
        let id = endpoint.id.clone();
        if self.known.read().contains_key(&id) {
            return Err(ChangeError::Exists);
        }
        if self.known.read().len() >= ENDPOINTS_MAX {
            return Err(ChangeError::TooMany);
        }
        let after = self.journal.head();
        let mut fresh = content.clone();
        fresh.endpoints.push(definition.clone());
        fresh.dialects.insert(id.to_string(), endpoint.style.dialect.to_string());
        *content = self.write(fresh).await?;
        self.journal.note(id.clone(), EndpointChange::Began { after }).await?;
        let known = self.known(definition, false, endpoint);
        self.known.write().insert(id.clone(), known);
        self.flush(&id, 0);
        self.overview(&id)
    }

    async fn replace(self: Arc<Self>, mut definition: Definition) -> Result<Overview, ChangeError> {
        let mut content = self.content.lock().await;
        let id = definition.id.clone();
        let at = content.endpoints.iter().position(|one| one.id == id);
        let Some(at) = at else {
            let is_known = self.known.read().keys().any(|known| known.as_str() == id);
            return Err(if is_known { ChangeError::Configured } else { ChangeError::Unknown });
        };
        if definition.secret.is_none() && definition.secrets.is_empty() {
            let before = &content.endpoints[at];
            definition.secret = before.secret.clone();
            definition.secrets = before.secrets.clone();
        }
        let endpoint = Endpoint::new(&definition, &self.house)?;
        let (id, dialect) = (endpoint.id.clone(), endpoint.style.dialect.to_string());
        self.quiet(&id).await;
        let replaced = self.replaced(&mut content, at, &definition, (&id, dialect)).await;
        if replaced.is_ok()
            && let Some(known) = self.known.write().get_mut(&id)
        {
            (known.definition, known.endpoint) = (definition, Arc::new(endpoint));
        }
        self.flush(&id, 0);
        replaced?;
        self.overview(&id)
    }

    async fn rotate(
        self: Arc<Self>,
        id: &EndpointId,
        secret: Option<SecretText>,
    ) -> Result<Overview, ChangeError> {
        let content = self.content.lock().await;
        let found = content.endpoints.iter().find(|one| one.id == id.as_str()).cloned();
        drop(content);
        let Some(mut definition) = found else {
            let is_known = self.known.read().contains_key(id);
            return Err(if is_known { ChangeError::Configured } else { ChangeError::Unknown });
        };
        let before = definition.secret.take().into_iter().chain(definition.secrets);
        definition.secrets = match secret {
            Some(secret) => [secret].into_iter().chain(before).take(WEBHOOK_SECRETS_MAX).collect(),
            None => before.take(1).collect(),
        };
        self.replace(definition).await
    }

    /// Keeps a changed definition.
    async fn replaced(
        &self,
        content: &mut Content,
        at: usize,
        definition: &Definition,
        (id, dialect): (&EndpointId, String),
    ) -> Result<(), ChangeError> {
        if content.dialects.get(id.as_str()) != Some(&dialect)
            && let Some(state) = self.journal.endpoint(id.clone()).await?
        {
            // Its lanes mean something else in another dialect.
            let change = EndpointChange::Began { after: state.behind() };
            self.journal.note(id.clone(), change).await?;
        }
        let mut fresh = content.clone();
        fresh.endpoints[at] = definition.clone();
        fresh.dialects.insert(id.to_string(), dialect);
        *content = self.write(fresh).await?;
        Ok(())
    }

    async fn remove(self: Arc<Self>, id: &EndpointId) -> Result<(), ChangeError> {
        let mut content = self.content.lock().await;
        match self.known.read().get(id) {
            None => return Err(ChangeError::Unknown),
            Some(known) if known.configured => return Err(ChangeError::Configured),
            Some(_) => {}
        }
        let mut fresh = content.clone();
        fresh.endpoints.retain(|one| one.id != id.as_str());
        fresh.dialects.remove(id.as_str());
        *content = self.write(fresh).await?;
        self.quiet(id).await;
        self.known.write().remove(id);
        self.metrics.webhooks.forget(id);
        self.journal.note(id.clone(), EndpointChange::Removed).await?;
        Ok(())
    }

    /// Changes how far an endpoint has come, and goes on from there.
    async fn note(
        self: Arc<Self>,
        id: &EndpointId,
        change: EndpointChange,
    ) -> Result<Overview, ChangeError> {
        let _content = self.content.lock().await;
        self.endpoint(id)?;
        self.quiet(id).await;
        let noted = self.journal.note(id.clone(), change).await;
        self.show_kept(id).await?;
        self.flush(id, self.clock.now_ms());
        noted?;
        self.overview(id)
    }

    /// Starts the flusher of an endpoint. One that is halted ends by itself.
    fn flush(&self, id: &EndpointId, resumed_ms: i64) {
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
    async fn quiet(&self, id: &EndpointId) {
        let flusher = self.known.write().get_mut(id).and_then(|known| known.flusher.take());
        if let Some((stop, task)) = flusher {
            stop.cancel();
            // One that has failed has ended, too.
            let _ = task.await;
        }
    }

    fn endpoint(&self, id: &EndpointId) -> Result<(Arc<Endpoint>, Arc<Board>), ChangeError> {
        let known = self.known.read();
        let known = known.get(id).ok_or(ChangeError::Unknown)?;
        Ok((known.endpoint.clone(), known.board.clone()))
    }

    fn overview(&self, id: &EndpointId) -> Result<Overview, ChangeError> {
        let now_ms = self.clock.now_ms();
        self.known.read().get(id).map(|one| one.overview(now_ms)).ok_or(ChangeError::Unknown)
    }

    async fn show_kept(&self, id: &EndpointId) -> Result<(), ChangeError> {
        let state = self.journal.endpoint(id.clone()).await?;
        if let (Some(state), Ok((_, board))) = (state, self.endpoint(id)) {
            board.kept(&state);
        }
        Ok(())
    }

    async fn write(&self, content: Content) -> Result<Content, BookError> {
        let book = self.book.clone();
        let written = tokio::task::spawn_blocking(move || {
            book.write(&content)?;
            Ok(content)
        });
        written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}
