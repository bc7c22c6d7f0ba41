//! `tidings chat`: a chat in a terminal, or through pipes.
//!
//! # Invariants
//!
//! * Lines are carried out one after the other, and events are shown meanwhile.
//! * A message is acknowledged after it was shown. Ending is not logging out.

pub(super) mod clock;
mod command;
mod request;
mod show;
mod talk;
mod terminal;

use std::collections::VecDeque;
use std::pin::Pin;

use clap::Args;

use tidings::client::{Cursor, DeviceFile, Event, Incoming, RequestError, Session};
use tidings::id::{ConversationId, GroupId, PeerId};

use super::connected::ServerArgs;
use super::signals::Signals;
use super::{Exit, Failure, Outcome, words};
use clock::Clock;
use command::Command;
use request::{Answer, Work};
use talk::Chat;
use terminal::{Input, Keyboard};

/// Lines that wait to be carried out, such as those typed without a connection.
const COMMANDS_WAITING: usize = 64;

#[derive(Args, Debug)]
#[command(after_help = command::help())]
pub(super) struct ChatArgs {
    /// Who chats.
    peer: PeerId,
    /// Talk with this peer from the beginning; give it again to talk with several at once.
    #[arg(long, value_name = "OTHER", conflicts_with = "group")]
    with: Vec<PeerId>,
    /// Talk in this group from the beginning, by its id of 24 hexadecimal digits.
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// Tell when these peers go on or off line; give it again for more.
    #[arg(long, value_name = "PEER,PEER...", value_delimiter = ',')]
    watch: Vec<PeerId>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A mark that is being set: how far a conversation is read.
type Marking =
    Pin<Box<dyn Future<Output = (ConversationId, u32, Result<(), RequestError>)> + Send>>;

/// What ends a turn of the loop.
enum Turn {
    Signal,
    Event(Option<Event>),
    Answered(Result<Answer, String>),
    Marked(ConversationId, u32, Result<(), RequestError>),
    Input(Input),
}

impl ChatArgs {
    /// Prepares what needs a process of one thread.
    pub(super) fn run(self) -> Outcome {
        let clock = Clock::local();
        super::block_on(self.chat(clock))
    }

    async fn chat(self, clock: Clock) -> Outcome {
        let mut signals = Signals::new()?;
        let (options, file) = self.server.device(self.peer, "chat")?;
        let (_client, session, incoming) = tokio::select! {
            opened = self.server.open(options.watch(self.watch)) => opened?,
            () = signals.next() => return Ok(Exit::Done),
        };
        let (keyboard, screen) = terminal::open();
        let mut waiting = VecDeque::new();
        if !self.with.is_empty() {
            waiting.push_back(Command::With(self.with));
        }
        waiting.extend(self.group.map(Command::Group));
        let talk = Chat::new(session.clone(), screen, clock);
        let mut run = Run {
            session,
            file,
            talk,
            keyboard,
            waiting,
            work: None,
            quick: true,
            logging_out: false,
            marking: None,
            marks_held: false,
            prompt_due: true,
            ending: false,
            kept: Cursor::default(),
        };
        run.until_the_end(signals, incoming).await
    }
}

/// A chat that goes on.
struct Run {
    session: Session,
    file: DeviceFile,
    talk: Chat,
    keyboard: Keyboard,
    waiting: VecDeque<Command>,
    work: Option<Work>,
    /// The work cannot change where the peer talks, so that the next line may be typed.
    quick: bool,
    /// The work logs the device out.
    logging_out: bool,
    marking: Option<Marking>,
    /// Marks wait for a connection, or for a better moment.
    marks_held: bool,
    prompt_due: bool,
    /// No more lines are wanted.
    ending: bool,
    /// The cursor that the file has.
    kept: Cursor,
}

impl Run {
    async fn until_the_end(&mut self, mut signals: Signals, mut incoming: Incoming) -> Outcome {
        loop {
            self.begin_what_waits()?;
            if self.is_done() {
                return self.end(incoming).await;
            }
            match self.next_turn(&mut signals, &mut incoming).await {
                Turn::Signal | Turn::Input(Input::Interrupt) => return self.end(incoming).await,
                Turn::Event(Some(Event::Ended(refusal))) => {
                    return Err(words::refused(&refusal).into());
                }
                Turn::Event(Some(event)) => self.happened(&event, &incoming)?,
                // A session that is logged out ends before its answer is taken.
                Turn::Event(None) => match self.work.take_if(|_| self.logging_out) {
                    Some(work) => {
                        let answer = work.await;
                        self.answered(answer)?;
                        return Ok(Exit::Done);
                    }
                    None => return Err("the session has ended".into()),
                },
                Turn::Answered(answer) => {
                    if self.answered(answer)? {
                        return Ok(Exit::Done);
                    }
                }
                Turn::Marked(conversation, sequence, marked) => {
                    self.marked(conversation, sequence, marked)?;
                }
                Turn::Input(Input::Line(line)) => self.typed(&line)?,
                Turn::Input(Input::End) => self.ending = true,
            }
        }
    }

