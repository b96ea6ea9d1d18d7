//! Bearer tokens: who may call, for how long, as what.
//!
//! A token is 256 random bits and is shown once, when it is made. The file holds its SHA-256 only: whoever
//! reads the file can call nobody. A slow hash (argon2) slows down guessing of what people think up; 2^256
//! needs no slowing down, and a slow hash would let strangers burn our processor with made-up tokens.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use seal::hex::{self, Hex};
use seal::signature::sha256;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::role::Role;

/// Tokens in a file; each look-up compares with all of them.
pub const TOKENS_MAX: usize = 256;
/// The longest name.
pub const NAME_MAX: usize = 64;
/// The longest file.
const FILE_MAX: u64 = 1 << 20;
/// What a token begins with, so that scanners of leaked secrets find it.
const PREFIX: &str = "mgt_";
/// The mode of a file that only its owner reads.
const MODE: u32 = 0o600;

/// Why a token file cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others may read or write it.
    #[error("the file's mode is {0:o}; it must be 600, readable by its owner alone")]
    Mode(u32),
    /// Not a token file.
    #[error("no token file: {0}")]
    Format(String),
    /// Too many.
    #[error("more than {TOKENS_MAX} tokens")]
    Full,
    /// The name is taken.
    #[error("there is a token of the name `{0}`; remove it first")]
    Exists(String),
    /// No such name.
    #[error("there is no token of the name `{0}`")]
    Unknown(String),
    /// A name has 1 to 64 letters, digits and `-_.@`.
    #[error("a name has 1 to {NAME_MAX} letters, digits and `-_.@`")]
    Name,
    /// No randomness.
    #[error("no random octets: {0}")]
    Random(#[from] getrandom::Error),
}

/// A token as its holder has it. It can be shown once and compared never.
pub struct Token(String);

impl Token {
    fn draw() -> Result<Self, TokenError> {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets)?;
        Ok(Self(format!("{PREFIX}{}", Hex(&octets))))
    }

    /// The text that its holder keeps.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What the file says of one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose it is: the requester in intents and in the audit log.
    pub name: String,
    /// SHA-256 of the token's text, in hex.
    sha256: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// The Unix second from which it is refused.
    pub expires: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The version of the format.
    tokens: u32,
    #[serde(default, rename = "token")]
    entries: Vec<Entry>,
}

/// The tokens of a file.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
    /// What look-ups compare with, in the order of the entries.
    hashes: Vec<[u8; 32]>,
}

