//! Frames on the air: IEEE 802.15.4-2015, frame version 2, FCS-32.
//!
//! Four shapes of frame are used, and the addressing fields tell them apart (7.2.1.5, table 7-2):
//!
//! | frame | type | destination | source | PAN id |
//! |---|---|---|---|---|
//! | unicast | data | EUI-64 | EUI-64 | of the destination |
//! | broadcast | data | FFFFh | EUI-64 | of the destination |
//! | advertisement | data, no payload | none | EUI-64 | of the source |
//! | Enhanced ACK | acknowledgment | EUI-64 | none | none |
//!
//! The PAN id is the cell id. Timing, level, path cost, the originator's parent and the source route travel
//! in vendor header IEs ([`VendorIe`]).

mod decode;
mod error;
mod header;
mod header_ie;
mod vendor_ie;

pub use decode::Frame;
pub use error::FrameError;
pub use header::{Addressing, AuxiliaryHeader, Header, append_fcs};
pub use header_ie::{HeaderIe, HeaderIes};
pub use vendor_ie::{RouteIe, TIMING_IE_LEN, Timing, VENDOR_OUI, VendorIe};

pub(crate) use header::MIC_LEN;

/// The most intermediate hops that one ROUTE IE names: sixteen hops less the first, which is the
/// destination of the frame, and the last, which is the final address of the mesh header.
pub const ROUTE_IE_HOPS_MAX: usize = 14;

/// Octets of the EUI-64 header fields of a unicast frame: control 2, sequence 1, PAN id 2, addresses 16.
pub const UNICAST_MHR_LEN: usize = 21;
/// Octets of the header termination that stands before a payload.
pub const TERMINATION_LEN: usize = 2;
