//! Fields that are texts on the wire and more than that inside.

use std::fmt::Display;
use std::str::FromStr;

use seal::command::{Class, Classes};
use seal::hex::{self, Hex};

/// A field that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct FieldError {
    field: &'static str,
    problem: String,
}

impl FieldError {
    pub(crate) fn new(field: &'static str, problem: impl Display) -> Self {
        Self { field, problem: problem.to_string() }
    }
}

/// Reads a text as what it stands for, and names the field where it stands for nothing.
pub(crate) trait Named {
    fn read<T: FromStr<Err: Display>>(&self, field: &'static str) -> Result<T, FieldError>;
}

impl Named for str {
    fn read<T: FromStr<Err: Display>>(&self, field: &'static str) -> Result<T, FieldError> {
        self.parse().map_err(|problem| FieldError::new(field, problem))
    }
}

/// Octets of a fixed number.
pub(crate) fn octets_of<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], FieldError> {
    hex::read(text).map_err(|problem| FieldError::new(field, problem))
}

/// Octets of any number.
pub(crate) fn octets(field: &'static str, text: &str) -> Result<Vec<u8>, FieldError> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let octet = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let read: Option<Vec<u8>> = pairs.iter().map(octet).collect();
    read.filter(|_| rest.is_empty()).ok_or_else(|| FieldError::new(field, "not hex digits in pairs"))
}

/// Octets as text.
pub(crate) fn hex_of(octets: &[u8]) -> String {
    Hex(octets).to_string()
}

/// Classes by number.
pub(crate) fn classes(numbers: &[u8]) -> Result<Classes, FieldError> {
    let mut classes = 0;
    for number in numbers {
        let class = Class::from_octet(*number);
        classes |=
            1 << class.ok_or_else(|| FieldError::new("classes", format!("no class {number}")))?.octet();
    }
    Ok(Classes(classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_pairs_of_hex_digits() {
        assert_eq!(octets("x", "00fFa5").unwrap(), [0, 0xff, 0xa5]);
        assert_eq!(octets("x", "").unwrap(), Vec::<u8>::new());
        for wrong in ["0", "0g", "+1", "é", "001"] {
            assert!(octets("x", wrong).is_err(), "{wrong}");
        }
        assert_eq!(octets_of::<2>("x", "12").unwrap_err().to_string(), "`x`: 2 characters instead of 4");
    }

    #[test]
    fn classes_are_numbers_from_0_to_5() {
        assert_eq!(classes(&[0, 3, 3]).unwrap(), Classes(0b1001));
        assert!(classes(&[6]).is_err());
    }
}
