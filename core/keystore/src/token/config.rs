//! `tokens.toml`: where each holder's token is, and how it logs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seal::secret::scrubbed;
use serde::{Deserialize, Serialize};

use super::pkcs11::{Pkcs11, Pkcs11Place};
use super::provider::Provider;
use super::software::{Software, SoftwarePlace};
use super::{Holder, KekHandle, Object, PinSource, Token, TokenError, file};

/// The file's name in the key store's folder.
pub const TOKENS_FILE: &str = "tokens.toml";

/// The longest `tokens.toml`, in octets.
const CONFIG_MAX: u64 = 1 << 16;

/// What `metergraph keys init` writes for a lab.
const LAB: &str = "\
# Who holds which key, and where. Each holder has a token of its own and logs in by itself.
#
# provider = \"software\": a file. With `pin` it is sealed under that passphrase (argon2id); `unprotected = true`
#   leaves it in clear, for labs. The key store's may name an `incarnation` file.
# provider = \"pkcs11\": `module` (shared library), `token` (label), `pin`, `so_pin` (for backups only), and
#   `labels` of objects that are not called sk-cmd-1, sk-reg, sk-audit, kek, incarnation.
# `pin` is { env = \"VARIABLE\" } or { file = \"PATH\" }. Paths are from this file's folder.

[signer]
provider = \"software\"
file = \"signer.token\"
unprotected = true
skids = [1]

[registrar]
provider = \"software\"
file = \"registrar.token\"
unprotected = true

[audit]
provider = \"software\"
file = \"audit.token\"
unprotected = true

[key-store]
provider = \"software\"
file = \"kek\"
unprotected = true
";

/// The tokens of an installation.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, for messages.
    path: PathBuf,
    /// What relative paths are from.
    folder: PathBuf,
    holders: Holders,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Holders {
    signer: HolderConfig,
    registrar: HolderConfig,
    audit: HolderConfig,
    key_store: HolderConfig,
}

/// The token of one holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase", deny_unknown_fields)]
pub enum HolderConfig {
    /// A file of this machine, for labs.
    Software {
        /// The file.
        file: PathBuf,
        /// Its passphrase.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin: Option<PinSource>,
        /// There is no passphrase: the keys stand there in clear.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unprotected: bool,
        /// The key store's: the file of the incarnation; default: beside `file`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<PathBuf>,
        /// The signer's: its signing keys; default: 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        skids: Option<Vec<u8>>,
        /// The key store's: files of former key-encryption keys, kept for backups of their time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<PathBuf>,
    },
    /// A token behind a PKCS#11 module.
    Pkcs11 {
        /// The module's shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The PIN of the holder.
        pin: PinSource,
        /// The PIN of the security officer, who makes the backup key trusted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        so_pin: Option<PinSource>,
        /// Labels of objects by their own names; default: the names.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// The signer's: its signing keys; default: 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        skids: Option<Vec<u8>>,
        /// The key store's: labels of former key-encryption keys, kept for backups of their time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<String>,
    },
}

/// Where a holder's token is, ready to be opened.
pub(crate) enum Place {
    Software(SoftwarePlace),
    Pkcs11(Pkcs11Place),
}

impl HolderConfig {
    fn skids(&self) -> Option<&[u8]> {
        match self {
            Self::Software { skids, .. } | Self::Pkcs11 { skids, .. } => skids.as_deref(),
        }
    }

    /// Whether it is files of this machine.
    #[must_use]
    pub fn is_software(&self) -> bool {
        matches!(self, Self::Software { .. })
    }

    /// Whether it keeps former key-encryption keys.
    fn keeps(&self) -> bool {
        match self {
            Self::Software { kept, .. } => !kept.is_empty(),
            Self::Pkcs11 { kept, .. } => !kept.is_empty(),
        }
    }

    /// The same, with paths that mean the same from every folder.
    fn absolute(&self, folder: &Path) -> Self {
        let mut holder = self.clone();
        match &mut holder {
            Self::Software { file, pin, incarnation, kept, .. } => {
                *file = absolute(folder, file);
                *pin = pin.as_ref().map(|pin| pin.absolute(folder));
                *incarnation = incarnation.as_ref().map(|path| absolute(folder, path));
                kept.iter_mut().for_each(|path| *path = absolute(folder, path));
            }
            Self::Pkcs11 { module, pin, so_pin, .. } => {
                *module = absolute(folder, module);
                *pin = pin.absolute(folder);
                *so_pin = so_pin.as_ref().map(|pin| pin.absolute(folder));
            }
        }
        holder
    }
}

