//! 6LoWPAN: what a frame carries.
//!
//! Mesh header (RFC 4944, 5.2) when more than one hop lies between originator and final address, then a
//! fragment header (5.3) when the datagram does not fit, then IPHC and UDP (RFC 6282), then the C12.22 APDU
//! (RFC 6142, port 1153).

mod adapt;
mod bitmap;
mod error;
mod fragment;
mod iphc;
mod mesh;
mod partial;
mod reassembly;

pub use adapt::{APDU_LEN_MAX, Outgoing, Packet, Path, Received, Receiver, UDP_PORT, payload_max};
pub use error::LowpanError;
pub use fragment::{DATAGRAM_LEN_MAX, FragmentHeader};
pub use iphc::{ALL_NODES, Headers, IPV6_UDP_LEN, LinkDestination, LinkEnds, link_local};
pub use mesh::{HOPS_LEFT_MAX, MeshFinal, MeshHeader};
pub use reassembly::{
    DropReason, Dropped, REASSEMBLY_TIMEOUT_NS, Reassembler, ReassemblyCounts, ReassemblyLimits, Whole,
};
