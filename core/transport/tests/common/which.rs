// Which TCP plugin these tests run: the shared library. Those of core/component run the component.

/// The file of the TCP plugin, and the folders in which it is looked for.
pub fn tcp_plugin() -> (String, Vec<PathBuf>) {
    ("libmetergraph_tcp.so".into(), vec!["/nonexistent".into(), plugin_dir()])
}

/// What loads it.
pub fn bindings() -> metergraph_transport::Bindings {
    metergraph_transport::Bindings::default()
}
