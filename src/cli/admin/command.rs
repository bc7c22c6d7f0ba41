//! What can be asked of a server.
//!
//! # Invariants
//!
//! * A name of an option is that of the field of the API, where it has one.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::call::Segment;
use super::endpoints::EndpointCommand;
use super::group::GroupSettings;
use super::history::{HistoryArgs, duration};
use super::message::SendArgs;
use super::top::TopArgs;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send a message: to peers, to a group, to the devices of an alias, or to one device.
    Send(SendArgs),
    /// Take a message back, whoever sent it.
    Recall {
        /// Of the message.
        id: Segment,
    },
    /// Tell which of some peers are online.
    Status {
        #[arg(required = true, value_name = "PEER")]
        peers: Vec<String>,
    },
    /// Show a peer, with its sessions and devices.
    Peer { peer: Segment },
    /// End sessions of a peer; their clients are told why, and may come back.
    Kick {
        peer: Segment,
        /// The session on this device; all without one.
        #[arg(long)]
        device: Option<String>,
        /// What the client is told.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Block a peer: its sessions end, and it can open none.
    Block { peer: Segment },
    /// Let a peer open sessions again.
    Unblock { peer: Segment },
    /// List the peers that are blocked.
    Blocked(PageArgs),
    /// Make, show and change groups.
    #[command(subcommand)]
    Groups(GroupCommand),
    /// Bind aliases to devices, and look them up both ways.
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Show what was said, the newest first: in the whole app, or where the options say.
    History(HistoryArgs),
    /// List and settle what clients send to the back end itself.
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// List, make, change and watch the endpoints of webhooks.
    #[command(subcommand)]
    Endpoints(EndpointCommand),
    /// List, make, rotate and delete the keys of the API.
    #[command(subcommand)]
    Keys(KeyCommand),
    /// Show the main figures, since the start where they count.
    Stats,
    /// Print all figures, in the text form of Prometheus.
    Metrics,
    /// Watch the rates of a server, once a second; `q` or Ctrl-C ends it.
    Top(TopArgs),
}

/// A part of a list.
#[derive(Args, Debug)]
pub(super) struct PageArgs {
    /// Go on behind this one.
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<String>,
    /// How many at the most.
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// List all groups.
    List(PageArgs),
    /// Show a group.
    Show { group: Segment },
    /// List the members of a group.
    Members {
        group: Segment,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Make a group.
    Create {
        /// A member; give it again for more.
        #[arg(long = "member", value_name = "PEER")]
        members: Vec<String>,
        /// It has no members and takes transient messages only; whoever knows its id may come in.
        #[arg(long, conflicts_with = "members")]
        open: bool,
        #[command(flatten)]
        settings: GroupSettings,
    },
    /// Change the rules or the metadata of a group.
    Edit {
        group: Segment,
        #[command(flatten)]
        settings: GroupSettings,
        /// Only if the group has this version.
        #[arg(long)]
        version: Option<String>,
    },
    /// Delete a group.
    Delete {
        group: Segment,
        /// Only if the group has this version.
        #[arg(long)]
        version: Option<String>,
    },
    /// Make peers members of a group.
    Add {
        group: Segment,
        #[arg(required = true, value_name = "PEER")]
        peers: Vec<String>,
    },
    /// Remove members from a group.
    Remove {
        group: Segment,
        #[arg(required = true, value_name = "PEER")]
        peers: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AliasCommand {
    /// Give a device an alias, in place of the one that it has.
    Bind { alias: String, device: String },
    /// Take an alias away from a device, or from all that have it.
    Unbind {
        alias: String,
        #[arg(required_unless_present = "all")]
        device: Option<String>,
        /// From all devices.
        #[arg(long, conflicts_with = "device")]
        all: bool,
    },
    /// Show which devices have an alias, and where they are.
    Show { alias: Segment },
    /// Show where a device is, and its alias.
    Device { device: Segment },
}

#[derive(Debug, Subcommand)]
pub(super) enum UpstreamCommand {
    /// List what waits for the back end, the oldest first.
    List(PageArgs),
    /// Accept a message; its sender hears of it.
    Accept { id: Segment },
    /// Refuse a message; its sender hears of it.
    Refuse { id: Segment },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List the keys, without their secrets.
    List,
    /// Make a key; its secret is shown this once.
    Create {
        /// Small letters, digits, `_` and `-`.
        name: String,
        /// What it may be used for; give it again for more.
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// Give a key a new secret, which is shown this once.
    Rotate {
        name: Segment,
        /// For how long the secret of before stays good, such as 1h.
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
        grace: Duration,
    },
    /// Delete a key, which is refused from then on.
    Delete { name: Segment },
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// To send messages, to recall them, and to settle those of clients to the back end.
    Send,
    /// To read: status, history, groups, aliases, messages to the back end, figures.
    Read,
    /// To change: groups, aliases, who is kicked and blocked.
    Admin,
    /// All of it, and the keys themselves.
    Master,
}
