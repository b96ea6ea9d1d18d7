//! The node kinds that this program knows.

use node::Registry;

/// All shipped kinds. A further kind is one file and one more `.with(..)`.
#[must_use]
pub fn registry() -> Registry {
    Registry::default()
        .with(nodes::key_store::KeyStoreKind)
        .with(nodes::ingress::IngressKind)
        .with(nodes::load_balancer::LoadBalancerKind)
        .with(nodes::decrypt::DecryptKind)
        .with(nodes::journal::JournalKind)
        .with(nodes::downlink::DownlinkKind)
        .with(nodes::mdm_egress::MdmEgressKind)
        .with(nodes::event_monitor::EventMonitorKind)
}
