//! Signatures: proof that the app's back end allows what a peer asks for.
//!
//! # Invariants
//!
//! * Every signature is used once: each Open, also one that resumes, gets a fresh one.
//! * What is sent is the list that the signer returned, and it holds nobody who was not asked
//!   for.
//! * A signer that takes too long has failed.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::id::{GroupId, PeerId};
use crate::limits::{CLIENT_SIGN_TIMEOUT, NONCE_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::wire::Signature;

/// A future in a box, as [`Signer::sign`] returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gets signatures, usually from the app's back end.
///
/// The library asks for one before each Open (also when it resumes a session), watch, join,
/// creation of a group, invitation and kick; never before a leave, an unwatch or a close. A
/// signer has 10 s. The back end may leave ids out of the list that it signs: the library sends
/// the list as it comes back. That is how an app keeps peers apart.
///
/// ```
/// use tidings::client::{BoxFuture, SignError, SignRequest, Signed, Signer};
///
/// struct BackEnd;
///
/// impl Signer for BackEnd {
///     fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
///         Box::pin(async move { ask_over_https(request).await })
///     }
/// }
/// # async fn ask_over_https(_: SignRequest) -> Result<Signed, SignError> {
/// #     Err(SignError::new("not in this example"))
/// # }
/// ```
pub trait Signer: Send + Sync {
    /// Signs a request, or says why not.
    ///
    /// # Errors
    ///
    /// [`SignError`], as the app sees it in the error of what it asked for. A session that
    /// resumes tries again later.
    ///
    /// # Cancel safety
    ///
    /// The library drops the future when its time is over or nobody waits any more.
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>>;
}

impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        (**self).sign(request)
    }
}

/// What is to be signed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SignRequest {
    /// Who asks.
    pub peer: PeerId,
    /// What it wants to do.
    pub action: SignAction,
    /// Whom it wants to watch, invite or kick; empty for a join.
    pub ids: Vec<PeerId>,
}

/// What a peer needs a signature for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SignAction {
    /// Opens a session that watches the ids.
    Open,
    /// Watches the ids beside others.
    Watch,
    /// Joins a group, or creates one.
    Join {
        /// The group; `None` to create one.
        group: Option<GroupId>,
    },
    /// Invites the ids.
    Invite {
        /// To this group.
        group: GroupId,
    },
    /// Kicks the ids.
    Kick {
        /// From this group.
        group: GroupId,
    },
}

/// A signature, and the ids that it allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// Those of the ids asked for that are allowed. Only these are sent.
    pub ids: Vec<PeerId>,
    /// A text used once: 1 to 64 bytes.
    pub nonce: String,
    /// When it was signed: seconds or milliseconds since 1970 UTC.
    pub timestamp: u64,
    /// Lower-case hexadecimal digits, 128 at the most.
    pub signature: String,
}

/// Why there is no signature.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer says so.
    #[error("{0}")]
    Failed(String),
    /// The signer took longer than 10 s.
    #[error("the signer took too long")]
    TimedOut,
    /// What the signer returned cannot be sent: ids that were not asked for, or a nonce or
    /// signature that is empty or too long.
    #[error("the signer returned {0}")]
    Malformed(&'static str),
    /// The signer allows none of those who were to be invited or kicked.
    #[error("the signer allows none of the peers")]
    Nobody,
}

impl SignError {
    /// A signer's own failure.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }
}

/// The signer of a session, if it has one.
#[derive(Clone, Default)]
pub(super) struct Signing(pub(super) Option<Arc<dyn Signer>>);

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Signing(..)" } else { "Unsigned" })
    }
}

impl Signing {
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The ids to send, and the signature to send with them: without a signer, all and none.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the signature is lost, which harms nobody.
    pub(super) async fn sign(
        &self,
        peer: PeerId,
        action: SignAction,
        ids: Vec<PeerId>,
    ) -> Result<(Vec<PeerId>, Option<Signature>), SignError> {
        let Some(signer) = &self.0 else { return Ok((ids, None)) };
        let asked: HashSet<PeerId> = ids.iter().cloned().collect();
        let signing = signer.sign(SignRequest { peer, action, ids });
        let signed = tokio::time::timeout(CLIENT_SIGN_TIMEOUT, signing).await;
        let signed = signed.unwrap_or(Err(SignError::TimedOut))?;
        check(&signed, &asked)?;
        let signature = Signature {
            nonce: signed.nonce.into(),
            timestamp: signed.timestamp,
            signature: signed.signature.into(),
        };
        Ok((signed.ids, Some(signature)))
    }
}

fn check(signed: &Signed, asked: &HashSet<PeerId>) -> Result<(), SignError> {
    if !signed.ids.iter().all(|id| asked.contains(id)) || signed.ids.len() > asked.len() {
        return Err(SignError::Malformed("ids that were not asked for"));
    }
    if !(1..=NONCE_BYTES_MAX).contains(&signed.nonce.len()) {
        return Err(SignError::Malformed("a nonce of a wrong length"));
    }
    if !(1..=SIGNATURE_BYTES_MAX).contains(&signed.signature.len()) {
        return Err(SignError::Malformed("a signature of a wrong length"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Signed);

    impl Signer for Fixed {
        fn sign(&self, _: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
            Box::pin(std::future::ready(Ok(self.0.clone())))
        }
    }

    struct Silent;

    impl Signer for Silent {
        fn sign(&self, _: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
            Box::pin(std::future::pending())
        }
    }

    fn peer(id: &str) -> PeerId {
        id.parse().unwrap()
    }

    async fn sign(ids: &[&str], nonce: &str, signature: &str) -> Result<Vec<PeerId>, SignError> {
        let ids = ids.iter().map(|id| peer(id)).collect();
        let (nonce, signature) = (nonce.to_owned(), signature.to_owned());
        let signer = Fixed(Signed { ids, nonce, timestamp: 1, signature });
        let signing = Signing(Some(Arc::new(signer)));
        let asked = vec![peer("bob"), peer("cat")];
        let (ids, signature) = signing.sign(peer("ann"), SignAction::Watch, asked).await?;
        assert!(signature.is_some());
        Ok(ids)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_what_the_signer_returned_if_it_can_be() {
        assert_eq!(sign(&["cat"], "n", "s").await, Ok(vec![peer("cat")]));
        assert_eq!(sign(&[], "n", "s").await, Ok(vec![]));
        for ids in [&["dan"][..], &["bob", "bob", "bob"]] {
            assert!(matches!(sign(ids, "n", "s").await, Err(SignError::Malformed(_))));
        }
        for (nonce, signature) in [("", "s"), ("n", ""), (&*"n".repeat(65), "s")] {
            assert!(matches!(sign(&[], nonce, signature).await, Err(SignError::Malformed(_))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signer_that_does_not_answer_has_failed() {
        let signing = Signing(Some(Arc::new(Silent)));
        let signed = signing.sign(peer("ann"), SignAction::Open, vec![]).await;
        assert_eq!(signed.err(), Some(SignError::TimedOut));
    }
}
