//! The relay's table of parents and the source routes it builds.

use std::collections::BTreeMap;

use crate::Eui64;
use crate::frame::{ROUTE_IE_HOPS_MAX, RouteIe};

/// The most hops of a source route.
pub const HOPS_MAX: usize = 16;

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The parent of a node on the way is not known, or known for too long.
    #[error("route-unknown")]
    Unknown,
    /// The parents lead in a circle.
    #[error("route-loop")]
    Loop,
    /// More than sixteen hops.
    #[error("route-too-long")]
    TooLong,
}

/// A source route, from the relay's child to the final address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRoute {
    /// Final address first.
    upward: [Eui64; HOPS_MAX],
    len: usize,
}

impl SourceRoute {
    /// How many hops, at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a route is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The hops in the order they are taken; the last is the final address.
    pub fn hops(&self) -> impl Iterator<Item = Eui64> {
        self.upward.iter().take(self.len).rev().copied()
    }

    /// Whom the relay sends to.
    #[must_use]
    pub fn first_hop(&self) -> Eui64 {
        self.hops().next().unwrap_or_default()
    }

    /// The hops between the first and the last as a ROUTE IE, written to `buffer`; nothing when there are none.
    pub fn ie<'b>(&self, buffer: &'b mut [u8; ROUTE_IE_HOPS_MAX * 8]) -> Option<RouteIe<'b>> {
        let between = self.upward.iter().take(self.len.saturating_sub(1)).skip(1);
        let mut len = 0;
        for (place, hop) in buffer.chunks_exact_mut(8).zip(between) {
            place.copy_from_slice(&hop.0.to_le_bytes());
            len += 8;
        }
        let octets = buffer.get(..len).filter(|octets| !octets.is_empty())?;
        RouteIe::from_octets(octets).ok()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: Eui64,
    learnt_ns: u64,
}

/// Who is whose parent in one cell, learnt from uplinks.
#[derive(Clone, Debug)]
pub struct RouteTable {
    relay: Eui64,
    nodes_max: usize,
    lifetime_ns: u64,
    entries: BTreeMap<Eui64, Entry>,
    evicted: u64,
}

impl RouteTable {
    /// An empty table for at most `nodes_max` nodes; an entry not renewed for `lifetime_ns` is not used.
    #[must_use]
    pub const fn new(relay: Eui64, nodes_max: usize, lifetime_ns: u64) -> Self {
        Self { relay, nodes_max, lifetime_ns, entries: BTreeMap::new(), evicted: 0 }
    }

    /// How many nodes are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no node is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many nodes had to give way in a full table.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The parent of a node, as learnt last.
    #[must_use]
    pub fn parent(&self, now_ns: u64, node: Eui64) -> Option<Eui64> {
        self.entries.get(&node).filter(|entry| self.is_fresh(entry, now_ns)).map(|entry| entry.parent)
    }

