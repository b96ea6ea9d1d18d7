//! Codes of requests.

use std::fmt;

/// The first octet of a request. Octets below 20 are codes of responses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceCode(pub u8);

impl ServiceCode {
    /// 20.
    pub const IDENTIFICATION: Self = Self(0x20);
    /// 21.
    pub const TERMINATE: Self = Self(0x21);
    /// 22.
    pub const DISCONNECT: Self = Self(0x22);
    /// 24.
    pub const DEREGISTRATION: Self = Self(0x24);
    /// 25.
    pub const RESOLVE: Self = Self(0x25);
    /// 26.
    pub const TRACE: Self = Self(0x26);
    /// 27.
    pub const REGISTRATION: Self = Self(0x27);
    /// 30.
    pub const FULL_READ: Self = Self(0x30);
    /// 3E.
    pub const DEFAULT_READ: Self = Self(0x3e);
    /// 3F.
    pub const OFFSET_READ: Self = Self(0x3f);
    /// 40.
    pub const FULL_WRITE: Self = Self(0x40);
    /// 4F.
    pub const OFFSET_WRITE: Self = Self(0x4f);
    /// 50.
    pub const LOGON: Self = Self(0x50);
    /// 51.
    pub const SECURITY: Self = Self(0x51);
    /// 52.
    pub const LOGOFF: Self = Self(0x52);
    /// 70.
    pub const WAIT: Self = Self(0x70);

    /// The index read (31..39) with so many indices, 1 to 9.
    #[must_use]
    pub fn index_read(indices: usize) -> Option<Self> {
        index_code(0x30, indices)
    }

    /// The index write (41..49) with so many indices, 1 to 9.
    #[must_use]
    pub fn index_write(indices: usize) -> Option<Self> {
        index_code(0x40, indices)
    }

    /// Whether an octet that begins a service is a request's.
    #[must_use]
    pub fn is_request(octet: u8) -> bool {
        octet >= 0x20
    }

    /// Whether it reads a table.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self.0, 0x30..=0x39 | 0x3e | 0x3f)
    }

    /// Whether it writes a table.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self.0, 0x40..=0x49 | 0x4e | 0x4f)
    }

    /// The kebab-case name; `unknown` for codes that neither C12.22 nor C12.18 and C12.21 define.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0x20 => "identification",
            0x21 => "terminate",
            0x22 => "disconnect",
            0x24 => "deregistration",
            0x25 => "resolve",
            0x26 => "trace",
            0x27 => "registration",
            0x30 => "full-read",
            0x31..=0x39 => "index-read",
            0x3e => "default-read",
            0x3f => "offset-read",
            0x40 => "full-write",
            0x41..=0x49 => "index-write",
            0x4e => "default-write",
            0x4f => "offset-write",
            0x50 => "logon",
            0x51 => "security",
            0x52 => "logoff",
            0x53 => "authenticate",
            0x60..=0x6b => "negotiate",
            0x70 => "wait",
            0x71 => "timing-setup",
            _ => "unknown",
        }
    }
}

fn index_code(base: u8, indices: usize) -> Option<ServiceCode> {
    u8::try_from(indices).ok().filter(|n| (1..=9).contains(n)).map(|n| ServiceCode(base | n))
}

impl fmt::Display for ServiceCode {
    /// `full-read (30)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:02x})", self.name(), self.0)
    }
}

impl fmt::Debug for ServiceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceCode({:02x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_services_count_their_indices() {
        assert_eq!(ServiceCode::index_read(1), Some(ServiceCode(0x31)));
        assert_eq!(ServiceCode::index_write(9), Some(ServiceCode(0x49)));
        assert_eq!((ServiceCode::index_read(0), ServiceCode::index_write(10)), (None, None));
        for code in (0..=255).map(ServiceCode) {
            assert_eq!(code.is_read(), code.name().ends_with("-read"), "{code}");
            assert_eq!(code.is_write(), code.name().ends_with("-write"), "{code}");
            assert!(ServiceCode::is_request(code.0) || code.name() == "unknown");
        }
    }
}
