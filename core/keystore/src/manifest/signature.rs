//! Detached signatures over the octets of a file: ES256, raw `r‖s`. `FILE.sig` is the manufacturer's,
//! `FILE.root.sig` root's. Each is one line of text: the key's name and 128 hex digits.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use seal::hex::{self, Hex};
use seal::signature::SIGNATURE_LEN;

/// The longest signature file, in octets.
pub const SIGNATURE_FILE_MAX: usize = 256;
/// The name of the root key.
pub const ROOT: &str = "root";
/// The longest name of a key.
const NAME_MAX: usize = 64;

/// One signature, and whose it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// The key's name.
    pub key: String,
    /// `r‖s`.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Detached {
    /// Reads a signature file.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets).ok()?.trim_end_matches(['\r', '\n']);
        let (key, signature) = text.split_once(' ')?;
        let signature = hex::read(signature).ok()?;
        is_name(key).then(|| Self { key: key.to_owned(), signature })
    }

    /// The text of a signature file.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {}\n", self.key, Hex(&self.signature))
    }
}

/// The two files that hold a file's signatures: the manufacturer's and root's.
#[must_use]
pub fn files(path: &Path) -> [PathBuf; 2] {
    [".sig", ".root.sig"].map(|ending| {
        let mut name = OsString::from(path);
        name.push(ending);
        PathBuf::from(name)
    })
}

/// A file's two signature files, as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// The octets of `FILE.sig`.
    pub manufacturer: Option<Vec<u8>>,
    /// The octets of `FILE.root.sig`.
    pub root: Option<Vec<u8>>,
}

/// Whether a key may be called so.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_file_reads_back() {
        let detached = Detached { key: "acme-2026".into(), signature: [0xa5; 64] };
        assert_eq!(Detached::read(detached.text().as_bytes()), Some(detached.clone()));
        let text = detached.text();
        for wrong in ["", "acme", &text[..100], &text.replace(' ', "  "), &text.replace("acme", "a/b")] {
            assert_eq!(Detached::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(files(Path::new("a/m.csv")), [Path::new("a/m.csv.sig"), Path::new("a/m.csv.root.sig")]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(octets: Vec<u8>) {
            let _ = Detached::read(&octets);
        }
    }
}
