//! A software token's file: the holder's keys under a passphrase.
//!
//! ```text
//! "mgtoken1" 8  holder u8  memory KiB u32  passes u32  lanes u32  salt 16      authenticated
//! nonce 13  ciphertext  tag 16      AES-256-CCM under argon2id(passphrase)
//! ```
//!
//! Without a passphrase the file is the plain text of it: the keys one after the other, 32 octets each, a
//! signing key's after its `skid`.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use seal::at_rest::{Dek, OVERHEAD};
use seal::secret::Key256;
use zeroize::Zeroizing;

use super::{Holder, Object, TokenError, file};

const MAGIC: &[u8; 8] = b"mgtoken1";
const HEADER_LEN: usize = 8 + 1 + 12 + 16;
/// The longest file: more signing keys than there are.
const FILE_MAX: usize = HEADER_LEN + 256 * 33 + OVERHEAD;

/// RFC 9106 §4, second choice: 64 MiB, 3 passes, 4 lanes.
const MEMORY_KIB: u32 = 1 << 16;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a file may ask of the machine that opens it.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// Keys of a token in clear, on their way from or to its file.
pub(crate) type Keys = Vec<(Object, Key256)>;

/// Reads the keys of a holder.
pub(crate) fn read(path: &Path, holder: Holder, pin: Option<&str>) -> Result<Keys, TokenError> {
    let damaged = |what| TokenError::Damaged { path: path.to_owned(), what };
    let mut octets = file::read_secret(path, FILE_MAX)?;
    let sealed = octets.starts_with(MAGIC);
    match pin {
        None if sealed => Err(damaged("it is sealed, and `tokens.toml` names no `pin`")),
        None => parse(holder, &octets).ok_or_else(|| damaged("it should hold keys of 32 octets")),
        Some(_) if !sealed => Err(damaged("it is not sealed, though `tokens.toml` names a `pin`")),
        Some(pin) => {
            let (header, sealed) =
                octets.split_at_mut_checked(HEADER_LEN).ok_or_else(|| damaged("it is cut"))?;
            let dek = derive(header, holder, pin).ok_or_else(|| damaged("its header makes no sense"))?;
            let refused = || TokenError::Passphrase { path: path.to_owned() };
            let opened = dek.open(header, sealed).map_err(|_| refused())?;
            parse(holder, opened).ok_or_else(refused)
        }
    }
}

/// The file's octets.
pub(crate) fn write(
    holder: Holder,
    pin: Option<&str>,
    keys: &Keys,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(keys.len().saturating_mul(33)));
    for (object, key) in keys {
        if let Object::Command(skid) = object {
            plain.push(*skid);
        }
        plain.extend_from_slice(key.expose());
    }
    let Some(pin) = pin else { return Ok(plain) };
    let (mut salt, mut nonce) = ([0; 16], [0; 13]);
    getrandom::fill(&mut salt)?;
    getrandom::fill(&mut nonce)?;
    let mut octets = Vec::with_capacity(FILE_MAX);
    octets.extend_from_slice(MAGIC);
    octets.push(holder as u8);
    [MEMORY_KIB, PASSES, LANES].iter().for_each(|number| octets.extend_from_slice(&number.to_be_bytes()));
    octets.extend_from_slice(&salt);
    let header = octets.clone();
    let failed = || TokenError::backup("argon2id or the seal refused their own parameters");
    let dek = derive(&header, holder, pin).ok_or_else(failed)?;
    dek.seal(nonce, &header, &plain, &mut octets).map_err(|_| failed())?;
    Ok(Zeroizing::new(octets))
}

