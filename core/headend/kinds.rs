//! The node kinds and the kinds of plugins that this program knows.

use std::path::Path;
use std::sync::Arc;

use component::{Cache, ComponentBinding};
use node::Registry;
use transport::Bindings;

/// All shipped kinds. Whoever brings a kind of their own adds it: `registry().with(OwnKind)`.
#[must_use]
pub fn registry() -> Registry {
    nodes::registry().with(api::ApiKind)
}

/// What makes drivers of plugin files: components, compiled anew each time, and native libraries.
#[must_use]
pub fn bindings() -> Bindings {
    with_cache(Cache::none())
}

/// As [`bindings`], with machine code of components kept in the state's folder.
#[must_use]
pub fn bindings_of(state: &Path) -> Bindings {
    with_cache(Cache::open(&state.join("cache/components")))
}

fn with_cache(cache: Cache) -> Bindings {
    Bindings(vec![Arc::new(ComponentBinding::new(cache))])
}
