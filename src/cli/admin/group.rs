//! What is said of a group that is made or changed.
//!
//! # Invariants
//!
//! * Metadata goes to the server as it was written.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// What can be set about a group.
#[derive(Args, Debug)]
pub(super) struct GroupSettings {
    /// Who may invite.
    #[arg(long, value_name = "WHO")]
    invite: Option<Role>,
    /// Who may kick.
    #[arg(long, value_name = "WHO")]
    kick: Option<Role>,
    /// Who may change the metadata and these rules.
    #[arg(long, value_name = "WHO")]
    edit: Option<Role>,
    /// Any JSON, in place of all that there is; null takes it away.
    #[arg(long, value_name = "JSON", value_parser = raw)]
    metadata: Option<Box<RawValue>>,
}

/// Who may do something in a group.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// The back end alone.
    Server,
    /// The one who created the group, while a member.
    Creator,
    /// Every member.
    Members,
}

/// A group that is to be made.
#[derive(Serialize)]
pub(super) struct NewGroup {
    pub(super) members: Vec<String>,
    pub(super) open: bool,
    #[serde(flatten)]
    pub(super) edit: GroupEdit,
}

/// What is to change in a group.
#[derive(Serialize)]
pub(super) struct GroupEdit {
    #[serde(skip_serializing_if = "Map::is_empty")]
    rules: Map<String, Value>,
    /// As it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
}

impl From<GroupSettings> for GroupEdit {
    fn from(settings: GroupSettings) -> Self {
        let GroupSettings { invite, kick, edit, metadata } = settings;
        let rules = [("invite", invite), ("kick", kick), ("edit", edit)];
        let rule = |(name, role)| Some((String::from(name), json!(role?)));
        Self { rules: rules.into_iter().filter_map(rule).collect(), metadata }
    }
}

fn raw(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}
