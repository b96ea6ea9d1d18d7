//! Writes a transport plugin in safe Rust.
//!
//! Implement [`Transport`], call [`export_transport!`] once in a crate of type `cdylib`, and the library
//! exports the C contract of `plugins/sdk-c/metergraph_transport.h`. Panics are caught at every call: the
//! instance then answers `MG_E_INTERNAL` for ever and the host opens a new one, so build with
//! `panic = "unwind"`. [`sim`] holds a host in memory for a driver's tests.

pub mod abi;
mod batch;
mod event;
pub mod glue;
mod host;
pub mod sim;
mod transport;

pub use abi::{Frame, Limits, Readiness, Stats, Step};
pub use batch::{BatchIn, BatchOut};
pub use event::{Event, LinkEvent, LinkState, Reason, TxEnd};
pub use host::{Host, IoKind, Level, Waker};
pub use transport::{Error, Transport};

/// Exports a [`Transport`] as the plugin of this library. Use it once.
#[macro_export]
macro_rules! export_transport {
    ($transport:ty) => {
        /// The one exported symbol of the transport contract.
        #[unsafe(no_mangle)]
        pub extern "C" fn mg_transport_entry_v1(host_minor: u32) -> *const $crate::abi::Plugin {
            static PLUGIN: $crate::abi::Plugin = $crate::glue::plugin::<$transport>();
            $crate::glue::entry(&PLUGIN, host_minor)
        }
    };
}
