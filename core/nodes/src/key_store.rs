//! `key-store`: opens the store of the state folder and lends it to the other nodes: who is who to
//! everybody, credentials to the registrar, keys to the shards alone. It follows the journal with a cursor of
//! its own and takes into the store what the journal says of keys; and it holds the fence.

mod fence;
mod follower;
mod offline;
mod protection;
mod raising;
mod rekey;
mod restore;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keystore::{Credentials, Directory, Slots, Store};
use node::{
    BuildError, Config, Context, Env, FieldSpec, FieldType, InputSpec, KindSpec, Next, NodeError, NodeKind,
    OutputSpec, PortType, Worker,
};

use crate::journal::{FileLayer, Log};
pub use fence::{Fence, FenceError, incarnation_mark, set_incarnation_mark};
pub use follower::CURSOR;
use follower::Follower;
pub use offline::{OfflineError, catch_up};
use raising::Raising;
pub use restore::{Outcome as Restored, Restore, RestoreError};

/// The service that nodes name in their `keys`.
pub const SERVICE: &str = "keys";

/// How often the fence is looked at where no journal is followed.
const LOOK: Duration = Duration::from_secs(1);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyStoreKind;

impl NodeKind for KeyStoreKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "key-store",
            about: "Keeps devices and their keys, sealed, in the state folder.",
            fields: vec![
                FieldSpec::or("path", FieldType::Path, "keystore", "Folder of the store."),
                FieldSpec::integer(
                    "apply_s",
                    (1, 3600),
                    5,
                    "What the journal says of keys is taken into the store after so many seconds.",
                ),
                FieldSpec::integer(
                    "rekey_days",
                    (1, 30),
                    28,
                    "The data key of each partition is replaced within so many days.",
                ),
            ],
            inputs: vec![InputSpec { port_type: PortType::Log, min: 0, max: 1 }],
            outputs: vec![OutputSpec {
                name: "events",
                port_type: PortType::Events,
                required: false,
                max: 8,
                about: "A fence that is closed or opens late, a store that cannot be written, keys that are not protected.",
            }],
            provides: vec![SERVICE],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let folder = env.state.join(config.text("path"));
        // A store is locked while it is open: a restart goes on with what the first run opened.
        if env.services.find::<Directory>(&env.node).is_none() {
            let open = || -> Result<_, keystore::StoreError> {
                let store = Store::open(&folder)?;
                let fence = Fence::new(Box::new(store.token().incarnation()?));
                let tokens = keystore::token::Config::read(&folder)?;
                Ok((store.directory()?, store.devices()?, fence, tokens, Arc::new(store)))
            };
            let (directory, devices, fence, tokens, store) =
                open().map_err(|error| BuildError::caused(env, "open the key store", error))?;
            let devices = i64::try_from(devices).unwrap_or(i64::MAX);
            env.gauge("metergraph_devices", "End devices in the key store.", &[]).set(devices);
            let slots = directory.slots();
            env.services.provide(&env.node, Arc::new(directory));
            env.services.provide(&env.node, Arc::new(store.vault()));
            env.services.provide(&env.node, Arc::new(store.credentials()));
            env.services.provide(&env.node, Arc::new(store.group_key_source()));
            env.services.provide(&env.node, Arc::new(slots));
            env.services.provide(&env.node, Arc::new(fence));
            env.services.provide(&env.node, Arc::new(tokens));
            env.services.provide(&env.node, store);
        }
        let found = || BuildError::new(env, "the key store is not open");
        Ok(Box::new(Keeper {
            store: env.services.find(&env.node).ok_or_else(found)?,
            directory: env.services.find(&env.node).ok_or_else(found)?,
            credentials: env.services.find(&env.node).ok_or_else(found)?,
            slots: env.services.find(&env.node).ok_or_else(found)?,
            fence: env.services.find(&env.node).ok_or_else(found)?,
            journal: env.writers().into_iter().next().map(str::to_owned),
            apply_every: Duration::from_secs(u64::try_from(config.integer("apply_s")).unwrap_or(5)),
            rekey_days: u64::try_from(config.integer("rekey_days")).unwrap_or(28),
            folder,
            env: env.clone(),
        }))
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

struct Keeper {
    store: Arc<Store>,
    directory: Arc<Directory>,
    credentials: Arc<Credentials>,
    slots: Arc<Slots>,
    fence: Arc<Fence>,
    /// The node whose log is followed.
    journal: Option<String>,
    apply_every: Duration,
    rekey_days: u64,
    folder: PathBuf,
    env: Env,
}

impl Worker for Keeper {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        protection::tell(self, context);
        let log: Option<Arc<Log>> = match &self.journal {
            None => None,
            Some(name) => {
                let log = self.env.services.find(name);
                Some(log.ok_or_else(|| NodeError::new(format!("the journal `{name}` is not open")))?)
            }
        };
        // The incarnation stands where a restored copy brings an old one back: with the journal.
        let (files, folder) = match &log {
            Some(log) => (log.files(), log.folder().to_owned()),
            None => (FileLayer::of(&self.env), self.folder.clone()),
        };
        let mut raising = Raising::new(&self.env, &self.fence, files, folder);
        raising.turn(context);
        match log {
            Some(log) => Follower::new(self, &log, raising).run(context),
            None => {
                // Nothing is registered, so nothing changes.
                self.slots.open();
                while !matches!(context.next(LOOK)?, Next::Finished) {
                    raising.turn(context);
                }
                Ok(())
            }
        }
    }
}
