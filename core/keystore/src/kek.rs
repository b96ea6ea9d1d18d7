//! The 1,024 partition keys, which the key-encryption key wraps.
//!
//! KEK --AES-KW--> DEK[partition]: the KEK only wraps and unwraps (security layer §4), in the key store's
//! token. A store that is open keeps the data keys in locked memory, so that a token is not asked for each
//! record; expanded they live on stacks that are scrubbed.
//!
//! A key that was replaced is kept, wrapped, for what the journal still holds sealed under it. An entry is
//! `wrapped key, since u64, KEK 8, (wrapped key, replaced u64, mark u64)*`, the newest first. It names the
//! key-encryption key that wraps all of it. Once it was the first field alone, then there was no name.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use seal::at_rest::Dek;
use seal::hex::Hex;
use seal::ids::Sid;
use seal::key_wrap::WRAPPED_LEN;
use seal::secret::Key256;
use seal::signature::sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::StoreError;
use crate::key_store::{Entry, KeyStore};
use crate::locked::{Locked, random_32};
use crate::record::take;
use crate::table::Table;
use crate::token::{KekHandle, TokenError};

/// Replaced keys of one partition that are kept, at most.
pub(crate) const OLD_MAX: usize = 6;

const SLOTS: usize = 1 + OLD_MAX;
const PARTITIONS: usize = Sid::PARTITIONS as usize;
/// Stands for a mark that is not set yet.
const NO_MARK: u64 = u64::MAX;
/// Octets of a replaced key in an entry; an entry that names its KEK is a multiple of it.
const OLD_LEN: usize = WRAPPED_LEN + 8 + 8;

/// Tells a key-encryption key from another, and nothing else of it: the first octets of SHA-256 over what it
/// makes of 32 zeros. A token needs to keep no name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekId([u8; 8]);

impl KekId {
    /// Has the token wrap the zeros.
    ///
    /// # Errors
    /// Those of the token.
    pub fn of(kek: &KekHandle) -> Result<Self, TokenError> {
        let digest = sha256(&kek.wrap(&Key256::from_octets([0; Key256::LEN]))?);
        let mut id = [0; 8];
        id.iter_mut().zip(digest).for_each(|(place, octet)| *place = octet);
        Ok(Self(id))
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// The partitions' data keys.
pub(crate) struct Deks {
    keys: RwLock<Locked<Octets>>,
    held: Mutex<Vec<Held>>,
    /// What wraps them all.
    kek: KekId,
}

/// The keys of each partition, the present one first.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Octets([[[u8; Key256::LEN]; SLOTS]; PARTITIONS]);

impl Octets {
    /// Zeros. They pass over the stack, in a frame of their own: else what its caller calls lies deeper than what is
    /// scrubbed.
    #[inline(never)]
    fn locked() -> Locked<Self> {
        Locked::new(Self([[[0; Key256::LEN]; SLOTS]; PARTITIONS]))
    }
}

/// What the store has of a partition's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) wrapped: [u8; WRAPPED_LEN],
    /// The Unix second at which it was drawn; 0 when nobody knows.
    pub(crate) since: u64,
    /// What wraps it and the replaced ones; `None` when it was written before entries said so.
    pub(crate) kek: Option<KekId>,
    /// The replaced ones, the newest first.
    pub(crate) old: Vec<OldHeld>,
}

/// A replaced key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldHeld {
    pub(crate) wrapped: [u8; WRAPPED_LEN],
    pub(crate) replaced: u64,
    pub(crate) mark: Option<u64>,
}

impl Held {
    /// As an entry for the store.
    pub(crate) fn entry(&self, partition: u16) -> Entry {
        let mut value = self.wrapped.to_vec();
        value.extend_from_slice(&self.since.to_be_bytes());
        value.extend_from_slice(self.kek.as_ref().map_or(&[], |kek| &kek.0));
        for old in &self.old {
            value.extend_from_slice(&old.wrapped);
            value.extend_from_slice(&old.replaced.to_be_bytes());
            value.extend_from_slice(&old.mark.unwrap_or(NO_MARK).to_be_bytes());
        }
        (Table::Dek.key(&partition.to_be_bytes()), value)
    }

