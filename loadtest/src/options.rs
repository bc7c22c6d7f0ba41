//! The command line.
//!
//! # Invariants
//!
//! * Every scenario has the same common flags; `floor` takes a scenario and its flags.

mod compare;
mod flags;
mod growth;
mod loads;
mod scenario;
mod trials;
mod trust;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::compare::Compare;
pub(crate) use self::flags::{Against, Body, Common, ServerChoice, Talk, Timing, With};
pub(crate) use self::growth::{Growth, What};
pub(crate) use self::loads::{
    Chat, Fanout, History, Idle, Offline, Presence, Push, Rate, Roam, Webhook,
};
pub(crate) use self::trials::{Overload, Restart};
pub(crate) use self::trust::{BadNet, Hostile, Soak};

/// The load generator of Tidings: an honest client over real QUIC.
///
/// Every message carries its sender, number and time, so that a run proves its result: exit code 1
/// when anything acknowledged was neither delivered nor told as dropped, came out of order in its
/// conversation, or reached an app twice; when a change of presence was not told to each watcher
/// once; and when a session ended that should not have.
#[derive(Debug, Parser)]
#[command(version, about, long_about)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to run.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// The same load on a raw QUIC relay, without a log or routing: what the transport costs
    ///
    /// Example: loadtest floor chat --sessions 200 --window 16
    Floor(Floor),
    /// Runs the same loads on the floor, the server and every broker that is installed, in turn
    ///
    /// Writes all figures as JSON, and a page to be read that needs nothing else. A broker that is
    /// not installed is a row that says how to install it.
    ///
    /// Example: loadtest compare --rounds 5 --html comparison.html
    Compare(Compare),
    /// What a message costs as sessions, the log, a group, or its recipients grow
    ///
    /// Each step is a run of another scenario, whose proof counts here too. Sessions: `rate` with a
    /// message every five seconds of each, and with 2,000 a second of all of them; `chat` with one
    /// send of each under way, on the server and on the bare relay. Log: `chat` on a log that is
    /// filled first. Groups: 1,000 sessions in groups of any size, each of which hears 10 messages
    /// a second; one group with 20 messages a second, and one with 10,000 deliveries a second.
    /// Recipients: as many messages as make 10,000 deliveries a second. A step that the server or
    /// the disk does not allow says so, and each series says what else grows in it.
    ///
    /// A series is flat if no step costs more than 25 percent more of the server's CPU, for each
    /// message (or delivery, where a message has several), than the step at its base: 1,000
    /// sessions, 0.1 GiB, 100 members, 1 recipient. Writes all figures as JSON, and a page with
    /// charts.
    ///
    /// Example: loadtest growth --what sessions,log --html growth.html
    Growth(Growth),
    /// The relay that `floor` starts
    #[command(hide = true)]
    Relay(Relay),
}

