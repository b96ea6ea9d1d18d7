//! `audit-log`: what happened with commands, in the order in which it did, each entry sealed.
//!
//! An entry is settled upstream when the journal has it: so nothing is signed that the log does not have.
//! Entries are sealed by a data key of the log's own, drawn at its first start and wrapped by the KEK.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use commands::audit::AuditEntry;
use keystore::Store;
use node::{
    Batch, BatchPool, BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, InputSpec, KindSpec,
    Next, NodeError, NodeKind, OutputSpec, PortType, Reason, Severity, Source, Worker,
};
use seal::at_rest::{Dek, NONCE_LEN};
use seal::secret::{Key256, scrubbed};
use zeroize::Zeroizing;

use crate::in_flight::{InFlight, Settled};
use crate::journal::Log;
use crate::key_store;
use crate::record::{self, Audit};

/// What the seal of an entry covers beside it: that it is one.
pub const ABOUT: &[u8] = b"audit";
/// The file of its wrapped data key.
pub const KEY_FILE: &str = "audit.key";
/// How long the journal is waited for between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Batches on their way to the journal.
const BATCHES_MAX: usize = 64;

/// A data key that a program brings itself, under the name of a key store.
pub struct AuditKey(pub Dek);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditLogKind;

impl NodeKind for AuditLogKind {
    fn spec(&self) -> KindSpec {
        let output =
            |name, port_type, required, max, about| OutputSpec { name, port_type, required, max, about };
        KindSpec {
            name: "audit-log",
            about: "Keeps who asked for, approved and was refused what, sealed, in the journal.",
            fields: vec![
                key_store::field(),
                FieldSpec::or("path", FieldType::Path, "audit", "Folder of its wrapped data key."),
            ],
            inputs: vec![InputSpec::some(PortType::Audit)],
            outputs: vec![
                output("records", PortType::Records, true, 1, "Sealed entries, for the journal."),
                output("events", PortType::Events, false, 8, "A log that cannot be written."),
            ],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let key = match env.services.find::<AuditKey>(config.text("keys")) {
            Some(key) => key,
            None => {
                let store: Arc<Store> = key_store::lent(config, env)?;
                let key =
                    || data_key(&store, &env.state.join(config.text("path"))).map(AuditKey).map(Arc::new);
                scrubbed::<16, _>(key)
                    .map_err(|why| BuildError::new(env, format!("open its data key: {why}")))?
            }
        };
        let journal = env.readers("records").into_iter().next().unwrap_or_default().to_owned();
        Ok(Box::new(AuditLog {
            key,
            journal,
            in_flight: InFlight::default(),
            entries: env.counter("metergraph_audit_entries_total", "Entries that are durable.", &[]),
            pool: env.pool.clone(),
            env: env.clone(),
        }))
    }
}

/// Unwraps the log's data key; draws it where there is none.
fn data_key(store: &Store, folder: &Path) -> Result<Dek, String> {
    let kek = store.token().kek().map_err(|error| error.to_string())?;
    let path = folder.join(KEY_FILE);
    let io = |error: std::io::Error| format!("{}: {error}", path.display());
    if path.exists() {
        let wrapped = fs::read(&path).map_err(io)?;
        let wrapped =
            wrapped.as_slice().try_into().map_err(|_| format!("{}: not a wrapped key", path.display()))?;
        return kek.unwrap(wrapped).map(|key| Dek::new(&key)).map_err(|error| error.to_string());
    }
    let mut octets = Zeroizing::new([0; 32]);
    getrandom::fill(octets.as_mut_slice()).map_err(|error| error.to_string())?;
    let key = Key256::from_octets(*octets);
    let wrapped = kek.wrap(&key).map_err(|error| error.to_string())?;
    fs::create_dir_all(folder).map_err(io)?;
    write_key(&path, &wrapped).map_err(io)?;
    Ok(Dek::new(&key))
}

/// Writes the file of a wrapped data key, whole or not at all.
///
/// # Errors
/// Those of the file system.
pub fn write_key(path: &Path, wrapped: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(wrapped)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

struct AuditLog {
    key: Arc<AuditKey>,
    /// The journal's node.
    journal: String,
    /// Edge, number and entries of each batch on its way.
    in_flight: InFlight<(usize, u64, u64)>,
    entries: Counter,
    pool: BatchPool,
    env: Env,
}

impl Worker for AuditLog {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let records = context.output("records").ok_or_else(|| NodeError::new("no output `records`"))?;
        let log: Option<Arc<Log>> = self.env.services.find(&self.journal);
        // It needs nothing of the log again: it holds no segment back.
        let mark = format!("{}.records", self.env.node);
        log.iter().for_each(|log| log.mark(&mark));
        let mut waiting = 0;
        loop {
            waiting = self.settle(context, records, waiting)?;
            if waiting >= BATCHES_MAX {
                context.wait(LOOK)?;
                continue;
            }
            match context.next(Duration::from_secs(1))? {
                Next::Batch { input, number, batch } => {
                    let entries = batch.len() as u64;
                    let sent = match scrubbed::<8, _>(|| self.seal(&batch)) {
                        Some(sealed) => context.send(records, 0, sealed)?,
                        None => None,
                    };
                    match sent {
                        Some(sent) => {
                            self.in_flight.add(sent, &mut vec![(input, number, entries)]);
                            waiting = waiting.saturating_add(1);
                        }
                        None => self.fail(context, (input, number)),
                    }
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished if self.in_flight.is_empty() => return Ok(()),
                Next::Finished => context.wait(LOOK)?,
            }
        }
    }
}

impl AuditLog {
    /// Seals a batch of entries; `None` when one is none, or there are no random octets.
    fn seal(&self, batch: &Batch) -> Option<Batch> {
        let mut sealed = self.pool.take();
        let mut nonces = vec![[0; NONCE_LEN]; batch.len()];
        getrandom::fill(nonces.as_flattened_mut()).ok()?;
        let mut octets = Vec::new();
        for (frame, nonce) in batch.frames.iter().zip(nonces) {
            let entry = batch.octets(frame).filter(|entry| AuditEntry::read(entry).is_some())?;
            octets.clear();
            self.key.0.seal(nonce, ABOUT, entry, &mut octets).ok()?;
            record::push(&mut sealed, &Audit(&octets));
        }
        Some(sealed)
    }

    /// Hears what is durable, and says so upstream.
    fn settle(
        &mut self,
        context: &mut Context,
        records: usize,
        mut waiting: usize,
    ) -> Result<usize, NodeError> {
        let Some(edge) = context.outputs.get(records).and_then(|output| output.edges.first()).map(Arc::clone)
        else {
            return Err(NodeError::new("nobody reads `records`"));
        };
        let mut settled = Vec::new();
        if !self.in_flight.settle(&edge, |batch, outcome| settled.push((batch, outcome))) {
            return Err(NodeError::Rebuild("nobody knows what became of audit entries".into()));
        }
        for ((input, number, entries), outcome) in settled {
            waiting = waiting.saturating_sub(1);
            match outcome {
                Settled::Committed => {
                    self.entries.add(entries);
                    context.inputs.get(input).into_iter().for_each(|edge| edge.settle(number));
                }
                Settled::Failed => self.fail(context, (input, number)),
            }
        }
        Ok(waiting)
    }

    fn fail(&self, context: &mut Context, (input, number): (usize, u64)) {
        let what = || "entries could not be written".to_owned();
        context.events.report(Reason("SEC-AUDIT"), Severity::Alarm, Source::Node, what);
        if let Some(edge) = context.inputs.get(input) {
            edge.fail(number);
            edge.settle(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_key_is_drawn_once_and_stands_wrapped() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keystore");
        Store::init(&keys, None).unwrap();
        let store = Store::open(&keys).unwrap();
        let audit = folder.path().join("audit");
        let (first, again) = (data_key(&store, &audit).unwrap(), data_key(&store, &audit).unwrap());
        let mut sealed = Vec::new();
        first.seal([1; NONCE_LEN], ABOUT, b"entry", &mut sealed).unwrap();
        assert_eq!(&*again.open(ABOUT, &mut sealed).unwrap(), b"entry");
        let path = audit.join("audit.key");
        let mut wrapped = fs::read(&path).unwrap();
        wrapped[3] ^= 1;
        fs::write(&path, &wrapped).unwrap();
        assert!(data_key(&store, &audit).is_err(), "changed");
        fs::write(&path, &wrapped[1..]).unwrap();
        assert!(data_key(&store, &audit).is_err(), "cut");
    }
}
