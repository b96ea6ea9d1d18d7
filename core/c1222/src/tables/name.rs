//! Table names as people write them.

use std::str::FromStr;

use crate::table_id::TableId;

/// A text is no table name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a table: `ST` or `MT` and a number from 0 to 2047")]
pub struct NotTableId;

impl FromStr for TableId {
    type Err = NotTableId;

    /// `ST23` or `MT5`.
    fn from_str(text: &str) -> Result<Self, NotTableId> {
        let (kind, number) = text.split_at_checked(2).ok_or(NotTableId)?;
        let number = number_of(number).ok_or(NotTableId)?;
        match kind {
            "ST" => Ok(Self::standard(number)),
            "MT" => Ok(Self::manufacturer(number)),
            _ => Err(NotTableId),
        }
    }
}

/// A number from 0 to 2047 in plain digits.
pub(super) fn number_of(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|number| *number <= TableId::NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_reads_back() {
        for (text, id) in [("ST0", 0), ("ST64", 64), ("MT0", 2048), ("MT5", 2053), ("MT2047", 0x0fff)] {
            assert_eq!(text.parse(), Ok(TableId(id)));
            assert_eq!(TableId(id).to_string(), text);
        }
        for text in ["", "S", "ST", "XT1", "ST2048", "ST-1", "ST+1", "ST1 ", "st1", "é1"] {
            assert_eq!(text.parse::<TableId>(), Err(NotTableId), "{text}");
        }
    }
}
