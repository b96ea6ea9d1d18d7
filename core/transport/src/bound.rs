//! Where a transport listens.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Where a transport listens, by the names of its `tcp_listen` grants: the service that it offers under
/// `transport:NAME`. With port 0 in the grant this is the only place that says which port it became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundAddresses(pub BTreeMap<String, SocketAddr>);

impl BoundAddresses {
    /// The address of one grant.
    #[must_use]
    pub fn get(&self, grant: &str) -> Option<SocketAddr> {
        self.0.get(grant).copied()
    }

    /// The address, when there is exactly one.
    #[must_use]
    pub fn only(&self) -> Option<SocketAddr> {
        let mut all = self.0.values();
        let first = all.next().copied();
        if all.next().is_none() { first } else { None }
    }
}
