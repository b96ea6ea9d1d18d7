//! `metergraph keys rotate-kek`: another key-encryption key in the place of the present one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use journal::files::{Files, OsFiles};
use keystore::token::KekHandle;
use keystore::{FOLDER, KekChange, KekId, KekStep, KekWitness, Store, StoreError, abandon_kek, rotate_kek};
use miette::{IntoDiagnostic, WrapErr, miette};
use nodes::audit_log::{KEY_FILE, write_key};
use nodes::key_store;
use seal::key_wrap::WRAPPED_LEN;
use seal::secret::Key256;
use zeroize::Zeroizing;

use super::ceremony;

/// `metergraph keys rotate-kek`.
#[derive(Debug, Args)]
pub struct RotateKekArgs {
    /// The state folder.
    #[arg(long, default_value = "state")]
    pub state: PathBuf,
    /// The journal's folder in it.
    #[arg(long, default_value = "journal")]
    pub journal: PathBuf,
    /// The audit log's folder in it.
    #[arg(long, default_value = "audit")]
    pub audit: PathBuf,
    /// The new key is in the token of this configuration's `[key-store]`, where it is made if it is not there.
    #[arg(long, value_name = "CONFIG", conflicts_with = "keep_old")]
    pub to: Option<PathBuf>,
    /// The data keys stay: for a change that is planned, when nobody else can have had the old key.
    #[arg(long)]
    pub rewrap: bool,
    /// The old key stays in the token, for backups of its time; it is not used.
    #[arg(long)]
    pub keep_old: bool,
    /// The new key can never leave its token, not even wrapped for a backup.
    #[arg(long)]
    pub no_backup: bool,
    /// Gives up a change that was begun and that the store has not taken.
    #[arg(long, conflicts_with_all = ["to", "rewrap", "keep_old", "no_backup"])]
    pub abandon: bool,
}

/// Carries it out, and says of each step that it is durable.
pub fn rotate(args: &RotateKekArgs) -> miette::Result<()> {
    let folder = args.state.join(FOLDER);
    if args.abandon {
        abandon_kek(&folder).into_diagnostic()?;
        println!("the change is given up; the key-encryption key is that of before");
        return Ok(());
    }
    let to = args.to.as_deref().map(ceremony::read_config).transpose()?;
    let wanted =
        KekChange { to: to.as_ref(), rewrap: args.rewrap, keep_old: args.keep_old, backup: !args.no_backup };
    let mut state = State { journal: args.state.join(&args.journal), audit: args.state.join(&args.audit) };
    let changed = rotate_kek(&folder, &wanted, &mut state).map_err(|Failed(report)| report)?;
    if changed.went_on {
        println!("a change that was begun has gone on, with what it was begun for");
    }
    println!("key-encryption key {} in {}", changed.kek, changed.place);
    println!("data keys: {}", if changed.rewrapped { "as before" } else { "new, all records sealed anew" });
    match changed.kept {
        Some(name) => println!("the old one stays, as `{name}`, for backups of its time"),
        None => println!("the old one is destroyed: no backup made before opens any more"),
    }
    println!("make new backups now: `metergraph backup`, `metergraph keys backup`");
    Ok(())
}

/// What stands outside the store.
struct State {
    journal: PathBuf,
    audit: PathBuf,
}

/// An error for people.
struct Failed(miette::Report);

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self(miette!("{error}"))
    }
}

impl KekWitness for State {
    type Error = Failed;

    fn ready(&mut self, store: &Store) -> Result<(), Failed> {
        let files: Arc<dyn Files> = Arc::new(OsFiles);
        key_store::catch_up(store, &files, &self.journal).into_diagnostic().map_err(Failed)
    }

    fn others(&mut self, old: &KekHandle, new: &KekHandle, rewrap: bool) -> Result<(), Failed> {
        audit_keys(&self.audit, rewrap, old, new).map_err(Failed)
    }

    fn done(&mut self, step: KekStep) -> Result<(), Failed> {
        println!("{}", said(step));
        Ok(())
    }
}

fn said(step: KekStep) -> &'static str {
    match step {
        KekStep::Planned => "1 of 7: written down, a call that is cut can go on",
        KekStep::Made => "2 of 7: the new key is in its token, and tested",
        KekStep::Sealed => "3 of 7: the key store is wrapped by it",
        KekStep::Others => "4 of 7: the audit log too",
        KekStep::Named => "5 of 7: tokens.toml names it",
        KekStep::Destroyed => "6 of 7: the store is read whole under it, the old one is dealt with",
        KekStep::Finished => "7 of 7: done",
    }
}

/// The audit log's data keys under the new key: the present one, or a new one in its place; and those that it had
/// before, with which its older entries open. The present one goes last: while the old key opens it, nothing of
/// this is over.
fn audit_keys(folder: &Path, rewrap: bool, old: &KekHandle, new: &KekHandle) -> miette::Result<()> {
    let present = folder.join(KEY_FILE);
    if !present.exists() {
        return Ok(());
    }
    let mut former = Vec::new();
    for entry in fs::read_dir(folder).into_diagnostic()? {
        let path = entry.into_diagnostic()?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path != present && name.starts_with(FORMER) && name.ends_with(".key") {
            former.push(path);
        }
    }
    for path in former {
        if let Some(key) = opened(&path, old, new)? {
            write(&path, &key, new)?;
        }
    }
    let Some(key) = opened(&present, old, new)? else { return Ok(()) };
    if rewrap {
        return write(&present, &key, new);
    }
    let id = KekId::of(old).into_diagnostic()?;
    write(&folder.join(format!("{FORMER}{id}.key")), &key, new)?;
    let mut octets = Zeroizing::new([0; Key256::LEN]);
    getrandom::fill(octets.as_mut_slice()).into_diagnostic()?;
    write(&present, &Key256::from_octets(*octets), new)
}

/// How the files of the audit log's former data keys begin.
const FORMER: &str = "audit-";

/// The data key of a file; `None` when the new key wraps it already.
fn opened(path: &Path, old: &KekHandle, new: &KekHandle) -> miette::Result<Option<Key256>> {
    let at = || format!("{}", path.display());
    let octets = fs::read(path).into_diagnostic().wrap_err_with(at)?;
    let wrapped: [u8; WRAPPED_LEN] =
        octets.try_into().map_err(|_| miette!("{}: not a wrapped key", path.display()))?;
    if new.unwrap(&wrapped).is_ok() {
        return Ok(None);
    }
    old.unwrap(&wrapped).map(Some).into_diagnostic().wrap_err_with(at)
}

fn write(path: &Path, key: &Key256, kek: &KekHandle) -> miette::Result<()> {
    let wrapped = kek.wrap(key).into_diagnostic()?;
    write_key(path, &wrapped).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))
}
