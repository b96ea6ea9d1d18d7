//! A manufacturer for labs: made-up devices with their private keys, which in earnest never leave a device.
//!
//! Beside the manifest it writes a file of secrets, from which a simulated fleet registers: a TOML head with
//! what every device is made with, a line `---`, and the devices as CSV.

use std::io::{self, Write};

use seal::command::Classes;
use seal::edhoc::{HeadEndCredential, PrivateKey, PublicKey};
use seal::hex::Hex;
use seal::ids::{Dev, System};
use seal::signature::VerifyingKey;
use zeroize::Zeroizing;

use super::HEADER;
use crate::device::ProfileId;
use crate::locked::random_32;

/// What every device of a lab is made with.
#[derive(Clone, Debug)]
pub struct LabHead {
    /// The installation.
    pub system: System,
    /// The head-end's credential.
    pub head_end: HeadEndCredential,
    /// Public signing keys by `skid`, with what each may sign; 0 is root.
    pub signers: Vec<(u8, VerifyingKey, Classes)>,
}

/// Which devices to make up.
#[derive(Clone, Copy, Debug)]
pub struct LabSample<'a> {
    /// How many.
    pub devices: u32,
    /// The number of the first: identity, serial number and address follow from it.
    pub first: u32,
    /// The file of their device profile, relative to the manifest, without a comma.
    pub profile: &'a str,
    /// The SHA-256 of its text.
    pub profile_id: ProfileId,
    /// What they are made with.
    pub head: &'a LabHead,
}

impl LabSample<'_> {
    /// Writes a manifest and the file of its devices' secrets. Let only the owner read that one.
    ///
    /// # Errors
    /// Those of writing, and the system's when it gives no random octets.
    pub fn write(&self, manifest: &mut dyn Write, secrets: &mut dyn Write) -> io::Result<()> {
        writeln!(manifest, "{HEADER}")?;
        self.head.write(secrets)?;
        writeln!(secrets, "---\ndev,esn,aptitle,device_profile,agreement,signing")?;
        for number in self.first..self.first.saturating_add(self.devices) {
            let dev = Dev((0x0200_004d_4700_0000_u64 + u64::from(number)).to_be_bytes());
            let (agreement, agreement_public) = draw()?;
            let (signing, signing_public) = draw()?;
            let head = format!("{dev},MG{number:08},.75.{}.{}", 1 + number / 1000, 1 + number % 1000);
            write!(manifest, "{head},{}@{}", self.profile, self.profile_id)?;
            for key in [agreement_public, signing_public] {
                write!(manifest, ",{},{}", Hex(&key.x()), Hex(&key.y()))?;
            }
            writeln!(manifest)?;
            writeln!(secrets, "{head},{},{},{}", self.profile, Hex(&*agreement), Hex(&*signing))?;
        }
        Ok(())
    }
}

impl LabHead {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { system, head_end, .. } = self;
        let (x, y) = (head_end.key.x(), head_end.key.y());
        writeln!(out, "# Private keys of a lab's devices. Real ones are in no file.")?;
        writeln!(out, "system = \"{system}\"\n\n[head_end]\nkid = \"{:02x}\"", head_end.kid.octet())?;
        writeln!(out, "x = \"{}\"\ny = \"{}\"", Hex(&x), Hex(&y))?;
        for (skid, key, of) in &self.signers {
            let classes: Vec<u8> = (0..8).filter(|class| of.0 >> class & 1 == 1).collect();
            let [_, xy @ ..] = key.uncompressed();
            let (x, y) = xy.split_at(32);
            writeln!(out, "\n[[signer]]\nskid = {skid}\nclasses = {classes:?}\nnot_before = 0")?;
            writeln!(out, "x = \"{}\"\ny = \"{}\"", Hex(x), Hex(y))?;
        }
        Ok(())
    }
}

fn draw() -> io::Result<(Zeroizing<[u8; 32]>, PublicKey)> {
    loop {
        let octets = random_32().map_err(io::Error::other)?;
        if let Some(key) = PrivateKey::from_octets(&octets) {
            return Ok((octets, key.public_key()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use seal::edhoc::HeadEndKid;
    use seal::hex;
    use seal::signature::SigningKey;

    #[test]
    fn the_secrets_are_those_of_the_manifest() {
        let key = PrivateKey::from_octets(&[9; 32]).unwrap().public_key();
        let root = SigningKey::from_octets(&[7; 32]).unwrap().verifying_key();
        let head = LabHead {
            system: System([1; 8]),
            head_end: HeadEndCredential { kid: HeadEndKid::new(0x13).unwrap(), key },
            signers: vec![(0, root, Classes(1 << 4)), (1, root, Classes(0x3f))],
        };
        let (mut manifest, mut secrets) = (Vec::new(), Vec::new());
        let profile_id = ProfileId([7; 32]);
        let sample = LabSample { devices: 30, first: 990, profile: "a b.toml", profile_id, head: &head };
        sample.write(&mut manifest, &mut secrets).unwrap();
        let manifest = Manifest::read(&manifest[..]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(manifest.profiles(), [("a b.toml".to_owned(), profile_id)]);

        let secrets = String::from_utf8(secrets).unwrap();
        let (head, devices) = secrets.split_once("\n---\n").unwrap();
        assert!(head.contains("kid = \"13\"") && head.contains("classes = [0, 1, 2, 3, 4, 5]"));
        let mut devices = devices.lines().skip(1);
        for row in manifest.rows() {
            let fields: Vec<&str> = devices.next().unwrap().split(',').collect();
            let private = |text: &str| PrivateKey::from_octets(&hex::read(text).unwrap()).unwrap();
            let [agreement, signing] = [4, 5].map(|place| private(fields[place]).public_key());
            assert_eq!((fields[0], fields[1]), (row.dev.to_string().as_str(), &*row.esn));
            assert_eq!((fields[2], fields[3]), (row.title.as_title().to_string().as_str(), "a b.toml"));
            assert_eq!(row.points, [agreement.x(), agreement.y(), signing.x(), signing.y()]);
        }
        assert!(devices.next().is_none());
    }
}
