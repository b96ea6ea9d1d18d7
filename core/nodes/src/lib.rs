//! The node kinds of a head-end.

mod clock;
mod fields;
mod in_flight;
mod located;
mod refusals;
mod stall;
mod tally;

pub mod audit_log;
pub mod command_desk;
pub mod command_signer;
pub mod decrypt;
pub mod downlink;
pub mod event_monitor;
pub mod ingress;
pub mod journal;
pub mod key_store;
pub mod load_balancer;
pub mod mdm_egress;
pub mod order;
pub mod record;
pub mod registrar;

/// All of them. A further kind is one file and one more `.with(..)`, here or outside.
#[must_use]
pub fn registry() -> node::Registry {
    node::Registry::default()
        .with(key_store::KeyStoreKind)
        .with(ingress::IngressKind)
        .with(load_balancer::LoadBalancerKind)
        .with(decrypt::DecryptKind)
        .with(registrar::RegistrarKind)
        .with(command_desk::CommandDeskKind)
        .with(command_signer::CommandSignerKind)
        .with(audit_log::AuditLogKind)
        .with(journal::JournalKind)
        .with(downlink::DownlinkKind)
        .with(mdm_egress::MdmEgressKind)
        .with(event_monitor::EventMonitorKind)
}
