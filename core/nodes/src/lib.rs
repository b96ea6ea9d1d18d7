//! The node kinds of a head-end. `metergraph::kinds` puts them into a registry.

mod clock;
mod in_flight;
mod located;
mod refusals;
mod tally;

pub mod decrypt;
pub mod downlink;
pub mod event_monitor;
pub mod ingress;
pub mod journal;
pub mod key_store;
pub mod load_balancer;
pub mod mdm_egress;
pub mod record;
