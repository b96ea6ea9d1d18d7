//! One row of a manifest: one end device.

use c1222::ApTitleBuf;
use seal::edhoc::PublicKey;
use seal::hex;
use seal::ids::Dev;

use crate::device::ProfileId;
use crate::shipment::lines::Fields;
use crate::shipment::row::{Seen, address, profile_place, serial_number};
use crate::shipment::{Column, Faults, Reason};

/// An end device as delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Its identity.
    pub dev: Dev,
    /// Its electronic serial number, printable ASCII.
    pub esn: Box<str>,
    /// Its address, in the form given.
    pub title: ApTitleBuf,
    /// Its device profile, as a place in [`Manifest::profiles`](super::Manifest::profiles).
    pub profile: u16,
    /// x and y of its static Diffie-Hellman key, then of its signing key; both points are on the curve.
    pub points: [[u8; 32]; 4],
}

impl Row {
    /// Reads a line. Every fault in it goes to `faults`, and then there is no row.
    pub(super) fn read(
        line: u64,
        text: &str,
        profiles: &mut Vec<String>,
        faults: &mut Faults,
    ) -> Option<Self> {
        let fields: Vec<&str> = match Fields::of(text).collect() {
            Ok(fields) => fields,
            Err(reason) => {
                faults.add(line, None, reason);
                return None;
            }
        };
        let [dev, esn, title, name, dh_x, dh_y, sign_x, sign_y] = fields[..] else {
            faults.add(line, None, Reason::Fields { found: fields.len() });
            return None;
        };
        let mut seen = Seen { line, faults };
        let dev = seen.check(Column::Dev, dev.parse().map_err(|_| Reason::HexDigits { digits: 16 }));
        let esn = seen.check(Column::Esn, serial_number(esn));
        let title = seen.check(Column::ApTitle, address(title));
        let named = profile(name).ok_or(Reason::ProfileDigest).and_then(|_| profile_place(name, profiles));
        let profile = seen.check(Column::DeviceProfile, named);
        let dh = point(&mut seen, (Column::DhX, dh_x), (Column::DhY, dh_y));
        let sign = point(&mut seen, (Column::SignX, sign_x), (Column::SignY, sign_y));
        let ([dh_x, dh_y], [sign_x, sign_y]) = (dh?, sign?);
        let points = [dh_x, dh_y, sign_x, sign_y];
        Some(Self { line, dev: dev?, esn: esn?, title: title?, profile: profile?, points })
    }
}

/// File and digest of a profile as a manifest names it.
pub(super) fn profile(text: &str) -> Option<(&str, ProfileId)> {
    let (file, digest) = text.rsplit_once('@')?;
    Some((file, ProfileId(hex::read(digest).ok()?))).filter(|_| !file.is_empty())
}

/// The coordinates of a point on the curve.
fn point(seen: &mut Seen<'_>, x: (Column, &str), y: (Column, &str)) -> Option<[[u8; 32]; 2]> {
    let mut coordinate = |(column, text): (Column, &str)| {
        seen.check(column, hex::read::<32>(text).map_err(|_| Reason::HexDigits { digits: 64 }))
    };
    let (x, y_octets) = (coordinate(x), coordinate(y));
    let (x, y_octets) = (x?, y_octets?);
    let on_curve = PublicKey::from_xy(&x, &y_octets).map(|_| [x, y_octets]);
    seen.check(y.0, on_curve.ok_or(Reason::Point))
}
