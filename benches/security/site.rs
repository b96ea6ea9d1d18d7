//! An installation with a lab's keys.

use std::fs;
use std::sync::Arc;

use keystore::sample::{self, Sample};
use keystore::shipment::Shipment;
use keystore::{FOLDER, Store};
use seal::ids::System;
use seal::signature::SigningKey;

use crate::support::{Failure, Folder};

/// The installation.
pub const SYSTEM: System = System([0x5a; 8]);

const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/profiles/residential.toml");

/// A key store of so many associations, and the folder that it is in.
pub fn store(name: &str, devices: u32) -> Result<(Arc<Store>, Folder), Failure> {
    let state = Folder::make(name)?;
    let folder = state.join(FOLDER);
    Store::init(&folder, Some(SYSTEM))?;
    let mut store = Store::open(&folder)?;
    if devices > 0 {
        let mut octets = Vec::new();
        sample::write(&Sample { devices, classic: 0, profile: PROFILE }, &mut octets)?;
        store.import(&Shipment::read(&octets[..])?, &|path| fs::read(path).ok(), true)?;
    }
    Ok((Arc::new(store), state))
}

/// A key in memory.
pub fn signing_key() -> Result<SigningKey, Failure> {
    SigningKey::from_octets(&[9; 32]).ok_or_else(|| "no key".into())
}