impl Config {
    /// Reads `tokens.toml` in the key store's folder; where there is none, the lab's files are meant.
    ///
    /// # Errors
    /// [`TokenError::Config`], [`TokenError::Io`].
    pub fn read(folder: &Path) -> Result<Self, TokenError> {
        let path = folder.join(TOKENS_FILE);
        if path.exists() { Self::read_file(&path) } else { Self::lab(folder) }
    }

    /// Reads a file of this form; relative paths in it are from its folder.
    ///
    /// # Errors
    /// [`TokenError::Config`], [`TokenError::Io`].
    pub fn read_file(path: &Path) -> Result<Self, TokenError> {
        let length = fs::metadata(path).map_err(TokenError::io(path))?.len();
        if length > CONFIG_MAX {
            return Err(TokenError::Config { path: path.to_owned(), reason: "it is too long".to_owned() });
        }
        let text = fs::read_to_string(path).map_err(TokenError::io(path))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(path.to_owned(), folder, &text)
    }

    /// The lab's: files in the key store's folder, in clear.
    ///
    /// # Errors
    /// None in fact.
    pub fn lab(folder: &Path) -> Result<Self, TokenError> {
        Self::parse(folder.join(TOKENS_FILE), folder, LAB)
    }

    fn parse(path: PathBuf, folder: &Path, text: &str) -> Result<Self, TokenError> {
        let refused = |reason: String| TokenError::Config { path: path.clone(), reason };
        let holders: Holders = toml::from_str(text).map_err(|error| refused(says(text, &error)))?;
        let config = Self { path: path.clone(), folder: folder.to_owned(), holders };
        config.check().map_err(refused)?;
        Ok(config)
    }

    /// What no parser sees.
    fn check(&self) -> Result<(), String> {
        let mut places = Vec::new();
        for holder in Holder::ALL {
            let at = |what: String| format!("[{}]: {what}", holder.name());
            let config = self.holder(holder);
            let skids = config.skids();
            if holder != Holder::Signer && skids.is_some() {
                return Err(at("only the signer has `skids`".to_owned()));
            }
            if holder != Holder::KeyStore && config.keeps() {
                return Err(at("only the key store has keys that are `kept`".to_owned()));
            }
            let mut sorted = skids.unwrap_or(&[1]).to_vec();
            sorted.sort_unstable();
            if sorted.is_empty()
                || sorted.contains(&0)
                || sorted.windows(2).any(|two| two.first() == two.last())
            {
                return Err(at("`skids` are different numbers from 1 on; 0 is the offline root".to_owned()));
            }
            match config {
                HolderConfig::Software { file, pin, unprotected, incarnation, .. } => {
                    if pin.is_some() == *unprotected {
                        return Err(at("it has either `pin` or `unprotected = true`".to_owned()));
                    }
                    if incarnation.is_some() && holder != Holder::KeyStore {
                        return Err(at("only the key store has an `incarnation`".to_owned()));
                    }
                    places.push((self.folder.join(file), String::new()));
                }
                HolderConfig::Pkcs11 { module, token, labels, .. } => {
                    let objects = self.objects(holder);
                    let known =
                        |name: &String| Object::named(name).is_some_and(|object| objects.contains(&object));
                    if let Some(name) = labels.keys().find(|name| !known(name)) {
                        return Err(at(format!("`labels` names `{name}`, which it does not hold")));
                    }
                    let mut labels: Vec<String> =
                        objects.iter().map(|object| self.label(holder, *object)).collect();
                    labels.sort_unstable();
                    if labels.windows(2).any(|two| two.first() == two.last()) {
                        return Err(at("two objects have the same label".to_owned()));
                    }
                    places.push((self.folder.join(module), token.clone()));
                }
            }
        }
        places.sort_unstable();
        if places.windows(2).any(|two| two.first() == two.last()) {
            return Err("two holders have the same token; each has its own".to_owned());
        }
        Ok(())
    }

    /// The token of a holder.
    #[must_use]
    pub fn holder(&self, holder: Holder) -> &HolderConfig {
        match holder {
            Holder::Signer => &self.holders.signer,
            Holder::Registrar => &self.holders.registrar,
            Holder::Audit => &self.holders.audit,
            Holder::KeyStore => &self.holders.key_store,
        }
    }

    /// The holders whose token is files of this machine, good for labs only.
    #[must_use]
    pub fn software(&self) -> Vec<Holder> {
        Holder::ALL.into_iter().filter(|holder| self.holder(*holder).is_software()).collect()
    }

    /// The objects of a holder.
    pub(crate) fn objects(&self, holder: Holder) -> Vec<Object> {
        holder.objects(self.holder(holder).skids().unwrap_or(&[1]))
    }

