//! Endpoints of the generator beside any other load.
//!
//! # Invariants
//!
//! * They hear of every message of the server, whoever sends it and to whom.

use std::sync::Arc;
use std::time::Duration;

use super::heard::Heard;
use super::receiver::{Manners, Receiver};
use super::signature::Secret;
use super::{Webhooks, create, hear_out, told};
use crate::progress::Progress;
use crate::proof::Ledger;
use crate::run::Run;
use crate::server::Server;

/// Endpoints that listen.
pub(crate) struct Receiving {
    receiver: Receiver,
    heard: Arc<[Heard]>,
    secret: Secret,
}

impl Receiving {
    /// Listens for so many endpoints, which answer some requests with 503.
    ///
    /// # Errors
    ///
    /// Why there is no port.
    pub(crate) async fn start(
        run: &Arc<Run>,
        peers: u32,
        endpoints: u32,
        fail_percent: u8,
    ) -> Result<Self, String> {
        let heard: Arc<[Heard]> = (0..endpoints).map(|_| Heard::new(peers)).collect();
        let manners = Manners { latency: Duration::ZERO, fail_percent };
        let secret = Secret::random();
        let receiver = Receiver::start(run.clone(), heard.clone(), secret.clone(), manners).await?;
        Ok(Self { receiver, heard, secret })
    }

    /// Creates them at the server.
    ///
    /// # Errors
    ///
    /// When the server does not.
    pub(crate) async fn create(&self, server: &Server) -> Result<(), String> {
        let mut line = server.api()?.open().await?;
        for index in 0..self.heard.len() as u32 {
            create(&mut line, &self.receiver.url(index), index, &self.secret).await?;
        }
        Ok(())
    }

    /// Waits until they have heard of all that was acknowledged, or of nothing new for so long.
    pub(crate) async fn finish(
        self,
        acknowledged: &Ledger,
        patience: Duration,
        progress: &Progress,
    ) -> Webhooks {
        hear_out(acknowledged, &self.heard, patience, progress).await;
        self.receiver.stop().await;
        told(acknowledged, &self.heard)
    }
}