/// A load on the server.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Closed loop: each session keeps a window of sends to random peers in flight
    Chat(With<Chat>),
    /// Open loop: so many messages a second in all, latency counted from the intended send time
    Rate(With<Rate>),
    /// Stores messages for absent peers, then lets them all open and drain
    Offline(With<Offline>),
    /// Opens sessions, one connection each, and holds them
    Idle(With<Idle>),
    /// Open loop in a group: every message must reach every other member
    ///
    /// Members are invited by the first of them. Then random members send so many messages a
    /// second in all, each of which is due to all the others: a group of 1,000 makes 999 deliveries
    /// of each. With --groups there are several such groups, each of other peers. The proof: every
    /// member gets every acknowledged message of the others once, in the one order of the group,
    /// and no message of its own. Latency counts from the intended send to each delivery.
    ///
    /// With --beside-rate other peers talk to one another at the same time, as `rate` does; their
    /// latency and their proof are reported beside the group's, under `beside` in the JSON.
    ///
    /// Example: loadtest fanout --group 1000 --rate 20 --beside-rate 200
    Fanout(With<Fanout>),
    /// Peers log out and open again, and every watcher must hear of each change once
    ///
    /// Of the sessions, the watchers come first. All of them watch the same peers: as many of the
    /// others as one session may watch, 1,000 at the most. Only these change, in turn, so many
    /// changes a second: who is on line logs out (Close), who is off line connects and opens
    /// again. Sessions beyond that are held and say nothing. The proof: each watcher hears each
    /// change once, in order, and nothing else; `sent` counts changes, `delivered` notices, and so
    /// do `lost` and `duplicated`. Latency counts from writing Open or Close to each notice; the
    /// time to an answer counts from when the change was due, so it includes the connecting.
    ///
    /// Example: loadtest presence --sessions 2000 --watchers 20 --churn 50
    Presence(With<Presence>),
    /// The load of `rate`, while every session changes its UDP socket again and again
    ///
    /// Each session has a socket of its own, and gets another one, with another address, every so
    /// many seconds; the sessions do so one after another, evenly spread. One more session stays
    /// where it is, watches all of them, and must hear nothing. No session may end.
    ///
    /// `gap_ms` has one time for each change of a socket: from the change to the answer of a Ping
    /// that the session writes at that moment. A stream keeps its order, so by then what the
    /// session had said before has reached the server, and what the server had said to it before
    /// the Ping has reached the session. What the load's own spacing leaves empty is not in it.
    ///
    /// Example: loadtest roam --sessions 200 --every 5 --rate 500 --seconds 60
    Roam(With<Roam>),
    /// Open loop over the HTTP API: so many pushes a second, each to the alias of one device
    ///
    /// Every device is a peer of its own with a session that listens, and gets an alias over HTTP.
    /// Then a few kept connections POST messages to random aliases at fixed times; all pushes to
    /// one device go over the same connection, so they have an order. The proof: every push
    /// answered with 201 reaches the device named by its alias once and in order, and no other.
    /// Latency counts from the intended request to the delivery, `acked` from there to the answer.
    /// At the end the server's figures must be exactly what was counted here.
    ///
    /// Example: loadtest push --rate 2000 --devices 1000
    Push(With<Push>),
    /// Fills a server with messages, starts it again, and asks for pages of its history over HTTP
    ///
    /// A tenth of the messages goes to groups. The server is ended in order and started again;
    /// then pages of 50 are asked for by conversation, by group, by sender and of the whole app,
    /// half of them from the newest message on and half from a random place in the past, one
    /// after another and then four at a time. The proof: every page has exactly the messages that
    /// it must have, in order, without a gap.
    ///
    /// Example: loadtest history --messages 5000000 --conversations 100000
    History(With<History>),
    /// The load of `rate`, while endpoints of the generator hear of every message by webhook
    ///
    /// The generator listens on a port of its own, creates the endpoints over HTTP and takes what
    /// the server posts: it verifies every signature, answers after --latency, and answers some
    /// requests with 503 if --fail says so. The proof: every acknowledged message is heard of at
    /// every endpoint, in the order of its conversation, and a request that comes again has the
    /// same bytes. `lag_ms` counts from the intended send of a message to the request that is
    /// answered with 204.
    ///
    /// With --down nobody listens while messages are sent; then the endpoints catch up, and
    /// `down` in the JSON says how fast, and what the server's memory did meanwhile.
    ///
    /// Example: loadtest webhook --rate 5000 --endpoints 1 --latency 200 --fail 20
    Webhook(With<Webhook>),
    /// Offers more than the server carries, and then a normal load again
    ///
    /// First a closed loop finds the top: messages a second, memory. Then messages are due at fixed
    /// times, so many times the top; then a normal load comes again, and the top once more. What an
    /// overload carried is told in parts of the mean of the tops before and after it. A session
    /// writes what is due as flow control admits it, and has no more than --unanswered of its sends
    /// unanswered. What is due beyond that waits in the client: it is shown as `held_back`, and
    /// given up when the overload ends, as an app would. `accepted_ms` is from writing a send to
    /// its acknowledgement. `recovered_ms` is from the end of the overload to the first of two
    /// windows of 200 ms in a row in which the p99 of the normal load, counted from when a message
    /// was due, is no more than 10 ms or twice that of a usual window before. The proof is that of
    /// `rate`.
    ///
    /// Example: loadtest overload --times 2,5
    Overload(With<Overload>),
    /// Kills the server (SIGKILL), starts it again on the same data and port, and awaits everybody
    ///
    /// Clients are those of the client library, each on a connection of its own, so they come back
    /// as real ones do: they learn from a reset that the connection is gone, and try again after
    /// growing, random waits. They talk at a low rate, also while the server is down. Some peers
    /// are away, with messages that wait for them. With --log-gib the log is filled before.
    ///
    /// `ready_ms` is from starting the process to its answer that it is ready; `noticed_ms` and
    /// `back_ms` are from the kill until each client knows that its connection is gone, and until
    /// its session is open again. When all are back, the absent come, four at
    /// a time: `open_to_last_ms` is from writing Open to the last message that waited. The proof:
    /// what was acknowledged before or after reaches its peer once and in order, and each absent
    /// peer gets exactly what was stored for it.
    ///
    /// With --messages the server is restarted ten times: by SIGKILL and by drain, and each time
    /// that many messages are sent to each client before it may come back. The sending begins
    /// before a port is bound, when QUIC is bound, when the server is ready (over HTTP, asked
    /// again until answered), when the first client is back, and when half of them are (by those
    /// who are). A proxy holds the others until all is sent. None of it may be lost, and none
    /// dropped, though it is more than what is kept for a peer that is away.
    ///
    /// Example: loadtest restart --sessions 5000 --log-gib 1
    /// Example: loadtest restart --sessions 1000 --messages 100
    Restart(With<Restart>),
    /// The load of `rate` over a bad network, by clients of the client library
    ///
    /// All datagrams pass a proxy, which loses, holds back, doubles and delays as it is told, lets
    /// only so much or so long ones through, changes the addresses of clients as a NAT does that
    /// forgets them, and cuts single directions for a while. What happens to each datagram is drawn
    /// from a seed. The sessions open before any of it begins.
    ///
    /// The proof is that of `rate`, and nothing may be dropped: every acknowledged message reaches
    /// its app once and in order. `gap_ms` has one time for each change of an address: from the
    /// change to the answer of a Ping that the client is asked for at that moment. `reopened`
    /// counts sessions that came back over a new connection.
    ///
    /// Example: loadtest badnet --loss 10 --reorder 20 --rebind 30 --rate 1000 --seconds 600
    #[command(name = "badnet")]
    BadNet(With<BadNet>),
    /// A long day: chat, groups, presence, roaming, offline, webhooks and HTTP at once, while the
    /// server is killed and drained at random
    ///
    /// Sessions of the client library talk to one another and in groups, and change their sockets;
    /// other peers come and go, and are watched; a back end sends over HTTP and asks again under
    /// the same `Idempotency-Key` until it is answered; two endpoints hear of every message by
    /// webhook, and refuse some. When the server is ended, and how, is drawn from a seed.
    ///
    /// The proof: every peer, every member and every endpoint has had all that was acknowledged,
    /// once and in order; nothing was dropped, for nobody was away for so long; at the end the
    /// watcher knows who is there, and of nobody else. Then the server's `fsck` finds the data
    /// sound.
    ///
    /// In the last two fifths of the time nobody ends the server, so that what one process takes
    /// more and more of shows. Of 50 minutes and more, the last process is judged: its memory at
    /// the end is within 10 percent of that behind the first half of this calm, and so are its open
    /// files (and 16 more) and its threads (and 4 more). And over the restarts, of 10 minutes and
    /// more, the memory before the calm is within 10 percent of that behind the first sixth of the
    /// time.
    ///
    /// Example: loadtest soak --minutes 60 --restarts 20 --html soak.html
    Soak(With<Soak>),
    /// The load of `rate`, beside a hostile client of one kind after another
    ///
    /// Kinds: handshakes that are begun and never go on (loris); first packets from many addresses
    /// of 127.0.0.0/8 that nobody proves (spoof), half of which, at least, the server must answer
    /// with Retry; streams without end (streams); messages that are read and never acknowledged
    /// (unacked), or not read at all (deaf); acknowledgements of what was never sent (future);
    /// watching 1,000 peers over and over (watch); writes of a byte (bytes); random bytes as frames
    /// and datagrams (garbage); frames that say they are huge (lengths). A further honest client
    /// connects meanwhile.
    ///
    /// The proof is that of `rate`; and for each kind the p99 of the others stays below 50 ms, from
    /// when a message was due to its app, and the server's memory grows by less than 64 MiB. A kind
    /// that did nothing at all proves nothing, and fails. Before each kind the others are measured
    /// alone, as long; both tell how long the disk took for the server's syncs, and the CPU of the
    /// server and of this generator: a slow disk or a busy machine shows alone too. Server, others
    /// and hostile client share the machine, so the client does at most `--attacks` things a
    /// second, by default 500: some hundred times what an app does.
    ///
    /// Example: loadtest hostile --rate 500 --seconds 10
    Hostile(With<Hostile>),
}