impl Tokens {
    /// Reads a token file.
    ///
    /// # Errors
    /// [`TokenError`], also when others than its owner may read it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Mode(mode));
        }
        let mut text = String::new();
        file.take(FILE_MAX).read_to_string(&mut text)?;
        let document: Document =
            toml::from_str(&text).map_err(|error| TokenError::Format(error.message().to_owned()))?;
        if document.tokens != 1 {
            return Err(TokenError::Format(format!("version {}", document.tokens)));
        }
        let mut tokens = Self::default();
        document.entries.into_iter().try_for_each(|entry| tokens.insert(entry))?;
        Ok(tokens)
    }

    fn insert(&mut self, entry: Entry) -> Result<(), TokenError> {
        let hash = hex::read(&entry.sha256).map_err(|error| TokenError::Format(error.to_string()))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if !(1..=NAME_MAX).contains(&entry.name.len()) || !entry.name.chars().all(fits) {
            return Err(TokenError::Name);
        }
        if self.entries.iter().any(|other| other.name == entry.name) {
            return Err(TokenError::Exists(entry.name));
        }
        if self.entries.len() >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        self.entries.push(entry);
        self.hashes.push(hash);
        Ok(())
    }

    /// Draws a token and enters it; only its hash is kept.
    ///
    /// # Errors
    /// [`TokenError`] when the name is taken or none, there are too many, or nothing random is to be had.
    pub fn add(&mut self, name: &str, roles: &[Role], expires: u64) -> Result<Token, TokenError> {
        let token = Token::draw()?;
        let sha256 = Hex(&sha256(token.0.as_bytes())).to_string();
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        self.insert(Entry { name: name.to_owned(), sha256, roles, expires })?;
        Ok(token)
    }

    /// Takes a token out.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn remove(&mut self, name: &str) -> Result<(), TokenError> {
        let at = self.entries.iter().position(|entry| entry.name == name);
        let at = at.ok_or_else(|| TokenError::Unknown(name.to_owned()))?;
        self.entries.remove(at);
        self.hashes.remove(at);
        Ok(())
    }

    /// Writes the file anew, readable by its owner alone: wholly, or it stays as it was.
    ///
    /// # Errors
    /// What the operating system answered.
    pub fn write(&self, path: &Path) -> Result<(), TokenError> {
        let document = Document { tokens: 1, entries: self.entries.clone() };
        let text = toml::to_string(&document).map_err(|error| TokenError::Format(error.to_string()))?;
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&beside)?;
        // A file left over may have another mode.
        file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(())
    }

    /// What is in the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this token, if it has not expired at `now` (Unix seconds).
    ///
    /// The time it takes depends on the number of entries alone, not on what was presented: unknown,
    /// expired, malformed and known tokens cannot be told apart by it.
    #[must_use]
    pub fn find(&self, presented: &str, now: u64) -> Option<&Entry> {
        let hash = sha256(presented.as_bytes());
        let mut place = u32::MAX;
        for (number, known) in (0..).zip(&self.hashes) {
            let same: Choice = known.ct_eq(&hash);
            place.conditional_assign(&number, same);
        }
        let entry = self.entries.get(usize::try_from(place).ok()?)?;
        (now < entry.expires).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_until_it_expires_or_is_removed_and_never_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let mut tokens = Tokens::default();
        let ada = tokens.add("ada", &[Role::Operator, Role::Reader, Role::Operator], 100).unwrap();
        let bob = tokens.add("bob", &[Role::Security], 200).unwrap();
        tokens.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains(&ada.reveal()[PREFIX.len()..]) && !text.contains(&bob.reveal()[PREFIX.len()..])
        );
        let mut read = Tokens::read(&path).unwrap();
        assert_eq!(read.find(ada.reveal(), 99).unwrap().roles, [Role::Reader, Role::Operator]);
        assert!(read.find(ada.reveal(), 100).is_none());
        assert_eq!(read.find(bob.reveal(), 100).unwrap().name, "bob");
        for wrong in ["", PREFIX, &ada.reveal()[1..], "mgt_00"] {
            assert!(read.find(wrong, 0).is_none());
        }
        read.remove("ada").unwrap();
        assert!(read.find(ada.reveal(), 0).is_none() && read.find(bob.reveal(), 0).is_some());
        assert!(matches!(read.remove("ada"), Err(TokenError::Unknown(_))));
        assert_eq!(format!("{ada:?}"), "Token(..)");
    }

    #[test]
    fn a_file_that_others_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        Tokens::default().write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Tokens::read(&path), Err(TokenError::Mode(0o640))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let entry = |name: &str, hash: &str| {
            format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nroles = []\nexpires = 1\n")
        };
        let hash = "00".repeat(32);
        for wrong in [
            "tokens = 2".to_owned(),
            "tokens = 1\nmore = 1".to_owned(),
            "{".to_owned(),
            format!("tokens = 1\n{}", entry("a", "00")),
            format!("tokens = 1\n{}", entry("a b", &hash)),
            format!("tokens = 1\n{}{}", entry("a", &hash), entry("a", &hash)),
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert!(Tokens::read(&path).is_err());
        }
    }

    #[test]
    fn names_are_single_short_and_limited_in_number() {
        let mut tokens = Tokens::default();
        for name in ["", "a b", "ä", &"x".repeat(NAME_MAX + 1)] {
            assert!(matches!(tokens.add(name, &[], 1), Err(TokenError::Name)));
        }
        for number in 0..TOKENS_MAX {
            tokens.add(&format!("n{number}"), &[], 1).unwrap();
        }
        assert!(matches!(tokens.add("n0", &[], 1), Err(TokenError::Exists(_))));
        assert!(matches!(tokens.add("x", &[], 1), Err(TokenError::Full)));
    }
}
