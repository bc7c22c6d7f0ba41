//! Who may do what in a group, as it stands in requests and in answers.
//!
//! # Invariants
//!
//! * A rule that is not named stays as it was.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::group::{Rules, Who};

/// Who may do what in a group, as far as it is said.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SomeRules {
    /// Who may invite.
    invite: Option<Role>,
    /// Who may kick.
    kick: Option<Role>,
    /// Who may change the metadata and these rules.
    edit: Option<Role>,
}

/// Who may do something in a group; the back end may do everything.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// The back end alone.
    Server,
    /// The one who created the group, while a member.
    Creator,
    /// Every member.
    Members,
}

/// Who may do what in a group.
#[derive(Serialize, ToSchema)]
pub(super) struct AllRules {
    /// Who may invite.
    invite: Role,
    /// Who may kick.
    kick: Role,
    /// Who may change the metadata and these rules.
    edit: Role,
}

impl SomeRules {
    /// These, and those of before where they say nothing.
    pub(super) fn over(self, before: Rules) -> Rules {
        Rules {
            invite: self.invite.map_or(before.invite, Who::from),
            kick: self.kick.map_or(before.kick, Who::from),
            edit: self.edit.map_or(before.edit, Who::from),
        }
    }
}

impl From<Rules> for AllRules {
    fn from(Rules { invite, kick, edit }: Rules) -> Self {
        Self { invite: invite.into(), kick: kick.into(), edit: edit.into() }
    }
}

impl From<Role> for Who {
    fn from(role: Role) -> Self {
        match role {
            Role::Server => Self::Server,
            Role::Creator => Self::Creator,
            Role::Members => Self::Members,
        }
    }
}

impl From<Who> for Role {
    fn from(who: Who) -> Self {
        match who {
            Who::Server => Self::Server,
            Who::Creator => Self::Creator,
            Who::Members => Self::Members,
        }
    }
}
