//! Commands: intents, policy, signing, the desk's table, groups and campaigns.

mod cbor;

pub mod approval;
pub mod audit;
pub mod body;
pub mod campaign;
pub mod class;
pub mod code;
pub mod desk;
pub mod front;
pub mod group;
pub mod intent;
pub mod policy;
pub mod signer;
