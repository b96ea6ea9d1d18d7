//! Codes of responses.

use std::fmt;

/// The first octet of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseCode {
    /// 00: done.
    Ok,
    /// 01: error without further reason.
    Err,
    /// 02: service not supported.
    Sns,
    /// 03: insufficient security clearance.
    Isc,
    /// 04: operation not possible.
    Onp,
    /// 05: inappropriate action requested.
    Iar,
    /// 06: busy.
    Bsy,
    /// 07: data not ready.
    Dnr,
    /// 08: data locked.
    Dlk,
    /// 09: renegotiate.
    Rno,
    /// 0A: invalid service sequence.
    Isss,
    /// 0B: security mechanism error.
    Sme,
    /// 0C: unknown ApTitle.
    Uat,
    /// 0D: network time-out.
    Nett,
    /// 0E: network not reachable.
    Netr,
    /// 0F: request too large.
    Rqtl,
    /// 10: response too large.
    Rstl,
    /// 11: segmentation not possible.
    Sgnp,
    /// 12: segmentation error.
    Sgerr,
    /// A code that the standard does not define.
    Other(u8),
}

impl ResponseCode {
    /// The code of an octet.
    #[must_use]
    pub fn of(octet: u8) -> Self {
        match octet {
            0x00 => Self::Ok,
            0x01 => Self::Err,
            0x02 => Self::Sns,
            0x03 => Self::Isc,
            0x04 => Self::Onp,
            0x05 => Self::Iar,
            0x06 => Self::Bsy,
            0x07 => Self::Dnr,
            0x08 => Self::Dlk,
            0x09 => Self::Rno,
            0x0a => Self::Isss,
            0x0b => Self::Sme,
            0x0c => Self::Uat,
            0x0d => Self::Nett,
            0x0e => Self::Netr,
            0x0f => Self::Rqtl,
            0x10 => Self::Rstl,
            0x11 => Self::Sgnp,
            0x12 => Self::Sgerr,
            other => Self::Other(other),
        }
    }

    /// The octet.
    #[must_use]
    pub fn octet(self) -> u8 {
        match self {
            Self::Ok => 0x00,
            Self::Err => 0x01,
            Self::Sns => 0x02,
            Self::Isc => 0x03,
            Self::Onp => 0x04,
            Self::Iar => 0x05,
            Self::Bsy => 0x06,
            Self::Dnr => 0x07,
            Self::Dlk => 0x08,
            Self::Rno => 0x09,
            Self::Isss => 0x0a,
            Self::Sme => 0x0b,
            Self::Uat => 0x0c,
            Self::Nett => 0x0d,
            Self::Netr => 0x0e,
            Self::Rqtl => 0x0f,
            Self::Rstl => 0x10,
            Self::Sgnp => 0x11,
            Self::Sgerr => 0x12,
            Self::Other(octet) => octet,
        }
    }

    /// The standard's abbreviation in lower case; `unknown` for codes it does not define.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Err => "err",
            Self::Sns => "sns",
            Self::Isc => "isc",
            Self::Onp => "onp",
            Self::Iar => "iar",
            Self::Bsy => "bsy",
            Self::Dnr => "dnr",
            Self::Dlk => "dlk",
            Self::Rno => "rno",
            Self::Isss => "isss",
            Self::Sme => "sme",
            Self::Uat => "uat",
            Self::Nett => "nett",
            Self::Netr => "netr",
            Self::Rqtl => "rqtl",
            Self::Rstl => "rstl",
            Self::Sgnp => "sgnp",
            Self::Sgerr => "sgerr",
            Self::Other(_) => "unknown",
        }
    }

    /// Whether the same request may be answered otherwise after a delay.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Bsy | Self::Dnr)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:02x})", self.name(), self.octet())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_and_codes_are_inverse() {
        for octet in 0..=255 {
            let code = ResponseCode::of(octet);
            assert_eq!(code.octet(), octet);
            assert_eq!(code.name() == "unknown", octet > 0x12);
        }
    }
}
