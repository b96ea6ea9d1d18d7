//! Another key-encryption key takes the place of the present one (security layer §4).
//!
//! Both are there while it lasts. What is wanted is written down first; each step after it is durable before the
//! next begins, and does nothing where it was done already, so that the same call goes on after a cut. The store
//! goes over in one commit, and its entries name the key that wraps them: before it the old key opens everything,
//! after it the new one does. The old key is destroyed when a store opened under the new one has been read whole.

use std::fs::{self, File};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::kek::{Deks, KekId};
use crate::sled_store::SledStore;
use crate::store::{Store, lock};
use crate::token::{Config, Holder, HolderConfig, KekHandle, TokenError, kek};

/// What is wanted, while it lasts.
const PLAN: &str = "kek-change.toml";
/// The longest such file, in octets.
const PLAN_MAX: u64 = 1 << 16;

/// What is wanted.
#[derive(Default)]
pub struct KekChange<'a> {
    /// The configuration whose key store's token has the new key; default: a further one in the present token.
    pub to: Option<&'a Config>,
    /// The data keys stay; else new ones take their places, and every record is sealed anew.
    pub rewrap: bool,
    /// The old key is not destroyed.
    pub keep_old: bool,
    /// A trusted key can wrap the new one for a backup of the token.
    pub backup: bool,
}

/// A step that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KekStep {
    /// What is wanted is written down.
    Planned,
    /// The new key is in its token.
    Made,
    /// The store is wrapped by it.
    Sealed,
    /// And so is what else the old one wrapped.
    Others,
    /// `tokens.toml` names it.
    Named,
    /// The store has been read under it, and the old one is destroyed, or kept.
    Destroyed,
    /// Nothing is left of the change.
    Finished,
}

impl KekStep {
    /// All, in their order.
    pub const ALL: [Self; 7] =
        [Self::Planned, Self::Made, Self::Sealed, Self::Others, Self::Named, Self::Destroyed, Self::Finished];
}

/// Who knows what stands outside the store.
pub trait KekWitness {
    /// What it fails with.
    type Error: From<StoreError>;

    /// Makes sure that nobody needs what is sealed by the present data keys outside the store; they are replaced,
    /// and nobody uses the store before that.
    ///
    /// # Errors
    /// Nothing is changed then.
    fn ready(&mut self, store: &Store) -> Result<(), Self::Error>;

    /// Has the new key wrap what else the old one wraps: as it is with `rewrap`, else other data keys. After a cut
    /// it is called again.
    ///
    /// # Errors
    /// The old key stays.
    fn others(&mut self, old: &KekHandle, new: &KekHandle, rewrap: bool) -> Result<(), Self::Error>;

    /// A step is durable.
    ///
    /// # Errors
    /// The change stops here, and can go on.
    fn done(&mut self, step: KekStep) -> Result<(), Self::Error>;
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekChanged {
    /// The new key.
    pub kek: KekId,
    /// What its token is called, and what it is called there.
    pub place: String,
    /// An earlier call had begun it, whose choices held.
    pub went_on: bool,
    /// The data keys stayed.
    pub rewrapped: bool,
    /// The old key is still there, under this name.
    pub kept: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Plan {
    rewrap: bool,
    keep_old: bool,
    backup: bool,
    /// Another token is meant, which has no incarnation of ours yet.
    moves: bool,
    /// The key store's token before and after.
    from: HolderConfig,
    to: HolderConfig,
}

/// Whether a change has begun, and has not ended.
pub(crate) fn is_begun(folder: &Path) -> bool {
    folder.join(PLAN).symlink_metadata().is_ok()
}

impl Plan {
    fn make(tokens: &Config, wanted: &KekChange<'_>) -> Result<Self, StoreError> {
        let to = match wanted.to {
            Some(_) if wanted.keep_old => {
                return Err(refused("the old key stays in the same token only"));
            }
            Some(other) => kek::elsewhere(other),
            None => kek::next(tokens)?,
        };
        let &KekChange { rewrap, keep_old, backup, .. } = wanted;
        let from = tokens.holder(Holder::KeyStore).clone();
        Ok(Self { rewrap, keep_old, backup, moves: wanted.to.is_some(), from, to })
    }

    fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        if !is_begun(folder) {
            return Ok(None);
        }
        let path = folder.join(PLAN);
        let length = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
        let text = fs::read_to_string(&path).map_err(StoreError::io(&path))?;
        let plan = toml::from_str(&text).ok().filter(|_| length <= PLAN_MAX);
        plan.map(Some).ok_or(StoreError::Value { name: PLAN })
    }

    fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let text = toml::to_string(self).map_err(|error| refused(error.to_string()))?;
        Ok(crate::token::write_file(&folder.join(PLAN), text.as_bytes())?)
    }

