//! Whether the app allows what a session asks for.
//!
//! # Invariants
//!
//! * A signature that verifies allows one request: its nonce is in the log before the request is
//!   acted on.

use std::sync::Arc;

use crate::hub::Hub;
use crate::hub::session::Session;
use crate::id::{GroupId, PeerId};
use crate::reason::Reason;
use crate::signature::{Claim, GroupAct, Keys, Signatures};
use crate::store::Request;
use crate::wire::Signature;

impl Hub {
    /// Whether the session's peer may open, or watch, with these to be watched.
    pub(super) async fn check_open(
        &self,
        session: &Arc<Session>,
        watch: &[PeerId],
        signature: Option<&Signature>,
    ) -> Result<(), Reason> {
        let peer = session.peer();
        let check = |keys: &Keys, claim: Claim<'_>, now_ms: i64| {
            keys.check_open(peer, watch, claim, now_ms)
        };
        self.check(session, signature, check).await
    }

    /// Whether the session's peer may do something in a group; `None` is a new one.
    pub(super) async fn check_group(
        &self,
        session: &Arc<Session>,
        group: Option<GroupId>,
        peers: &[PeerId],
        act: GroupAct,
        signature: Option<&Signature>,
    ) -> Result<(), Reason> {
        let peer = session.peer();
        let check = |keys: &Keys, claim: Claim<'_>, now_ms: i64| {
            keys.check_group(peer, group, peers, act, claim, now_ms)
        };
        self.check(session, signature, check).await
    }

    async fn check(
        &self,
        session: &Arc<Session>,
        signature: Option<&Signature>,
        check: impl FnOnce(&Keys, Claim<'_>, i64) -> Result<i64, Reason>,
    ) -> Result<(), Reason> {
        let (signature, keys) = match (self.options.signatures, signature, &self.options.keys) {
            (Signatures::Off, _, _) | (Signatures::Optional, None, _) => return Ok(()),
            (Signatures::Enforced, None, _) => return Err(Reason::SignatureMissing),
            (_, Some(signature), Some(keys)) => (signature, keys),
            (_, Some(_), None) => return Err(Reason::BadSignature),
        };
        let claim = Claim {
            nonce: signature.nonce.as_str(),
            timestamp: signature.timestamp,
            signature: signature.signature.as_str(),
        };
        let expires_ms = check(keys, claim, self.store.clock().now_ms())?;
        let (peer, nonce) = (session.peer().clone(), signature.nonce.as_bytes().clone());
        self.ask(Request::Nonce { peer, nonce, expires_ms }).await?;
        Ok(())
    }
}
