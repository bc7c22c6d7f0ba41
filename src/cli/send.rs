//! `tidings send`: sends a message and waits until it is on the server's disk, and if asked to,
//! until its recipient has it.
//!
//! # Invariants
//!
//! * What comes for the sender is not acknowledged here: it waits for a device that listens.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;

use tidings::client::{Event, Incoming, Outgoing, Recipients, Sent, Session};
use tidings::id::{ConversationId, GroupId, PeerId};

use super::connected::ServerArgs;
use super::{Exit, Failure, Outcome, words};

/// How long `--receipt` waits.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(super) struct SendArgs {
    /// Who sends.
    #[arg(long, value_name = "PEER")]
    from: PeerId,
    /// For whom it is; give it again for more recipients.
    #[arg(long, value_name = "PEER", required_unless_present = "group", conflicts_with = "group")]
    to: Vec<PeerId>,
    /// For which group it is, by its id of 24 hexadecimal digits. The sender is a member of it:
    /// `tidings chat` creates and joins groups.
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// Wait until the recipient, one peer, has it: 10 s at the most.
    #[arg(long, conflicts_with = "group")]
    receipt: bool,
    /// What it says.
    text: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl SendArgs {
    pub(super) async fn run(self) -> Outcome {
        let Self { from, to, group, receipt, text, server } = self;
        if receipt && to.len() != 1 {
            let problem = "--receipt: a message to several peers has no receipt; send it to one";
            return Err(Failure::new(Exit::BadUsage, problem));
        }
        let (options, file) = server.device(from.clone(), "send")?;
        // Where signatures are enforced, the server wants the recipients to be watched.
        let watched = if server.signs() { to.clone() } else { Vec::new() };
        let (client, session, incoming) =
            server.open(options.manual_ack(true).watch(watched)).await?;
        file.store(&session.state())?;
        let incoming = receipt.then_some(incoming);
        let recipients = group.map_or_else(|| Recipients::from(to.clone()), Recipients::from);
        let sent = send(&session, Outgoing::to(recipients, text), incoming, &from, &to).await;
        // What comes for the peer waits for a device that listens, not for this one.
        let closed = session.close().await;
        client.close().await;
        sent?;
        closed?;
        Ok(Exit::Done)
    }
}

/// Sends; with `incoming`, waits for the receipt of the only recipient.
async fn send(
    session: &Session,
    message: Outgoing,
    incoming: Option<Incoming>,
    from: &PeerId,
    to: &[PeerId],
) -> Result<(), Failure> {
    let message = if incoming.is_some() { message.receipt() } else { message };
    let started = Instant::now();
    let sent = session.send(message).await.map_err(|error| words::send_failed(&error))?;
    say(&format!(
        "on the server's disk after {:.1} ms: message {}, number {} of its conversation",
        ms(started),
        sent.id,
        sent.sequence
    ))?;
    if let (Some(incoming), Some(to)) = (incoming, to.first()) {
        let conversation = ConversationId::of_peers([from, to]);
        await_receipt(incoming, conversation, &sent, started, to).await?;
    }
    Ok(())
}

/// Waits until `to` has had the message.
async fn await_receipt(
    mut incoming: Incoming,
    conversation: ConversationId,
    sent: &Sent,
    started: Instant,
    to: &PeerId,
) -> Result<(), Failure> {
    let told = async {
        loop {
            match incoming.next().await {
                Some(Event::Delivered(mark))
                    if mark.conversation == conversation && mark.sequence >= sent.sequence =>
                {
                    return Ok::<(), Failure>(());
                }
                Some(Event::Ended(refusal)) => return Err(words::refused(&refusal).into()),
                Some(_) => {}
                None => return Err("the session has ended".into()),
            }
        }
    };
    match tokio::time::timeout(RECEIPT_TIMEOUT, told).await {
        Ok(told) => {
            told?;
            Ok(say(&format!("delivered to {to} after {:.1} ms", ms(started)))?)
        }
        Err(_) => {
            let seconds = RECEIPT_TIMEOUT.as_secs();
            Err(format!("{to} has not had it within {seconds} s; it is stored and waits").into())
        }
    }
}

fn ms(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
