//! `key-store`: opens the store of the state folder and lends it to the other nodes: who is who to
//! everybody, keys to the shards alone.

use std::sync::Arc;
use std::time::Duration;

use keystore::{Directory, Store, Vault};
use node::{
    BuildError, Config, Context, Env, FieldSpec, FieldType, KindSpec, Next, NodeError, NodeKind, Worker,
};

/// The service that nodes name in their `keys`.
pub const SERVICE: &str = "keys";

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyStoreKind;

impl NodeKind for KeyStoreKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "key-store",
            about: "Keeps devices and their keys, sealed, in the state folder.",
            fields: vec![FieldSpec::or("path", FieldType::Path, "keystore", "Folder of the store.")],
            inputs: vec![],
            outputs: vec![],
            provides: vec![SERVICE],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        // A store is locked while it is open: a restart goes on with what the first run opened.
        if env.services.find::<Directory>(&env.node).is_none() {
            let folder = env.state.join(config.text("path"));
            let open = || -> Result<(Directory, Vault), keystore::StoreError> {
                let store = Store::open(&folder)?;
                Ok((store.directory()?, store.into_vault()))
            };
            let (directory, vault) =
                open().map_err(|error| BuildError::caused(env, "open the key store", error))?;
            let devices = i64::try_from(directory.devices()).unwrap_or(i64::MAX);
            env.gauge("metergraph_devices", "End devices in the key store.", &[]).set(devices);
            env.services.provide(&env.node, Arc::new(directory));
            env.services.provide(&env.node, Arc::new(vault));
        }
        Ok(Box::new(Keeper))
    }
}

/// What a node that names a key store in `keys` finds there.
///
/// # Errors
/// When that node does not offer it, which a checked graph excludes.
pub(crate) fn lent<T: Send + Sync + 'static>(config: &Config, env: &Env) -> Result<Arc<T>, BuildError> {
    let name = config.text("keys");
    env.services.find(name).ok_or_else(|| BuildError::new(env, format!("the key store `{name}` is not open")))
}

/// The `keys` field of nodes that use a key store.
pub(crate) fn field() -> FieldSpec {
    FieldSpec::required("keys", FieldType::Node { service: SERVICE }, "The key store.")
}

struct Keeper;

impl Worker for Keeper {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        while !matches!(context.next(Duration::from_secs(60))?, Next::Finished) {}
        Ok(())
    }
}
