//! End devices, their associations and groups, behind a key-encryption key, in sled.
//!
//! A [`shipment`] file or a signed [`manifest`] is taken into a [`Store`] whole or not at all. At a start the
//! store gives the head-end what it runs on: a [`Directory`] of who is who, without a key, for everybody; the
//! [`Credentials`] of devices that may register, and the [`Slots`] that they get; and a [`Vault`], from which
//! only the shards of `decrypt` read the keys of their partitions. What changes since stands in the journal
//! first; [`Store::apply`] takes it in. Records stand in blocks of 1,024 successive indices of a partition,
//! each sealed by the partition's data key, which the key-encryption key wraps; the database behind
//! [`KeyStore`] sees no key in clear.

mod block;
mod changes;
mod classic;
mod credentials;
mod database;
mod device;
mod directory;
mod error;
mod group;
mod import;
mod kek;
mod kek_change;
mod key_store;
#[cfg(test)]
mod keyed;
mod locked;
mod record;
mod rotation;
mod sled_store;
mod slots;
mod store;
mod table;
mod trust;
mod vault;

pub mod manifest;
pub mod sample;
pub mod shipment;
pub mod token;

pub use changes::{Applied, Change};
pub use classic::ClassicKeys;
pub use credentials::{Credentials, DeviceCredential};
pub use device::{Kind, KindError, ProfileId, Standing};
pub use directory::{DeviceInfo, Directory, NewDevice};
pub use error::{ImportError, StoreError, TrustError};
pub use import::{Imported, PROFILE_OCTETS_MAX, SignedText};
pub use kek::KekId;
pub use kek_change::{KekChange, KekChanged, KekStep, KekWitness, abandon_kek, rotate_kek};
pub use key_store::{Entry, EntrySink, EntrySource, KeyStore};
pub use record::{Keys, Retiring};
pub use rotation::OldDek;
pub use slots::Slots;
pub use store::{FOLDER, Store};
pub use trust::Trust;
pub use vault::{GroupKeySource, NewAssociation, StoredAssociation, StoredGroupKey, Vault};
