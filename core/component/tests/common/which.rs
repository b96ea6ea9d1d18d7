// Which TCP plugin the tests of core/transport run here: the component that `scripts/components` built.

/// The file of the TCP plugin, and the folders in which it is looked for.
pub fn tcp_plugin() -> (String, Vec<PathBuf>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components/tcp.wasm");
    assert!(file.is_file(), "{} is missing: run scripts/components", file.display());
    (file.display().to_string(), Vec::new())
}

/// What loads it.
pub fn bindings() -> metergraph_transport::Bindings {
    let binding = metergraph_component::ComponentBinding::new(metergraph_component::Cache::none());
    metergraph_transport::Bindings(vec![Arc::new(binding)])
}
