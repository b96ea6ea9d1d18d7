//! What `wit/transport.wit` says, in Rust.
#![allow(missing_docs, reason = "made from the WIT file, which explains it")]
wasmtime::component::bindgen!({
    path: "../../wit",
    world: "transport-plugin",
    imports: { default: trappable },
});
