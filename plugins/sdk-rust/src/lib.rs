//! Writes a transport plugin in safe Rust.
//!
//! Implement [`Transport`], call [`export_transport!`] once in a crate of type `cdylib`, and the library
//! exports the C contract of `plugins/sdk-c/metergraph_transport.h`; built for `wasm32-unknown-unknown`, the world
//! of `wit/transport.wit` instead. Panics are caught at every call: the
//! instance then answers `MG_E_INTERNAL` for ever and the host opens a new one, so build with
//! `panic = "unwind"`. [`sim`] holds a host in memory for a driver's tests.

pub mod abi;
mod batch;
#[cfg(target_arch = "wasm32")]
pub mod component;
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
#[cfg(not(target_arch = "wasm32"))]
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

/// Exports a [`Transport`] as the plugin of this component. Use it once.
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! export_transport {
    ($transport:ty) => {
        const _: () = {
            use $crate::component::bindings::exports::metergraph::transport::driver::{
                Batch, Descriptor, Error, Event, Guest, Limits, Readiness, Stats, Step,
            };
            use $crate::component::calls;

            static PLUGIN: $crate::abi::Plugin = $crate::glue::plugin::<$transport>();
            struct Component;

            impl Guest for Component {
                fn describe() -> Descriptor {
                    calls::describe(&PLUGIN)
                }
                fn open(name: String, config: String, call_budget_us: u32) -> Result<Limits, Error> {
                    calls::open(&PLUGIN, &name, &config, call_budget_us)
                }
                fn start(now: u64) -> Result<(), Error> {
                    calls::start(now)
                }
                fn poll(now: u64, ready: Vec<Readiness>) -> Result<Step, Error> {
                    calls::poll(now, &ready)
                }
                fn send(frames: Batch) -> Result<u32, Error> {
                    calls::send(&frames)
                }
                fn receive(max_frames: u32, max_octets: u32) -> Result<Batch, Error> {
                    calls::receive(max_frames, max_octets)
                }
                fn events(max: u32) -> Result<Vec<Event>, Error> {
                    calls::events(max)
                }
                fn open_link(address: String) -> Result<u32, Error> {
                    calls::open_link(&address)
                }
                fn close_link(link: u32) {
                    calls::close_link(link)
                }
                fn get_stats() -> Result<Stats, Error> {
                    calls::stats()
                }
                fn command(name: String, arguments: String) -> Result<String, Error> {
                    calls::command(&name, &arguments)
                }
                fn close(now: u64) -> Result<(), Error> {
                    calls::close(now)
                }
            }

    $crate::component::bindings::export!(Component with_types_in $crate::component::bindings);
        };
    };
}