    /// The tokens before, those after, and what is in force in the end: while both keys are there, each
    /// configuration knows of the other's.
    fn configs(&self, tokens: &Config) -> Result<[Config; 3], TokenError> {
        let after = if self.keep_old { kek::keeping(&self.to, &self.from) } else { self.to.clone() };
        Ok([
            tokens.with_key_store(kek::keeping(&self.from, &self.to))?,
            tokens.with_key_store(kek::keeping(&self.to, &self.from))?,
            tokens.with_key_store(after)?,
        ])
    }

    fn remove(folder: &Path) -> Result<(), StoreError> {
        let path = folder.join(PLAN);
        fs::remove_file(&path).and_then(|()| File::open(folder)?.sync_all()).map_err(StoreError::io(&path))
    }
}

fn refused(reason: impl Into<String>) -> StoreError {
    StoreError::KekChange { reason: reason.into() }
}

/// Puts another key-encryption key in the place of the present one of the store in `folder`, which nobody uses.
/// After an error or a crash the same call goes on, with what the first one wanted.
///
/// # Errors
/// Those of the witness; [`StoreError`], also those of both tokens.
pub fn rotate_kek<W: KekWitness>(
    folder: &Path,
    wanted: &KekChange<'_>,
    witness: &mut W,
) -> Result<KekChanged, W::Error> {
    let lock = lock(folder)?;
    let again = || lock.try_clone().map_err(StoreError::io(folder));
    let tokens = Config::read(folder).map_err(StoreError::from)?;
    let open = |config: &Config| config.open(Holder::KeyStore).map_err(StoreError::from);
    let named = Deks::kek_named(&SledStore::new(folder))?;
    let begun = Plan::read(folder)?;
    let went_on = begun.is_some();
    let (plan, mut store) = match begun {
        Some(plan) => (plan, None),
        None => {
            // What can be refused is refused while the head-end could still run.
            let plan = Plan::make(&tokens, wanted)?;
            let store = Store::open_with(folder, open(&tokens)?, again()?)?;
            if !plan.rewrap {
                witness.ready(&store)?;
            }
            plan.write(folder)?;
            (plan, Some(store))
        }
    };
    witness.done(KekStep::Planned)?;

    let [from, to, after] = plan.configs(&tokens).map_err(StoreError::from)?;
    if !kek::is_there(&to).map_err(StoreError::from)? {
        // That the old key opens the store is seen before there is a new one.
        if store.is_none() {
            store = Some(Store::open_with(folder, open(&from)?, again()?)?);
        }
        kek::make(&to, plan.backup).map_err(StoreError::from)?;
    }
    let token = open(&to)?;
    let new = token.kek().map_err(StoreError::from)?;
    let id = KekId::of(&new).map_err(StoreError::from)?;
    // Under whatever name: it would be destroyed in the end.
    if kek::is_there(&from).map_err(StoreError::from)?
        && KekId::of(&open(&from)?.kek().map_err(StoreError::from)?).map_err(StoreError::from)? == id
    {
        Plan::remove(folder)?;
        return Err(refused("the new one is the present one").into());
    }
    witness.done(KekStep::Made)?;

    if named != Some(id) {
        let store = match store.take() {
            Some(store) => store,
            None => Store::open_with(folder, open(&from)?, again()?)?,
        };
        if plan.moves {
            kek::carry_incarnation(store.token(), &token).map_err(StoreError::from)?;
        }
        store.change_kek(&new, plan.rewrap)?;
    }
    witness.done(KekStep::Sealed)?;

    if tokens.holder(Holder::KeyStore) != after.holder(Holder::KeyStore) {
        witness.others(&open(&from)?.kek().map_err(StoreError::from)?, &new, plan.rewrap)?;
        witness.done(KekStep::Others)?;
        after.rewrite().map_err(StoreError::from)?;
    }
    witness.done(KekStep::Named)?;

    // The last look: what the old key is destroyed for opens without it.
    Store::open_with(folder, token, again()?)?.read_through()?;
    if !plan.keep_old {
        kek::destroy(&from).map_err(StoreError::from)?;
    }
    witness.done(KekStep::Destroyed)?;
    Plan::remove(folder)?;
    witness.done(KekStep::Finished)?;
    let kept = plan.keep_old.then(|| kek::name(&plan.from));
    let place = format!("{}, `{}`", new.token(), kek::name(&plan.to));
    Ok(KekChanged { kek: id, place, went_on, rewrapped: plan.rewrap, kept })
}

/// Gives up a change that the store has not taken: the new key is destroyed, and the old one stays. In another
/// token the new one stays too; it wraps nothing.
///
/// # Errors
/// [`StoreError::KekChange`] where none has begun; [`StoreError::WrongKek`] where the store has gone over: then it
/// can only go on.
pub fn abandon_kek(folder: &Path) -> Result<(), StoreError> {
    let lock = lock(folder)?;
    let plan = Plan::read(folder)?.ok_or_else(|| refused("no change has begun"))?;
    let [from, to, _] = plan.configs(&Config::read(folder)?)?;
    drop(Store::open_with(folder, from.open(Holder::KeyStore)?, lock)?);
    if !plan.moves {
        kek::destroy(&to)?;
    }
    Plan::remove(folder)
}
