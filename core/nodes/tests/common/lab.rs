//! Devices of a signed manifest, which have to register: their credentials in a key store, their secrets here.

use std::path::Path;

use end_device::secrets::Secrets;
use keystore::manifest::signature::{Detached, Signatures};
use keystore::manifest::{LabHead, LabSample, Manifest};
use keystore::token::{self, Holder};
use keystore::{ProfileId, SignedText, Store};
use seal::edhoc::{HeadEndCredential, HeadEndKid};
use seal::signature::{Signer, SigningKey, sha256};

use super::device::PROFILE;

/// The head-end's credential, as the devices know it.
pub const KID: u8 = 0x13;

/// Imports so many devices into the key store of this state folder, the first with this number.
pub fn provision(state: &Path, devices: u32, first: u32) -> Secrets {
    let folder = state.join(keystore::FOLDER);
    let mut store = Store::open(&folder).unwrap();
    let key = token::open(&folder, Holder::Registrar).unwrap().registration().unwrap().public_key();
    let head_end = HeadEndCredential { kid: HeadEndKid::new(KID).unwrap(), key };
    let head = LabHead { system: store.directory().unwrap().system(), head_end, signers: Vec::new() };
    let text = std::fs::read(PROFILE).unwrap();
    let profile_id = ProfileId::of(&text);
    let sample = LabSample { devices, first, profile: "p.toml", profile_id, head: &head };
    let (mut manifest, mut secrets) = (Vec::new(), Vec::new());
    sample.write(&mut manifest, &mut secrets).unwrap();

    let [root, maker] = [7, 8].map(|octet| SigningKey::from_octets(&[octet; 32]).unwrap());
    let sign = |key: &SigningKey, name: &str, octets: &[u8]| {
        let Ok(signature) = key.sign(&sha256(octets));
        Detached { key: name.to_owned(), signature }
    };
    let signatures = |octets: &[u8]| Signatures {
        manufacturer: Some(sign(&maker, "maker", octets).text().into_bytes()),
        root: Some(sign(&root, "root", octets).text().into_bytes()),
    };
    store.set_root(root.verifying_key()).unwrap();
    let statement = store.trust_statement("maker", &maker.verifying_key());
    store.add_trust("maker", maker.verifying_key(), &sign(&root, "root", &statement).signature).unwrap();
    let profile = |_: &str| Some(SignedText { octets: text.clone(), signatures: signatures(&text) });
    let read = Manifest::read(&manifest[..]).unwrap_or_else(|error| panic!("{error}"));
    store.import_manifest(&read, &signatures(&manifest), &profile).unwrap();
    Secrets::read(std::str::from_utf8(&secrets).unwrap()).unwrap()
}