    fn read(mut value: &[u8]) -> Option<Self> {
        let named = value.len().is_multiple_of(OLD_LEN);
        let mut held = Self { wrapped: *take(&mut value)?, since: 0, kek: None, old: Vec::new() };
        if !value.is_empty() {
            held.since = u64::from_be_bytes(*take(&mut value)?);
        }
        if named {
            held.kek = Some(KekId(*take(&mut value)?));
        }
        while !value.is_empty() {
            let (wrapped, replaced) = (*take(&mut value)?, u64::from_be_bytes(*take(&mut value)?));
            let mark = Some(u64::from_be_bytes(*take(&mut value)?)).filter(|mark| *mark != NO_MARK);
            held.old.push(OldHeld { wrapped, replaced, mark });
        }
        (held.old.len() <= OLD_MAX).then_some(held)
    }
}

impl Deks {
    /// Draws a key for each partition, as entries for the store.
    pub(crate) fn draw(
        kek: &KekHandle,
    ) -> Result<impl Iterator<Item = Result<Entry, StoreError>>, StoreError> {
        let (since, id) = (unix_s(), Some(KekId::of(kek)?));
        Ok((0..partitions()).map(move |partition| {
            let wrapped = kek.wrap(&Key256::from_octets(*random_32()?))?;
            Ok(Held { wrapped, since, kek: id, old: Vec::new() }.entry(partition))
        }))
    }

    /// Which key-encryption key the store says that it is wrapped by; `None` when it says nothing.
    pub(crate) fn kek_named(store: &dyn KeyStore) -> Result<Option<KekId>, StoreError> {
        let value = store.get(&Table::Dek.key(&0_u16.to_be_bytes()))?;
        Ok(value.and_then(|value| Held::read(&value)).ok_or(StoreError::Dek { partition: 0 })?.kek)
    }