/// The key of a file with this header.
fn derive(header: &[u8], holder: Holder, pin: &str) -> Option<Dek> {
    let rest = header.strip_prefix(MAGIC)?;
    let (&[tag], rest) = rest.split_first_chunk::<1>()?;
    let (memory, rest) = rest.split_first_chunk::<4>()?;
    let (passes, rest) = rest.split_first_chunk::<4>()?;
    let (lanes, salt) = rest.split_first_chunk::<4>()?;
    let [memory, passes, lanes] = [memory, passes, lanes].map(|number| u32::from_be_bytes(*number));
    if tag != holder as u8 || memory > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
        return None;
    }
    let params = Params::new(memory, passes, lanes, Some(Key256::LEN)).ok()?;
    let mut key = Zeroizing::new([0; Key256::LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(pin.as_bytes(), salt, key.as_mut_slice())
        .ok()?;
    Some(Dek::new(&Key256::from_octets(*key)))
}

fn parse(holder: Holder, plain: &[u8]) -> Option<Keys> {
    let (object, size) = match holder {
        Holder::Signer => (None, 33),
        Holder::Registrar => (Some(Object::Registration), 32),
        Holder::Audit => (Some(Object::Audit), 32),
        Holder::KeyStore => (Some(Object::Kek), 32),
    };
    let one = |part: &[u8]| {
        let (rest, key) = part.split_last_chunk::<32>()?;
        let object = object.or_else(|| rest.first().copied().map(Object::Command))?;
        Some((object, Key256::from_octets(*key)))
    };
    let parts = plain.chunks_exact(size);
    let whole =
        parts.remainder().is_empty() && !plain.is_empty() && (object.is_none() || plain.len() == size);
    if whole { parts.map(one).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn keys(holder: Holder) -> Keys {
        let objects = holder.objects(&[1, 7]).into_iter().filter(|object| *object != Object::Incarnation);
        objects.zip(1..).map(|(object, octet)| (object, Key256::from_octets([octet; 32]))).collect()
    }

    fn plain(keys: &Keys) -> Vec<(Object, [u8; 32])> {
        keys.iter().map(|(object, key)| (*object, *key.expose())).collect()
    }

    #[test]
    fn a_sealed_file_opens_for_its_holder_and_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.token");
        let written = write(Holder::Signer, Some("correct horse"), &keys(Holder::Signer)).unwrap();
        assert!(!written.windows(32).any(|part| part == [1; 32]));
        file::write(&path, &written).unwrap();
        let read_as = |holder, pin| read(&path, holder, pin);
        let read = read_as(Holder::Signer, Some("correct horse")).unwrap();
        assert_eq!(plain(&read), plain(&keys(Holder::Signer)));
        assert!(matches!(read_as(Holder::Signer, Some("correct horsf")), Err(TokenError::Passphrase { .. })));
        assert!(matches!(read_as(Holder::Audit, Some("correct horse")), Err(TokenError::Damaged { .. })));
        assert!(matches!(read_as(Holder::Signer, None), Err(TokenError::Damaged { .. })));
        for place in [0, 8, 9, 20, 30, 40, 60, written.len() - 1] {
            let mut octets = written.to_vec();
            octets[place] ^= 1;
            file::write(&path, &octets).unwrap();
            assert!(read_as(Holder::Signer, Some("correct horse")).is_err(), "octet {place}");
        }
        for length in [0, 8, HEADER_LEN - 1, HEADER_LEN, written.len() - 1] {
            file::write(&path, &written[..length]).unwrap();
            assert!(read_as(Holder::Signer, Some("correct horse")).is_err(), "{length} octets");
        }
    }

    #[test]
    fn a_plain_file_is_only_its_owner_s() {
        let folder = tempfile::tempdir().unwrap();
        for holder in Holder::ALL {
            let path = folder.path().join(holder.name());
            file::write(&path, &write(holder, None, &keys(holder)).unwrap()).unwrap();
            assert_eq!(plain(&read(&path, holder, None).unwrap()), plain(&keys(holder)));
            assert!(matches!(read(&path, holder, Some("pin")), Err(TokenError::Damaged { .. })));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(read(&path, holder, None), Err(TokenError::Mode { mode: 0o640, .. })));
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(plain: Vec<u8>) {
            for holder in Holder::ALL {
                if let Some(keys) = parse(holder, &plain) {
                    prop_assert_eq!(&*write(holder, None, &keys).unwrap(), &plain);
                }
            }
        }
    }
}
