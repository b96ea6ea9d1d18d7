//! Keys to verify and decrypt with: given one by one, or in a shipment file.

use std::collections::HashMap;
use std::path::Path;

use c1222::ApTitle;
use keystore::shipment::{RowKeys, Shipment};
use miette::miette;
use seal::eax_prime::EaxPrime;
use seal::frame::{Bound, FrameType, Head};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::Channel;
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key128, Prk};

/// Epochs after that of the shipment file which are tried.
const EPOCHS_AHEAD: u16 = 16;

/// A profile-1 device with the keys of the epochs that were needed so far.
struct Device {
    dev: Dev,
    epoch: Epoch,
    prk: Prk,
}

/// All keys that were given.
#[derive(Default)]
pub(super) struct Keys {
    system: Option<System>,
    /// EAX' keys by id, of whatever node.
    classic: Vec<(u8, EaxPrime)>,
    /// EAX' keys of classic devices: canonical title, key id, key.
    titled: HashMap<c1222::ApTitleBuf, Vec<(u8, EaxPrime)>>,
    devices: HashMap<Sid, Device>,
}

/// A body that has opened.
pub(super) struct Opened {
    pub(super) dev: Dev,
    pub(super) epoch: Epoch,
    pub(super) plaintext: Vec<u8>,
}

impl Keys {
    /// Takes `ID:HEX` keys, and those of a shipment file.
    pub(super) fn new(
        keys: &[String],
        shipment: Option<&Path>,
        system: Option<&str>,
    ) -> miette::Result<Self> {
        let mut all = Self { system: system.map(crate::keys::read_system).transpose()?, ..Self::default() };
        for text in keys {
            let key = text
                .split_once(':')
                .and_then(|(id, hex)| Some((id.parse().ok()?, EaxPrime::new(&Key128::from_hex(hex).ok()?))));
            // The text is not shown: it may hold a key.
            all.classic.push(key.ok_or_else(|| miette!("--key takes ID:HEX, a number and 32 hex digits"))?);
        }
        if let Some(path) = shipment {
            all.take(crate::keys::read_shipment(path)?);
        }
        Ok(all)
    }

    fn take(&mut self, shipment: Shipment) {
        for row in shipment.into_rows() {
            match row.keys {
                RowKeys::Profile1(prk) => {
                    self.devices.insert(row.sid, Device { dev: row.dev, epoch: row.epoch, prk });
                }
                RowKeys::Classic(keys) => {
                    let title = row.title.as_title().canonical().into();
                    let keys = keys.iter().map(|(id, key)| (id, EaxPrime::new(key))).collect();
                    self.titled.insert(title, keys);
                }
            }
        }
    }

    /// The EAX' keys of this id that may be meant between these nodes, the most likely first.
    pub(super) fn classic<'k>(
        &'k self,
        id: u8,
        titles: [Option<ApTitle<'_>>; 2],
    ) -> impl Iterator<Item = &'k EaxPrime> {
        let titled = titles
            .into_iter()
            .flatten()
            .filter_map(|title| self.titled.get(&c1222::ApTitleBuf::from(title.canonical())));
        let titled: Vec<_> = titled.flatten().collect();
        titled.into_iter().chain(&self.classic).filter(move |(other, _)| *other == id).map(|(_, key)| key)
    }

    /// Opens a profile-1 frame of type 1, 2, 4 or 5. `None` without its key; `Some(None)` when the tag is
    /// wrong under every epoch that may be meant.
    pub(super) fn open(&self, head: &Head, body: &[u8]) -> Option<Option<Opened>> {
        let system = self.system?;
        let device = self.devices.get(&head.sid())?;
        let mut prk = Prk::from_octets(*device.prk.expose());
        let mut epoch = device.epoch;
        for _ in 0..=EPOCHS_AHEAD {
            if epoch.low() == head.epoch_low {
                let AssociationKeys { up, dn, common_iv } = schedule::derive(&prk, head.sid());
                let key = match head.frame_type {
                    FrameType::Report | FrameType::UpControl => &up,
                    FrameType::Command | FrameType::DownControl => &dn,
                    FrameType::GroupCommand => return None,
                };
                let bound = Bound { system, scope: device.dev.into(), epoch };
                let mut octets = body.to_vec();
                let channel = Channel { key, common_iv: &common_iv, bound };
                if let Some(plaintext) = channel.open(head, &mut octets) {
                    return Some(Some(Opened { dev: device.dev, epoch, plaintext: plaintext.to_vec() }));
                }
            }
            let Some(next) = epoch.next() else { break };
            prk = schedule::advance(&prk, next);
            epoch = next;
        }
        Some(None)
    }
}
