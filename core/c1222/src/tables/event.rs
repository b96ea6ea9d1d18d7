//! Event codes of the logs and of exception reports.

/// An event: bits 0-10 number, bit 11 manufacturer. What else may be in it is kept, not interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventCode(pub u16);

impl EventCode {
    const NUMBER: u16 = 0x07ff;
    const MANUFACTURER: u16 = 0x0800;

    /// An event of the standard.
    #[must_use]
    pub const fn standard(number: u16) -> Self {
        Self(number & Self::NUMBER)
    }

    /// An event of the manufacturer.
    #[must_use]
    pub const fn manufacturer(number: u16) -> Self {
        Self(number & Self::NUMBER | Self::MANUFACTURER)
    }

    /// Its number, 0..=2047.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0 & Self::NUMBER
    }

    /// Whether it is one of the manufacturer's.
    #[must_use]
    pub const fn is_manufacturer(self) -> bool {
        self.0 & Self::MANUFACTURER != 0
    }

    /// What an event of the standard means.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        if self.is_manufacturer() {
            return None;
        }
        Some(match self.number() {
            1 => "power down",
            2 => "power up",
            3 => "time changed, old time",
            4 => "time changed, new time",
            7 => "accessed for read",
            8 => "accessed for write",
            9 => "procedure invoked",
            10 => "table written",
            11 => "programmed",
            12 => "communication ended",
            13 => "communication ended abnormally",
            16 => "history log cleared",
            18 => "event log cleared",
            20 => "demand reset",
            21 => "self read",
            22 => "daylight saving on",
            23 => "daylight saving off",
            24 => "season change",
            25 => "rate change",
            28 => "pending table activated",
            30 => "metering mode on",
            31 => "metering mode off",
            32 => "test mode on",
            33 => "test mode off",
            34 => "meter shop mode on",
            35 => "meter shop mode off",
            36 => "reprogrammed",
            37 => "configuration error",
            38 => "self-check error",
            39 => "RAM failure",
            40 => "ROM failure",
            41 => "non-volatile memory failure",
            42 => "clock error",
            43 => "measurement error",
            44 => "low battery",
            45 => "low loss potential",
            46 => "demand overload",
            47 => "tamper",
            48 => "reverse rotation",
            49..=51 => "control point changed",
            56 => "sealed",
            57 => "unsealed",
            73..=76 => "secured read",
            _ => return None,
        })
    }

    /// Whether it belongs into the security feed: access, programming, tamper, logs cleared, seals.
    #[must_use]
    pub fn is_security(self) -> bool {
        !self.is_manufacturer() && matches!(self.number(), 8..=11 | 18 | 36 | 47 | 56 | 57)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_events_are_named_and_sorted_out() {
        assert_eq!(EventCode::standard(47).name(), Some("tamper"));
        assert_eq!(EventCode::manufacturer(47).name(), None);
        assert!(EventCode(47).is_security() && !EventCode(1).is_security());
        assert!(!EventCode::manufacturer(47).is_security());
        for number in 0..2048 {
            let _ = EventCode(number).name();
        }
    }
}
