//! Epoch campaigns.

use commands::front::CampaignView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new epoch campaign: all associations go some epochs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCampaign {
    /// Steps.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 4, default = 1)]
    pub delta: u8,
    /// Devices that are told one by one at the same time, at most.
    #[serde(default = "wave")]
    #[schema(minimum = 1, default = 1000)]
    pub wave: u32,
    /// The group that is told by one signed command; the others are told one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "80000001")]
    pub group: Option<String>,
}

fn one() -> u8 {
    1
}

fn wave() -> u32 {
    1000
}

/// An epoch campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Campaign {
    /// Its number.
    pub campaign: u32,
    /// Steps.
    pub delta: u8,
    /// `broadcast`, `catch-up`, `paused` or `finished`.
    pub state: String,
    /// Associations that it concerns.
    pub total: u64,
    /// Those that hold the new epoch.
    pub proved: u64,
    /// Those that may still.
    pub pending: u64,
    /// Those that must register anew.
    pub missed: u64,
    /// A page of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reregister: Vec<String>,
}

impl From<CampaignView> for Campaign {
    fn from(view: CampaignView) -> Self {
        Self {
            campaign: view.campaign,
            delta: view.delta,
            state: view.state.word().to_owned(),
            total: view.total,
            proved: view.proved,
            pending: view.pending,
            missed: view.missed,
            reregister: view.reregister.iter().map(ToString::to_string).collect(),
        }
    }
}
