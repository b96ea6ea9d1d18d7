//! The secrets of a laboratory, read by who holds them: files of tokens, the store, the journal, the devices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use journal::files::OsFiles;
use journal::{Durable, Position, Reader};
use keystore::{Keys, Store, Vault};
use nodes::{audit_log, record};
use seal::at_rest::Dek;
use seal::group::GroupKeys;
use seal::ids::{Dev, Epoch, Sid};
use seal::key_wrap;
use seal::schedule;
use seal::secret::{Key256, Prk};
use seal::signature::sha256;

use super::scanner::Nature;
use super::site::{HOLDERS, Site};

/// One secret.
pub struct Secret {
    /// What kind, as the list of the allowed calls it.
    pub kind: &'static str,
    /// Which one of its kind.
    pub name: String,
    pub octets: Vec<u8>,
    pub nature: Nature,
}

/// All that must not be told, and what is counted of it.
#[derive(Default)]
pub struct Secrets {
    pub all: Vec<Secret>,
    known: BTreeSet<Vec<u8>>,
    /// Audit entries in the journal that told, opened, of the canary; none did sealed.
    pub audited: usize,
    /// Associations that were erased since they were made.
    pub erased: usize,
}

impl Secrets {
    /// Everything of a site whose processes have ended.
    pub fn of(site: &Site) -> Self {
        let mut secrets = Self::default();
        secrets.tokens(site);
        secrets.files(site);
        let kek = secrets.key("kek");
        let audit = secrets.data_keys(site, &kek);
        secrets.devices(site);
        let vault = Store::open(&site.lab.state().join(keystore::FOLDER)).unwrap().into_vault();
        let mut epochs = HashMap::new();
        vault
            .load(&|_| true, &mut |association| {
                epochs.insert(association.sid, association.epoch);
                // What the journal's records lead to is what the store holds.
                let Keys::Profile1 { prk, .. } = &association.keys else { panic!("a classic device") };
                secrets.add("prk", &association.dev, prk.expose(), Nature::Octets);
            })
            .unwrap();
        secrets.journal(site, &vault, &epochs, &audit);
        secrets
    }

    fn add(&mut self, kind: &'static str, name: &dyn ToString, octets: &[u8], nature: Nature) {
        if self.known.insert(octets.to_vec()) {
            self.all.push(Secret { kind, name: name.to_string(), octets: octets.to_vec(), nature });
        }
    }

    fn key(&self, kind: &str) -> Key256 {
        let secret = self.all.iter().find(|secret| secret.kind == kind).unwrap();
        Key256::from_octets(secret.octets[..].try_into().unwrap())
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.all.iter().for_each(|secret| *counts.entry(secret.kind).or_default() += 1);
        counts
    }

    /// The keys of software tokens: `keystore::token::sealed` says what the files look like.
    fn tokens(&mut self, site: &Site) {
        for (kind, file, pin) in HOLDERS {
            let mut octets = std::fs::read(site.lab.file(file)).unwrap();
            let plain = match pin {
                None => octets,
                Some(pin) => {
                    let pin = std::fs::read_to_string(site.lab.file(pin)).unwrap();
                    self.add("passphrase", &pin, pin.as_bytes(), Nature::Octets);
                    let (header, sealed) = octets.split_at_mut(8 + 1 + 12 + 16);
                    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
                    let params = Params::new(number(9), number(13), number(17), Some(32)).unwrap();
                    let mut key = [0; 32];
                    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                    argon2.hash_password_into(pin.as_bytes(), &header[21..], &mut key).unwrap();
                    self.add("token-file-key", &file, &key, Nature::Cipher);
                    Dek::new(&Key256::from_octets(key)).open(header, sealed).unwrap().to_vec()
                }
            };
            // A signer's key stands behind its skid.
            let key = plain.last_chunk::<32>().unwrap();
            let nature = if kind == "kek" { Nature::Cipher } else { Nature::Number };
            self.add(kind, &kind, key, nature);
        }
    }

    /// Keys of people and of the laboratory, and the token of who asks.
    fn files(&mut self, site: &Site) {
        let files = ["root.key", "ada.key", "bob.key", "lab-manufacturer.key"];
        for file in files {
            let text = std::fs::read_to_string(site.lab.file(file)).unwrap();
            let key: [u8; 32] = seal::hex::read(text.trim()).unwrap();
            self.add("person-key", &file, &key, Nature::Number);
        }
        let token: [u8; 32] = seal::hex::read(site.bearer.strip_prefix("mgt_").unwrap()).unwrap();
        self.add("bearer-token", &"bearer", &token, Nature::Octets);
    }

