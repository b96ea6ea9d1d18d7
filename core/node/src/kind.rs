//! Node kinds: how a node is described, checked and built, and the worker it becomes.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use crate::config::Config;
use crate::context::{Context, Stopped};
use crate::doorbell::Doorbell;
use crate::env::Env;
use crate::spec::KindSpec;

/// Something wrong with a node's configuration, found without opening anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The diagnostic's code, e.g. `node::window_too_small`.
    pub code: &'static str,
    /// The key it is about; `None` for the node as a whole.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// A warning lets the graph run.
    pub warning: bool,
}

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
#[error("node `{node}`: {what}")]
pub struct BuildError {
    /// The node.
    pub node: String,
    /// What was tried.
    pub what: String,
    /// What came back.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl BuildError {
    /// An error without a cause below it.
    #[must_use]
    pub fn new(env: &Env, what: impl Into<String>) -> Self {
        Self { node: env.node.clone(), what: what.into(), source: None }
    }

    /// An error with its cause.
    #[must_use]
    pub fn caused(
        env: &Env,
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { node: env.node.clone(), what: what.into(), source: Some(source.into()) }
    }
}

/// Why a worker ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Told to stop.
    #[error("stopped")]
    Stopped(#[from] Stopped),
    /// It wants a new start: its state must be rebuilt.
    #[error("must be started anew: {0}")]
    Rebuild(String),
    /// It failed.
    #[error("{what}")]
    Failed {
        /// What was tried.
        what: String,
        /// What came back.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl NodeError {
    /// A failure with its cause.
    #[must_use]
    pub fn caused(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { what: what.into(), source: Some(source.into()) }
    }

    /// A failure without a cause below it.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), source: None }
    }
}

/// The moving part of a node: it runs on a thread of its own until its input ends.
pub trait Worker: Send {
    /// Works until every input has ended ([`crate::Next::Finished`]), passing on all it holds.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] when told to stop at once; others count against the restart budget.
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError>;

    /// The bell that wakes this worker, where it does not sleep in [`Context::next`].
    fn doorbell(&self) -> Option<Doorbell> {
        None
    }
}

/// A kind of node. One value serves all nodes of the kind.
pub trait NodeKind: Send + Sync {
    /// What it is called, takes, gives and may be told.
    fn spec(&self) -> KindSpec;

    /// Faults that the specification cannot express. Pure: no files, sockets, clock or threads.
    fn check(&self, config: &Config) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// Makes one instance. May open things; sets nothing going, so dropping the worker undoes it.
    ///
    /// # Errors
    /// [`BuildError`] with the node's name and what could not be opened.
    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError>;
}

/// All node kinds that a program knows, by name.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn NodeKind>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Registry {
    /// The same registry with one more kind.
    #[must_use]
    pub fn with(mut self, kind: impl NodeKind + 'static) -> Self {
        self.0.insert(kind.spec().name, Arc::new(kind));
        self
    }

    /// The kind of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<dyn NodeKind>> {
        self.0.get(name)
    }

    /// All kinds, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<dyn NodeKind>> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl NodeKind for Named {
        fn spec(&self) -> KindSpec {
            KindSpec {
                name: self.0,
                about: "",
                fields: vec![],
                inputs: vec![],
                outputs: vec![],
                provides: vec![],
                instances: None,
                transport: None,
            }
        }

        fn build(&self, _: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
            Err(BuildError::new(env, "nothing to build"))
        }
    }

    #[test]
    fn kinds_are_found_by_name_and_listed_in_order() {
        let registry = Registry::default().with(Named("b")).with(Named("a")).with(Named("b"));
        let names: Vec<_> = registry.kinds().map(|kind| kind.spec().name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(registry.find("a").is_some() && registry.find("c").is_none());
        assert_eq!(format!("{registry:?}"), r#"{"a", "b"}"#);
    }
}
