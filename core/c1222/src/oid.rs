//! Object identifiers: base-128 arcs, an octet with its high bit set is followed by more of the arc.

use std::fmt;

use crate::error::DecodeError;

/// Arcs hold 63 bits: 9 octets.
const ARC_OCTETS_MAX: usize = 9;

/// The octets of an absolute object identifier, without tag and length. Only minimal encodings are
/// accepted, so equal octets mean equal identifiers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Oid<'a>(&'a [u8]);

impl<'a> Oid<'a> {
    /// Checks the octets.
    ///
    /// # Errors
    /// [`DecodeError::BadObjectIdentifier`] when empty, cut inside an arc, padded, or with an arc of over
    /// 63 bits.
    pub fn new(octets: &'a [u8]) -> Result<Self, DecodeError> {
        if !octets.is_empty() && is_whole(octets) {
            Ok(Self(octets))
        } else {
            Err(DecodeError::BadObjectIdentifier)
        }
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Display for Oid<'_> {
    /// Dotted: `2.16.124.113620.1.22`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arcs = arcs(self.0);
        if let Some(first) = arcs.next() {
            // The first octets hold 40 a + b, with a at most 2.
            let a = (first / 40).min(2);
            write!(f, "{a}.{}", first - 40 * a)?;
        }
        write_arcs(f, arcs)
    }
}

impl fmt::Debug for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// Whether the octets are whole arcs, each minimal and of at most 63 bits. No octets are no arcs.
pub(crate) fn is_whole(octets: &[u8]) -> bool {
    // Octets of the arc that is open.
    let mut open = 0;
    for &octet in octets {
        if (open == 0 && octet == 0x80) || open == ARC_OCTETS_MAX {
            return false;
        }
        open = if octet & 0x80 == 0 { 0 } else { open + 1 };
    }
    open == 0
}

/// The arcs of octets that [`is_whole`] accepted.
pub(crate) fn arcs(octets: &[u8]) -> impl Iterator<Item = u64> {
    octets
        .split_inclusive(|octet| octet & 0x80 == 0)
        .map(|arc| arc.iter().fold(0_u64, |value, octet| (value << 7) | u64::from(octet & 0x7f)))
}

/// Writes `.1.2.3`.
pub(crate) fn write_arcs(f: &mut fmt::Formatter<'_>, arcs: impl Iterator<Item = u64>) -> fmt::Result {
    for arc in arcs {
        write!(f, ".{arc}")?;
    }
    Ok(())
}

/// Appends an arc; `None`, and nothing appended, when it has over 63 bits.
pub(crate) fn push_arc(out: &mut Vec<u8>, arc: u64) -> Option<()> {
    if arc >> 63 != 0 {
        return None;
    }
    let septets = (64 - arc.leading_zeros()).div_ceil(7).max(1);
    for place in (0..septets).rev() {
        let septet = u8::try_from((arc >> (7 * place)) & 0x7f).unwrap_or(0);
        out.push(if place == 0 { septet } else { septet | 0x80 });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_people_write_it() {
        let oid = Oid::new(&[0x60, 0x7c, 0x86, 0xf7, 0x54, 0x01, 0x16]).unwrap();
        assert_eq!(oid.to_string(), "2.16.124.113620.1.22");
        assert_eq!(Oid::new(&[0x2b, 6, 1, 4, 1, 0x82, 0x85, 0x63]).unwrap().to_string(), "1.3.6.1.4.1.33507");
    }

    #[test]
    fn refuses_cut_padded_and_huge_arcs() {
        for octets in [&[][..], &[0x2b, 0x86], &[0x2b, 0x80, 0x01], &[0xff; 10], &[0x80]] {
            assert_eq!(Oid::new(octets), Err(DecodeError::BadObjectIdentifier));
        }
        let mut huge = vec![0xff; 9];
        huge.push(0x7f);
        assert!(!is_whole(&huge));
        assert!(is_whole(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]));
    }

    #[test]
    fn arcs_read_back() {
        for arc in [0, 1, 127, 128, 8437, u64::MAX >> 1] {
            let mut out = Vec::new();
            push_arc(&mut out, arc).unwrap();
            assert!(is_whole(&out));
            assert_eq!(arcs(&out).collect::<Vec<_>>(), [arc]);
        }
        assert!(push_arc(&mut Vec::new(), 1 << 63).is_none());
    }
}