/// A load on the relay.
#[derive(Clone, Debug, Args)]
pub(crate) struct Floor {
    #[command(subcommand)]
    pub(crate) scenario: FloorScenario,
}

/// A load that makes sense on a relay.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum FloorScenario {
    /// Closed loop: each session keeps a window of sends to random peers in flight
    Chat(With<Chat>),
    /// Open loop: so many messages a second in all, latency counted from the intended send time
    Rate(With<Rate>),
    /// Opens sessions, one connection each, and holds them
    Idle(With<Idle>),
}

impl From<FloorScenario> for Scenario {
    fn from(scenario: FloorScenario) -> Self {
        match scenario {
            FloorScenario::Chat(chat) => Self::Chat(chat),
            FloorScenario::Rate(rate) => Self::Rate(rate),
            FloorScenario::Idle(idle) => Self::Idle(idle),
        }
    }
}

/// The relay's own options.
#[derive(Clone, Debug, Args)]
pub(crate) struct Relay {
    /// Peers that may open a session
    #[arg(long)]
    pub(crate) peers: u32,
    /// Microseconds from one hand-out to the next
    #[arg(long)]
    pub(crate) pace_us: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_floor_takes_a_scenario_and_its_flags() {
        let line = "loadtest floor chat --sessions 200 --window 16 --pace-us 250";
        let options = Options::try_parse_from(line.split(' ')).unwrap();
        let Command::Floor(Floor { scenario: FloorScenario::Chat(chat) }) = options.command else {
            panic!("not a chat");
        };
        assert_eq!((chat.sessions, chat.window, chat.common.pace_us), (200, 16, 250));
        assert!(Options::try_parse_from("loadtest floor offline".split(' ')).is_err());
    }
}
