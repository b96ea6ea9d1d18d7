//! What of a device's tables outlives a restart: where its switch stands, its clock's correction, and what
//! was written to it. Its logs begin anew, and so does a firmware image that was not whole.

use std::collections::BTreeMap;

use c1222::device_profile::SwitchPosition;
use c1222::tables::{ProcedureId, TableId};

use super::EndDevice;

/// Octets of one table, at most.
const TABLE_MAX: usize = 0xffff;

impl EndDevice {
    /// SHA-256 of the firmware image that was activated last.
    #[must_use]
    pub fn firmware(&self) -> Option<[u8; 32]> {
        self.state.firmware
    }

    /// The parameters of a procedure of load control that were taken last.
    #[must_use]
    pub fn load_control(&self, procedure: ProcedureId) -> Option<&[u8]> {
        self.state.load_control.get(&procedure).map(Vec::as_slice)
    }

    /// Where its service switch stands.
    #[must_use]
    pub fn switch(&self) -> SwitchPosition {
        self.state.switch
    }

    /// Appends what is to be kept: `switch 1 ‖ clock correction i64`, then `table u16 ‖ length u16 ‖ data` for
    /// each table that was written.
    pub fn keep(&self, out: &mut Vec<u8>) {
        out.push(match self.state.switch {
            SwitchPosition::Open => 0,
            SwitchPosition::Closed => 1,
            SwitchPosition::Armed => 2,
        });
        out.extend(self.state.clock_offset_s.to_be_bytes());
        for (table, data) in &self.state.stored {
            let Some(len) = u16::try_from(data.len()).ok().filter(|_| data.len() <= TABLE_MAX) else {
                continue;
            };
            out.extend(table.0.to_be_bytes());
            out.extend(len.to_be_bytes());
            out.extend_from_slice(data);
        }
    }

    /// Takes back what was kept; `false`, and nothing is taken, when that is nothing that [`Self::keep`] writes
    /// for this device.
    #[must_use]
    pub fn restore(&mut self, kept: &[u8]) -> bool {
        let Some((switch, clock_offset_s, stored)) = read(kept) else { return false };
        let fits =
            |(table, data): (&TableId, &Vec<u8>)| self.tables.size(*table, &self.state) == Some(data.len());
        if !stored.iter().all(fits) {
            return false;
        }
        self.state.switch = switch;
        self.state.clock_offset_s = clock_offset_s;
        self.state.stored = stored;
        true
    }
}

type Kept = (SwitchPosition, i64, BTreeMap<TableId, Vec<u8>>);

fn read(kept: &[u8]) -> Option<Kept> {
    let (switch, rest) = kept.split_first()?;
    let switch = match switch {
        0 => SwitchPosition::Open,
        1 => SwitchPosition::Closed,
        2 => SwitchPosition::Armed,
        _ => return None,
    };
    let (clock_offset_s, mut rest) = rest.split_first_chunk()?;
    let mut stored = BTreeMap::new();
    while !rest.is_empty() {
        let ([a, b, c, d], after) = rest.split_first_chunk()?;
        let (data, after) = after.split_at_checked(u16::from_be_bytes([*c, *d]).into())?;
        stored.insert(TableId(u16::from_be_bytes([*a, *b])), data.to_vec());
        rest = after;
    }
    Some((switch, i64::from_be_bytes(*clock_offset_s), stored))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, open_device};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_kept_is_restored() {
        let mut device = open_device();
        device.state.switch = SwitchPosition::Armed;
        device.state.clock_offset_s = -7;
        let mut kept = Vec::new();
        device.keep(&mut kept);
        let mut other = open_device();
        assert!(other.restore(&kept));
        assert_eq!((other.switch(), other.state.utc(at(10))), (SwitchPosition::Armed, at(3).unix_s));
        // A table that the device does not have, and one of another size.
        for table in [[0x0f, 0xff], [0, 6]] {
            let wrong = [&kept[..], &table, &[0, 1, 7]].concat();
            assert!(!other.restore(&wrong));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_taken_or_refused(octets: Vec<u8>, switch in 0..4_u8) {
            let mut device = open_device();
            let octets = [vec![switch], octets].concat();
            let _ = device.restore(&octets);
        }
    }
}
