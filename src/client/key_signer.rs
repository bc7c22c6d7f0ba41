//! A signer that has the app's signing key.
//!
//! # Invariants
//!
//! * It allows everything, so it is for programs that may have the key: back ends, bots, tests.
//!   An app on a phone asks its back end.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::signer::{BoxFuture, SignAction, SignError, SignRequest, Signed, Signer};
use crate::id::unguessable_text;
use crate::signature::{GroupAct, sign_group, sign_open};

/// Signs everything with the app's signing key.
///
/// ```
/// use tidings::client::{KeySigner, OpenOptions};
///
/// # fn main() -> Result<(), tidings::id::IdError> {
/// let options = OpenOptions::new("bot".parse()?).signer(KeySigner::new("my-app", "the key"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeySigner {
    app: String,
    key: Vec<u8>,
}

impl KeySigner {
    /// Signs for the app `app` with its signing key.
    pub fn new(app: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        Self { app: app.into(), key: key.into() }
    }

    /// Signs a request at once.
    pub fn sign_now(&self, request: SignRequest) -> Signed {
        let SignRequest { peer, action, ids } = request;
        let nonce = unguessable_text();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = now.as_secs();
        let (key, app) = (&self.key, &self.app);
        let of_group =
            |group, act| sign_group(key, app, &peer, group, &ids, timestamp, &nonce, act);
        let signature = match action {
            SignAction::Open | SignAction::Watch => {
                sign_open(key, app, &peer, &ids, timestamp, &nonce)
            }
            SignAction::Join { group } => of_group(group, GroupAct::Join),
            SignAction::Invite { group } => of_group(Some(group), GroupAct::Invite),
            SignAction::Kick { group } => of_group(Some(group), GroupAct::Kick),
        };
        Signed { ids, nonce, timestamp, signature }
    }
}

impl Signer for KeySigner {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        Box::pin(std::future::ready(Ok(self.sign_now(request))))
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySigner").field("app", &self.app).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, PeerId};
    use crate::signature::{Claim, Keys};

    fn peer(id: &str) -> PeerId {
        id.parse().unwrap()
    }

    fn sign(action: SignAction, ids: &[PeerId]) -> Signed {
        let ids = ids.to_vec();
        KeySigner::new("app", "key").sign_now(SignRequest { peer: peer("ann"), action, ids })
    }

    fn claim(signed: &Signed) -> Claim<'_> {
        let Signed { nonce, timestamp, signature, .. } = signed;
        Claim { nonce, timestamp: *timestamp, signature }
    }

    #[test]
    fn the_server_accepts_each_of_its_signatures_for_what_it_is() {
        let keys = Keys::new("app", b"key", None);
        let (ids, group) = ([peer("cat"), peer("bob")], GroupId([7; 12]));
        let signed = sign(SignAction::Watch, &ids);
        let now_ms = signed.timestamp as i64 * 1000;
        assert!(keys.check_open(&peer("ann"), &signed.ids, claim(&signed), now_ms).is_ok());
        assert!(keys.check_open(&peer("bob"), &signed.ids, claim(&signed), now_ms).is_err());
        let acts = [
            (SignAction::Join { group: None }, None, &[][..], GroupAct::Join),
            (SignAction::Join { group: Some(group) }, Some(group), &[], GroupAct::Join),
            (SignAction::Invite { group }, Some(group), &ids, GroupAct::Invite),
            (SignAction::Kick { group }, Some(group), &ids, GroupAct::Kick),
        ];
        for (action, group, ids, act) in acts {
            let signed = sign(action, ids);
            let check = |act| {
                keys.check_group(&peer("ann"), group, ids, act, claim(&signed), now_ms).is_ok()
            };
            for other in GroupAct::ALL {
                assert_eq!(check(other), other == act, "{action:?} as {other:?}");
            }
        }
    }

    #[test]
    fn every_nonce_is_another_one() {
        assert_ne!(sign(SignAction::Open, &[]).nonce, sign(SignAction::Open, &[]).nonce);
    }
}