    /// Learns the parent of an originator. In a full table the node heard least lately gives way.
    ///
    /// # Errors
    /// [`RouteError::Loop`] for a node that is its own parent, and for the relay as an originator.
    pub fn learn(&mut self, now_ns: u64, originator: Eui64, parent: Eui64) -> Result<(), RouteError> {
        if originator == parent || originator == self.relay {
            return Err(RouteError::Loop);
        }
        if self.nodes_max == 0 {
            return Ok(());
        }
        let entry = Entry { parent, learnt_ns: now_ns };
        if let Some(known) = self.entries.get_mut(&originator) {
            *known = entry;
            return Ok(());
        }
        if self.entries.len() >= self.nodes_max {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.learnt_ns).map(|(node, _)| *node);
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
                self.evicted = self.evicted.saturating_add(1);
            }
        }
        self.entries.insert(originator, entry);
        Ok(())
    }

    /// Forgets a node.
    pub fn forget(&mut self, node: Eui64) {
        self.entries.remove(&node);
    }

    /// Forgets what was not renewed in time.
    pub fn expire(&mut self, now_ns: u64) {
        let lifetime_ns = self.lifetime_ns;
        self.entries.retain(|_, entry| now_ns < entry.learnt_ns.saturating_add(lifetime_ns));
    }

    /// The route to a node, from its parents upwards.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn route(&self, now_ns: u64, node: Eui64) -> Result<SourceRoute, RouteError> {
        if node == self.relay {
            return Err(RouteError::Loop);
        }
        let mut route = SourceRoute { upward: [Eui64::default(); HOPS_MAX], len: 0 };
        let mut hop = node;
        while hop != self.relay {
            if route.upward.iter().take(route.len).any(|taken| *taken == hop) {
                return Err(RouteError::Loop);
            }
            *route.upward.get_mut(route.len).ok_or(RouteError::TooLong)? = hop;
            route.len += 1;
            hop = self.parent(now_ns, hop).ok_or(RouteError::Unknown)?;
        }
        Ok(route)
    }

    const fn is_fresh(&self, entry: &Entry, now_ns: u64) -> bool {
        now_ns < entry.learnt_ns.saturating_add(self.lifetime_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RELAY: Eui64 = Eui64(0);

    fn chain(len: u64) -> RouteTable {
        let mut table = RouteTable::new(RELAY, 100, 1000);
        for node in 1..=len {
            table.learn(node, Eui64(node), Eui64(node - 1)).unwrap();
        }
        table
    }

    #[test]
    fn a_route_of_sixteen_hops_fits_its_ie_and_one_of_seventeen_is_too_long() {
        let table = chain(17);
        let route = table.route(20, Eui64(16)).unwrap();
        assert_eq!(route.hops().collect::<Vec<_>>(), (1..=16).map(Eui64).collect::<Vec<_>>());
        assert_eq!((route.len(), route.first_hop()), (16, Eui64(1)));
        let mut buffer = [0; 112];
        let ie = route.ie(&mut buffer).unwrap();
        assert_eq!(ie.hops().collect::<Vec<_>>(), (2..=15).map(Eui64).collect::<Vec<_>>());
        assert_eq!(table.route(20, Eui64(17)), Err(RouteError::TooLong));
    }

    #[test]
    fn one_and_two_hops_need_no_ie() {
        let table = chain(2);
        let mut buffer = [0; 112];
        assert_eq!(table.route(20, Eui64(1)).unwrap().ie(&mut buffer), None);
        assert_eq!(table.route(20, Eui64(2)).unwrap().ie(&mut buffer), None);
    }

    #[test]
    fn circles_are_found() {
        let mut table = chain(3);
        assert_eq!(table.learn(0, Eui64(4), Eui64(4)), Err(RouteError::Loop));
        assert_eq!(table.learn(0, RELAY, Eui64(4)), Err(RouteError::Loop));
        table.learn(5, Eui64(1), Eui64(3)).unwrap();
        assert_eq!(table.route(20, Eui64(2)), Err(RouteError::Loop));
        assert_eq!(table.route(20, RELAY), Err(RouteError::Loop));
    }

    #[test]
    fn old_knowledge_is_not_used() {
        let mut table = chain(3);
        assert!(table.route(1000, Eui64(3)).is_ok());
        assert_eq!(table.route(1001, Eui64(3)), Err(RouteError::Unknown));
        table.expire(1001);
        assert_eq!(table.len(), 2);
        table.forget(Eui64(2));
        assert_eq!(table.route(1001, Eui64(3)), Err(RouteError::Unknown));
    }

    #[test]
    fn in_a_full_table_the_oldest_gives_way() {
        let mut table = RouteTable::new(RELAY, 2, 1000);
        for node in 1..=3 {
            table.learn(node, Eui64(node), RELAY).unwrap();
        }
        assert_eq!((table.len(), table.evicted()), (2, 1));
        assert_eq!(table.route(3, Eui64(1)), Err(RouteError::Unknown));
    }

    proptest! {
        #[test]
        fn any_table_gives_a_true_route_or_a_word(
            learnt in proptest::collection::vec((0_u64..30, 0_u64..30), 0..200),
            node in 0_u64..30,
        ) {
            let mut table = RouteTable::new(RELAY, 20, 1000);
            for (originator, parent) in learnt {
                let _ = table.learn(0, Eui64(originator), Eui64(parent));
            }
            prop_assert!(table.len() <= 20);
            if let Ok(route) = table.route(0, Eui64(node)) {
                let hops: Vec<_> = route.hops().collect();
                prop_assert_eq!(hops.last(), Some(&Eui64(node)));
                let mut above = RELAY;
                for hop in hops {
                    prop_assert_eq!(table.parent(0, hop), Some(above));
                    above = hop;
                }
            }
        }
    }
}
