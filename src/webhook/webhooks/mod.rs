//! All endpoints of the server: what is known of them, and what can be done with them.
//!
//! # Invariants
//!
//! * Each endpoint has a flusher of its own, and no two at a time; none while it is changed.
//! * A change that was begun is carried through, whether anybody waits for it or not.
//! * The journal knows the endpoints that there are, and no others.

mod changes;
mod errors;
mod registry;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::errors::{ChangeError, StartError};
use self::registry::Shared;
use super::addresses::Network;
use super::attempts::Attempt;
use super::book::Book;
use super::client::{Client, Names, SystemNames};
use super::definition::{Definition, SecretText};
use super::endpoint::House;
use super::health::Health;
use super::resending;
use crate::clock::Clock;
use crate::id::{EndpointId, MessageId};
use crate::metrics::Metrics;
use crate::store::{Closed, EndpointChange, Journal, Letter, Position};

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
    pub(in crate::webhook) async fn start_with(
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

    /// Removes an endpoint that was made by request, or has left the settings, with its dead
    /// letters.
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
        Ok(self.0.board(id)?.attempts.newest(max))
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
        self.0.board(id)?;
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
            let (to, stop) = ((&*endpoint, &*board), &shared.stop);
            let sent = resending::resend(journal, client, to, letters, stop).await?;
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
        self.0.board(id)?;
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
