//! The 1,024 partition keys, which the key-encryption key wraps.
//!
//! KEK --AES-KW--> DEK[partition]: the KEK only wraps and unwraps (security layer §4), in the key store's
//! token. A store that is open keeps the data keys in locked memory, so that a token is not asked for each
//! record.

use seal::at_rest::Dek;
use seal::ids::Sid;
use seal::key_wrap::WRAPPED_LEN;
use seal::secret::Key256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::StoreError;
use crate::key_store::{Entry, KeyStore};
use crate::locked::{Locked, random_32};
use crate::table::Table;
use crate::token::{KekHandle, TokenError};

/// The partitions' data keys.
pub(crate) struct Deks {
    keys: Locked<Octets>,
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Octets([[u8; Key256::LEN]; PARTITIONS]);

const PARTITIONS: usize = Sid::PARTITIONS as usize;

impl Deks {
    /// Draws a key for each partition, as entries for the store.
    pub(crate) fn draw(kek: &KekHandle) -> impl Iterator<Item = Result<Entry, StoreError>> {
        (0..partitions()).map(|partition| {
            let wrapped = kek.wrap(&Key256::from_octets(*random_32()?))?;
            Ok((Table::Dek.key(&partition.to_be_bytes()), wrapped.to_vec()))
        })
    }

    /// Reads the wrapped keys and unwraps each of them.
    pub(crate) fn read(kek: &KekHandle, store: &dyn KeyStore) -> Result<Self, StoreError> {
        let mut wrapped: Vec<Option<[u8; WRAPPED_LEN]>> = vec![None; PARTITIONS];
        store.read(&[Table::Dek.key(&[])], &mut |key, value| {
            let partition =
                Table::Dek.rest(key).and_then(|rest| rest.try_into().ok()).map(u16::from_be_bytes);
            let place = partition.and_then(|partition| wrapped.get_mut(usize::from(partition)));
            *place.ok_or(StoreError::Value { name: "deks" })? = value.try_into().ok();
            Ok(())
        })?;
        let mut keys = Locked::new(Octets([[0; Key256::LEN]; PARTITIONS]));
        let (mut refused, mut first) = (0, None);
        for ((partition, wrapped), place) in (0..).zip(wrapped).zip(&mut keys.get_mut().0) {
            let wrapped = wrapped.ok_or(StoreError::Dek { partition })?;
            match kek.unwrap(&wrapped) {
                Ok(key) => place.copy_from_slice(key.expose()),
                Err(TokenError::Unopened { .. }) => {
                    refused += 1;
                    first = first.or(Some(partition));
                }
                Err(error) => return Err(error.into()),
            }
        }
        match first {
            None => Ok(Self { keys }),
            // One that fails is damaged; when all do, it is the KEK.
            Some(_) if refused == PARTITIONS => Err(StoreError::WrongKek { token: kek.token().to_owned() }),
            Some(partition) => Err(StoreError::Dek { partition }),
        }
    }

    /// Replaces the data key of a partition.
    pub(crate) fn set(&mut self, partition: u16, key: &Key256) {
        if let Some(place) = self.keys.get_mut().0.get_mut(usize::from(partition)) {
            place.copy_from_slice(key.expose());
        }
    }

    /// The data key of a partition.
    pub(crate) fn unwrap(&self, partition: u16) -> Result<Dek, StoreError> {
        let key = self.keys.get().0.get(usize::from(partition)).ok_or(StoreError::Dek { partition })?;
        Ok(Dek::new(&Key256::from_octets(*key)))
    }
}

/// How many partitions there are.
pub(crate) fn partitions() -> u16 {
    const { Sid::PARTITIONS as u16 }
}
