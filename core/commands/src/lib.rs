//! Commands: intents, policy, signing, the desk's table, groups and campaigns.

pub mod body;
pub mod campaign;
pub mod desk;
pub mod front;
pub mod group;
