//! `tidings listen`: prints what a peer is sent, who comes and goes, what happens in its groups.
//!
//! # Invariants
//!
//! * A message is acknowledged after it was printed, and the cursor is kept when no further one
//!   waits to be printed.
//! * What the server tells goes to the standard output; how the session does, to the standard
//!   error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use tidings::client::{Event, Incoming, Message, Opening, Pause, RequestError, Session};
use tidings::id::{Alias, ConversationId, PeerId};

use super::connected::ServerArgs;
use super::places::Places;
use super::signals::Signals;
use super::words::{self, printable};
use super::{Exit, Failure, Outcome};

/// Conversations asked for at once.
const PAGE: usize = 40;
/// How long after it could not be bound an alias is tried again.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct ListenArgs {
    /// Who listens.
    peer: PeerId,
    /// Tell when these peers go on or off line; give it again for more.
    #[arg(long, value_name = "PEER,PEER...", value_delimiter = ',')]
    watch: Vec<PeerId>,
    /// Print the peer's groups, and what happens in them.
    #[arg(long)]
    groups: bool,
    /// Bind this alias to the device, so that the app's back end can push to it by that name.
    #[arg(long, value_name = "NAME")]
    alias: Option<Alias>,
    #[command(flatten)]
    server: ServerArgs,
}

impl ListenArgs {
    pub(super) async fn run(self) -> Outcome {
        let mut signals = Signals::new()?;
        let (options, file) = self.server.device(self.peer.clone(), "listen")?;
        let options = options.watch(self.watch.clone());
        let (_client, session, mut incoming) = tokio::select! {
            opened = self.server.open(options) => opened?,
            () = signals.next() => return Ok(Exit::Done),
        };
        let mut printer = Printer::new(&session, &self);
        // Beside the events: an answer stands behind those that nobody has taken.
        let mut listing = std::pin::pin!(list_groups(&session));
        let mut listed = !self.groups;
        let mut binding = std::pin::pin!(bind(&session, self.alias.as_ref()));
        let mut bound = self.alias.is_none();
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
                groups = &mut listing, if !listed => {
                    listed = true;
                    printer.print_groups(groups)?;
                    continue;
                }
                told = &mut binding, if !bound => {
                    bound = true;
                    aside(&told?);
                    continue;
                }
            };
            match event {
                Some(Event::Ended(refusal)) => return Err(words::refused(&refusal).into()),
                Some(event) => printer.print(&event)?,
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

/// Binds an alias to the device, if there is one, and says so. What may pass is tried again.
async fn bind(session: &Session, alias: Option<&Alias>) -> Result<String, Failure> {
    let Some(alias) = alias else { return Ok(String::new()) };
    loop {
        match session.bind_alias(alias).await {
            Ok(()) => return Ok(words::bound(alias)),
            Err(error) if error.is_retryable() => tokio::time::sleep(BIND_AGAIN_AFTER).await,
            Err(error) => {
                let problem = words::request_failed(&error);
                return Err(format!("--alias {alias}: {problem}").into());
            }
        }
    }
}

/// The groups that the peer is a member of, each with how many of its messages are not read.
async fn list_groups(session: &Session) -> Result<Vec<String>, RequestError> {
    let mut groups = Vec::new();
    let mut before = None;
    loop {
        let page = session.conversations(before, PAGE).await?;
        before = page.conversations.last().map(|conversation| conversation.last);
        for found in page.conversations.iter().filter(|found| found.member) {
            if let ConversationId::Group(group) = found.conversation {
                groups.push(format!("member of group {group}, {} unread", found.unread));
            }
        }
        if !page.more {
            return Ok(groups);
        }
    }
}

/// Puts events into words on the standard output.
struct Printer {
    session: Session,
    places: Places,
    watches: bool,
    groups: bool,
}

impl Printer {
    fn new(session: &Session, args: &ListenArgs) -> Self {
        Self {
            session: session.clone(),
            places: Places::new(args.peer.clone()),
            watches: !args.watch.is_empty(),
            groups: args.groups,
        }
    }

    fn print(&mut self, event: &Event) -> std::io::Result<()> {
        match event {
            Event::Message(message) => {
                self.places.learn_message(message);
                line(&message_line(message))
            }
            Event::Opened(opening) => self.print_opening(opening),
            Event::Dropped { count, .. } => {
                let peer = self.places.own();
                eprintln!("{count} older messages were given up while {peer} was away");
                Ok(())
            }
            Event::Delivered(mark) => line(&words::delivered(&self.places, mark)),
            Event::Read(mark) => line(&words::read(&self.places, mark)),
            Event::Recalled(recalled) => line(&words::recalled(&self.places, recalled)),
            Event::Online(peers) => line(&words::presence(peers, true)),
            Event::Offline(peers) => line(&words::presence(peers, false)),
            Event::UpstreamDone(done) => line(&words::upstream_done(done)),
            Event::Paused(pause) => {
                eprintln!("{}", paused(pause));
                Ok(())
            }
            Event::Resumed(_) => {
                eprintln!("the connection is back");
                Ok(())
            }
            event if self.groups => {
                words::group_event(self.places.own(), event).map_or(Ok(()), |words| line(&words))
            }
            // Groups that nobody asked for, and what later versions tell.
            _ => Ok(()),
        }
    }

    fn print_opening(&self, opening: &Opening) -> std::io::Result<()> {
        let (peer, device) = (self.places.own(), self.session.device());
        eprintln!("{peer} listens on device {device}; {}", words::waiting(opening.waiting));
        aside(words::PUSH);
        if !self.watches {
            return Ok(());
        }
        match opening.online.as_slice() {
            [] => line("nobody who is watched is online"),
            online => line(&words::presence(online, true)),
        }
    }

    fn print_groups(&self, groups: Result<Vec<String>, RequestError>) -> Result<(), Failure> {
        match groups {
            Ok(groups) if groups.is_empty() => line("member of no group")?,
            Ok(groups) => groups.iter().try_for_each(|group| line(group))?,
            Err(error) => {
                eprintln!("cannot list the groups: {}", words::request_failed(&error));
            }
        }
        Ok(())
    }
}

/// Why there is no connection at the moment.
pub(super) fn paused(pause: &Pause) -> String {
    match pause {
        Pause::SentAway(_) => "the server is going down; trying again".into(),
        _ => "the connection is lost; trying again".into(),
    }
}

/// Whether the user wants a terminal to have colours.
pub(super) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line beside what the server tells; dim where somebody may look at it.
fn aside(text: &str) {
    if std::io::stderr().is_terminal() && colours() {
        eprintln!("\u{1b}[2m{text}\u{1b}[0m");
    } else {
        eprintln!("{text}");
    }
}

fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn message_line(message: &Message) -> String {
    let (from, text) = (&message.from, printable(&message.body));
    let place = match message.conversation {
        ConversationId::Group(group) => format!(" in group {group}"),
        ConversationId::Peers(_) => String::new(),
    };
    let waited = if message.waited { " (waited)" } else { "" };
    let own = if message.own { " (from another device)" } else { "" };
    format!("{from}{place}: {text}{waited}{own}")
}
