//! One chat: where its peer talks, what it has sent, what is shown of it.
//!
//! # Invariants
//!
//! * A message that was shown is to be marked as read, unless the peer sent it itself.
//! * A mark is shown once, and only if it goes further than those before it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use tidings::client::{
    Event, Group, GroupChange, GroupNotice, Mark, Message, Opening, Past, Sent, Session,
};
use tidings::id::{Alias, ConversationId, GroupId, MessageId, PeerId};

use super::clock::Clock;
use super::command::{self, Command};
use super::request::{self, Answer, Entry, Work};
use super::show;
use super::terminal::{Screen, Tone};
use crate::cli::listen::paused;
use crate::cli::places::{Place, Places};
use crate::cli::words::{self, names, printable};

/// Messages that `/recall` can go back.
const SENT_KEPT: usize = 100;

/// How far a mark says that somebody has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
enum Reached {
    Delivered,
    Read,
}

/// What this session itself is doing, so that it need not be told when it hears of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doing {
    /// To a group; `None`: to a new one.
    Group(GroupChange, Option<GroupId>),
    Recall(MessageId),
}

impl Doing {
    fn of(command: &Command, here: Option<GroupId>, last: Option<&Sent>) -> Option<Self> {
        Some(match command {
            Command::Create { .. } => Self::Group(GroupChange::Joined, None),
            Command::Join(group) => Self::Group(GroupChange::Joined, Some(*group)),
            Command::Leave => Self::Group(GroupChange::Left, Some(here?)),
            Command::Invite(_) => Self::Group(GroupChange::Invited, Some(here?)),
            Command::Kick(_) => Self::Group(GroupChange::Kicked, Some(here?)),
            Command::Recall => Self::Recall(last?.id),
            _ => return None,
        })
    }

    /// Whether the notice, of something that the peer did, tells of this.
    fn is(self, notice: &GroupNotice) -> bool {
        let Self::Group(change, group) = self else { return false };
        change == notice.change && group.is_none_or(|group| group == notice.group)
    }
}

/// The state of a chat, and its screen.
pub(super) struct Chat {
    session: Session,
    screen: Screen,
    clock: Clock,
    places: Places,
    /// Where it talks.
    here: Option<Place>,
    /// Groups that are known to be open ones.
    open_groups: BTreeSet<GroupId>,
    /// What was sent, the last one at the end.
    sent: VecDeque<Sent>,
    /// What this session did last and may yet hear of.
    doing: Option<Doing>,
    marks: HashMap<(ConversationId, PeerId, Reached), u32>,
    /// The alias that was bound here.
    alias: Option<Alias>,
    /// What was shown and is not yet marked as read, by its highest number.
    unread: BTreeMap<ConversationId, u32>,
}

impl Chat {
    pub(super) fn new(session: Session, screen: Screen, clock: Clock) -> Self {
        Self {
            places: Places::new(session.peer()),
            session,
            screen,
            clock,
            here: None,
            open_groups: BTreeSet::new(),
            sent: VecDeque::new(),
            doing: None,
            marks: HashMap::new(),
            alias: None,
            unread: BTreeMap::new(),
        }
    }

    /// What stands before the line that is typed.
    pub(super) fn prompt(&self) -> String {
        let own = self.places.own();
        match &self.here {
            Some(place) => format!("{own} {place}> "),
            None => format!("{own}> "),
        }
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.screen.show(Tone::Said, text)
    }

    fn aside(&mut self, text: &str) -> std::io::Result<()> {
        self.screen.show(Tone::Aside, text)
    }

    pub(super) fn complain(&mut self, text: &str) -> std::io::Result<()> {
        self.screen.show(Tone::Wrong, text)
    }

    /// A line that says when.
    fn at(&self, at_ms: u64, text: &str) -> String {
        format!("[{}] {text}", self.clock.time(at_ms))
    }

    /// What is to be marked as read next.
    pub(super) fn next_unread(&mut self) -> Option<(ConversationId, u32)> {
        self.unread.pop_first()
    }

