//! The software provider: a holder's keys in a file of this machine, for labs.

use std::path::{Path, PathBuf};

use seal::edhoc::{Agreement, PrivateKey, PublicKey};
use seal::hex::{self, Hex};
use seal::key_wrap::{self, WRAPPED_LEN};
use seal::secret::{Key256, SharedSecret, scrubbed};
use seal::signature::{SIGNATURE_LEN, Signer, SigningKey};
use zeroize::Zeroizing;

use super::provider::{Mark, Provider};
use super::sealed::{self, Keys};
use super::{Holder, Object, TokenError, file};
use crate::locked::{Locked, random_32};

/// Where a software token is.
pub(crate) struct SoftwarePlace {
    pub(crate) holder: Holder,
    pub(crate) file: PathBuf,
    /// `None`: the keys stand in the file in clear.
    pub(crate) pin: Option<Zeroizing<String>>,
    pub(crate) incarnation: PathBuf,
}

impl SoftwarePlace {
    /// Reads its keys.
    pub(crate) fn read(&self) -> Result<Keys, TokenError> {
        sealed::read(&self.file, self.holder, self.pin.as_deref().map(String::as_str))
    }

    /// Whether its file is there.
    pub(crate) fn exists(&self) -> bool {
        self.file.symlink_metadata().is_ok()
    }

    /// Writes its keys, in place of those that were there.
    pub(crate) fn write(&self, keys: &Keys) -> Result<(), TokenError> {
        file::write(&self.file, &sealed::write(self.holder, self.pin.as_deref().map(String::as_str), keys)?)
    }

    /// Draws those of its objects that are not there yet, and returns them.
    pub(crate) fn draw(&self, objects: &[Object]) -> Result<Vec<Object>, TokenError> {
        let mut keys = if self.exists() { self.read()? } else { Keys::new() };
        let mut drawn = Vec::new();
        for object in objects.iter().filter(|object| **object != Object::Incarnation) {
            if !keys.iter().any(|(there, _)| there == object) {
                keys.push((*object, draw(*object)?));
                drawn.push(*object);
            }
        }
        if !drawn.is_empty() {
            self.write(&keys)?;
        }
        if objects.contains(&Object::Incarnation) && self.incarnation.symlink_metadata().is_err() {
            self.write_incarnation(Mark::default())?;
            drawn.push(Object::Incarnation);
        }
        Ok(drawn)
    }

    pub(crate) fn write_incarnation(&self, mark: Mark) -> Result<(), TokenError> {
        write_incarnation(&self.incarnation, mark)
    }
}

fn read_incarnation(path: &Path) -> Result<Mark, TokenError> {
    let octets = file::read_secret(path, Mark::LEN * 2 + 2)?;
    let text = std::str::from_utf8(&octets).unwrap_or_default().trim_end();
    let mark = hex::read::<{ Mark::LEN }>(text).ok().and_then(|octets| Mark::read(&octets));
    mark.ok_or(TokenError::Damaged { path: path.to_owned(), what: "it should hold 64 hex digits" })
}

fn write_incarnation(path: &Path, mark: Mark) -> Result<(), TokenError> {
    file::write(path, format!("{}\n", Hex(&mark.octets())).as_bytes())
}

/// A key for an object: a number of the curve, or any 32 octets.
pub(crate) fn draw(object: Object) -> Result<Key256, TokenError> {
    loop {
        let octets = random_32()?;
        // One in 2^32 is no number of the curve.
        if object == Object::Kek || PrivateKey::from_octets(&octets).is_some() {
            return Ok(Key256::from_octets(*octets));
        }
    }
}

/// The public key of a key pair's octets; `None` when they are no number of the curve.
pub(crate) fn public_key(key: &Key256) -> Option<PublicKey> {
    PrivateKey::from_octets(key.expose()).map(|key| key.public_key())
}

enum Secret {
    Signs(SigningKey),
    Agrees(PrivateKey),
}

/// A software token, open.
pub(crate) struct Software {
    name: String,
    objects: Vec<Object>,
    keys: Vec<(Object, PublicKey, Locked<Secret>)>,
    kek: Option<Locked<Key256>>,
    incarnation: PathBuf,
}

