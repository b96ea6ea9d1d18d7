//! The signer's state as octets, so that a start reads only the end of the log.
//!
//! ```text
//! 1 sequences  group ctr 4  clock 8
//! 2 device     dev 8  ctr 4  load nbf 4  outstanding ctr 4  until 8     ctr 0: none
//! 3 group      gid 4  load nbf 4  members' nbf 4
//! 4 member     dev 8  gid 4
//! 5 id         id 16  until 8
//! 6 expected   kind 1  dev 8  ctr 4  gid 4  join 1
//! 7 restored   incarnation 8  base 4
//! ```

use seal::ids::{Dev, Gid};

use super::Signer;
use super::books::{Change, Device};
use crate::front::CommandId;

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take().map(|[octet]| octet)
    }
}

impl Signer {
    /// Gives its state, entry by entry, in the order in which they are to be restored.
    pub fn entries(&self, each: &mut dyn FnMut(&[u8])) {
        let mut out = Vec::new();
        let mut entry = |parts: &[&[u8]]| {
            out.clear();
            parts.iter().for_each(|part| out.extend_from_slice(part));
            each(&out);
        };
        let books = &self.books;
        if self.restored > 0 {
            entry(&[&[7], &self.restored.to_be_bytes(), &books.base.to_be_bytes()]);
        }
        entry(&[&[1], &books.group_ctr.to_be_bytes(), &self.clock.to_be_bytes()]);
        for (Dev(dev), device) in &books.devices {
            let Device { ctr, load_nbf, outstanding, .. } = device;
            let (waits, until) = outstanding.unwrap_or_default();
            let (waits, until) = (waits.to_be_bytes(), until.to_be_bytes());
            entry(&[&[2], dev, &ctr.to_be_bytes(), &load_nbf.to_be_bytes(), &waits, &until]);
        }
        for (Gid(gid), group) in &books.groups {
            let gid = gid.to_be_bytes();
            entry(&[&[3], &gid, &group.load_nbf.to_be_bytes(), &group.members_nbf.to_be_bytes()]);
            group.members.iter().for_each(|Dev(dev)| entry(&[&[4], dev, &gid]));
        }
        for (CommandId(id), until) in &self.ids {
            entry(&[&[5], id, &until.to_be_bytes()]);
        }
        for ((dev, ctr), changes) in &books.expected {
            let kind = if dev.is_some() { 1 } else { 2 };
            let Dev(dev) = dev.unwrap_or(Dev([0; 8]));
            for change in changes {
                let (ctr, gid) = (ctr.to_be_bytes(), change.gid.0.to_be_bytes());
                entry(&[&[6, kind], &dev, &ctr, &gid, &[u8::from(change.join)]]);
            }
        }
    }

    /// Takes in a chunk of entries; `None` when they are none.
    pub fn restore(&mut self, chunk: &[u8]) -> Option<()> {
        let mut fields = Fields(chunk);
        while let Some(kind) = fields.octet() {
            match kind {
                1 => {
                    self.books.group_ctr = self.books.group_ctr.max(fields.u32()?);
                    self.clock = self.clock.max(fields.u64()?);
                }
                2 => {
                    let device = self.books.devices.entry(Dev(fields.take()?)).or_default();
                    (device.ctr, device.load_nbf) = (fields.u32()?, fields.u32()?);
                    device.outstanding = Some((fields.u32()?, fields.u64()?)).filter(|(ctr, _)| *ctr != 0);
                }
                3 => {
                    let group = self.books.groups.entry(Gid(fields.u32()?)).or_default();
                    (group.load_nbf, group.members_nbf) = (fields.u32()?, fields.u32()?);
                }
                4 => {
                    let dev = Dev(fields.take()?);
                    self.books.join(dev, Gid(fields.u32()?));
                }
                5 => {
                    self.ids.insert(CommandId(fields.take()?), fields.u64()?);
                }
                6 => {
                    let (kind, dev, ctr) = (fields.octet()?, Dev(fields.take()?), fields.u32()?);
                    let change = Change { gid: Gid(fields.u32()?), join: fields.octet()? == 1 };
                    self.books.expect_change(((kind == 1).then_some(dev), ctr), change);
                }
                7 => (self.restored, self.books.base) = (fields.u64()?, fields.u32()?),
                _ => return None,
            }
        }
        Some(())
    }
}