    /// Reads the wrapped keys and unwraps each of them.
    pub(crate) fn read(kek: &KekHandle, store: &dyn KeyStore) -> Result<Self, StoreError> {
        let mut found: Vec<Option<Held>> = vec![None; PARTITIONS];
        store.read(&[Table::Dek.key(&[])], &mut |key, value| {
            let partition =
                Table::Dek.rest(key).and_then(|rest| rest.try_into().ok()).map(u16::from_be_bytes);
            let place = partition.and_then(|partition| found.get_mut(usize::from(partition)));
            *place.ok_or(StoreError::Value { name: "deks" })? = Held::read(value);
            Ok(())
        })?;
        let mut keys = Octets::locked();
        let mut all = Vec::with_capacity(PARTITIONS);
        let id = KekId::of(kek)?;
        let (mut refused, mut first, mut wanted) = (0, None, None);
        for ((partition, held), slots) in (0..).zip(found).zip(&mut keys.get_mut().0) {
            let held = held.ok_or(StoreError::Dek { partition })?;
            if held.kek.is_some_and(|kek| kek != id) {
                (refused, wanted) = (refused + 1, held.kek);
                first = first.or(Some(partition));
                continue;
            }
            let wrapped = std::iter::once(&held.wrapped).chain(held.old.iter().map(|old| &old.wrapped));
            for (wrapped, slot) in wrapped.zip(slots) {
                match kek.unwrap(wrapped) {
                    Ok(key) => slot.copy_from_slice(key.expose()),
                    Err(TokenError::Unopened { .. }) => {
                        refused += usize::from(first != Some(partition));
                        first = first.or(Some(partition));
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            all.push(held);
        }
        match first {
            None => Ok(Self { keys: RwLock::new(keys), held: Mutex::new(all), kek: id }),
            // One that fails is damaged; when all do, it is the KEK.
            Some(_) if refused == PARTITIONS => {
                Err(StoreError::WrongKek { token: kek.token().to_owned(), found: id, wanted })
            }
            Some(partition) => Err(StoreError::Dek { partition }),
        }
    }

    /// What wraps them all.
    pub(crate) fn kek(&self) -> KekId {
        self.kek
    }

    /// What the store has of a partition, wrapped by another key-encryption key.
    pub(crate) fn rewrapped(
        &self,
        partition: u16,
        (kek, id): (&KekHandle, KekId),
    ) -> Result<Held, StoreError> {
        let (at, keys) = (usize::from(partition), self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let slots = keys.get().0.get(at).ok_or(StoreError::Dek { partition })?;
        let mut held = self.held().get(at).cloned().ok_or(StoreError::Dek { partition })?;
        let wrapped =
            std::iter::once(&mut held.wrapped).chain(held.old.iter_mut().map(|old| &mut old.wrapped));
        for (wrapped, key) in wrapped.zip(slots) {
            *wrapped = kek.wrap(&Key256::from_octets(*key))?;
        }
        held.kek = Some(id);
        Ok(held)
    }

    /// What the store has of each partition.
    pub(crate) fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new key of a partition is durable, with this entry; those before are as old as it says.
    pub(crate) fn set(&self, partition: u16, key: &Key256, held: Held) {
        let old = held.old.len();
        self.change(partition, held, |slots| {
            slots.rotate_right(1);
            let [present, rest @ ..] = slots;
            present.copy_from_slice(key.expose());
            rest.iter_mut().skip(old).for_each(Zeroize::zeroize);
        });
    }

    /// The entry of a partition is this one now, without the replaced keys that are not in it.
    pub(crate) fn forget(&self, partition: u16, held: Held) {
        let before = self.held().get(usize::from(partition)).map(|held| held.old.clone()).unwrap_or_default();
        let stays: Vec<bool> =
            before.iter().map(|old| held.old.iter().any(|kept| kept.wrapped == old.wrapped)).collect();
        self.change(partition, held, |slots| {
            let [_, rest @ ..] = slots;
            let mut kept = 0;
            for (place, stays) in stays.iter().enumerate() {
                if *stays {
                    rest.swap(kept, place);
                    kept += 1;
                }
            }
            rest.iter_mut().skip(kept).for_each(Zeroize::zeroize);
        });
    }

    fn change(&self, partition: u16, held: Held, act: impl FnOnce(&mut [[u8; Key256::LEN]; SLOTS])) {
        let at = usize::from(partition);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let (Some(slots), Some(place)) = (keys.get_mut().0.get_mut(at), self.held().get_mut(at)) {
            act(slots);
            *place = held;
        }
    }

    /// The data key of a partition.
    pub(crate) fn unwrap(&self, partition: u16) -> Result<Dek, StoreError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let [key, ..] = keys.get().0.get(usize::from(partition)).ok_or(StoreError::Dek { partition })?;
        Ok(Dek::new(&Key256::from_octets(*key)))
    }

    /// What `open` makes of the first data key of a partition that it can use: the present one, then those that
    /// it replaced and that are kept, the newest first. Each is expanded on the stack, where it is scrubbed.
    pub(crate) fn find<T>(
        &self,
        partition: u16,
        open: impl FnMut(Dek) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let at = usize::from(partition);
        let slots = keys.get().0.get(at).ok_or(StoreError::Dek { partition })?;
        let count = self.held().get(at).map_or(0, |held| held.old.len()).saturating_add(1);
        Ok(slots.iter().take(count).map(|key| Dek::new(&Key256::from_octets(*key))).find_map(open))
    }

    /// Whether they lie in memory that is not swapped out.
    pub(crate) fn is_locked(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_locked()
    }
}

/// Now, in Unix seconds.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How many partitions there are.
pub(crate) fn partitions() -> u16 {
    const { Sid::PARTITIONS as u16 }
}
