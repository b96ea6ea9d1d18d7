//! C12.22 over TCP as a component. All of it, the export included, is in `plugins/tcp`.

pub use metergraph_tcp as tcp;
