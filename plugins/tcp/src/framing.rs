//! Where one APDU ends and the next begins in a stream: `60`, a BER length, that many octets
//! (RFC 6142, C12.22 on a stream).

/// The tag that every APDU begins with.
const APDU_TAG: u8 = 0x60;
/// Length octets past this many are refused, however many of them are leading zeros.
const LENGTH_OCTETS_MAX: usize = 8;

/// Why octets are not the beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// The first octet is not `60`.
    Tag(u8),
    /// The indefinite form, which C12.22 does not use.
    Indefinite,
    /// Too many length octets, or the reserved form `FF`.
    Length,
    /// Longer than allowed; holds the octets it would have, when they can be said.
    Oversize(u64),
}

/// Octets of the whole frame that `octets` begin with, or `None` when that cannot be said yet.
///
/// The length may be longer than it need be (leading zeros). A frame may have `frame_max` octets, tag
/// and length included.
///
/// # Errors
/// [`FramingError`] when no frame begins so; nothing behind it can be framed either.
pub fn frame_len(octets: &[u8], frame_max: usize) -> Result<Option<usize>, FramingError> {
    let Some((&tag, rest)) = octets.split_first() else { return Ok(None) };
    if tag != APDU_TAG {
        return Err(FramingError::Tag(tag));
    }
    let Some((&first, rest)) = rest.split_first() else { return Ok(None) };
    let (length_octets, content) = match first {
        0..=0x7f => (0, u64::from(first)),
        0x80 => return Err(FramingError::Indefinite),
        0x81.. => {
            let count = usize::from(first & 0x7f);
            if count > LENGTH_OCTETS_MAX {
                return Err(FramingError::Length);
            }
            let Some(length) = rest.get(..count) else { return Ok(None) };
            (count, length.iter().fold(0u64, |value, &octet| (value << 8) | u64::from(octet)))
        }
    };
    let whole = content.saturating_add(2).saturating_add(length_octets as u64);
    match usize::try_from(whole) {
        Ok(whole) if whole <= frame_max => Ok(Some(whole)),
        _ => Err(FramingError::Oversize(whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lengths() {
        assert_eq!(frame_len(&[0x60, 0], 100), Ok(Some(2)));
        assert_eq!(frame_len(&[0x60, 0x7f], 200), Ok(Some(129)));
        assert_eq!(frame_len(&[0x60, 0x81, 0x80], 200), Ok(Some(131)));
        assert_eq!(frame_len(&[0x60, 0x82, 0x01, 0x00], 300), Ok(Some(260)));
    }

    #[test]
    fn a_length_with_leading_zeros_is_accepted() {
        assert_eq!(frame_len(&[0x60, 0x81, 0x05], 100), Ok(Some(8)));
        assert_eq!(frame_len(&[0x60, 0x88, 0, 0, 0, 0, 0, 0, 0, 5], 100), Ok(Some(15)));
        assert_eq!(frame_len(&[0x60, 0x89, 0], 100), Err(FramingError::Length));
    }

    #[test]
    fn what_is_incomplete_waits() {
        for octets in [&[][..], &[0x60], &[0x60, 0x82], &[0x60, 0x82, 0x01]] {
            assert_eq!(frame_len(octets, 100), Ok(None));
        }
    }

    #[test]
    fn what_is_no_frame_is_named() {
        assert_eq!(frame_len(b"GET /", 100), Err(FramingError::Tag(b'G')));
        assert_eq!(frame_len(&[0x60, 0x80], 100), Err(FramingError::Indefinite));
        assert_eq!(frame_len(&[0x60, 0xff], 100), Err(FramingError::Length));
        assert_eq!(frame_len(&[0x60, 0x63], 100), Err(FramingError::Oversize(101)));
        let huge = [0x60, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(frame_len(&huge, 100), Err(FramingError::Oversize(u64::MAX)));
    }
}
