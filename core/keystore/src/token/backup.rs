//! A backup of tokens: every key wrapped under a backup key that exists only during the ceremony, and the
//! shares of it (security layer §4: held m of n, destroyed after it).
//!
//! What is shared is a secret of 32 octets. Two keys follow from it by SHA-256: one wraps, the other seals
//! the text of the file, so that no key of it changes its name or its place.

use blahaj::{Share, Sharks};
use seal::at_rest::{Dek, OVERHEAD};
use seal::edhoc::PublicKey;
use seal::hex::{self, Hex};
use seal::secret::Key256;
use seal::signature::sha256;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::TokenError;
use crate::locked::{Locked, random_32};

/// The longest text of a backup, in octets.
const BACKUP_MAX: usize = 1 << 20;
/// The longest text of a share, in octets.
const SHARE_MAX: usize = 1 << 12;

const SEAL: &str = "# seal ";

/// The secret that is shared.
pub(crate) struct Secret(Locked<Key256>);

impl Secret {
    pub(crate) fn draw() -> Result<Self, TokenError> {
        Ok(Self(Locked::new(Key256::from_octets(*random_32()?))))
    }

    /// What wraps the keys.
    pub(crate) fn wrapping(&self) -> Key256 {
        self.derive(b"metergraph backup: wrap")
    }

    fn sealing(&self) -> Dek {
        Dek::new(&self.derive(b"metergraph backup: seal"))
    }

    fn derive(&self, purpose: &[u8; 23]) -> Key256 {
        let mut input = Zeroizing::new([0; 55]);
        let (name, secret) = input.split_at_mut(purpose.len());
        name.copy_from_slice(purpose);
        secret.copy_from_slice(self.0.get().expose());
        Key256::from_octets(sha256(input.as_slice()))
    }

    /// `of` shares, any `threshold` of which give it back. Each is the text of a file.
    pub(crate) fn share(&self, id: &str, threshold: u8, of: u8) -> Vec<Zeroizing<String>> {
        let dealer = Sharks(threshold).dealer(self.0.get().expose());
        (1..=of)
            .zip(dealer)
            .map(|(number, mut share)| {
                let octets = Zeroizing::new(Vec::from(&share));
                share.zeroize();
                let value = Zeroizing::new(Hex(&octets).to_string());
                let check = Hex(&sha256(&octets)).to_string();
                Zeroizing::new(format!(
                    "# Share {number} of {of} of a Metergraph backup key: any {threshold} of them open the backup.\n\
                     # Keep it apart from the others and from the backup.\n\
                     backup = \"{id}\"\nthreshold = {threshold}\nvalue = \"{}\"\ncheck = \"{}\"\n",
                    &*value,
                    check.get(..16).unwrap_or_default()
                ))
            })
            .collect()
    }

    /// From shares of the backup `id`.
    pub(crate) fn recover(id: &str, threshold: u8, texts: &[Zeroizing<String>]) -> Result<Self, TokenError> {
        let mut shares = Vec::new();
        for (text, number) in texts.iter().zip(1..) {
            let refused = |reason: &str| TokenError::backup(format!("share {number} given: {reason}"));
            if text.len() > SHARE_MAX {
                return Err(refused("it is too long"));
            }
            // What the parser would say could show the share.
            let read: ShareText = toml::from_str(text).map_err(|_| refused("it is no share"))?;
            if read.backup != id {
                return Err(refused("it is of another backup"));
            }
            let octets: Zeroizing<[u8; 33]> =
                Zeroizing::new(hex::read(&read.value).map_err(|_| refused("it is damaged"))?);
            if !Hex(&sha256(octets.as_slice())).to_string().starts_with(&read.check) || read.check.len() < 16
            {
                return Err(refused("it is damaged"));
            }
            shares.push(Share::try_from(octets.as_slice()).map_err(|_| refused("it is damaged"))?);
        }
        let few = || TokenError::backup(format!("{} shares given, and it takes {threshold}", texts.len()));
        let recovered = Sharks(threshold).recover(&shares).map(Zeroizing::new).map_err(|_| few());
        shares.zeroize();
        let octets = recovered?;
        let octets = Zeroizing::new(<[u8; 32]>::try_from(octets.as_slice()).map_err(|_| few())?);
        Ok(Self(Locked::new(Key256::from_octets(*octets))))
    }
}

#[derive(Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct ShareText {
    backup: String,
    #[serde(rename = "threshold")]
    _threshold: u8,
    value: String,
    check: String,
}

/// The file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    pub(crate) version: u8,
    /// Random; shares name it.
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) made_at: u64,
    pub(crate) threshold: u8,
    pub(crate) shares: u8,
    /// The number in the key store's token when the backup was made.
    pub(crate) incarnation: u64,
    pub(crate) keys: Vec<Wrapped>,
}

/// A key of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wrapped {
    pub(crate) holder: String,
    pub(crate) object: String,
    /// Who can unwrap it: `software` or `pkcs11`.
    pub(crate) provider: String,
    /// `04 ‖ x ‖ y` of a key pair, as hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<String>,
    /// The wrapped key, as hex.
    pub(crate) wrapped: String,
}

