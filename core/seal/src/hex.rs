//! Octets as hex text, as shipment files, logs and exports spell them.

use core::fmt;

/// Text that is not the hex form of the octets it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Too few or too many characters.
    #[error("{found} characters instead of {expected}")]
    Length {
        /// Characters that were expected.
        expected: usize,
        /// Characters that were found.
        found: usize,
    },
    /// A character that is no hex digit.
    #[error("character {0} is no hex digit")]
    Digit(usize),
}

/// Reads exactly `N` octets from `2 N` hex digits, in either case.
///
/// # Errors
/// [`HexError`] says which character is wrong (the first is 1), or how many there are.
pub fn read<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let mut octets = [0; N];
    let expected = N.saturating_mul(2);
    if text.len() != expected {
        return Err(HexError::Length { expected, found: text.chars().count() });
    }
    for (index, (octet, pair)) in octets.iter_mut().zip(text.as_bytes().chunks_exact(2)).enumerate() {
        for (half, digit) in pair.iter().enumerate() {
            let value = char::from(*digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
                .ok_or(HexError::Digit(index.saturating_mul(2).saturating_add(half).saturating_add(1)))?;
            *octet = (*octet << 4) | value;
        }
    }
    Ok(octets)
}

/// Shows octets as lower-case hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_survive_their_text() {
        assert_eq!(read::<4>("00ffA05c"), Ok([0x00, 0xff, 0xa0, 0x5c]));
        assert_eq!(Hex(&[0x00, 0xff, 0xa0, 0x5c]).to_string(), "00ffa05c");
        assert_eq!(read::<0>(""), Ok([]));
    }

    #[test]
    fn the_fault_is_named() {
        assert_eq!(read::<4>("00ff"), Err(HexError::Length { expected: 8, found: 4 }));
        assert_eq!(read::<2>("00g0"), Err(HexError::Digit(3)));
        assert_eq!(read::<2>("+0aa"), Err(HexError::Digit(1)));
        assert_eq!(read::<2>("é12"), Err(HexError::Digit(1)));
    }
}
