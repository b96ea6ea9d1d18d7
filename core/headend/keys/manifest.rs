//! Manifests: taken in, and made up for labs.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keystore::manifest::signature::{self, Detached, ROOT, SIGNATURE_FILE_MAX, Signatures};
use keystore::manifest::{HEADER, LabHead, LabSample, Manifest};
use keystore::shipment::ShipmentError;
use keystore::token::{self, Holder};
use keystore::{FOLDER, ImportError, Imported, ProfileId, SignedText, Store};
use miette::{IntoDiagnostic, WrapErr, miette};
use seal::command::Classes;
use seal::edhoc::{HeadEndCredential, HeadEndKid};
use seal::signature::SigningKey;

use super::{bad_rows, check_profile, lab_key};

/// The lab's manufacturer, in signatures and as the name of its key's file beside root's.
const LAB: &str = "lab-manufacturer";
/// What root signs: class 4. What a lab's commands may be: all six.
const ROOT_CLASSES: Classes = Classes(1 << 4);
const ALL_CLASSES: Classes = Classes(0x3f);

/// Whether a file is a manifest.
pub fn is_manifest(path: &Path) -> bool {
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER.len() as u64 + 3).read_to_end(&mut octets));
    read.is_ok() && Manifest::begins(&octets)
}

/// Takes a manifest in.
pub fn import(path: &Path, state: &Path) -> miette::Result<Imported> {
    let at = || format!("{}", path.display());
    let file = File::open(path).into_diagnostic().wrap_err_with(at)?;
    let manifest = Manifest::read(file).map_err(|error| match error {
        ShipmentError::Faults(faults) => bad_rows(path, &faults),
        error @ ShipmentError::Io(_) => miette!("{}: {error}", path.display()),
    })?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let (mut texts, mut wrong) = (Vec::new(), Vec::new());
    for (name, _) in manifest.profiles() {
        let path = folder.join(name);
        // The import names the rows that want one that cannot be read.
        let Some((text, good)) = check_profile(&path) else { continue };
        if !good {
            wrong.push(path.display().to_string());
        }
        let signatures = signatures(&path);
        texts.push((name.clone(), SignedText { octets: text.into_bytes(), signatures }));
    }
    if !wrong.is_empty() {
        return Err(miette!("nothing was taken: faults in device profile {}", wrong.join(", ")));
    }
    let find = |name: &str| texts.iter().find(|(other, _)| other == name).map(|(_, text)| text.clone());
    let mut store = Store::open(&state.join(FOLDER)).into_diagnostic()?;
    store.import_manifest(&manifest, &signatures(path), &find).map_err(|error| match error {
        ImportError::Faults(faults) => bad_rows(path, &faults),
        error => miette!("{}: {error}", path.display()),
    })
}

/// What was found beside a file.
fn signatures(path: &Path) -> Signatures {
    let [manufacturer, root] = signature::files(path).map(|path| {
        let mut octets = Vec::new();
        let file = File::open(path).ok()?;
        file.take(SIGNATURE_FILE_MAX as u64 + 1).read_to_end(&mut octets).ok()?;
        Some(octets)
    });
    Signatures { manufacturer, root }
}

/// What a lab's manifest is made of.
pub struct LabManifest<'a> {
    /// How many devices, and the number of the first.
    pub devices: u32,
    pub first: u32,
    /// The device profile.
    pub profile: &'a Path,
    /// The manifest's file.
    pub out: &'a Path,
    /// The lab's state folder, and the file of root's private key.
    pub state: &'a Path,
    pub lab_root: &'a Path,
    /// The name of the head-end's credential.
    pub kid: u8,
}

