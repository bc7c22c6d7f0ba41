//! `tidings demo`: the promise of the server, shown step by step with its latencies.
//!
//! # Invariants
//!
//! * Every step checks what it shows; the demo succeeds only if all of it was so.
//! * Nothing is left behind: the server's folder is removed.

use std::fmt::Display;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use tidings::client::{
    Client, ConnectOptions, Event, Incoming, OpenOptions, Outgoing, Sent, Session, Trust,
};
use tidings::config::Config;
use tidings::id::PeerId;
use tidings::server::Server;

use super::{Exit, Failure, Outcome};

/// How long any step may take before the demo has failed.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// What ann says while bob is away.
const WHILE_AWAY: [&str; 3] = ["are you there?", "never mind", "see you tomorrow"];

pub(super) async fn run() -> Outcome {
    let folder = Folder::new()?;
    let started = Instant::now();
    let config = Config::new(&folder.0, (Ipv4Addr::LOCALHOST, 0).into());
    let server = Server::start(config).await.map_err(|e| Failure::new(Exit::ServerFailed, e))?;
    let (address, data) = (server.local_addr(), folder.0.display());
    step(started, &format_args!("a server listens on {address}, its data is in {data}"))?;
    let talked = talk(&server).await;
    let started = Instant::now();
    let drained = server.drain().await;
    talked?;
    if drained.forced > 0 {
        let problem = format!("{} sessions had to be cut", drained.forced);
        return Err(Failure::new(Exit::CutShort, problem));
    }
    step(started, &"the server has stopped; everything was as promised")?;
    Ok(Exit::Done)
}

async fn talk(server: &Server) -> Result<(), Failure> {
    let (ann_id, bob_id): (PeerId, PeerId) = ("ann".parse()?, "bob".parse()?);
    let mut ann = Actor::open(server, OpenOptions::new(ann_id)).await?;
    let mut bob = Actor::open(server, OpenOptions::new(bob_id.clone())).await?;
    say_and_hear(&ann, &mut bob, "hello, bob").await?;
    say_and_hear(&bob, &mut ann, "hello, ann").await?;

    let kept = bob.session.state();
    let started = Instant::now();
    bob.leave().await;
    step(started, &"bob leaves")?;
    for text in WHILE_AWAY {
        let started = Instant::now();
        let number = ann.say(&bob_id, text).await?.sequence;
        step(
            started,
            &format_args!("ann to bob, who is away: {text:?} is on disk, number {number}"),
        )?;
    }

    let options = OpenOptions::new(bob_id).device(kept.device).resume(kept.cursor);
    let mut bob = Actor::open(server, options).await?;
    for text in WHILE_AWAY {
        let number = bob.hear(text).await?;
        step(bob.opened, &format_args!("bob has {text:?}, number {number}, since he came back"))?;
    }
    ann.leave().await;
    bob.leave().await;
    Ok(())
}

/// One says something that the other hears, and it is on disk before that.
async fn say_and_hear(from: &Actor, to: &mut Actor, text: &str) -> Result<(), Failure> {
    let started = Instant::now();
    let recipient = to.session.peer();
    let said = async {
        let sent = from.say(&recipient, text).await?;
        Ok::<_, Failure>((sent, Instant::now()))
    };
    let heard = async {
        let number = to.hear(text).await?;
        Ok::<_, Failure>((number, Instant::now()))
    };
    let ((sent, said_at), (number, heard_at)) = tokio::try_join!(said, heard)?;
    if sent.sequence != number {
        return Err(format!("{text:?} has the numbers {} and {number}", sent.sequence).into());
    }
    let from = from.session.peer();
    show(
        said_at - started,
        &format_args!("{from} to {recipient}: {text:?} is on disk, number {number}"),
    )?;
    show(heard_at - started, &format_args!("{recipient} has it"))
}

/// One who takes part, with a connection of their own.
struct Actor {
    client: Client,
    session: Session,
    incoming: Incoming,
    /// When it began to open its session.
    opened: Instant,
}

impl Actor {
    async fn open(server: &Server, options: OpenOptions) -> Result<Self, Failure> {
        let connecting = Instant::now();
        let trust = Trust::Fingerprint(server.fingerprint().parse()?);
        let connect = ConnectOptions::new(server.local_addr().to_string()).trust(trust);
        let client = in_time(Client::connect(connect)).await??;
        let opened = Instant::now();
        let (session, mut incoming) = in_time(client.open(options)).await??;
        let peer = session.peer();
        show(opened - connecting, &format_args!("{peer} connects"))?;
        match in_time(incoming.next()).await? {
            Some(Event::Opened(opening)) => {
                let waiting = opening.waiting;
                step(opened, &format_args!("{peer} opens a session; {waiting} messages wait"))?;
            }
            event => return Err(unexpected(&peer, &"Opened", &event)),
        }
        Ok(Self { client, session, incoming, opened })
    }

    async fn say(&self, to: &PeerId, text: &str) -> Result<Sent, Failure> {
        Ok(in_time(self.session.send(Outgoing::to(to, text.to_owned()))).await??)
    }

    /// The number of the next message, which must say `text`.
    async fn hear(&mut self, text: &str) -> Result<u32, Failure> {
        let next = async {
            loop {
                match self.incoming.next().await {
                    // Marks come beside the messages, and may come again.
                    Some(Event::Delivered(_) | Event::Read(_)) => {}
                    event => break event,
                }
            }
        };
        match in_time(next).await? {
            Some(Event::Message(message)) if message.body == text => {
                self.session.ack(message.cursor());
                Ok(message.sequence)
            }
            event => Err(unexpected(&self.session.peer(), &format_args!("{text:?}"), &event)),
        }
    }

    /// Ends the session, without logging out.
    async fn leave(self) {
        self.session.end().await;
        self.client.close().await;
    }
}

async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(STEP_TIMEOUT, step).await.map_err(|_| "the step took too long".into())
}

fn unexpected(peer: &PeerId, wanted: &dyn Display, event: &Option<Event>) -> Failure {
    format!("{peer} expected {wanted} and got {event:?}").into()
}

fn step(started: Instant, what: &dyn Display) -> Result<(), Failure> {
    show(started.elapsed(), what)
}

fn show(took: Duration, what: &dyn Display) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{:>9.2} ms  {what}", took.as_secs_f64() * 1e3)?)
}

/// A folder that goes when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let name = format!("tidings-demo-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "cannot remove the demo's folder");
        }
    }
}