    /// What an object is called in a holder's token.
    pub(crate) fn label(&self, holder: Holder, object: Object) -> String {
        let name = object.to_string();
        match self.holder(holder) {
            HolderConfig::Pkcs11 { labels, .. } => labels.get(&name).cloned().unwrap_or(name),
            HolderConfig::Software { .. } => name,
        }
    }

    /// Where a holder's token is; a software token's passphrase is read here.
    pub(crate) fn place(&self, holder: Holder) -> Result<Place, TokenError> {
        match self.holder(holder) {
            HolderConfig::Software { file, pin, incarnation, .. } => {
                let (file, incarnation) = self.software_files(file, incarnation.as_deref());
                let pin = pin.as_ref().map(|pin| pin.read(&self.folder)).transpose()?;
                Ok(Place::Software(SoftwarePlace { holder, file, pin, incarnation }))
            }
            HolderConfig::Pkcs11 { module, token, pin, so_pin, kept, .. } => {
                let objects = self.objects(holder).into_iter();
                Ok(Place::Pkcs11(Pkcs11Place {
                    name: format!("token `{token}`"),
                    module: self.folder.join(module),
                    label: token.clone(),
                    folder: self.folder.clone(),
                    pin: pin.clone(),
                    so_pin: so_pin.clone(),
                    kept: kept.clone(),
                    objects: objects.map(|object| (object, self.label(holder, object))).collect(),
                }))
            }
        }
    }

    fn software_files(&self, file: &Path, incarnation: Option<&Path>) -> (PathBuf, PathBuf) {
        let file = self.folder.join(file);
        let beside = || super::kek::beside(&file);
        let incarnation = incarnation.map_or_else(beside, |path| self.folder.join(path));
        (file, incarnation)
    }

    /// The files of software tokens: what no copy of a state may hold.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let holders = Holder::ALL.iter().map(|holder| self.holder(*holder));
        let software = holders.filter_map(|holder| match holder {
            HolderConfig::Software { file, incarnation, kept, .. } => {
                Some((self.software_files(file, incarnation.as_deref()), kept))
            }
            HolderConfig::Pkcs11 { .. } => None,
        });
        let files = software.flat_map(|((file, incarnation), kept)| {
            [file, incarnation].into_iter().chain(kept.iter().map(|path| self.folder.join(path)))
        });
        files.collect()
    }

    /// Opens the token of one holder and tests it.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(&self, holder: Holder) -> Result<Token, TokenError> {
        scrubbed::<32, _>(|| {
            let provider: Arc<dyn Provider> = match self.place(holder)? {
                Place::Software(place) => Arc::new(Software::open(&place, self.objects(holder))?),
                Place::Pkcs11(place) => Arc::new(Pkcs11::open(place)?),
            };
            let token = Token::new(holder, provider);
            token.self_test()?;
            Ok(token)
        })
    }

    /// Makes `folder`, a new key store's, that of this configuration: draws the software tokens that are not
    /// there yet, opens every token and leaves `tokens.toml` there.
    pub(crate) fn install(&self, folder: &Path) -> Result<KekHandle, TokenError> {
        for holder in Holder::ALL {
            if let Place::Software(place) = self.place(holder)? {
                place.draw(&self.objects(holder))?;
            }
        }
        for holder in [Holder::Signer, Holder::Registrar, Holder::Audit] {
            self.open(holder)?;
        }
        // The lab's own text has comments, and paths that move with the folder.
        if self.path == folder.join(TOKENS_FILE) {
            file::write(&self.path, LAB.as_bytes())?;
        } else {
            self.write(folder)?;
        }
        self.open(Holder::KeyStore)?.kek()
    }

    /// Writes `tokens.toml` into another folder, with absolute paths.
    ///
    /// # Errors
    /// [`TokenError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), TokenError> {
        let mut holders = self.holders.clone();
        for holder in
            [&mut holders.signer, &mut holders.registrar, &mut holders.audit, &mut holders.key_store]
        {
            *holder = holder.absolute(&self.folder);
        }
        self.save(&holders, folder)
    }

    fn save(&self, holders: &Holders, folder: &Path) -> Result<(), TokenError> {
        let text = toml::to_string(holders)
            .map_err(|error| TokenError::Config { path: self.path.clone(), reason: error.to_string() })?;
        file::write(&folder.join(TOKENS_FILE), text.as_bytes())
    }

    /// The token of the key store as this configuration has it, for any folder.
    pub(super) fn key_store_absolute(&self) -> HolderConfig {
        self.holders.key_store.absolute(&self.folder)
    }

    /// The same, with another token of the key store; its relative paths are from this one's folder.
    pub(crate) fn with_key_store(&self, key_store: HolderConfig) -> Result<Self, TokenError> {
        let mut config = self.clone();
        config.holders.key_store = key_store;
        config.check().map_err(|reason| TokenError::Config { path: self.path.clone(), reason })?;
        Ok(config)
    }

    /// Writes it where it was read, with its paths as they are.
    pub(crate) fn rewrite(&self) -> Result<(), TokenError> {
        self.save(&self.holders, &self.folder)
    }
}

