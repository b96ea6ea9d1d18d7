//! The node kinds and the kinds of plugins that this program knows.

use node::Registry;

/// All shipped kinds. Whoever brings a kind of their own adds it: `registry().with(OwnKind)`.
#[must_use]
pub fn registry() -> Registry {
    nodes::registry().with(api::ApiKind)
}

/// What makes drivers of plugin files.
#[must_use]
pub fn bindings() -> transport::Bindings {
    transport::Bindings::default()
}
