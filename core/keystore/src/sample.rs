//! Made-up devices with random keys, for labs, demos and benches.

use std::io::{self, Write};

use seal::hex::Hex;
use zeroize::Zeroizing;

use crate::shipment::HEADER;

/// Which devices to make up.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// How many, at most 2^24. Device i has slot i, so that they spread over all partitions.
    pub devices: u32,
    /// How many of them are classic: the last ones.
    pub classic: u32,
    /// The name of their device profile: a path relative to the file.
    pub profile: &'a str,
}

/// Octets of keys drawn at once.
const KEYS: usize = 1024;

/// Writes a shipment file. It holds keys: let only its owner read it.
///
/// # Errors
/// Those of `out`, and the system's when it gives no random octets.
pub fn write(sample: &Sample<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    let mut keys = Zeroizing::new([[0; 32]; KEYS]);
    for slot in 0..sample.devices {
        let place = slot as usize % KEYS;
        if place == 0 {
            getrandom::fill(keys.as_flattened_mut()).map_err(io::Error::other)?;
        }
        let key = keys.get(place).map_or(&[][..], |key| key);
        // Epochs over 255, so that their high octet, which is not sent, counts.
        let epoch = slot % 600;
        // `dev` begins as a locally administered EUI-64 does. A title's arcs are not 0.
        let dev = 0x0200_004d_4700_0000_u64 + u64::from(slot);
        write!(out, "{dev:016x},MG{slot:08},.75.{}.{},", 1 + slot / 1000, 1 + slot % 1000)?;
        write_field(out, sample.profile)?;
        if slot < sample.devices.saturating_sub(sample.classic) {
            writeln!(out, ",profile1,{slot:08x},{epoch},{}", Hex(key))?;
        } else {
            let key = key.first_chunk::<16>().map_or(&[][..], |key| key);
            writeln!(out, ",classic,{slot:08x},0,0:{}", Hex(key))?;
        }
    }
    Ok(())
}

/// A file name may hold a comma.
fn write_field(out: &mut dyn Write, text: &str) -> io::Result<()> {
    if text.contains(',') { write!(out, "\"{text}\"") } else { write!(out, "{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipment::{RowKeys, Shipment};

    fn sample(devices: u32, classic: u32) -> Shipment {
        let mut out = Vec::new();
        write(&Sample { devices, classic, profile: "a, b.toml" }, &mut out).unwrap();
        Shipment::read(&out[..]).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_sample_is_a_shipment() {
        let shipment = sample(2500, 100);
        assert_eq!(shipment.rows().len(), 2500);
        assert!(shipment.rows().iter().zip(0..).all(|(row, slot)| row.sid.slot() == slot));
        let classic = |row: &crate::shipment::Row| matches!(row.keys, RowKeys::Classic(_));
        assert_eq!(shipment.rows().iter().filter(|row| classic(row)).count(), 100);
        assert!(shipment.rows().iter().skip(2400).all(classic));
        assert_eq!(shipment.profiles(), ["a, b.toml"]);
    }

    #[test]
    fn keys_differ() {
        let prk = |row: &crate::shipment::Row| match &row.keys {
            RowKeys::Profile1(prk) => *prk.expose(),
            RowKeys::Classic(_) => panic!("a profile-1 device"),
        };
        let (one, other) = (sample(1100, 0), sample(1100, 0));
        let mut keys: Vec<_> = one.rows().iter().chain(other.rows()).map(prk).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