impl LabManifest<'_> {
    /// Writes manifest, secrets and signatures, and has the key store trust the lab's manufacturer.
    pub fn write(&self) -> miette::Result<()> {
        let keystore = self.state.join(FOLDER);
        let root = lab_key::read(self.lab_root)?;
        let manufacturer = lab_key::read_or_draw(&self.lab_root.with_file_name(format!("{LAB}.key")))?;
        let mut store = Store::open(&keystore).into_diagnostic()?;
        let statement = store.trust_statement(LAB, &manufacturer.verifying_key());
        let by_root = lab_key::sign(&root, &statement);
        store.add_trust(LAB, manufacturer.verifying_key(), &by_root).into_diagnostic()?;

        let profile = self.profile()?;
        let text = fs::read(&profile).into_diagnostic()?;
        let name = profile.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains(','));
        let name = name.ok_or_else(|| miette!("the profile's name is no UTF-8, or holds a comma"))?;
        let head = self.head(&store, &keystore, &root)?;
        let secrets = self.out.with_extension("secrets.csv");
        let sample = LabSample {
            devices: self.devices,
            first: self.first,
            profile: name,
            profile_id: ProfileId::of(&text),
            head: &head,
        };
        let (mut manifest_file, mut secrets_file) = (create(self.out, 0o644)?, create(&secrets, 0o600)?);
        sample
            .write(&mut manifest_file, &mut secrets_file)
            .and_then(|()| manifest_file.flush())
            .and_then(|()| secrets_file.flush())
            .into_diagnostic()
            .wrap_err_with(|| format!("write {}", self.out.display()))?;
        for path in [&profile, self.out] {
            sign(path, &manufacturer, &root)?;
        }
        let devices = self.devices;
        eprintln!("{devices} made-up devices in {}", self.out.display());
        eprintln!("their private keys, for labs only, in {}", secrets.display());
        Ok(())
    }

    /// The profile's place beside the manifest, where it is copied to when it is elsewhere.
    fn profile(&self) -> miette::Result<PathBuf> {
        let at = || format!("device profile {}", self.profile.display());
        let name =
            self.profile.file_name().ok_or_else(|| miette!("{} is no file", self.profile.display()))?;
        let beside = self.out.with_file_name(name);
        let text = fs::read(self.profile).into_diagnostic().wrap_err_with(at)?;
        match fs::read(&beside) {
            Ok(other) if other == text => {}
            Ok(_) => return Err(miette!("{} is another device profile", beside.display())),
            Err(_) => fs::write(&beside, text).into_diagnostic().wrap_err_with(at)?,
        }
        Ok(beside)
    }

    /// What the devices are made with.
    fn head(&self, store: &Store, keystore: &Path, root: &SigningKey) -> miette::Result<LabHead> {
        let kid = HeadEndKid::new(self.kid)
            .ok_or_else(|| miette!("--kid: a head-end's credential is called 0 to 23 or 32 to 55"))?;
        let registrar = token::open(keystore, Holder::Registrar).into_diagnostic()?;
        let key = registrar.registration().into_diagnostic()?.public_key();
        let signer = token::open(keystore, Holder::Signer).into_diagnostic()?;
        let mut signers = vec![(0, root.verifying_key(), ROOT_CLASSES)];
        for skid in signer.skids() {
            let key = signer.command(skid).into_diagnostic()?.verifying_key();
            signers.push((skid, key, ALL_CLASSES));
        }
        Ok(LabHead { system: store.system(), head_end: HeadEndCredential { kid, key }, signers })
    }
}

/// Writes both signatures of a file.
fn sign(path: &Path, manufacturer: &SigningKey, root: &SigningKey) -> miette::Result<()> {
    let octets = fs::read(path).into_diagnostic()?;
    for (file, (name, key)) in signature::files(path).iter().zip([(LAB, manufacturer), (ROOT, root)]) {
        let detached = Detached { key: name.to_owned(), signature: lab_key::sign(key, &octets) };
        fs::write(file, detached.text()).into_diagnostic().wrap_err_with(|| format!("{}", file.display()))?;
    }
    Ok(())
}

fn create(path: &Path, mode: u32) -> miette::Result<BufWriter<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    let file = file.into_diagnostic().wrap_err_with(|| format!("write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::trust;

    #[test]
    fn a_lab_manifest_is_taken_in_and_a_changed_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (state, out, lab_root) = (at("state"), at("m.csv"), at("root.key"));
        Store::init(&state.join(FOLDER), None).unwrap();
        trust::set_root(&state, None, Some(&lab_root)).unwrap();
        let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/profiles/residential.toml");
        let sample = LabManifest {
            devices: 20,
            first: 5,
            profile: &profile,
            out: &out,
            state: &state,
            lab_root: &lab_root,
            kid: 0x13,
        };
        sample.write().unwrap();
        assert!(is_manifest(&out) && !is_manifest(&profile));
        let secrets = end_device::secrets::Secrets::open(&at("m.secrets.csv")).unwrap();
        assert_eq!((secrets.devices.len(), secrets.credential.kid.octet()), (20, 0x13));
        assert_eq!(secrets.signers.keys().len(), 2);

        let text = fs::read_to_string(&out).unwrap();
        fs::write(&out, text.replace("MG00000007", "MG00009007")).unwrap();
        let refused = import(&out, &state).unwrap_err().to_string();
        assert!(refused.contains("the signature by `lab-manufacturer` is wrong"), "{refused}");
        fs::write(&out, &text).unwrap();
        let profile_text = fs::read_to_string(at("residential.toml")).unwrap();
        fs::write(at("residential.toml"), format!("{profile_text}\n")).unwrap();
        let refused = import(&out, &state).unwrap_err().to_string();
        assert!(refused.contains("line 2, device_profile: names a profile whose SHA-256"), "{refused}");
        fs::write(at("residential.toml"), &profile_text).unwrap();
        fs::remove_file(at("residential.toml.root.sig")).unwrap();
        let refused = import(&out, &state).unwrap_err().to_string();
        assert!(refused.contains("line 21, device_profile: names a profile that is not signed"), "{refused}");

        sign(
            &at("residential.toml"),
            &lab_key::read(&at("lab-manufacturer.key")).unwrap(),
            &lab_key::read(&lab_root).unwrap(),
        )
        .unwrap();
        assert_eq!(import(&out, &state).unwrap(), Imported { profile1: 20, classic: 0, devices: 20 });
        let refused = import(&out, &state).unwrap_err().to_string();
        assert!(refused.contains("60 bad rows") && refused.contains("is that of device"), "{refused}");
    }
}