impl Software {
    /// Reads the file, and takes of it what `objects` lists.
    pub(crate) fn open(place: &SoftwarePlace, objects: Vec<Object>) -> Result<Self, TokenError> {
        let name = format!("software token {}", place.file.display());
        let damaged =
            || TokenError::Damaged { path: place.file.clone(), what: "a key is no number of P-256" };
        let (mut keys, mut kek) = (Vec::new(), None);
        // By reference: what is moved out of a list is not wiped there.
        for (object, key) in &place.read()? {
            if !objects.contains(object) {
                continue;
            }
            if *object == Object::Kek {
                kek = Some(Locked::new(Key256::from_octets(*key.expose())));
                continue;
            }
            let public = public_key(key).ok_or_else(damaged)?;
            let secret = if object.signs() {
                SigningKey::from_octets(key.expose()).map(Secret::Signs)
            } else {
                PrivateKey::from_octets(key.expose()).map(Secret::Agrees)
            };
            keys.push((*object, public, Locked::new(secret.ok_or_else(damaged)?)));
        }
        let token = Self { name, objects, keys, kek, incarnation: place.incarnation.clone() };
        let there = |object: &Object| match object {
            Object::Kek => token.kek.is_some(),
            Object::Incarnation => true,
            object => token.keys.iter().any(|(other, ..)| other == object),
        };
        match token.objects.iter().find(|object| !there(object)) {
            Some(object) => Err(token.missing(*object)),
            None => Ok(token),
        }
    }

    fn missing(&self, object: Object) -> TokenError {
        TokenError::Missing { token: self.name.clone(), object: object.to_string() }
    }

    fn find(&self, object: Object) -> Result<(&PublicKey, &Secret), TokenError> {
        let found = self.keys.iter().find(|(other, ..)| *other == object);
        found.map(|(_, public, key)| (public, key.get())).ok_or_else(|| self.missing(object))
    }

    fn kek(&self) -> Result<&Key256, TokenError> {
        self.kek.as_ref().map(Locked::get).ok_or_else(|| self.missing(Object::Kek))
    }
}

impl Provider for Software {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_software(&self) -> bool {
        true
    }

    fn is_locked(&self) -> bool {
        self.keys.iter().all(|(_, _, key)| key.is_locked()) && self.kek.as_ref().is_none_or(Locked::is_locked)
    }

    fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Files have none; their mode was looked at when they were read.
    fn attributes(&self) -> Result<(), TokenError> {
        Ok(())
    }

    fn public_key(&self, object: Object) -> Result<PublicKey, TokenError> {
        self.find(object).map(|(public, _)| *public)
    }

    fn sign(&self, object: Object, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], TokenError> {
        let (_, Secret::Signs(key)) = self.find(object)? else { return Err(self.missing(object)) };
        let Ok(signature) = scrubbed::<8, _>(|| key.sign(digest));
        Ok(signature)
    }

    fn agree(&self, object: Object, peer: &PublicKey) -> Result<SharedSecret, TokenError> {
        let (_, Secret::Agrees(key)) = self.find(object)? else { return Err(self.missing(object)) };
        let Ok(secret) = scrubbed::<8, _>(|| key.agree(peer));
        Ok(secret)
    }

    fn wrap(&self, dek: &Key256) -> Result<[u8; WRAPPED_LEN], TokenError> {
        let kek = self.kek()?;
        Ok(scrubbed::<8, _>(|| key_wrap::wrap(kek, dek)))
    }

    fn unwrap(&self, wrapped: &[u8; WRAPPED_LEN]) -> Result<Key256, TokenError> {
        let kek = self.kek()?;
        scrubbed::<8, _>(|| key_wrap::unwrap(kek, wrapped))
            .map_err(|_| TokenError::Unopened { token: self.name.clone() })
    }

    fn incarnation(&self) -> Result<Mark, TokenError> {
        read_incarnation(&self.incarnation)
    }

    fn set_incarnation(&self, mark: Mark) -> Result<(), TokenError> {
        write_incarnation(&self.incarnation, mark)
    }
}
