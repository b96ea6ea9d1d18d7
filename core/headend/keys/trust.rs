//! `metergraph keys trust ...`, and root's key at `init`.

use std::path::Path;

use keystore::{FOLDER, Store};
use miette::{IntoDiagnostic, miette};
use seal::hex::{self, Hex};
use seal::signature::VerifyingKey;

use super::lab_key;
use crate::cli::TrustCommand;

/// Carries out one of the commands.
pub fn trust(command: &TrustCommand) -> miette::Result<()> {
    match command {
        TrustCommand::Add { name, key, signature, lab_root, state } => {
            let key = public_key(key)?;
            let mut store = Store::open(&state.join(FOLDER)).into_diagnostic()?;
            let statement = store.trust_statement(name, &key);
            let signature = match (signature, lab_root) {
                (Some(text), _) => hex::read(text).map_err(|error| miette!("--signature: {error}"))?,
                (None, Some(path)) => lab_key::sign(&lab_key::read(path)?, &statement),
                (None, None) => {
                    print!("{}", String::from_utf8_lossy(&statement));
                    return Ok(());
                }
            };
            store.add_trust(name, key, &signature).into_diagnostic()?;
            eprintln!("manifests signed by `{name}` and root are taken");
            Ok(())
        }
        TrustCommand::List { state } => {
            let trust = Store::open(&state.join(FOLDER)).and_then(|store| store.trust()).into_diagnostic()?;
            let root = trust.root().map(|key| ("root", key));
            let others = trust.manufacturers().iter().map(|(name, key)| (name.as_str(), *key));
            root.into_iter().chain(others).for_each(|(name, key)| println!("{name} {}", text(&key)));
            Ok(())
        }
    }
}

/// Sets root's key in a new store.
pub fn set_root(state: &Path, root: Option<&str>, lab_root: Option<&Path>) -> miette::Result<()> {
    let key = match (root, lab_root) {
        (Some(text), _) => public_key(text)?,
        (None, Some(path)) => lab_key::read_or_draw(path)?.verifying_key(),
        (None, None) => return Ok(()),
    };
    Store::open(&state.join(FOLDER)).into_diagnostic()?.set_root(key).into_diagnostic()
}

/// A public key, x and y in 128 hex digits.
pub fn public_key(text: &str) -> miette::Result<VerifyingKey> {
    let xy: [u8; 64] = hex::read(text).map_err(|error| miette!("a public key: {error}"))?;
    let key = xy.first_chunk().zip(xy.last_chunk()).and_then(|(x, y)| VerifyingKey::from_xy(x, y));
    key.ok_or_else(|| miette!("a public key that is no point of P-256"))
}

/// The text that [`public_key`] reads.
fn text(key: &VerifyingKey) -> String {
    let [_, xy @ ..] = key.uncompressed();
    Hex(&xy).to_string()
}