/// What the parser says, without the line that it would show: a PIN may stand there by mistake.
fn says(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn absolute(folder: &Path, path: &Path) -> PathBuf {
    std::path::absolute(folder.join(path)).unwrap_or_else(|_| folder.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, TokenError> {
        Config::parse(PathBuf::from("tokens.toml"), Path::new("/keys"), text)
    }

    const HSM: &str = r#"
[signer]
provider = "pkcs11"
module = "/usr/lib/softhsm/libsofthsm2.so"
token = "mg-signer"
pin = { env = "SIGNER_PIN" }
so_pin = { file = "so.pin" }
skids = [1, 2]
labels = { sk-cmd-2 = "next" }

[registrar]
provider = "software"
file = "registrar.token"
pin = { file = "registrar.pin" }

[audit]
provider = "software"
file = "audit.token"
unprotected = true

[key-store]
provider = "software"
file = "kek"
unprotected = true
incarnation = "/elsewhere/incarnation"
"#;

    #[test]
    fn a_lab_needs_no_configuration() {
        let lab = Config::lab(Path::new("/keys")).unwrap();
        assert_eq!(lab.software(), Holder::ALL);
        assert_eq!(lab.objects(Holder::Signer), [Object::Command(1)]);
    }

    #[test]
    fn holders_have_tokens_of_their_own() {
        let config = parse(HSM).unwrap();
        assert_eq!(config.software(), [Holder::Registrar, Holder::Audit, Holder::KeyStore]);
        assert_eq!(config.objects(Holder::Signer), [Object::Command(1), Object::Command(2)]);
        assert_eq!(config.label(Holder::Signer, Object::Command(1)), "sk-cmd-1");
        assert_eq!(config.label(Holder::Signer, Object::Command(2)), "next");
        let same = HSM.replace("audit.token", "registrar.token");
        assert!(parse(&same).unwrap_err().to_string().contains("two holders have the same token"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (from, to, says) in [
            ("skids = [1, 2]", "skids = [0, 2]", "offline root"),
            ("skids = [1, 2]", "skids = [2, 2]", "different numbers"),
            ("skids = [1, 2]", "skids = []", "different numbers"),
            ("sk-cmd-2 =", "sk-cmd-3 =", "sk-cmd-3"),
            ("\"next\"", "\"sk-cmd-1\"", "same label"),
            ("provider = \"pkcs11\"", "provider = \"cloud\"", "cloud"),
            ("pin = { env = \"SIGNER_PIN\" }", "pin = \"1234\"", "a PIN does not stand here"),
            ("pin = { env = \"SIGNER_PIN\" }", "pin = 1234", "a PIN does not stand here"),
            ("pin = { env = \"SIGNER_PIN\" }", "pin = \"1234", "line 6"),
            ("pin = { env = \"SIGNER_PIN\" }", "pin = { env = \"A\", file = \"B\" }", "either `env` or"),
            ("file = \"audit.token\"\nunprotected = true", "file = \"audit.token\"", "either `pin` or"),
            ("file = \"audit.token\"", "file = \"audit.token\"\nincarnation = \"i\"", "only the key store"),
            ("file = \"audit.token\"", "file = \"audit.token\"\nskids = [1]", "only the signer"),
            ("file = \"audit.token\"", "file = \"audit.token\"\nmodule = \"m\"", "module"),
        ] {
            let text = HSM.replace(from, to);
            assert_ne!(text, HSM, "{from}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("1234"), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_written_configuration_means_the_same_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        parse(HSM).unwrap().write(folder.path()).unwrap();
        let read = Config::read(folder.path()).unwrap();
        let HolderConfig::Software { file, pin, .. } = read.holder(Holder::Registrar) else { panic!() };
        assert_eq!(file, Path::new("/keys/registrar.token"));
        assert_eq!(pin, &Some(PinSource::File("/keys/registrar.pin".into())));
        let HolderConfig::Software { incarnation, .. } = read.holder(Holder::KeyStore) else { panic!() };
        assert_eq!(incarnation.as_deref(), Some(Path::new("/elsewhere/incarnation")));
        assert_eq!(read.label(Holder::Signer, Object::Command(2)), "next");
        let here = PinSource::File("registrar.pin".into()).absolute(Path::new("."));
        assert!(matches!(here, PinSource::File(path) if path.is_absolute()));
    }
}
