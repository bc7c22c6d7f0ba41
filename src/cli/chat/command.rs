//! What can be typed in a chat.
//!
//! # Invariants
//!
//! * [`COMMANDS`] is the only list of commands: the help is made of it, and a test proves that
//!   each of them is understood.

use std::fmt::Write;

use tidings::id::{Alias, GroupId, PeerId};

/// Messages that `/history` shows unless it is told how many.
const HISTORY_DEFAULT: usize = 20;
/// Messages that `/history` shows at the most: some screens full.
const HISTORY_MAX: usize = 1000;

/// What somebody at the keyboard wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Command {
    Say(String),
    With(Vec<PeerId>),
    Group(GroupId),
    Create {
        open: bool,
    },
    Join(GroupId),
    Leave,
    Invite(Vec<PeerId>),
    Kick(Vec<PeerId>),
    Members,
    Watch(Vec<PeerId>),
    Unwatch(Vec<PeerId>),
    Who(Vec<PeerId>),
    History(usize),
    Conversations,
    Devices,
    Alias(Alias),
    /// `None`: the one that was bound last.
    Unalias(Option<Alias>),
    Upstream(String),
    Recall,
    Read,
    Help,
    Quit,
    Logout,
}

/// Each command: its name, what goes with it, what it does.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("/with", "PEER...", "talk with a peer (or several at once), and watch it"),
    ("/group", "ID", "talk in a group you are in"),
    ("/create", "[open]", "create a group and talk in it; an open one keeps nothing"),
    ("/join", "ID", "join a group and talk in it"),
    ("/leave", "", "leave the group you talk in"),
    ("/invite", "PEER...", "make peers members of the group you talk in"),
    ("/kick", "PEER...", "remove peers from the group you talk in"),
    ("/members", "", "show who is in the group, and who may do what"),
    ("/watch", "PEER...", "tell when peers go on or off line"),
    ("/unwatch", "PEER...", "tell it no longer"),
    ("/who", "[PEER...]", "show who is online: of these peers, or of those you watch"),
    ("/history", "[N]", "show the last N messages (20) of where you talk"),
    ("/conversations", "", "show where you have talked, and what you have not read"),
    ("/devices", "", "show your devices; this one is marked"),
    ("/alias", "NAME", "bind a name to this device, by which the app can push to it"),
    ("/unalias", "[NAME]", "take that name away again, or the one given here last"),
    ("/upstream", "TEXT", "send a message to the app itself"),
    ("/recall", "", "take back the last message you sent; again: the one before"),
    ("/read", "", "say that you have read everything where you talk"),
    ("/help", "", "show this"),
    ("/quit", "", "end the chat; what comes meanwhile waits for this device"),
    ("/logout", "", "log this device out, so that it gets nothing more, and end the chat"),
];

/// All commands, a line for each.
pub(super) fn help() -> String {
    let mut text = String::from("What you type is sent to where you talk. Commands:\n");
    for (name, with, does) in COMMANDS {
        let usage = format!("{name} {with}");
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {usage:<20} {does}");
    }
    text.push_str("A line that begins with // is sent with one of them. Ctrl-C ends the chat too.");
    text
}

impl Command {
    /// What a line asks for; `None` for an empty one.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in plain words.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim_end();
        if line.trim_start().is_empty() {
            return Ok(None);
        }
        if !line.starts_with('/') {
            return Ok(Some(Self::Say(line.to_owned())));
        }
        if line.starts_with("//") {
            return Ok(Some(Self::Say(line[1..].to_owned())));
        }
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let Some((name, usage, _)) = COMMANDS.iter().find(|(known, ..)| *known == name) else {
            return Err(format!("there is no command {name}: /help lists them"));
        };
        let behind = line.strip_prefix(name).unwrap_or_default().trim_start();
        let command = match *name {
            "/alias" => alias(behind).map(Self::Alias),
            "/unalias" if behind.is_empty() => Ok(Self::Unalias(None)),
            "/unalias" => alias(behind).map(|alias| Self::Unalias(Some(alias))),
            "/upstream" => text(behind).map(Self::Upstream),
            _ => Self::of(name, &words),
        };
        command
            .map(Some)
            .map_err(|problem| format!("{problem}: {}", format!("{name} {usage}").trim()))
    }

    /// Whether it is to change where the peer talks.
    pub(super) fn moves(&self) -> bool {
        matches!(self, Self::With(_) | Self::Group(_) | Self::Create { .. } | Self::Join(_))
    }

    fn of(name: &str, words: &[&str]) -> Result<Self, String> {
        Ok(match name {
            "/with" => Self::With(peers(words)?),
            "/group" => Self::Group(group(words)?),
            "/create" => Self::Create { open: open(words)? },
            "/join" => Self::Join(group(words)?),
            "/invite" => Self::Invite(peers(words)?),
            "/kick" => Self::Kick(peers(words)?),
            "/watch" => Self::Watch(peers(words)?),
            "/unwatch" => Self::Unwatch(peers(words)?),
            "/who" if words.is_empty() => Self::Who(Vec::new()),
            "/who" => Self::Who(peers(words)?),
            "/history" => Self::History(count(words)?),
            _ => return Self::alone(name, words),
        })
    }

    /// A command with which nothing goes.
    fn alone(name: &str, words: &[&str]) -> Result<Self, String> {
        if let Some(word) = words.first() {
            return Err(format!("{word:?} means nothing here"));
        }
        Ok(match name {
            "/leave" => Self::Leave,
            "/members" => Self::Members,
            "/conversations" => Self::Conversations,
            "/devices" => Self::Devices,
            "/recall" => Self::Recall,
            "/read" => Self::Read,
            "/quit" => Self::Quit,
            "/logout" => Self::Logout,
            _ => Self::Help,
        })
    }
}

