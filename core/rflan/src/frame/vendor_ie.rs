//! The vendor header IEs of this link: timing, parent and source route.
//!
//! Content of the IE (802.15.4-2015, 7.4.2.2): vendor OUI, then a kind and its body. Numbers and EUI-64s are
//! low octet first, as in the rest of the MAC header.

use super::{FrameError, ROUTE_IE_HOPS_MAX};
use crate::Eui64;
use crate::hop::SlotFraction;
use crate::reader::Reader;

/// The vendor OUI: 02-52-46, as its number; low octet first in the IE.
///
/// It lies in the administratively assigned quadrant of the local address space (IEEE 802c-2017: low half of
/// the first octet 2h), which no registry assigns, so that it can be nobody's OUI.
pub const VENDOR_OUI: u32 = 0x02_52_46;

/// Octets of a whole TIMING IE: descriptor 2, OUI 3, kind 1, body 6.
pub const TIMING_IE_LEN: usize = 12;

const KIND_TIMING: u8 = 1;
const KIND_PARENT: u8 = 2;
const KIND_ROUTE: u8 = 3;

/// Where its sender is in its schedule and in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The slot and the part of it that had passed at the end of the frame's SFD.
    pub fraction: SlotFraction,
    /// How many hops from the relay; 0 is the relay.
    pub level: u8,
    /// The path cost to the relay, in 1/128 ETX; FFFFh is "no path".
    pub path_cost: u16,
}

/// The hops that a frame still has to take before its final address, at most [`ROUTE_IE_HOPS_MAX`].
///
/// The next hop stands last, so that a forwarder takes it off the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIe<'a> {
    octets: &'a [u8],
}

impl<'a> RouteIe<'a> {
    /// A route in the octets of an IE: EUI-64s, low octet first, next hop last.
    ///
    /// # Errors
    /// [`FrameError::VendorIe`] when it is not whole EUI-64s, [`FrameError::RouteTooLong`] when there are too
    /// many.
    pub const fn from_octets(octets: &'a [u8]) -> Result<Self, FrameError> {
        if !octets.len().is_multiple_of(8) {
            return Err(FrameError::VendorIe);
        }
        if octets.len() > ROUTE_IE_HOPS_MAX * 8 {
            return Err(FrameError::RouteTooLong);
        }
        Ok(Self { octets })
    }

    /// The octets as they stand in the IE.
    #[must_use]
    pub const fn as_octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The next hop and the route that is left for it; nothing when the final address is next.
    #[must_use]
    pub fn next_hop(&self) -> Option<(Eui64, Self)> {
        let (left, next) = self.octets.split_last_chunk::<8>()?;
        Some((Eui64(u64::from_le_bytes(*next)), Self { octets: left }))
    }

    /// The hops in the order they are taken.
    pub fn hops(self) -> impl Iterator<Item = Eui64> + 'a {
        let mut left = self;
        core::iter::from_fn(move || {
            let (next, rest) = left.next_hop()?;
            left = rest;
            Some(next)
        })
    }
}

/// One vendor header IE of this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorIe<'a> {
    /// Timing, level and path cost of the frame's sender.
    Timing(Timing),
    /// The originator's parent; forwarders copy it.
    Parent(Eui64),
    /// The source route that is left.
    Route(RouteIe<'a>),
}

impl<'a> VendorIe<'a> {
    /// Reads the content of a header IE of id 0.
    ///
    /// Nothing for another vendor's IE and for a kind that is not known: both are skipped.
    ///
    /// # Errors
    /// [`FrameError::VendorIe`], [`FrameError::RouteTooLong`] for a known kind with a wrong body.
    pub fn decode(content: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let mut reader = Reader::new(content);
        let Some([low, middle, high]) = reader.array() else {
            return Ok(None);
        };
        if u32::from_le_bytes([low, middle, high, 0]) != VENDOR_OUI {
            return Ok(None);
        }
        let Some(kind) = reader.octet() else {
            return Err(FrameError::VendorIe);
        };
        let body = reader.rest();
        Ok(match kind {
            KIND_TIMING => {
                let body: &[u8; 6] = body.try_into().map_err(|_| FrameError::VendorIe)?;
                let [low, middle, high, level, cost_low, cost_high] = *body;
                Some(Self::Timing(Timing {
                    fraction: SlotFraction::from_u24(u32::from_le_bytes([low, middle, high, 0])),
                    level,
                    path_cost: u16::from_le_bytes([cost_low, cost_high]),
                }))
            }
            KIND_PARENT => {
                let body: &[u8; 8] = body.try_into().map_err(|_| FrameError::VendorIe)?;
                Some(Self::Parent(Eui64(u64::from_le_bytes(*body))))
            }
            KIND_ROUTE => Some(Self::Route(RouteIe::from_octets(body)?)),
            _ => None,
        })
    }

    /// Octets of the IE's content: OUI, kind and body.
    #[must_use]
    pub const fn content_len(&self) -> usize {
        4 + match self {
            Self::Timing(_) => 6,
            Self::Parent(_) => 8,
            Self::Route(route) => route.octets.len(),
        }
    }

    /// Octets of the whole IE, its descriptor included.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        2 + self.content_len()
    }

    /// Appends OUI, kind and body.
    pub(super) fn encode_content(&self, out: &mut Vec<u8>) {
        let [low, middle, high, _] = VENDOR_OUI.to_le_bytes();
        out.extend_from_slice(&[low, middle, high]);
        match self {
            Self::Timing(timing) => {
                let [low, middle, high, _] = timing.fraction.to_u24().to_le_bytes();
                out.extend_from_slice(&[KIND_TIMING, low, middle, high, timing.level]);
                out.extend_from_slice(&timing.path_cost.to_le_bytes());
            }
            Self::Parent(parent) => {
                out.push(KIND_PARENT);
                out.extend_from_slice(&parent.0.to_le_bytes());
            }
            Self::Route(route) => {
                out.push(KIND_ROUTE);
                out.extend_from_slice(route.octets);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_route_is_taken_from_its_end() {
        let mut octets = Vec::new();
        for hop in [3_u64, 2, 1] {
            octets.extend(hop.to_le_bytes());
        }
        let route = RouteIe::from_octets(&octets).unwrap();
        assert_eq!(route.hops().collect::<Vec<_>>(), [Eui64(1), Eui64(2), Eui64(3)]);
        assert_eq!(route.next_hop().unwrap().1.as_octets(), &octets[..16]);
        assert_eq!(RouteIe::from_octets(&octets[..9]), Err(FrameError::VendorIe));
        assert_eq!(RouteIe::from_octets(&[0; 120]), Err(FrameError::RouteTooLong));
    }

    #[test]
    fn the_oui_is_locally_administered_and_assigned_to_nobody() {
        assert_eq!(VENDOR_OUI.to_be_bytes()[1] & 0x0F, 0x02);
    }

    proptest! {
        #[test]
        fn any_content_decodes_without_panic_and_what_decodes_encodes_back(
            own in any::<bool>(),
            kind in 0_u8..5,
            body in proptest::collection::vec(any::<u8>(), 0..124),
        ) {
            let mut content = if own { vec![0x46, 0x52, 0x02] } else { vec![0x46, 0x52, 0x03] };
            content.push(kind);
            content.extend(body);
            if let Ok(Some(ie)) = VendorIe::decode(&content) {
                let mut out = Vec::new();
                ie.encode_content(&mut out);
                prop_assert_eq!(out.len(), ie.content_len());
                prop_assert_eq!(out, content);
            }
        }
    }
}
