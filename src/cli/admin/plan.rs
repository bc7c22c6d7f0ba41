//! The table of commands: which request each of them is, and what of the answer people want to see.
//!
//! # Invariants
//!
//! * What is left out on the command line is left out of the request: the server has the defaults.

use serde_json::json;

use super::call::{Call, Segment, given};
use super::command::{AliasCommand, Command, GroupCommand, KeyCommand, PageArgs, UpstreamCommand};
use super::group::{GroupEdit, NewGroup};
use super::show::Part::{self, Fields, Next, Rows, Said};
use super::top::TopArgs;
use crate::cli::Failure;

/// What a command comes to.
pub(super) enum Job {
    /// A request, whose answer is shown.
    Ask(Plan),
    /// A request, whose answer is printed as it is.
    Copy(Call),
    /// An export of history.
    Export(Call),
    /// The live table.
    Top(TopArgs),
}

/// A request, and what of its answer is shown.
pub(super) struct Plan {
    pub(super) call: Call,
    pub(super) parts: &'static [Part],
}

const GROUP: &[Part] = &[Fields(&[
    "group",
    "open",
    "creator",
    "version",
    "created_ms",
    "count",
    "rules/invite",
    "rules/kick",
    "rules/edit",
    "metadata",
])];
const SECRET: &[Part] = &[Fields(&["name", "scopes", "secret", "previous_until_ms"])];
const SENT: &[Part] = &[
    Rows("messages", &["id", "sequence", "at_ms", "conversation", "repeated"]),
    Rows("recipients", &["peer", "device", "outcome", "message"]),
    Fields(&["online", "offline", "ignored"]),
];
const PEER: &[Part] = &[
    Fields(&["peer", "online", "blocked"]),
    Rows("sessions", &["id", "device", "flag", "client", "address", "opened_ms"]),
    Rows("devices", &["device", "flag", "online", "seen_ms", "alias"]),
];
const STATS: &[Part] = &[Fields(&[
    "version",
    "uptime_seconds",
    "epoch",
    "connections",
    "sessions",
    "http_connections",
    "messages",
    "repeats",
    "deliveries",
    "transients",
    "dropped",
    "inbox_messages",
    "upstream_waiting",
    "groups",
    "aliases",
    "blocked",
    "commits",
    "log_bytes",
    "tail_bytes",
    "damaged_records",
])];

impl Command {
    /// What it comes to.
    ///
    /// # Errors
    ///
    /// Something on the command line, or on the standard input, cannot be sent.
    pub(super) fn job(self) -> Result<Job, Failure> {
        let (call, parts): (Call, &[Part]) = match self {
            Self::Send(args) => (args.call()?, SENT),
            Self::Recall { id } => (
                Call::post(format!("/v1/messages/{id}/recall")),
                &[Said("the message is taken back")],
            ),
            Self::Status { peers } => (
                Call::post("/v1/peers/status").json(&json!({"peers": peers}))?,
                &[Fields(&["online", "offline"])],
            ),
            Self::Peer { peer } => (Call::get(format!("/v1/peers/{peer}")), PEER),
            Self::Kick { peer, device, reason } => (
                Call::post(format!("/v1/peers/{peer}/kick"))
                    .json(&given([("device", device), ("reason", reason)]))?,
                &[Fields(&["ended"])],
            ),
            Self::Block { peer } => {
                (Call::put(format!("/v1/peers/{peer}/block")), &[Said("the peer is blocked")])
            }
            Self::Unblock { peer } => (
                Call::delete(format!("/v1/peers/{peer}/block")),
                &[Said("the peer is not blocked")],
            ),
            Self::Blocked(page) => {
                (page.of(Call::get("/v1/blocked")), &[Rows("items", &["peer"]), Next("--after")])
            }
            Self::Groups(command) => command.plan()?,
            Self::Alias(command) => command.plan()?,
            Self::History(args) if args.export => return Ok(Job::Export(args.call())),
            Self::History(args) => (
                args.call(),
                &[
                    Rows("items", &["at_ms", "id", "sequence", "from", "for", "said"]),
                    Next("--before"),
                ],
            ),
            Self::Upstream(command) => command.plan()?,
            Self::Endpoints(command) => command.plan()?,
            Self::Keys(command) => command.plan()?,
            Self::Stats => (Call::get("/v1/stats"), STATS),
            Self::Metrics => return Ok(Job::Copy(Call::get("/metrics"))),
            Self::Top(args) => return Ok(Job::Top(args)),
        };
        Ok(Job::Ask(Plan { call, parts }))
    }
}

