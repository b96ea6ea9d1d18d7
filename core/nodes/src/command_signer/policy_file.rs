//! The policy's file: looked at for a new version, which is kept beside the state once it was accepted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use commands::policy::{OCTETS_MAX, Policy};
use seal::signature::VerifyingKey;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What stands behind the name of the file with its signatures.
const SIGNATURES: &str = ".sig";

/// When a file was changed, and how long it is.
type Stamp = Option<(SystemTime, u64)>;

/// A new policy that may come into force.
pub(super) struct Accepted {
    pub policy: Policy,
    text: String,
}

/// Root's public key, under the signer's name: for the desk.
#[derive(Clone, Copy, Debug)]
pub struct RootKey(pub VerifyingKey);

pub(super) struct PolicyFile {
    path: PathBuf,
    signatures: PathBuf,
    /// The root's public key, `04 ‖ x ‖ y` in hex.
    root: Option<PathBuf>,
    /// The copy of what is in force.
    kept: PathBuf,
    looked: Option<Instant>,
    seen: [Stamp; 2],
}

impl PolicyFile {
    pub fn new(path: PathBuf, root: Option<PathBuf>, folder: &Path) -> Self {
        let mut signatures = path.clone().into_os_string();
        signatures.push(SIGNATURES);
        let kept = folder.join("policy.toml");
        Self { path, signatures: signatures.into(), root, kept, looked: None, seen: [None, None] }
    }

    /// What was in force when the head-end stopped.
    pub fn in_force(&self) -> Result<Option<Policy>, String> {
        if !self.kept.exists() {
            return Ok(None);
        }
        Policy::read(&read(&self.kept)?)
            .map(Some)
            .map_err(|error| format!("{}: {error}", self.kept.display()))
    }

    /// Root's public key, where the configuration names one.
    pub fn root(&self) -> Option<Result<VerifyingKey, String>> {
        self.root.as_deref().map(root_key)
    }

    /// A version that is new and signed as it must be; at most one look a second, and each change once.
    pub fn look(&mut self, before: Option<&Policy>) -> Option<Result<Accepted, String>> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let stamps = [stamp(&self.path), stamp(&self.signatures)];
        if stamps == self.seen {
            return None;
        }
        self.seen = stamps;
        self.accept(before).transpose()
    }

    fn accept(&self, before: Option<&Policy>) -> Result<Option<Accepted>, String> {
        if !self.path.exists() {
            // What is in force stays so.
            return Ok(None);
        }
        let text = read(&self.path)?;
        if before.is_some_and(|before| before.digest() == seal::signature::sha256(text.as_bytes())) {
            return Ok(None);
        }
        let signatures = read(&self.signatures)?;
        let root = self.root().transpose()?;
        Policy::accept(&text, &signatures, before, root.as_ref())
            .map(|policy| Some(Accepted { policy, text }))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Keeps what comes into force, durably.
    pub fn keep(&self, accepted: &Accepted) -> io::Result<()> {
        let folder = self.kept.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let unfinished = self.kept.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(accepted.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.kept)?;
        File::open(folder)?.sync_all()
    }

    /// The next look reads the file again.
    pub fn forget(&mut self) {
        self.seen = [None, None];
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

fn read(path: &Path) -> Result<String, String> {
    let fault = |error: io::Error| format!("{}: {error}", path.display());
    if fs::metadata(path).map_err(fault)?.len() > OCTETS_MAX as u64 {
        return Err(format!("{}: more than {OCTETS_MAX} octets", path.display()));
    }
    fs::read_to_string(path).map_err(fault)
}

fn root_key(path: &Path) -> Result<VerifyingKey, String> {
    let text = read(path)?;
    key(text.trim())
        .ok_or_else(|| format!("{}: not a public key: `04`, x and y in hexadecimal", path.display()))
}

fn key(digits: &str) -> Option<VerifyingKey> {
    let digits = digits.strip_prefix("04").filter(|digits| digits.len() == 128 && digits.is_ascii())?;
    let half = |half: &str| {
        let (high, low) = half.split_at_checked(32)?;
        let [high, low] = [high, low].map(|part| u128::from_str_radix(part, 16).ok().map(u128::to_be_bytes));
        let mut octets = [0; 32];
        let (first, second) = octets.split_at_mut(16);
        first.copy_from_slice(&high?);
        second.copy_from_slice(&low?);
        Some(octets)
    };
    let (x, y) = digits.split_at_checked(64)?;
    VerifyingKey::from_xy(&half(x)?, &half(y)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::signature::SigningKey;

    #[test]
    fn a_root_key_is_a_point_in_hex() {
        let root = SigningKey::from_octets(&[9; 32]).unwrap().verifying_key();
        let hex: String = root.uncompressed().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(key(&hex), Some(root));
        for wrong in
            ["", "04", &hex[2..], &format!("{hex}00"), &hex.replacen("04", "05", 1), &"04".repeat(65)]
        {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}
