//! Private keys of a lab in files: root's, and its manufacturer's. In earnest root is offline, and the
//! manufacturer elsewhere.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use miette::{IntoDiagnostic, WrapErr, miette};
use seal::hex::{self, Hex};
use seal::signature::{SIGNATURE_LEN, Signer, SigningKey, sha256};
use zeroize::Zeroizing;

/// Reads the key of a file, or draws one and writes it for its owner only.
pub fn read_or_draw(path: &Path) -> miette::Result<SigningKey> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        opened => {
            let mut file = opened.into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
            let (octets, key) = draw()?;
            let text = Zeroizing::new(format!("{}\n", Hex(&*octets)));
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).into_diagnostic()?;
            eprintln!("{}: a private key for labs only", path.display());
            Ok(key)
        }
    }
}

/// Reads the key of a file.
pub fn read(path: &Path) -> miette::Result<SigningKey> {
    let at = || format!("{}", path.display());
    let file = OpenOptions::new().read(true).open(path).into_diagnostic().wrap_err_with(at)?;
    if file.metadata().into_diagnostic()?.mode() & 0o077 != 0 {
        return Err(miette!("{}: only its owner may read a private key (mode 600)", path.display()));
    }
    let mut text = Zeroizing::new(String::with_capacity(80));
    file.take(80).read_to_string(&mut text).into_diagnostic().wrap_err_with(at)?;
    let octets = hex::read(text.trim_end()).map(Zeroizing::new).ok();
    let key = octets.and_then(|octets| SigningKey::from_octets(&octets));
    key.ok_or_else(|| miette!("{} holds no private key: 64 hex digits", path.display()))
}

/// Signs octets.
pub fn sign(key: &SigningKey, octets: &[u8]) -> [u8; SIGNATURE_LEN] {
    let Ok(signature) = key.sign(&sha256(octets));
    signature
}

fn draw() -> miette::Result<(Zeroizing<[u8; 32]>, SigningKey)> {
    loop {
        let mut octets = Zeroizing::new([0; 32]);
        getrandom::fill(octets.as_mut_slice()).map_err(|error| miette!("no random octets: {error}"))?;
        if let Some(key) = SigningKey::from_octets(&octets) {
            return Ok((octets, key));
        }
    }
}