    /// # Cancel safety
    ///
    /// Nothing is lost if the future is dropped.
    async fn next_turn(&mut self, signals: &mut Signals, incoming: &mut Incoming) -> Turn {
        let takes_lines = !self.ending && self.waiting.len() < COMMANDS_WAITING;
        // An answer is shown before what has come of it since: sent, and then delivered.
        let answer_or_event = async {
            tokio::select! {
                biased;
                answer = under_way(&mut self.work) => Turn::Answered(answer),
                event = incoming.next() => Turn::Event(event),
            }
        };
        tokio::select! {
            () = signals.next() => Turn::Signal,
            turn = answer_or_event => turn,
            (conversation, sequence, marked) = under_way(&mut self.marking) => {
                Turn::Marked(conversation, sequence, marked)
            }
            input = self.keyboard.next(), if takes_lines => Turn::Input(input),
        }
    }

    /// Begins the next command and the next mark, and asks for a line when one may be typed.
    fn begin_what_waits(&mut self) -> Result<(), Failure> {
        while self.work.is_none()
            && let Some(command) = self.waiting.pop_front()
        {
            self.quick = matches!(command, Command::Say(_));
            self.logging_out = matches!(command, Command::Logout);
            match self.talk.begin(command) {
                Ok(work) => self.work = Some(work),
                Err(problem) => self.talk.complain(&problem)?,
            }
        }
        if self.marking.is_none() && !self.marks_held {
            self.marking = self
                .talk
                .next_unread()
                .map(|(conversation, sequence)| mark(self.session.clone(), conversation, sequence));
        }
        let is_quick = |command: &Command| matches!(command, Command::Say(_));
        let settled = (self.work.is_none() || self.quick) && self.waiting.iter().all(is_quick);
        if self.prompt_due && settled && !self.ending {
            self.prompt_due = false;
            self.keyboard.prompt(&self.talk.prompt());
        }
        Ok(())
    }

    /// Whether the end was asked for, and everything before it is done.
    fn is_done(&self) -> bool {
        let marked = self.marking.is_none() && !self.talk.has_unread();
        let done = self.work.is_none() && self.waiting.is_empty();
        self.ending && done && (marked || self.marks_held)
    }

    async fn end(&mut self, incoming: Incoming) -> Outcome {
        self.keep()?;
        drop(incoming);
        self.session.end().await;
        Ok(Exit::Done)
    }

    fn keep(&mut self) -> Result<(), Failure> {
        let state = self.session.state();
        if state.cursor != self.kept {
            self.kept = state.cursor;
            self.file.store(&state)?;
        }
        Ok(())
    }

    fn happened(&mut self, event: &Event, incoming: &Incoming) -> Result<(), Failure> {
        match event {
            Event::Paused(_) => self.marks_held = true,
            Event::Resumed(_) | Event::Message(_) => self.marks_held = false,
            _ => {}
        }
        self.talk.happened(event)?;
        if let Some(cursor) = event.cursor() {
            self.session.ack(cursor);
        }
        // The device's id is kept as soon as there is one.
        if incoming.waiting() == 0 {
            self.keep()?;
        }
        Ok(())
    }

    /// Shows an answer; whether it ends the chat at once.
    fn answered(&mut self, answer: Result<Answer, String>) -> Result<bool, Failure> {
        self.work = None;
        match answer {
            Ok(answer) => {
                self.ending |= matches!(answer, Answer::Bye);
                let logged_out = matches!(answer, Answer::LoggedOut);
                self.talk.answered(answer)?;
                return Ok(logged_out);
            }
            Err(problem) => self.talk.complain(&problem)?,
        }
        Ok(false)
    }

    fn marked(
        &mut self,
        conversation: ConversationId,
        sequence: u32,
        marked: Result<(), RequestError>,
    ) -> Result<(), Failure> {
        self.marking = None;
        match marked {
            Ok(()) => {}
            // It is set after the next message, or when the connection is back.
            Err(error) if error.is_retryable() && !self.ending => {
                self.marks_held = true;
                self.talk.still_unread(conversation, sequence);
            }
            Err(error) => {
                let problem = words::request_failed(&error);
                self.talk.complain(&format!("not marked as read: {problem}"))?;
            }
        }
        Ok(())
    }

    fn typed(&mut self, line: &str) -> Result<(), Failure> {
        self.prompt_due = true;
        match Command::parse(line) {
            Ok(command) => self.waiting.extend(command),
            Err(problem) => self.talk.complain(&problem)?,
        }
        Ok(())
    }
}

fn mark(session: Session, conversation: ConversationId, sequence: u32) -> Marking {
    Box::pin(async move {
        let marked = session.read_up_to(conversation, sequence).await;
        (conversation, sequence, marked)
    })
}

/// Waits for what is under way, and for ever if nothing is.
async fn under_way<T>(work: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
