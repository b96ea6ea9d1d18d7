//! A plugin as a WebAssembly component: the world `transport-plugin` over the plugin's own C table, so that a
//! [`crate::Transport`] runs through the very glue that it has as a shared library.

pub mod calls;
mod convert;
mod imports;

/// What `wit/transport.wit` says, in Rust.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unsafe_op_in_unsafe_fn,
    reason = "made from the WIT file"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "transport-plugin",
        pub_export_macro: true,
    });
}
