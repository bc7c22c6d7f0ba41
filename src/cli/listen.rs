//! `tidings listen`: prints what a peer is sent.
//!
//! # Invariants
//!
//! * A message is acknowledged after it was printed, and the cursor is kept when no further one
//!   waits to be printed.

use std::io::Write;

use clap::Args;

use tidings::client::{Event, Incoming, Message, Opening, Pause, Session};
use tidings::id::PeerId;

use super::connected::ServerArgs;
use super::signals::Signals;
use super::{Exit, Failure, Outcome};

#[derive(Args, Debug)]
pub(super) struct ListenArgs {
    /// Who listens.
    peer: PeerId,
    #[command(flatten)]
    server: ServerArgs,
}

impl ListenArgs {
    pub(super) async fn run(self) -> Outcome {
        let mut signals = Signals::new()?;
        let (options, file) = self.server.device(self.peer, "listen")?;
        let opened = async {
            let client = self.server.connect().await?;
            Ok::<_, Failure>(client.open(options).await?)
        };
        let (session, mut incoming) = tokio::select! {
            opened = opened => opened?,
            () = signals.next() => return Ok(Exit::Done),
        };
        loop {
            let waiting = incoming.try_next();
            if waiting.is_none() {
                file.store(&session.state())?;
            }
            let next = async {
                match waiting {
                    Some(event) => Some(event),
                    None => incoming.next().await,
                }
            };
            let event = tokio::select! {
                biased;
                // What was taken and not printed is not acknowledged, and comes again.
                () = signals.next() => break end(&session, incoming).await,
                event = next => event,
            };
            match event {
                Some(Event::Ended(refusal)) => return Err(refusal.into()),
                Some(event) => print(&session, event)?,
                None => return Err("the session has ended".into()),
            }
        }
    }
}

async fn end(session: &Session, incoming: Incoming) -> Outcome {
    drop(incoming);
    session.end().await;
    Ok(Exit::Done)
}

fn print(session: &Session, event: Event) -> std::io::Result<()> {
    match event {
        Event::Message(message) => print_message(&message)?,
        Event::Opened(Opening { waiting, .. }) => {
            let (peer, device) = (session.peer(), session.device());
            eprintln!("{peer} listens on device {device}; {waiting} messages wait");
        }
        Event::Dropped { count, .. } => {
            eprintln!("{count} older messages were given up while {} was away", session.peer());
        }
        Event::Paused(Pause::SentAway(reason)) => eprintln!("sent away: {reason}"),
        Event::Paused(_) => eprintln!("the connection is lost; trying again"),
        Event::Resumed(_) => eprintln!("the connection is back"),
        // Later versions tell more.
        _ => {}
    }
    Ok(())
}

fn print_message(message: &Message) -> std::io::Result<()> {
    let text = printable(&message.body);
    let waited = if message.waited { " (waited)" } else { "" };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: {text}{waited}", message.from)?;
    out.flush()
}

/// The body as text that can do nothing to a terminal.
fn printable(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for c in String::from_utf8_lossy(body).chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_can_do_nothing_to_a_terminal() {
        assert_eq!(
            printable("hello, 世界 \u{1b}[2J\n\u{9b}x".as_bytes()),
            "hello, 世界 \\u{1b}[2J\\n\\u{9b}x"
        );
        assert_eq!(printable(b"\xffx"), "\u{fffd}x");
    }
}