    /// The mark could not be set; it is tried again.
    pub(super) fn still_unread(&mut self, conversation: ConversationId, sequence: u32) {
        let highest = self.unread.entry(conversation).or_default();
        *highest = sequence.max(*highest);
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Begins what a command asks for.
    ///
    /// # Errors
    ///
    /// What is to be done first, in plain words.
    pub(super) fn begin(&mut self, command: Command) -> Result<Work, String> {
        let session = self.session.clone();
        let doing = Doing::of(&command, self.group_here().ok(), self.sent.back());
        self.doing = doing.or(self.doing);
        if command.moves() {
            // If it fails, what is said next must not go where it was not meant to.
            self.here = None;
        }
        Ok(match command {
            Command::Say(text) => {
                let place = self.here.clone().ok_or(
                    "nobody hears you yet: /with PEER, /group ID, /create or /join ID first",
                )?;
                let open = matches!(&place, Place::Group(id) if self.open_groups.contains(id));
                request::say(session, place, text, open)
            }
            Command::With(peers) => {
                let place = Place::with(self.places.own(), peers);
                if place.others().is_empty() {
                    return Err("you cannot talk with yourself: /with PEER".into());
                }
                request::with(session, place)
            }
            Command::Group(group) => request::group(session, group),
            Command::Create { open } => request::create(session, open),
            Command::Join(group) => request::join(session, group),
            Command::Leave => request::leave(session, self.group_here()?),
            Command::Invite(peers) => request::invite(session, self.group_here()?, peers),
            Command::Kick(peers) => request::kick(session, self.group_here()?, peers),
            Command::Members => request::members(session, self.group_here()?),
            Command::Watch(peers) => request::watch(session, peers),
            Command::Unwatch(peers) => request::unwatch(session, peers),
            Command::Who(peers) if peers.is_empty() => match session.watching() {
                watched if watched.is_empty() => {
                    return Err("you watch nobody: /who PEER, or /watch PEER first".into());
                }
                watched => request::who(session, watched),
            },
            Command::Who(peers) => request::who(session, peers),
            Command::History(count) => request::history(session, self.conversation_here()?, count),
            Command::Conversations => request::conversations(session),
            Command::Devices => request::devices(session),
            Command::Alias(alias) => request::bind(session, alias),
            Command::Unalias(alias) => {
                let alias = alias.or_else(|| self.alias.clone());
                let unknown = "you have bound no alias in this chat: /unalias NAME";
                request::unbind(session, alias.ok_or(unknown)?)
            }
            Command::Upstream(text) => request::upstream(session, text),
            Command::Recall => {
                let sent = self.sent.back().copied();
                request::recall(session, sent.ok_or("you have sent nothing to take back yet")?)
            }
            Command::Read => request::read_all(session, self.conversation_here()?),
            Command::Logout => request::log_out(session),
            Command::Help => request::done(Answer::Lines(command::help())),
            Command::Quit => request::done(Answer::Bye),
        })
    }

    fn group_here(&self) -> Result<GroupId, String> {
        match self.here {
            Some(Place::Group(group)) => Ok(group),
            _ => Err("you do not talk in a group: /group ID, /create or /join ID first".into()),
        }
    }

    fn conversation_here(&self) -> Result<ConversationId, String> {
        let place =
            self.here.as_ref().ok_or("you talk nowhere yet: /with PEER or /group ID first")?;
        Ok(place.conversation(self.places.own()))
    }

    /// Shows what came of a command, and remembers it.
    pub(super) fn answered(&mut self, answer: Answer) -> std::io::Result<()> {
        match answer {
            Answer::Sent(place, sent) => {
                if self.sent.len() == SENT_KEPT {
                    self.sent.pop_front();
                }
                self.sent.push_back(sent);
                let elsewhere = self.elsewhere(&place);
                let text = format!("number {}: sent{elsewhere}", sent.sequence);
                self.aside(&self.at(sent.at_ms, &text))
            }
            Answer::SentToOpen => self.aside("sent to whoever is there now"),
            Answer::With { place, online } => self.talk_with(place, online),
            Answer::Entered { group, how } => self.entered(&group, how),
            Answer::Left(group) => {
                if self.here == Some(Place::Group(group)) {
                    self.here = None;
                }
                self.aside(&format!("you have left group {group}"))
            }
            Answer::Invited(group, peers) => {
                self.aside(&format!("{} invited to group {group}", words::are(&peers)))
            }
            Answer::Kicked(group, peers) => {
                self.aside(&format!("{} removed from group {group}", words::are(&peers)))
            }
            Answer::Members(page) => self.lines(&show::members(&page)),
            Answer::Online { asked, online } => self.lines(&show::online(&asked, &online)),
            Answer::Unwatched(peers) => {
                self.aside(&format!("{} not watched any more", words::are(&peers)))
            }
            Answer::History(messages) => self.show_history(&messages),
            Answer::Conversations(all) => {
                for conversation in &all {
                    self.places.learn(&conversation.others);
                }
                let lines = show::conversations(&self.places, &all);
                self.lines(&lines)
            }
            Answer::Devices(devices) => {
                let own = self.session.device().clone();
                let lines = show::devices(&devices, &own, self.clock);
                self.lines(&lines)
            }
            Answer::Bound(alias) => {
                let text = words::bound(&alias);
                self.alias = Some(alias);
                self.aside(&text)
            }
            Answer::Unbound(alias) => {
                self.alias.take_if(|bound| *bound == alias);
                self.aside(&format!("this device has the alias {alias} no longer"))
            }
            Answer::Upstream(sent) => {
                self.aside(&self.at(sent.at_ms, &words::upstream_sent(&sent)))
            }
            Answer::Recalled(sent) => {
                self.sent.retain(|kept| kept.id != sent.id);
                self.aside(&format!("number {} is taken back", sent.sequence))
            }
            Answer::Read(Some(number)) => {
                self.aside(&format!("everything is marked as read, up to number {number}"))
            }
            Answer::Read(None) => self.aside("there is nothing to read here"),
            Answer::LoggedOut => self.aside("this device is logged out"),
            Answer::Lines(text) => self.lines(&text),
            Answer::Bye => Ok(()),
        }
    }

    fn lines(&mut self, text: &str) -> std::io::Result<()> {
        text.lines().try_for_each(|line| self.aside(line))
    }

    fn talk_with(
        &mut self,
        place: Place,
        online: Result<Vec<PeerId>, String>,
    ) -> std::io::Result<()> {
        let Place::Peers(others) = &place else { return Ok(()) };
        self.places.learn(others);
        let talk = format!("you talk {place}");
        let shown = match &online {
            Ok(online) => show::online(others, online),
            Err(_) => String::new(),
        };
        self.here = Some(place);
        self.aside(&talk)?;
        self.lines(&shown)?;
        match online {
            Ok(_) => Ok(()),
            Err(problem) => self.complain(&format!("they are not watched: {problem}")),
        }
    }

    fn entered(&mut self, group: &Group, how: Entry) -> std::io::Result<()> {
        if group.open {
            self.open_groups.insert(group.id);
        } else {
            self.open_groups.remove(&group.id);
        }
        self.here = Some(Place::Group(group.id));
        let text = show::entered(group, how);
        self.lines(&text)
    }

    /// Oldest first, as people read.
    fn show_history(&mut self, messages: &[Past]) -> std::io::Result<()> {
        if messages.is_empty() {
            return self.aside("nothing was said here yet");
        }
        let now_ms = Clock::now_ms();
        for message in messages.iter().rev() {
            let text = match message.recalled {
                true => "(taken back)".into(),
                false => printable(&message.body),
            };
            let at = self.clock.time_and_date(message.at_ms, now_ms);
            let (from, number) = (self.who(&message.from), message.sequence);
            self.say(&format!("[{at}] {number}. {from}: {text}"))?;
        }
        Ok(())
    }

    /// A peer as its own user sees it.
    fn who(&self, peer: &PeerId) -> String {
        if peer == self.places.own() { "you".into() } else { peer.to_string() }
    }

    /// A place as it stands behind a verb, with a space before it, unless it is here.
    fn elsewhere(&self, place: &Place) -> String {
        if self.here.as_ref() == Some(place) { String::new() } else { format!(" {place}") }
    }

    /// Shows an event.
    pub(super) fn happened(&mut self, event: &Event) -> std::io::Result<()> {
        match event {
            Event::Message(message) => self.show_message(message),
            Event::Opened(opening) => self.show_opening(opening),
            Event::Dropped { count, .. } => self.aside(&format!(
                "{count} older messages were given up while you were away; /history has them"
            )),
            Event::Delivered(mark) => self.show_mark(mark, Reached::Delivered),
            Event::Read(mark) => self.show_mark(mark, Reached::Read),
            Event::Recalled(recalled) if self.doing == Some(Doing::Recall(recalled.message)) => {
                self.doing = None;
                Ok(())
            }
            Event::Recalled(recalled) => {
                let text = words::recalled(&self.places, recalled);
                self.aside(&self.at(recalled.at_ms, &text))
            }
            Event::UpstreamDone(done) => {
                self.aside(&self.at(done.at_ms, &words::upstream_done(done)))
            }
            Event::Online(peers) => self.show_presence(peers, true),
            Event::Offline(peers) => self.show_presence(peers, false),
            Event::Paused(pause) => self.complain(&paused(pause)),
            Event::Resumed(_) => self.aside("the connection is back"),
            event => self.show_group_event(event),
        }
    }

    fn show_group_event(&mut self, event: &Event) -> std::io::Result<()> {
        let (Event::Joined(notice)
        | Event::Invited(notice)
        | Event::Left(notice)
        | Event::MembersJoined(notice)
        | Event::MembersLeft(notice)
        | Event::GroupEdited(notice)) = event
        else {
            // What later versions tell.
            return Ok(());
        };
        let by_own = notice.by.as_ref() == Some(self.places.own());
        if by_own && self.doing.take_if(|doing| doing.is(notice)).is_some() {
            return Ok(());
        }
        let is_here = self.here == Some(Place::Group(notice.group));
        // Who has just opened may hear of what it has done itself; this was told by the answer.
        if by_own && is_here && matches!(event, Event::Joined(_)) {
            return Ok(());
        }
        if is_here && matches!(event, Event::Left(_)) {
            self.here = None;
        }
        let text = words::group_event(self.places.own(), event).unwrap_or_default();
        self.aside(&self.at(Clock::now_ms(), &text))
    }

    fn show_opening(&mut self, opening: &Opening) -> std::io::Result<()> {
        let (own, device) = (self.places.own(), self.session.device());
        let waiting = words::waiting(opening.waiting);
        let text =
            format!("you are {own}, on device {device}; {waiting}. /help lists the commands");
        self.aside(&text)?;
        let watched = self.session.watching();
        self.lines(&show::online(&watched, &opening.online))
    }

    fn show_presence(&mut self, peers: &[PeerId], online: bool) -> std::io::Result<()> {
        self.aside(&self.at(Clock::now_ms(), &words::presence(peers, online)))
    }

    fn show_message(&mut self, message: &Message) -> std::io::Result<()> {
        let place = self.places.learn_message(message);
        let to = match &place {
            place if self.here.as_ref() == Some(place) => String::new(),
            Place::Group(group) => format!(" in group {group}"),
            Place::Peers(others) if message.own => format!(" to {}", names(others)),
            Place::Peers(others) if others.len() == 1 => " to you".into(),
            Place::Peers(_) => format!(" {place}"),
        };
        let mut notes = String::new();
        for (is_so, note) in
            [(message.own, " (from another device)"), (message.waited, " (waited)")]
        {
            notes.push_str(if is_so { note } else { "" });
        }
        let (from, text) = (self.who(&message.from), printable(&message.body));
        self.say(&self.at(message.at_ms, &format!("{from}{to}: {text}{notes}")))?;
        if !message.own && !message.transient {
            self.still_unread(message.conversation, message.sequence);
        }
        Ok(())
    }

    fn show_mark(&mut self, mark: &Mark, reached: Reached) -> std::io::Result<()> {
        if mark.peer == *self.places.own() {
            // What one has read oneself is no news.
            return Ok(());
        }
        let known = (mark.conversation, mark.peer.clone(), reached);
        let highest = self.marks.entry(known).or_default();
        if mark.sequence <= *highest {
            return Ok(());
        }
        *highest = mark.sequence;
        let number = mark.sequence;
        let here = self.here.as_ref().map(|place| place.conversation(self.places.own()));
        let place = match here == Some(mark.conversation) {
            true => String::new(),
            false => self.places.suffix(mark.conversation, &mark.peer),
        };
        let text = match reached {
            Reached::Delivered => format!("number {number}: delivered to {}{place}", mark.peer),
            Reached::Read => format!("number {number}: read by {}{place}", mark.peer),
        };
        self.aside(&self.at(mark.at_ms, &text))
    }
}
