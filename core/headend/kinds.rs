//! The node kinds that this program knows.

use node::Registry;

/// All shipped kinds. Whoever brings a kind of their own adds it: `registry().with(OwnKind)`.
#[must_use]
pub fn registry() -> Registry {
    nodes::registry().with(api::ApiKind)
}