impl Wrapped {
    /// The public key, if it is one of P-256.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        let octets: [u8; 65] = hex::read(self.public.as_deref()?).ok()?;
        let (x, y) = octets.strip_prefix(&[4])?.split_first_chunk::<32>()?;
        PublicKey::from_xy(x, y.try_into().ok()?)
    }
}

/// The version of the file that is written and read.
pub(crate) const VERSION: u8 = 1;

impl Backup {
    /// The file's text, sealed.
    pub(crate) fn write(&self, secret: &Secret) -> Result<String, TokenError> {
        let failed = |error: &dyn std::fmt::Display| TokenError::backup(error.to_string());
        let mut text = toml::to_string(self).map_err(|error| failed(&error))?;
        let mut nonce = [0; 13];
        getrandom::fill(&mut nonce)?;
        let mut tag = Vec::with_capacity(OVERHEAD);
        secret
            .sealing()
            .seal(nonce, &sha256(text.as_bytes()), &[], &mut tag)
            .map_err(|error| failed(&error))?;
        text.push_str(&format!("{SEAL}{}\n", Hex(&tag)));
        Ok(text)
    }

    /// Reads a text; whether it is as it was written, [`Backup::is_sealed`] tells.
    pub(crate) fn read(text: &str) -> Result<Self, TokenError> {
        let refused = |reason: &str| TokenError::backup(reason.to_owned());
        if text.len() > BACKUP_MAX {
            return Err(refused("it is too long"));
        }
        let backup: Self = toml::from_str(text).map_err(|error| refused(error.message()))?;
        if backup.version != VERSION {
            return Err(refused("it is of another version"));
        }
        Ok(backup)
    }

    /// Whether a text was sealed by this secret.
    pub(crate) fn is_sealed(text: &str, secret: &Secret) -> bool {
        let Some((body, seal)) = text.rsplit_once(SEAL) else { return false };
        let Ok(mut tag) = hex::read::<OVERHEAD>(seal.trim_end()) else { return false };
        secret.sealing().open(&sha256(body.as_bytes()), &mut tag).is_ok()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.get().ct_eq(other.0.get()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backup() -> Backup {
        let key = Wrapped {
            holder: "signer".to_owned(),
            object: "sk-cmd-1".to_owned(),
            provider: "software".to_owned(),
            public: None,
            wrapped: "00".repeat(40),
        };
        let keys = vec![key.clone(), Wrapped { object: "sk-cmd-2".to_owned(), ..key }];
        Backup { version: 1, id: "id".to_owned(), made_at: 7, threshold: 3, shares: 5, incarnation: 9, keys }
    }

    #[test]
    fn three_of_five_shares_open_and_no_two() {
        let secret = Secret::draw().unwrap();
        let shares = secret.share("id", 3, 5);
        let pick = |numbers: &[usize]| -> Vec<_> { numbers.iter().map(|n| shares[*n].clone()).collect() };
        for numbers in [[0, 1, 2], [4, 2, 0], [3, 1, 4]] {
            assert!(Secret::recover("id", 3, &pick(&numbers)).unwrap() == secret);
        }
        assert!(Secret::recover("id", 3, &pick(&[0, 1])).is_err());
        assert!(Secret::recover("id", 3, &pick(&[0, 0, 0])).is_err(), "one share three times");
        assert!(Secret::recover("other", 3, &pick(&[0, 1, 2])).is_err());
        // Who lies about the number gets another secret.
        let lie: Vec<_> =
            pick(&[0, 1]).iter().map(|text| Zeroizing::new(text.replace("= 3", "= 2"))).collect();
        assert!(Secret::recover("id", 2, &lie).unwrap() != secret);
    }

    #[test]
    fn a_mistyped_share_is_found_and_not_shown() {
        let secret = Secret::draw().unwrap();
        let shares = secret.share("id", 2, 2);
        let value = shares[0].split("value = \"").nth(1).unwrap()[..66].to_owned();
        let other = if value.ends_with('0') { "1" } else { "0" };
        let wrong = Zeroizing::new(shares[0].replace(&value, &format!("{}{other}", &value[..65])));
        for text in [wrong, Zeroizing::new(shares[0].replace("\"\ncheck", "\ncheck"))] {
            let error = Secret::recover("id", 2, &[text, shares[1].clone()]).err().unwrap().to_string();
            assert!(error.contains("share 1") && !error.contains(&value[10..40]), "{error}");
        }
    }

    #[test]
    fn a_changed_backup_is_not_sealed() {
        let secret = Secret::draw().unwrap();
        let text = backup().write(&secret).unwrap();
        assert_eq!(Backup::read(&text).unwrap(), backup());
        assert!(Backup::is_sealed(&text, &secret));
        assert!(!Backup::is_sealed(&text, &Secret::draw().unwrap()));
        for (from, to) in [("sk-cmd-2", "sk-cmd-3"), ("incarnation = 9", "incarnation = 8"), ("# seal", "#")]
        {
            assert!(!Backup::is_sealed(&text.replace(from, to), &secret), "{from}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text: String) {
            let _ = Backup::read(&text);
            let _ = Secret::recover("id", 2, &[Zeroizing::new(text.clone()), Zeroizing::new(text)]);
        }
    }
}