    /// The data keys of the store's partitions and of the audit log, which the KEK wraps.
    fn data_keys(&mut self, site: &Site, kek: &Key256) -> Dek {
        let unwrap = |octets: &[u8]| key_wrap::unwrap(kek, octets.try_into().ok()?).ok();
        for entry in std::fs::read_dir(site.lab.state().join(keystore::FOLDER)).unwrap() {
            let folder = entry.unwrap().path();
            if !folder.is_dir() {
                continue;
            }
            // `keystore` keeps them in its table 1, by partition.
            for found in sled::open(folder).unwrap().scan_prefix([1]) {
                let (key, value) = found.unwrap();
                // The wrapped key stands first.
                let dek = unwrap(&value[..40]).unwrap();
                self.add("dek", &seal::hex::Hex(&key[1..]), dek.expose(), Nature::Cipher);
            }
        }
        let key = unwrap(&std::fs::read(site.lab.state().join("audit/audit.key")).unwrap()).unwrap();
        self.add("audit-dek", &"audit", key.expose(), Nature::Cipher);
        Dek::new(&key)
    }

    fn devices(&mut self, site: &Site) {
        let secrets = end_device::secrets::Secrets::open(&site.lab.file("lab.secrets.csv")).unwrap();
        for device in &secrets.devices {
            self.add("device-dh", &device.dev, &*device.agreement, Nature::Number);
            self.add("device-signing", &device.dev, &*device.signing, Nature::Number);
            let parts = [&b"end device storage"[..], &*device.agreement, &*device.signing].concat();
            self.add("device-storage", &device.dev, &sha256(&parts), Nature::Cipher);
        }
    }

    /// What was ever registered, and every group's keys.
    fn journal(&mut self, site: &Site, vault: &Vault, epochs: &HashMap<Sid, Epoch>, audit: &Dek) {
        let folder = site.lab.state().join("journal");
        let durable = Durable::of_stopped(&OsFiles, &folder).unwrap();
        let mut reader = Reader::new(Arc::new(OsFiles), &folder, &durable, Position::START);
        while let Some(found) = reader.next().unwrap() {
            match found.kind {
                record::ASSOCIATION => {
                    let record = record::Association::read(found.octets).unwrap();
                    let (sid, dev) = (record.sid, record.dev);
                    let prk = vault.open_association(sid, dev, record.sealed, |association| {
                        let Keys::Profile1 { prk, .. } = association.keys else { panic!("classic") };
                        prk
                    });
                    self.association(dev, sid, prk.unwrap(), epochs.get(&sid).copied());
                }
                record::GROUP_KEY => {
                    let record = record::GroupKey::read(found.octets).unwrap();
                    let gms = vault.open_group_key(record.gid, record.epoch, record.sealed).unwrap();
                    let name = format!("{} {}", record.gid, record.epoch.0);
                    self.add("gms", &name, gms.expose(), Nature::Cipher);
                    let keys = GroupKeys::derive(&gms, record.gid, record.epoch);
                    self.add("k-g", &name, keys.key.expose(), Nature::Cipher);
                }
                record::AUDIT => {
                    let contains = |octets: &[u8]| {
                        octets.windows(site.canary.len()).any(|window| window == site.canary.as_bytes())
                    };
                    assert!(!contains(found.octets), "an audit entry is not sealed");
                    let mut octets = found.octets.to_vec();
                    let entry = audit.open(audit_log::ABOUT, &mut octets).unwrap();
                    self.audited += usize::from(contains(entry));
                }
                _ => {}
            }
        }
    }

    /// The keys of all epochs of an association that began with this PRK_out; `active` is none when it was
    /// erased.
    fn association(&mut self, dev: Dev, sid: Sid, mut prk: Prk, active: Option<Epoch>) {
        self.erased += usize::from(active.is_none());
        for epoch in 0..=active.unwrap_or(Epoch(0)).0 {
            if epoch > 0 {
                prk = schedule::advance(&prk, Epoch(epoch));
            }
            let keys = schedule::derive(&prk, sid);
            let kinds = match active {
                None => ["prk-erased", "k-up-erased", "k-dn-erased"],
                Some(active) if epoch < active.0 => ["prk-passed", "k-up-retiring", "k-dn-passed"],
                Some(_) => ["prk", "k-up", "k-dn"],
            };
            let name = format!("{dev} {epoch}");
            self.add(kinds[0], &name, prk.expose(), Nature::Octets);
            self.add(kinds[1], &name, keys.up.expose(), Nature::Cipher);
            self.add(kinds[2], &name, keys.dn.expose(), Nature::Cipher);
        }
    }
}

/// All files in a folder, by their paths from there.
pub fn files_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
    }
    files
}
