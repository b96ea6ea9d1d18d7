//! The key-encryption key, and the 1,024 partition keys that it wraps.
//!
//! KEK --AES-KW--> DEK[partition]: the KEK only wraps and unwraps (security layer §4). Here it is a file,
//! the software KEK, which an HSM can take the place of.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use seal::at_rest::Dek;
use seal::ids::Sid;
use seal::key_wrap::{self, WRAPPED_LEN};
use seal::secret::Key256;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::key_store::{Entry, KeyStore};
use crate::table::Table;

/// The software KEK: a file of 32 octets that only its owner may read.
pub(crate) struct Kek {
    path: PathBuf,
    key: Key256,
}

impl Kek {
    /// Draws a KEK and writes its file, which must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let key = draw()?;
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(key.expose())?;
            file.sync_all()
        };
        write().map_err(StoreError::io(path))?;
        Ok(Self { path: path.to_owned(), key })
    }

    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let mode = File::open(path).and_then(|file| file.metadata()).map_err(StoreError::io(path))?.mode();
        if mode & 0o077 != 0 {
            return Err(StoreError::KekMode { path: path.to_owned(), mode: mode & 0o777 });
        }
        let octets = Zeroizing::new(fs::read(path).map_err(StoreError::io(path))?);
        let octets = Zeroizing::new(
            <[u8; 32]>::try_from(octets.as_slice())
                .map_err(|_| StoreError::KekLength { path: path.to_owned() })?,
        );
        Ok(Self { path: path.to_owned(), key: Key256::from_octets(*octets) })
    }
}

/// The partitions' data keys, wrapped. Each is unwrapped only while its partition is read or written.
pub(crate) struct Deks {
    kek: Kek,
    wrapped: Vec<[u8; WRAPPED_LEN]>,
}

impl Deks {
    /// Draws a key for each partition, as entries for the store.
    pub(crate) fn draw(kek: &Kek) -> impl Iterator<Item = Result<Entry, StoreError>> {
        (0..partitions()).map(|partition| {
            let wrapped = key_wrap::wrap(&kek.key, &draw()?);
            Ok((Table::Dek.key(&partition.to_be_bytes()), wrapped.to_vec()))
        })
    }

    /// Reads the wrapped keys and tries the KEK on each of them.
    pub(crate) fn read(kek: Kek, store: &dyn KeyStore) -> Result<Self, StoreError> {
        let mut wrapped: Vec<Option<[u8; WRAPPED_LEN]>> = vec![None; usize::from(partitions())];
        store.read(&[Table::Dek.key(&[])], &mut |key, value| {
            let partition =
                Table::Dek.rest(key).and_then(|rest| rest.try_into().ok()).map(u16::from_be_bytes);
            let place = partition.and_then(|partition| wrapped.get_mut(usize::from(partition)));
            *place.ok_or(StoreError::Value { name: "deks" })? = value.try_into().ok();
            Ok(())
        })?;
        let whole = (0..).zip(wrapped).map(|(partition, dek)| dek.ok_or(StoreError::Dek { partition }));
        let deks = Self { kek, wrapped: whole.collect::<Result<_, _>>()? };
        let mut refused = (0..partitions()).filter(|partition| deks.unwrap(*partition).is_err());
        match (refused.next(), refused.count()) {
            (None, _) => Ok(deks),
            // One that fails is damaged; when all do, it is the KEK.
            (Some(_), others) if others + 1 == usize::from(partitions()) => {
                Err(StoreError::WrongKek { path: deks.kek.path })
            }
            (Some(partition), _) => Err(StoreError::Dek { partition }),
        }
    }

    /// The data key of a partition.
    pub(crate) fn unwrap(&self, partition: u16) -> Result<Dek, StoreError> {
        let wrapped = self.wrapped.get(usize::from(partition)).ok_or(StoreError::Dek { partition })?;
        let dek = key_wrap::unwrap(&self.kek.key, wrapped).map_err(|_| StoreError::Dek { partition })?;
        Ok(Dek::new(&dek))
    }
}

/// How many partitions there are.
pub(crate) fn partitions() -> u16 {
    const { Sid::PARTITIONS as u16 }
}

fn draw() -> Result<Key256, StoreError> {
    let mut octets = Zeroizing::new([0; 32]);
    getrandom::fill(octets.as_mut_slice())?;
    Ok(Key256::from_octets(*octets))
}
