//! Made-up devices, and what they send.

use std::fs;

use c1222::epsem::ResponseControl;
use c1222::tables::TableId;
use c1222::{
    ApTitleBuf, Envelope, EpsemControl, EpsemWriter, InvocationId, Qualifier, Request, SecurityMode,
    TableData, carriage,
};
use keystore::sample::{self, Sample};
use keystore::shipment::{RowKeys, Shipment};
use keystore::{FOLDER, Store};
use seal::frame::{Bound, FrameType, Head, TAG_LEN};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::{Channel, Job, seal_batch};
use seal::schedule::{self, AssociationKeys};

use crate::support::{Failure, Folder};

/// Associations.
pub const DEVICES: u32 = 100_000;
/// Octets of a report before it is sealed.
pub const PLAINTEXT: usize = 128;
/// Frames of a batch.
pub const BATCH: usize = 256;

const SYSTEM: System = System([0x5a; 8]);
/// Their device profile.
pub const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/profiles/residential.toml");

/// One device.
pub struct Device {
    pub dev: Dev,
    pub sid: Sid,
    pub epoch: Epoch,
    pub keys: AssociationKeys,
    pub title: ApTitleBuf,
}

impl Device {
    /// What its reports are sealed and opened with.
    pub fn upstream(&self) -> Channel<'_> {
        let bound = Bound { system: SYSTEM, scope: self.dev.into(), epoch: self.epoch };
        Channel { key: &self.keys.up, common_iv: &self.keys.common_iv, bound }
    }

    pub fn head(&self, seq: u32) -> Head {
        self.upstream().head(FrameType::Report, self.sid.0, seq)
    }
}

/// Devices in random order, their key store, and a plaintext.
pub struct Lab {
    pub devices: Vec<Device>,
    pub plaintext: Vec<u8>,
    /// The state folder of a head-end; `keystore` is in it.
    pub state: Folder,
}

impl Lab {
    pub fn make() -> Result<Self, Failure> {
        let state = Folder::make("steps")?;
        let mut octets = Vec::new();
        sample::write(&Sample { devices: DEVICES, classic: 0, profile: PROFILE }, &mut octets)?;
        let shipment = Shipment::read(&octets[..])?;
        Store::init(&state.join(FOLDER), Some(SYSTEM))?;
        Store::open(&state.join(FOLDER))?.import(&shipment, &|path| fs::read(path).ok(), true)?;
        let mut devices: Vec<Device> = shipment
            .into_rows()
            .into_iter()
            .filter_map(|row| {
                let RowKeys::Profile1(prk) = &row.keys else { return None };
                let keys = schedule::derive(prk, row.sid);
                Some(Device { dev: row.dev, sid: row.sid, epoch: row.epoch, keys, title: row.title })
            })
            .collect();
        shuffle(&mut devices);
        Ok(Self { devices, plaintext: plaintext()?, state })
    }

    /// The sealed bodies of one report of each device, one behind the other.
    pub fn bodies(&self, seq: u32) -> Result<Vec<u8>, Failure> {
        let mut data = Vec::with_capacity(self.devices.len() * body_octets());
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            jobs.push(device.upstream().job(&device.head(seq), data.len(), body_octets()));
            data.extend_from_slice(&self.plaintext);
            data.extend_from_slice(&[0; TAG_LEN]);
        }
        let mut sealed = Vec::new();
        seal_batch(&mut data, &jobs, &mut sealed);
        if sealed.iter().all(|sealed| *sealed) { Ok(data) } else { Err("a report was not sealed".into()) }
    }

    /// Gives the APDU of one report of each device to `take`.
    pub fn apdus(&self, seq: u32, mut take: impl FnMut(&[u8])) -> Result<(), Failure> {
        let (bodies, host) = (self.bodies(seq)?, ApTitleBuf::parse(".1")?);
        let mut apdu = Vec::new();
        for (device, body) in self.devices.iter().zip(bodies.chunks_exact(body_octets())) {
            apdu.clear();
            let envelope = Envelope {
                called: Some(host.as_title()),
                calling: Some(device.title.as_title()),
                qualifier: Some(Qualifier::NOTIFICATION),
                ..Envelope::new(InvocationId::new(seq))
            };
            carriage::write_head(&mut apdu, &envelope, &device.head(seq).octets(), body.len())?;
            apdu.extend_from_slice(body);
            take(&apdu);
        }
        Ok(())
    }
}

/// Octets of ciphertext and tag.
pub fn body_octets() -> usize {
    PLAINTEXT + TAG_LEN
}

/// An EPSEM of registers and a load-profile block, as long as wanted.
fn plaintext() -> Result<Vec<u8>, Failure> {
    let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
    for block in 0..PLAINTEXT {
        let (registers, block) = ([0x11; 12], vec![0x22; block]);
        let mut octets = Vec::new();
        EpsemWriter::new(&mut octets, control, Some(*b"MGRF"))
            .request(&Request::FullWrite { table: TableId::standard(23), data: TableData::of(&registers) })
            .request(&Request::FullWrite { table: TableId::standard(64), data: TableData::of(&block) });
        if octets.len() == PLAINTEXT {
            return Ok(octets);
        }
    }
    Err(format!("no report has {PLAINTEXT} octets").into())
}

/// The same disorder at every run.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for place in (1..items.len()).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        items.swap(place, (state >> 33) as usize % (place + 1));
    }
}
