//! Signatures, and a second use of those that the server took.
//!
//! # Invariants
//!
//! * A signature is used up when the request that it was for is answered, or refused because the
//!   nonce was used by an earlier try of the same request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::sleep;

use tidings::client::{
    BoxFuture, Client, KeySigner, OpenError, OpenOptions, RequestError, Session, SignAction,
    SignError, SignRequest, Signed, Signer,
};
use tidings::id::PeerId;
use tidings::reason::Reason;

use crate::clients::World;
use crate::server::{APP, PATIENCE, SIGNING_KEY};

/// A signature that was used.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) peer: usize,
    pub(crate) action: SignAction,
    pub(crate) signed: Signed,
}

/// Signs for one peer, and remembers the last signature for a group.
pub(crate) struct Notary {
    key: KeySigner,
    last: Mutex<Option<(SignAction, Signed)>>,
    /// To be handed out instead of a fresh signature for a group.
    again: Mutex<Option<Signed>>,
}

impl Notary {
    pub(crate) fn new() -> Self {
        let (last, again) = (Mutex::default(), Mutex::default());
        Self { key: KeySigner::new(APP, SIGNING_KEY), last, again }
    }

    /// The signature made since the last call.
    pub(crate) fn take(&self) -> Option<(SignAction, Signed)> {
        self.last.lock().take()
    }

    /// Asks again with a used signature. Says what is wrong if that is not refused.
    pub(crate) async fn again(&self, session: &Session, used: &Used) -> Result<(), String> {
        *self.again.lock() = Some(used.signed.clone());
        let ids = used.signed.ids.clone();
        let asked = match used.action {
            SignAction::Join { group: Some(group) } => session.join(group).await.map(drop),
            SignAction::Join { group: None } => {
                session.create_group(tidings::client::NewGroup::default()).await.map(drop)
            }
            SignAction::Invite { group } => session.invite(group, ids).await.map(drop),
            SignAction::Kick { group } => session.kick(group, ids).await.map(drop),
            action => return Err(format!("nobody asks for {action:?} twice")),
        };
        *self.again.lock() = None;
        match asked {
            Err(RequestError::Refused(refusal)) if refusal.reason() == Some(Reason::NonceUsed) => {
                Ok(())
            }
            asked => Err(format!("{used:?} a second time: {asked:?}")),
        }
    }
}

/// A notary as a session has it.
pub(crate) struct Signs(pub(crate) Arc<Notary>);

impl Signer for Signs {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        let action = request.action;
        let signed = match action {
            SignAction::Open | SignAction::Watch => self.0.key.sign_now(request),
            _ => {
                let again = self.0.again.lock().clone();
                let signed = again.unwrap_or_else(|| self.0.key.sign_now(request));
                *self.0.last.lock() = Some((action, signed.clone()));
                signed
            }
        };
        Box::pin(std::future::ready(Ok(signed)))
    }
}

/// Signs once, and hands out that signature however often it is asked.
#[derive(Clone, Default)]
struct Once(Arc<Mutex<Option<Signed>>>);

impl Signer for Once {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        let sign = || KeySigner::new(APP, SIGNING_KEY).sign_now(request);
        let signed = self.0.lock().get_or_insert_with(sign).clone();
        Box::pin(std::future::ready(Ok(signed)))
    }
}

/// A visitor that opens with each signature twice: with others between, and over kills.
pub(crate) struct Visitor {
    pub(crate) world: Arc<World>,
    peer: PeerId,
    used: Vec<Once>,
}

impl Visitor {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), peer: "visitor".parse().unwrap(), used: Vec::new() }
    }

    /// Opens with fresh and with used signatures until the load is over.
    pub(crate) async fn visit(mut self, mut random: Rng) -> Self {
        while !self.world.load_over.is_cancelled() {
            let client = self.world.client().await;
            let once = Once::default();
            match self.open(&client, &once).await {
                Ok(()) | Err(Some(Reason::NonceUsed)) => {}
                Err(reason) => self.world.problem(0, format!("a signature: {reason:?}")),
            }
            self.used.push(once);
            let again = self.used[random.usize(..self.used.len())].clone();
            self.try_again(&client, &again).await;
            client.close().await;
            sleep(Duration::from_millis(random.u64(..100))).await;
        }
        self.world.home.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// No signature opens a second time.
    pub(crate) async fn try_all_again(&self, client: &Client) -> usize {
        for once in &self.used {
            self.try_again(client, once).await;
        }
        self.used.len()
    }

    async fn try_again(&self, client: &Client, once: &Once) {
        let tried = self.open(client, once).await;
        if tried != Err(Some(Reason::NonceUsed)) {
            let signed = once.0.lock().clone();
            self.world.problem(0, format!("{signed:?} a second time: {tried:?}"));
        }
    }

    async fn open(&self, client: &Client, once: &Once) -> Result<(), Option<Reason>> {
        let options = OpenOptions::new(self.peer.clone()).open_timeout(PATIENCE);
        let options = options.device("door".parse().unwrap()).signer(once.clone());
        match client.open(options).await {
            Ok(_) => Ok(()),
            Err(OpenError::Refused(refusal)) => Err(refusal.reason()),
            Err(error) => panic!("{error:?}"),
        }
    }
}
