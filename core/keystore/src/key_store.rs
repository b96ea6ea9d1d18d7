//! What the crate asks of a database, so that another than sled can stand behind it.

use crate::error::StoreError;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Receives entries that are read.
pub type EntrySink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Gives entries to be written; an error from it undoes the whole.
pub type EntrySource<'a> = dyn Iterator<Item = Result<Entry, StoreError>> + 'a;

/// Octet strings under octet strings, read in order and written all or none. Sees no key in clear:
/// what holds one comes to it wrapped or sealed.
///
/// It is read as a stream, once at a start, and entry by entry later, and must not keep what it has read in
/// memory.
pub trait KeyStore: Send + Sync {
    /// Hands on each entry whose key begins with one of `prefixes`, prefix by prefix, in the order of keys.
    ///
    /// # Errors
    /// The database's or the sink's error, which ends the reading.
    fn read(&self, prefixes: &[Vec<u8>], sink: &mut EntrySink<'_>) -> Result<(), StoreError>;

    /// The value of a key.
    ///
    /// # Errors
    /// The database's.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Adds the entries and replaces those of the same key: all of them or, after an error or a crash at any
    /// moment, none. On return they survive a loss of power. `entries` may read the store while it runs and
    /// sees it as it was.
    ///
    /// # Errors
    /// The database's or the source's error; nothing has changed then.
    fn commit(&self, entries: &mut EntrySource<'_>) -> Result<(), StoreError>;

    /// As [`KeyStore::commit`] for a few entries, at a cost that goes by them and not by all that is there.
    ///
    /// # Errors
    /// The database's; nothing has changed then.
    fn update(&self, entries: &[Entry]) -> Result<(), StoreError>;
}
