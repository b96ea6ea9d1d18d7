//! Whose word on devices is taken: root's key, set once, and the manufacturers', each brought in by root.
//!
//! A key stands sealed by the data key of partition 0, with `table ‖ name` authenticated: no secret, but
//! nobody else may set one.

use seal::at_rest::{Dek, OVERHEAD};
use seal::hex::Hex;
use seal::signature::{SIGNATURE_LEN, VerifyingKey, sha256};

use crate::error::{StoreError, TrustError};
use crate::key_store::Entry;
use crate::manifest::signature::{Detached, ROOT, Signatures, is_name};
use crate::store::Store;
use crate::table::Table;
use crate::vault::nonce;

/// The keys that manifests and profiles are checked with.
#[derive(Clone, Debug)]
pub struct Trust {
    root: Option<VerifyingKey>,
    /// By name.
    manufacturers: Vec<(String, VerifyingKey)>,
}

impl Trust {
    /// Root's key; `None` where none was set.
    #[must_use]
    pub fn root(&self) -> Option<VerifyingKey> {
        self.root
    }

    /// The manufacturers' keys with their names, in the order of names.
    #[must_use]
    pub fn manufacturers(&self) -> &[(String, VerifyingKey)] {
        &self.manufacturers
    }

    /// Checks both signatures over what has this SHA-256.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn check(&self, digest: &[u8; 32], signatures: &Signatures) -> Result<(), TrustError> {
        let root = self.root.ok_or(TrustError::NoRoot)?;
        let read = |octets: &Option<Vec<u8>>, ending| {
            let octets = octets.as_deref().ok_or(TrustError::Missing { ending })?;
            Detached::read(octets).ok_or(TrustError::Form { ending })
        };
        let by = read(&signatures.manufacturer, ".sig")?;
        let known = self.manufacturers.iter().find(|(name, _)| *name == by.key);
        let (_, key) = known.ok_or_else(|| TrustError::Unknown { name: by.key.clone() })?;
        if !key.verifies(digest, &by.signature) {
            return Err(TrustError::Wrong { name: by.key });
        }
        let by = read(&signatures.root, ".root.sig")?;
        if by.key != ROOT || !root.verifies(digest, &by.signature) {
            return Err(TrustError::Wrong { name: ROOT.to_owned() });
        }
        Ok(())
    }
}

impl Store {
    /// The keys that manifests are checked with.
    ///
    /// # Errors
    /// [`StoreError::Trust`] where one does not open; those of the database.
    pub fn trust(&self) -> Result<Trust, StoreError> {
        let dek = self.deks.unwrap(0)?;
        let mut trust = Trust { root: None, manufacturers: Vec::new() };
        self.entries.read(&[Table::Trust.key(&[])], &mut |key, value| {
            let name = String::from_utf8_lossy(Table::Trust.rest(key).unwrap_or_default()).into_owned();
            let mut sealed = value.to_vec();
            let opened = dek.open(key, &mut sealed).ok().and_then(|octets| {
                let (x, y) = octets.split_first_chunk::<32>()?;
                VerifyingKey::from_xy(x, y.try_into().ok()?)
            });
            let public = opened.ok_or_else(|| StoreError::Trust { name: name.clone() })?;
            match &*name {
                ROOT => trust.root = Some(public),
                _ => trust.manufacturers.push((name, public)),
            }
            Ok(())
        })?;
        Ok(trust)
    }

    /// Sets root's key, once.
    ///
    /// # Errors
    /// [`TrustError::RootFixed`] when there is another one; those of the store.
    pub fn set_root(&mut self, key: VerifyingKey) -> Result<(), TrustError> {
        match self.trust()?.root {
            Some(root) if root == key => Ok(()),
            Some(_) => Err(TrustError::RootFixed),
            None => Ok(self.entries.update(&[self.trust_entry(ROOT, key)?])?),
        }
    }

    /// What root signs so that a manufacturer's key is taken.
    #[must_use]
    pub fn trust_statement(&self, name: &str, key: &VerifyingKey) -> Vec<u8> {
        format!("metergraph trust\n{}\n{name}\n{}\n", self.system(), Hex(&key.uncompressed())).into_bytes()
    }

    /// Takes a manufacturer's key, in place of one of the same name, by root's signature over
    /// [`Store::trust_statement`].
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn add_trust(
        &mut self,
        name: &str,
        key: VerifyingKey,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), TrustError> {
        if !is_name(name) || name == ROOT {
            return Err(TrustError::Name { name: name.to_owned() });
        }
        let root = self.trust()?.root.ok_or(TrustError::NoRoot)?;
        if !root.verifies(&sha256(&self.trust_statement(name, &key)), signature) {
            return Err(TrustError::Wrong { name: ROOT.to_owned() });
        }
        Ok(self.entries.update(&[self.trust_entry(name, key)?])?)
    }

    /// All keys, sealed under another data key.
    pub(crate) fn renewed_trust(&self, dek: &Dek) -> Result<Vec<Entry>, StoreError> {
        let Trust { root, manufacturers } = self.trust()?;
        let root = root.map(|key| (ROOT.to_owned(), key));
        let all = root.into_iter().chain(manufacturers);
        all.map(|(name, key)| entry(dek, &name, key)).collect()
    }

    fn trust_entry(&self, name: &str, public: VerifyingKey) -> Result<Entry, StoreError> {
        let dek = self.deks.unwrap(0)?;
        entry(&dek, name, public)
    }
}

fn entry(dek: &Dek, name: &str, public: VerifyingKey) -> Result<Entry, StoreError> {
    let key = Table::Trust.key(name.as_bytes());
    let mut sealed = Vec::with_capacity(64 + OVERHEAD);
    let [_, xy @ ..] = public.uncompressed();
    dek.seal(nonce()?, &key, &xy, &mut sealed)?;
    Ok((key, sealed))
}