fn peers(words: &[&str]) -> Result<Vec<PeerId>, String> {
    if words.is_empty() {
        return Err("it needs a peer".into());
    }
    let peer =
        |word: &&str| PeerId::new(word).map_err(|error| format!("{word:?} is no peer ({error})"));
    words.iter().map(peer).collect()
}

/// All that stands behind the command: an alias may have spaces.
fn alias(behind: &str) -> Result<Alias, String> {
    if behind.is_empty() {
        return Err("it needs a name".into());
    }
    Alias::new(behind).map_err(|error| format!("{behind:?} is no alias ({error})"))
}

fn text(behind: &str) -> Result<String, String> {
    if behind.is_empty() { Err("it needs a text".into()) } else { Ok(behind.to_owned()) }
}

fn group(words: &[&str]) -> Result<GroupId, String> {
    match words {
        [id] => id.parse().map_err(|_| {
            format!("{id:?} is no group: its id has 24 hexadecimal digits, and /create tells one")
        }),
        _ => Err("it needs the id of a group".into()),
    }
}

fn open(words: &[&str]) -> Result<bool, String> {
    match words {
        [] => Ok(false),
        ["open"] => Ok(true),
        _ => Err("it takes the word open, or nothing".into()),
    }
}

fn count(words: &[&str]) -> Result<usize, String> {
    let bad = || format!("it takes a number from 1 to {HISTORY_MAX}, or nothing");
    match words {
        [] => Ok(HISTORY_DEFAULT),
        [count] => {
            let count = count.parse().ok();
            count.filter(|count| (1..=HISTORY_MAX).contains(count)).ok_or_else(bad)
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "0123456789abcdef01234567";

    fn check(line: &str, expected: Command) {
        assert_eq!(Command::parse(line), Ok(Some(expected)), "{line}");
    }

    fn refuse(line: &str, expected: &str) {
        assert_eq!(Command::parse(line), Err(expected.to_owned()));
    }

    fn peers_of(ids: &str) -> Vec<PeerId> {
        ids.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_no_command_is_said() {
        check("hello, bob  ", Command::Say("hello, bob".into()));
        check("  indented", Command::Say("  indented".into()));
        check("//etc/passwd", Command::Say("/etc/passwd".into()));
        assert_eq!(Command::parse("  \t"), Ok(None));
    }

    #[test]
    fn a_command_takes_what_its_help_says() {
        check("/with bob", Command::With(peers_of("bob")));
        check("/invite bob  cat", Command::Invite(peers_of("bob cat")));
        check(&format!("/join {GROUP}"), Command::Join(GROUP.parse().unwrap()));
        check("/create", Command::Create { open: false });
        check("/create open", Command::Create { open: true });
        check("/history", Command::History(20));
        check("/history 5", Command::History(5));
        check("/who", Command::Who(vec![]));
        check("/logout", Command::Logout);
        check("/alias  customer: 4711 ", Command::Alias("customer: 4711".parse().unwrap()));
        check("/unalias", Command::Unalias(None));
        check("/upstream two  words", Command::Upstream("two  words".into()));
        check("/upstream /upstream x", Command::Upstream("/upstream x".into()));
        refuse("/alias", "it needs a name: /alias NAME");
        refuse("/upstream ", "it needs a text: /upstream TEXT");
        let long = "a".repeat(161);
        let problem = format!("{long:?} is no alias (an id of 161 bytes exceeds 160): /alias NAME");
        refuse(&format!("/alias {long}"), &problem);
        refuse("/shout", "there is no command /shout: /help lists them");
        refuse("/kick", "it needs a peer: /kick PEER...");
        refuse("/watch a:b", "\"a:b\" is no peer (an id must not contain ':'): /watch PEER...");
        refuse(
            "/join lunch",
            "\"lunch\" is no group: its id has 24 hexadecimal digits, and /create tells one: \
             /join ID",
        );
        refuse("/history 0", "it takes a number from 1 to 1000, or nothing: /history [N]");
        refuse("/leave now", "\"now\" means nothing here: /leave");
        refuse("/create closed", "it takes the word open, or nothing: /create [open]");
    }

    #[test]
    fn every_command_of_the_list_is_understood_as_itself() {
        let mut seen = Vec::new();
        for (name, with, _) in COMMANDS {
            let with = match *with {
                "PEER..." | "[PEER...]" => "bob",
                "ID" => GROUP,
                "[N]" => "7",
                "[open]" => "open",
                "NAME" | "[NAME]" | "TEXT" => "customer 4711",
                _ => "",
            };
            let command = Command::parse(&format!("{name} {with}")).unwrap().unwrap();
            assert_eq!(command == Command::Help, *name == "/help", "{name}");
            assert!(!seen.contains(&command), "{name} is another command too");
            seen.push(command);
            assert!(help().contains(&format!("  {name} ")), "{name} is not in the help");
        }
    }
}
