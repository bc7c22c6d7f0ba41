//! What sessions ask about the app's back end: an alias for their device, a message to it.
//!
//! # Invariants
//!
//! * A device gives away no alias but one that it has.

use std::sync::Arc;

use crate::hub::Hub;
use crate::hub::session::{Asks, Caller, Session};
use crate::reason::Reason;
use crate::store::{AliasChange, NewUpstream, Request, SendNumber};
use crate::wire::{BindAlias, UnbindAlias, Upstream};

impl Hub {
    pub(super) async fn bind_alias(
        &self,
        session: &Arc<Session>,
        ask: BindAlias,
    ) -> Result<(), Reason> {
        let device = session.device().clone();
        let change = AliasChange::Bind { alias: ask.alias, device };
        self.change_alias(session, ask.request, change, true).await
    }

    pub(super) async fn unbind_alias(
        &self,
        session: &Arc<Session>,
        ask: UnbindAlias,
    ) -> Result<(), Reason> {
        let device = (!ask.all).then(|| session.device().clone());
        let change = AliasChange::Unbind { alias: ask.alias, device };
        self.change_alias(session, ask.request, change, false).await
    }

    async fn change_alias(
        &self,
        session: &Arc<Session>,
        request: u64,
        change: AliasChange,
        bound: bool,
    ) -> Result<(), Reason> {
        if !self.options.client_aliases {
            return Err(Reason::Unsupported);
        }
        let caller = Caller::session(session, request, Asks::Alias { bound });
        let by = Some(session.device().clone());
        self.submit(Some(caller), Request::Alias { change, by }).await
    }

    pub(super) async fn upstream(
        &self,
        session: &Arc<Session>,
        message: Upstream,
    ) -> Result<(), Reason> {
        let number = SendNumber {
            device: session.device().clone(),
            instance: session.instance(),
            number: message.number,
            answered: message.answered,
        };
        let new = NewUpstream { from: session.peer().clone(), number, body: message.body };
        let caller = Caller::session(session, message.request, Asks::Upstream);
        self.submit(Some(caller), Request::Upstream(new)).await
    }
}
