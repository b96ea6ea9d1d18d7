//! End devices, and the caller.

use commands::front::DeviceView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::role::Role;

/// An end device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its EUI-64.
    pub dev: String,
    /// `profile1` or `classic`.
    pub kind: String,
    /// Its association, where it has one.
    pub sid: Option<String>,
    /// Its epoch, as far as the desk has heard.
    pub epoch: Option<u16>,
    /// When the desk heard of it last, Unix seconds.
    pub last_heard: Option<u64>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The command that is under way.
    pub pending: Option<String>,
    /// Commands that wait behind it.
    pub waiting: usize,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its ApTitle.
    pub aptitle: String,
    /// SHA-256 of its device profile.
    pub profile: String,
}

/// Whose token this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The token's name: the requester in intents.
    pub name: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// The Unix second from which the token is refused.
    pub expires: u64,
}

impl From<DeviceView> for Device {
    fn from(view: DeviceView) -> Self {
        Self {
            dev: view.dev.to_string(),
            kind: view.kind.to_owned(),
            sid: view.sid.map(|sid| sid.to_string()),
            epoch: view.epoch.map(|epoch| epoch.0),
            last_heard: view.last_heard,
            revoked: view.revoked,
            pending: view.pending.map(|id| id.to_string()),
            waiting: view.waiting,
            groups: view.groups.iter().map(ToString::to_string).collect(),
            aptitle: view.title,
            profile: view.profile,
        }
    }
}