/// What a command is planned to be.
pub(super) type Planned = Result<(Call, &'static [Part]), Failure>;

impl GroupCommand {
    fn plan(self) -> Planned {
        Ok(match self {
            Self::List(page) => (
                page.of(Call::get("/v1/groups")),
                &[
                    Rows("items", &["group", "count", "open", "creator", "created_ms", "metadata"]),
                    Next("--after"),
                ],
            ),
            Self::Show { group } => (Call::get(format!("/v1/groups/{group}")), GROUP),
            Self::Members { group, page } => (
                page.of(Call::get(format!("/v1/groups/{group}/members"))),
                &[Rows("items", &["peer"]), Next("--after")],
            ),
            Self::Create { members, open, settings } => {
                let body = NewGroup { members, open, edit: settings.into() };
                (Call::post("/v1/groups").json(&body)?, GROUP)
            }
            Self::Edit { group, settings, version } => {
                let call = Call::patch(format!("/v1/groups/{group}")).if_version(version);
                (call.json(&GroupEdit::from(settings))?, GROUP)
            }
            Self::Delete { group, version } => (
                Call::delete(format!("/v1/groups/{group}")).if_version(version),
                &[Said("the group is deleted")],
            ),
            Self::Add { group, peers } => {
                let call = Call::post(format!("/v1/groups/{group}/members"));
                (call.json(&json!({"peers": peers}))?, GROUP)
            }
            Self::Remove { group, peers } => {
                let call = Call::post(format!("/v1/groups/{group}/members/remove"));
                (call.json(&json!({"peers": peers}))?, GROUP)
            }
        })
    }
}

impl AliasCommand {
    fn plan(self) -> Planned {
        let binding = |alias, device| json!({"bindings": [{"alias": alias, "device": device}]});
        const UNBOUND: &[Part] = &[Said("the alias is unbound")];
        Ok(match self {
            Self::Bind { alias, device } => (
                Call::post("/v1/aliases").json(&binding(alias, device))?,
                &[Said("the alias is bound")],
            ),
            Self::Unbind { alias, device: Some(device), .. } => {
                (Call::post("/v1/aliases/unbind").json(&binding(alias, device))?, UNBOUND)
            }
            Self::Unbind { alias, device: None, .. } => {
                let alias: Segment = alias.parse()?;
                (Call::delete(format!("/v1/aliases/{alias}")), UNBOUND)
            }
            Self::Show { alias } => (
                Call::get(format!("/v1/aliases/{alias}")),
                &[Rows("devices", &["device", "peer", "online", "gone"])],
            ),
            Self::Device { device } => (
                Call::get(format!("/v1/devices/{device}")),
                &[Fields(&["device", "peer", "online", "gone", "alias"])],
            ),
        })
    }
}

impl UpstreamCommand {
    fn plan(self) -> Planned {
        let settle = |id, accepted: bool| {
            Call::post(format!("/v1/upstream/{id}")).json(&json!({"accepted": accepted}))
        };
        Ok(match self {
            Self::List(page) => (
                page.of(Call::get("/v1/upstream")),
                &[Rows("items", &["at_ms", "id", "from", "device", "said"]), Next("--after")],
            ),
            Self::Accept { id } => (settle(id, true)?, &[Said("the message is accepted")]),
            Self::Refuse { id } => (settle(id, false)?, &[Said("the message is refused")]),
        })
    }
}

impl KeyCommand {
    fn plan(self) -> Planned {
        Ok(match self {
            Self::List => {
                const KEYS: &[&str] =
                    &["name", "scopes", "ending", "created_ms", "previous_until_ms"];
                (Call::get("/v1/keys"), &[Rows("keys", KEYS)])
            }
            Self::Create { name, scopes } => {
                let body = json!({"name": name, "scopes": scopes});
                (Call::post("/v1/keys").json(&body)?, SECRET)
            }
            Self::Rotate { name, grace } => {
                let body = json!({"grace_seconds": grace.as_secs()});
                (Call::post(format!("/v1/keys/{name}/rotate")).json(&body)?, SECRET)
            }
            Self::Delete { name } => {
                (Call::delete(format!("/v1/keys/{name}")), &[Said("the key is deleted")])
            }
        })
    }
}

impl PageArgs {
    pub(super) fn of(self, call: Call) -> Call {
        call.query("after", self.after).query("limit", self.limit)
    }
}
