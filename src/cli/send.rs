//! `tidings send`: sends a message and waits until it is on the server's disk.

use std::io::Write;
use std::time::Instant;

use clap::Args;

use tidings::client::Outgoing;
use tidings::id::PeerId;

use super::connected::ServerArgs;
use super::{Exit, Outcome};

#[derive(Args, Debug)]
pub(super) struct SendArgs {
    /// Who sends.
    #[arg(long, value_name = "PEER")]
    from: PeerId,
    /// For whom it is; give it again for more recipients.
    #[arg(long, value_name = "PEER", required = true)]
    to: Vec<PeerId>,
    /// What it says.
    text: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl SendArgs {
    pub(super) async fn run(self) -> Outcome {
        let (options, file) = self.server.device(self.from, "send")?;
        let client = self.server.connect().await?;
        let (session, incoming) = client.open(options).await?;
        drop(incoming);
        file.store(&session.state())?;
        let started = Instant::now();
        let sent = session.send(Outgoing::to(self.to, self.text)).await?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        writeln!(
            std::io::stdout(),
            "on the server's disk after {ms:.1} ms: message {}, number {} of its conversation",
            sent.id,
            sent.sequence
        )?;
        // What comes for the peer waits for a device that listens, not for this one.
        session.close().await?;
        client.close().await;
        Ok(Exit::Done)
    }
}
