//! The secrets of simulated devices beside their manifest: a file for labs and tests, never of real meters.
//!
//! A TOML head says what every device was provisioned with, then a line `---`, then a CSV line a device:
//!
//! ```text
//! system = "366b9ff143ba656e"
//!
//! [head_end]
//! kid = "13"                      # one octet, as credentials name it
//! x   = "…64 hex digits…"         # SK_reg's public key
//! y   = "…"
//!
//! [[signer]]                      # 0 is the root
//! skid       = 0
//! classes    = [4]
//! not_before = 0                  # Unix seconds
//! x          = "…"
//! y          = "…"
//! ---
//! dev,esn,aptitle,device_profile,agreement,signing
//! 0200000000000001,MGRF0001,.75.1.1,residential.toml,…64 hex digits…,…64 hex digits…
//! ```
//!
//! `agreement` is the device's static Diffie-Hellman key, `signing` its signing key; the manifest holds their
//! public halves. Profiles are named relative to the file. Lines that begin with `#` are comments.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use c1222::ApTitleBuf;
use seal::command::Classes;
use seal::edhoc::{Credential, HeadEndCredential, HeadEndKid, PrivateKey, PublicKey};
use seal::hex::{self, Hex};
use seal::ids::{Dev, System};
use seal::receiver::{SignerKey, Signers};
use seal::signature::{SigningKey, VerifyingKey};
use serde::Deserialize;
use zeroize::Zeroizing;

/// The line between head and devices.
const BETWEEN: &str = "---";
/// What the first line of the devices says.
pub const COLUMNS: &str = "dev,esn,aptitle,device_profile,agreement,signing";

/// Why a file of secrets cannot be used. No text of the file is shown: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::ErrorKind),
    /// There is no line `---`, or not the right columns after it.
    #[error("secrets: a line `---` and then `{COLUMNS}` must come after the head")]
    Shape,
    /// The head.
    #[error("secrets, head: {0}")]
    Head(String),
    /// A line of a device.
    #[error("secrets, line {line}: {what}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// One device.
pub struct SecretDevice {
    /// The device.
    pub dev: Dev,
    /// Its serial number.
    pub esn: String,
    /// Its address.
    pub title: ApTitleBuf,
    /// The file of its device profile, relative to this one.
    pub profile: String,
    /// Its static Diffie-Hellman key.
    pub agreement: Zeroizing<[u8; 32]>,
    /// Its signing key.
    pub signing: Zeroizing<[u8; 32]>,
}

/// What a file of secrets says.
pub struct Secrets {
    /// The installation.
    pub system: System,
    /// The head-end's credential.
    pub credential: HeadEndCredential,
    /// Who may sign what.
    pub signers: Signers,
    /// The devices.
    pub devices: Vec<SecretDevice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    system: String,
    head_end: Point,
    #[serde(default)]
    signer: Vec<SignerHead>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    kid: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerHead {
    skid: u8,
    classes: Vec<u8>,
    #[serde(default)]
    not_before: u32,
    x: String,
    y: String,
}

impl Secrets {
    /// Reads the file at a place.
    ///
    /// # Errors
    /// [`SecretsError`]
    pub fn open(path: &Path) -> Result<Self, SecretsError> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        Self::read(&text.map_err(|error| SecretsError::Unreadable(path.into(), error.kind()))?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`SecretsError`], the first fault.
    pub fn read(text: &str) -> Result<Self, SecretsError> {
        let mut lines = text.lines().enumerate();
        let mut head = String::new();
        loop {
            let (_, line) = lines.next().ok_or(SecretsError::Shape)?;
            if line.trim() == BETWEEN {
                break;
            }
            head.push_str(line);
            head.push('\n');
        }
        let (system, credential, signers) = read_head(&head)?;
        let mut lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        if lines.next().is_none_or(|(_, line)| line.trim() != COLUMNS) {
            return Err(SecretsError::Shape);
        }
        let devices = lines.map(|(at, line)| {
            device(line.trim()).map_err(|what| SecretsError::Line { line: at.saturating_add(1), what })
        });
        Ok(Self { system, credential, signers, devices: devices.collect::<Result<_, _>>()? })
    }

