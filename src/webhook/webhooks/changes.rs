//! What requests change: endpoints are made, replaced and removed, and told from elsewhere.
//!
//! # Invariants
//!
//! * One change at a time: each holds what the file holds, from its first look to its end.
//! * The file is written first. What it does not take has not happened.

use std::sync::Arc;

use super::registry::Shared;
use super::{ChangeError, Overview};
use crate::id::EndpointId;
use crate::limits::{ENDPOINTS_MAX, WEBHOOK_SECRETS_MAX};
use crate::store::EndpointChange;
use crate::webhook::book::Content;
use crate::webhook::definition::{Definition, SecretText};
use crate::webhook::endpoint::Endpoint;

impl Shared {
    pub(super) async fn create(
        self: Arc<Self>,
        definition: Definition,
    ) -> Result<Overview, ChangeError> {
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
        self.prepare(&endpoint).await;
        let known = self.known(&id, definition, false, Ok(endpoint));
        self.known.write().insert(id.clone(), known);
        self.flush(&id);
        self.overview(&id)
    }

    pub(super) async fn replace(
        self: Arc<Self>,
        definition: Definition,
    ) -> Result<Overview, ChangeError> {
        let mut content = self.content.lock().await;
        self.replace_in(&mut content, definition).await
    }

    /// Replaces an endpoint; nothing else is changed meanwhile.
    async fn replace_in(
        &self,
        content: &mut Content,
        mut definition: Definition,
    ) -> Result<Overview, ChangeError> {
        let id = definition.id.clone();
        let at = content.endpoints.iter().position(|one| one.id == id);
        let is_made = |_: &usize| !self.is_configured(&id);
        let at = at.filter(is_made).ok_or_else(|| self.not_made(&id))?;
        if definition.secret.is_none() && definition.secrets.is_empty() {
            let before = &content.endpoints[at];
            definition.secret = before.secret.clone();
            definition.secrets = before.secrets.clone();
        }
        let endpoint = Endpoint::new(&definition, &self.house)?;
        let (id, dialect) = (endpoint.id.clone(), endpoint.style.dialect.to_string());
        self.prepare(&endpoint).await;
        self.quiet(&id).await;
        let replaced = self.replaced(content, at, &definition, (&id, dialect)).await;
        if replaced.is_ok()
            && let Some(known) = self.known.write().get_mut(&id)
        {
            (known.definition, known.endpoint) = (definition, Ok(Arc::new(endpoint)));
        }
        self.flush(&id);
        replaced?;
        self.overview(&id)
    }

    pub(super) async fn rotate(
        self: Arc<Self>,
        id: &EndpointId,
        secret: Option<SecretText>,
    ) -> Result<Overview, ChangeError> {
        let mut content = self.content.lock().await;
        let found = content.endpoints.iter().find(|one| one.id == id.as_str()).cloned();
        let mut definition = found.ok_or_else(|| self.not_made(id.as_str()))?;
        let before = definition.secret.take().into_iter().chain(definition.secrets);
        definition.secrets = match secret {
            Some(secret) => [secret].into_iter().chain(before).take(WEBHOOK_SECRETS_MAX).collect(),
            None => before.take(1).collect(),
        };
        self.replace_in(&mut content, definition).await
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

    pub(super) async fn remove(self: Arc<Self>, id: &EndpointId) -> Result<(), ChangeError> {
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
    pub(super) async fn note(
        self: Arc<Self>,
        id: &EndpointId,
        change: EndpointChange,
    ) -> Result<Overview, ChangeError> {
        let _content = self.content.lock().await;
        self.endpoint(id)?;
        self.quiet(id).await;
        let noted = self.journal.note(id.clone(), change).await;
        self.show_kept(id).await?;
        self.flush(id);
        noted?;
        self.overview(id)
    }
}
