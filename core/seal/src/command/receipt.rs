//! What an end device signs when it acted on a class-3 command: an auditor needs public keys only to
//! know that the meter acted (security layer §7, Annex A).

use alloc::vec::Vec;

use crate::ids::{Dev, System};
use crate::signature::{SIGNATURE_LEN, Signer, VerifyingKey, sha256, structure};

/// How and when an end device acted on one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The installation.
    pub system: System,
    /// The end device.
    pub dev: Dev,
    /// SHA-256 of the command's `skid..body`.
    pub digest: [u8; 32],
    /// 0 to 6.
    pub result: u8,
    /// Unix seconds.
    pub executed_at: u32,
}

impl Receipt {
    /// The octets that the signature covers.
    #[must_use]
    pub fn sig_structure(&self) -> Vec<u8> {
        let payload = [&self.digest[..], &[self.result], &self.executed_at.to_be_bytes()].concat();
        structure(&[&[2], &self.system.0, &self.dev.0], &payload)
    }

    /// Signs it with the end device's own key.
    ///
    /// # Errors
    /// Those of the signer.
    pub fn sign<S: Signer>(&self, signer: &S) -> Result<[u8; SIGNATURE_LEN], S::Error> {
        signer.sign(&sha256(&self.sig_structure()))
    }

    /// Whether the signature is that of this end device's key.
    #[must_use]
    pub fn verifies(&self, key: &VerifyingKey, signature: &[u8; SIGNATURE_LEN]) -> bool {
        key.verifies(&sha256(&self.sig_structure()), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SigningKey;

    #[test]
    fn a_receipt_is_bound_to_all_it_says() {
        let receipt =
            Receipt { system: System([1; 8]), dev: Dev([2; 8]), digest: [3; 32], result: 0, executed_at: 4 };
        let key = SigningKey::from_octets(&[5; 32]).unwrap();
        let Ok(signature) = receipt.sign(&key);
        let key = key.verifying_key();
        assert!(receipt.verifies(&key, &signature));
        for other in [
            Receipt { system: System([2; 8]), ..receipt },
            Receipt { dev: Dev([1; 8]), ..receipt },
            Receipt { digest: [4; 32], ..receipt },
            Receipt { result: 1, ..receipt },
            Receipt { executed_at: 5, ..receipt },
        ] {
            assert!(!other.verifies(&key, &signature), "{other:?}");
        }
    }
}
