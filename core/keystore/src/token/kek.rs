//! A key-encryption key that takes the place of another: what happens in tokens.

use std::path::{Path, PathBuf};

use super::config::Place;
use super::pkcs11::Officer;
use super::provider::Incarnation;
use super::{Config, Holder, HolderConfig, Object, Token, TokenError, file};

/// A name is looked for among so many.
const NUMBERS_MAX: u32 = 10_000;

/// The present key store's token with a further key-encryption key: another file, or another object of the same
/// token. Its name is the first that is free.
pub(crate) fn next(config: &Config) -> Result<HolderConfig, TokenError> {
    let name = name(config.holder(Holder::KeyStore));
    let (base, number) = match name.rsplit_once('-').map(|(base, number)| (base, number.parse::<u32>())) {
        Some((base, Ok(number))) => (base, number),
        _ => (name.as_str(), 1),
    };
    for number in (number.saturating_add(1)..).take(NUMBERS_MAX as usize) {
        let next = named(config.holder(Holder::KeyStore), &format!("{base}-{number}"));
        if !is_there(&config.with_key_store(next.clone())?)? {
            return Ok(next);
        }
    }
    Err(TokenError::backup(format!("no name for a key-encryption key after `{name}` is free")))
}

/// The token of the key store that another configuration has, for any folder.
pub(crate) fn elsewhere(config: &Config) -> HolderConfig {
    config.key_store_absolute()
}

/// The same token; it keeps the other's key-encryption key too, where both are of one kind.
pub(crate) fn keeping(token: &HolderConfig, other: &HolderConfig) -> HolderConfig {
    let mut token = token.clone();
    match (&mut token, other) {
        (HolderConfig::Software { kept, .. }, HolderConfig::Software { file, .. }) => kept.push(file.clone()),
        (HolderConfig::Pkcs11 { kept, .. }, other @ HolderConfig::Pkcs11 { .. }) => kept.push(name(other)),
        _ => {}
    }
    token
}

/// Whether the key store's token holds its key-encryption key.
pub(crate) fn is_there(config: &Config) -> Result<bool, TokenError> {
    match config.place(Holder::KeyStore)? {
        Place::Software(place) => Ok(place.exists()),
        Place::Pkcs11(place) => Officer::new(place).has_kek(),
    }
}

/// Makes the key store's objects that are not there yet. With `backup` a trusted key can wrap the key.
pub(crate) fn make(config: &Config, backup: bool) -> Result<(), TokenError> {
    match config.place(Holder::KeyStore)? {
        Place::Software(place) => place.draw(&config.objects(Holder::KeyStore)).map(drop),
        Place::Pkcs11(place) => Officer::new(place).create(backup).map(drop),
    }
}

/// Destroys the key-encryption key, if it is there; the incarnation stays.
pub(crate) fn destroy(config: &Config) -> Result<(), TokenError> {
    match config.place(Holder::KeyStore)? {
        Place::Software(place) => file::destroy(&place.file),
        Place::Pkcs11(place) => Officer::new(place).destroy_kek(),
    }
}

/// Gives another token the incarnation of the present one (security layer §8).
pub(crate) fn carry_incarnation(from: &Token, to: &Token) -> Result<(), TokenError> {
    let (from, there) = (from.holding(Object::Incarnation)?, to.holding(Object::Incarnation)?);
    let (mark, found) = (from.incarnation()?, there.incarnation()?);
    if found == mark {
        return Ok(());
    }
    if found.value > mark.value {
        let token = there.name().to_owned();
        return Err(TokenError::Behind { token, found: found.value, wanted: mark.value });
    }
    there.set_incarnation(mark)?;
    Incarnation::new(there).read().map(drop)
}

/// What the key-encryption key is called: its file, or its label.
pub(crate) fn name(token: &HolderConfig) -> String {
    match token {
        HolderConfig::Software { file, .. } => file.display().to_string(),
        HolderConfig::Pkcs11 { labels, .. } => {
            let kek = Object::Kek.to_string();
            labels.get(&kek).cloned().unwrap_or(kek)
        }
    }
}

/// The same token with a key-encryption key of this name, and its incarnation where it was.
fn named(token: &HolderConfig, name: &str) -> HolderConfig {
    let mut token = token.clone();
    match &mut token {
        HolderConfig::Software { file, incarnation, .. } => {
            incarnation.get_or_insert_with(|| beside(file));
            *file = PathBuf::from(name);
        }
        HolderConfig::Pkcs11 { labels, .. } => {
            labels.insert(Object::Kek.to_string(), name.to_owned());
        }
    }
    token
}

/// The file of an incarnation that has no name of its own.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".incarnation");
    name.into()
}