    /// The file's text, wiped on drop.
    #[must_use]
    pub fn write(&self) -> Zeroizing<String> {
        let room = (self.signers.keys().len() + self.devices.len() + 1).saturating_mul(512);
        let mut out = Zeroizing::new(String::with_capacity(room));
        let [_, xy @ ..] = self.credential.key.uncompressed();
        let point = |xy: &[u8; 64]| {
            let (x, y) = xy.split_at(32);
            format!("x = \"{}\"\ny = \"{}\"\n", Hex(x), Hex(y))
        };
        // A string takes any text.
        let _ = write!(
            out,
            "system = \"{}\"\n\n[head_end]\nkid = \"{:02x}\"\n{}",
            self.system,
            self.credential.kid.octet(),
            point(&xy)
        );
        for signer in self.signers.keys() {
            let classes: Vec<u8> = (0..8).filter(|class| signer.classes.0 >> class & 1 == 1).collect();
            let [_, xy @ ..] = signer.key.uncompressed();
            let SignerKey { skid, not_before, .. } = signer;
            let _ = write!(
                out,
                "\n[[signer]]\nskid = {skid}\nclasses = {classes:?}\nnot_before = {not_before}\n{}",
                point(&xy)
            );
        }
        let _ = writeln!(out, "{BETWEEN}\n{COLUMNS}");
        for device in &self.devices {
            let SecretDevice { dev, esn, title, profile, agreement, signing } = device;
            let (agreement, signing) = (Hex(&**agreement), Hex(&**signing));
            let _ = writeln!(out, "{dev},{esn},{title},{profile},{agreement},{signing}");
        }
        out
    }
}

fn read_head(text: &str) -> Result<(System, HeadEndCredential, Signers), SecretsError> {
    let wrong = |what: &str| SecretsError::Head(what.to_owned());
    let head: Head = toml::from_str(text).map_err(|error| wrong(error.message()))?;
    let system = head.system.parse().map_err(|_| wrong("`system` has not 16 hex digits"))?;
    let point = |x: &str, y: &str| Some((hex::read::<32>(x).ok()?, hex::read::<32>(y).ok()?));
    let Point { kid, x, y } = &head.head_end;
    let kid = hex::read::<1>(kid).ok().and_then(|[kid]| HeadEndKid::new(kid));
    let kid = kid.ok_or_else(|| wrong("`kid` is none of 00..17 and 20..37"))?;
    let key = point(x, y).and_then(|(x, y)| PublicKey::from_xy(&x, &y));
    let key = key.ok_or_else(|| wrong("the head-end's point is not on the curve"))?;
    let mut signers = Signers::default();
    for SignerHead { skid, classes, not_before, x, y } in head.signer {
        let key = point(&x, &y).and_then(|(x, y)| VerifyingKey::from_xy(&x, &y));
        let key = key.ok_or_else(|| wrong("a signer's point is not on the curve"))?;
        if classes.iter().any(|class| *class > 5) {
            return Err(wrong("classes go from 0 to 5"));
        }
        let classes = Classes(classes.iter().fold(0, |all, class| all | 1 << class));
        if !signers.add(SignerKey { skid, key, classes, not_before }) {
            return Err(wrong("two signers have one skid"));
        }
    }
    Ok((system, Credential { kid, key }, signers))
}

fn device(line: &str) -> Result<SecretDevice, &'static str> {
    let fields: Vec<&str> = line.split(',').collect();
    let [dev, esn, title, profile, agreement, signing] = fields[..] else { return Err("not six fields") };
    let key = |text: &str| hex::read::<32>(text).map(Zeroizing::new);
    let device = SecretDevice {
        dev: dev.parse().map_err(|_| "dev has not 16 hex digits")?,
        esn: esn.to_owned(),
        title: ApTitleBuf::parse(title).map_err(|_| "aptitle is none")?,
        profile: profile.to_owned(),
        agreement: key(agreement).map_err(|_| "agreement has not 64 hex digits")?,
        signing: key(signing).map_err(|_| "signing has not 64 hex digits")?,
    };
    let sound = PrivateKey::from_octets(&device.agreement).is_some()
        && SigningKey::from_octets(&device.signing).is_some();
    if sound { Ok(device) } else { Err("a key is none of the curve's") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets() -> Secrets {
        let key = PrivateKey::from_octets(&[5; 32]).unwrap().public_key();
        let mut signers = Signers::default();
        for (skid, classes, not_before) in [(0, 0b1_0000, 0), (3, 0b1111, 9)] {
            let key = SigningKey::from_octets(&[skid + 1; 32]).unwrap().verifying_key();
            signers.add(SignerKey { skid, key, classes: Classes(classes), not_before });
        }
        let device = |number: u8| SecretDevice {
            dev: Dev([number; 8]),
            esn: format!("MGRF{number}"),
            title: ApTitleBuf::parse(".75.1.2").unwrap(),
            profile: "residential.toml".into(),
            agreement: Zeroizing::new([number; 32]),
            signing: Zeroizing::new([number + 1; 32]),
        };
        Secrets {
            system: System([7; 8]),
            credential: Credential { kid: HeadEndKid::new(0x13).unwrap(), key },
            signers,
            devices: vec![device(1), device(9)],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (before, text) = (secrets(), secrets().write());
        let after = Secrets::read(&text).unwrap();
        assert_eq!((after.system, after.credential), (before.system, before.credential));
        assert_eq!(after.signers, before.signers);
        assert_eq!((after.devices.len(), &*after.devices[1].signing), (2, &[10; 32]));
        assert_eq!(*after.write(), *text);
    }

    #[test]
    fn faults_are_named_without_the_text() {
        let text = secrets().write();
        let error = |from: &str, to: &str| Secrets::read(&text.replace(from, to)).err().unwrap();
        assert_eq!(error("---", ""), SecretsError::Shape);
        assert_eq!(error("dev,esn", "dev,"), SecretsError::Shape);
        let line = |what| SecretsError::Line { line: 23, what };
        let key = "01".repeat(32);
        assert_eq!(error(&key, &"00".repeat(32)), line("a key is none of the curve's"));
        assert_eq!(error(&key, "secret"), line("agreement has not 64 hex digits"));
        assert_eq!(error(&format!("{key},"), ""), line("not six fields"));
        for (from, to) in [
            ("kid = \"13\"", "kid = \"18\""),
            ("skid = 3", "skid = 0"),
            ("[0, 1", "[0, 6"),
            ("system", "sys"),
        ] {
            assert!(matches!(error(from, to), SecretsError::Head(_)), "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}", row in "[0-9a-f,.]{0,120}") {
            let _ = Secrets::read(&text);
            let _ = Secrets::read(&format!("{}{row}\n", secrets().write().as_str()));
        }
    }
}
