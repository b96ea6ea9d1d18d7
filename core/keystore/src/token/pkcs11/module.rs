//! PKCS#11 modules of this process. A module is started once, however many tokens of it are open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::{Slot, TokenInfo};

use crate::token::TokenError;

static STARTED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// The module, started.
pub(super) fn start(module: &Path) -> Result<Pkcs11, TokenError> {
    let refused = |source| TokenError::Module { module: module.to_owned(), source: Box::new(source) };
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = started.get(module) {
        return Ok(context.clone());
    }
    let context = Pkcs11::new(module).map_err(refused)?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(refused(error)),
    }
    started.insert(module.to_owned(), context.clone());
    Ok(context)
}

/// The slot that holds the token with this label.
pub(super) fn slot(context: &Pkcs11, module: &Path, label: &str) -> Result<(Slot, TokenInfo), TokenError> {
    let refused = |source| TokenError::Module { module: module.to_owned(), source: Box::new(source) };
    for slot in context.get_slots_with_token().map_err(refused)? {
        // A slot whose token was just pulled out is not the one.
        let Ok(info) = context.get_token_info(slot) else { continue };
        if info.label().trim_end() == label {
            return Ok((slot, info));
        }
    }
    Err(TokenError::NoToken { module: module.to_owned(), label: label.to_owned() })
}
