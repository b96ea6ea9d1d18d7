//! Groups and their members.

use commands::front::GroupView;
use seal::command::Class;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Accepted;

/// A new group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// For people.
    #[schema(max_length = 64, example = "wave 1")]
    pub name: String,
    /// Classes (0 to 5) that its members let it order.
    #[schema(example = json!([2, 3]))]
    pub classes: Vec<u8>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its number.
    pub gid: String,
    /// Its name.
    pub name: String,
    /// Classes that it may order.
    pub classes: Vec<u8>,
    /// Rises with each change of its members.
    pub version: u64,
    /// How many members there are.
    pub members: u64,
    /// The epoch in force; none before its first key is durable.
    pub epoch: Option<u16>,
    /// When the next epoch comes into force, Unix seconds.
    pub next_at: Option<u32>,
    /// A page of its members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub page: Vec<String>,
}

/// All groups, without their members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupList {
    /// In the order of their numbers.
    pub groups: Vec<Group>,
}

/// End devices that are to join or to leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// Their EUI-64s.
    #[schema(min_items = 1, max_items = 10000, example = json!(["0011223344556677"]))]
    pub devices: Vec<String>,
}

/// Commands that were taken, one for each device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedList {
    /// In the order of the devices.
    pub commands: Vec<Accepted>,
}

impl From<GroupView> for Group {
    fn from(view: GroupView) -> Self {
        let contained =
            |class: &u8| Class::from_octet(*class).is_some_and(|class| view.classes.contain(class));
        Self {
            gid: view.gid.to_string(),
            name: view.name,
            classes: (0..6).filter(contained).collect(),
            version: view.version,
            members: view.members,
            epoch: view.epoch.map(|epoch| epoch.0),
            next_at: view.next_at,
            page: view.page.iter().map(ToString::to_string).collect(),
        }
    }
}
