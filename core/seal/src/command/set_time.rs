//! The body of class 5: `nonce 8 ‖ time u64 ms` (security layer, Annex A).

/// What the time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetTime {
    /// That of the TIME_REQUEST it answers; zeros when none asked.
    pub nonce: [u8; 8],
    /// Unix milliseconds.
    pub time_ms: u64,
}

impl SetTime {
    /// Reads a body; `None` when it has not 16 octets.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let (nonce, time) = body.split_first_chunk()?;
        Some(Self { nonce: *nonce, time_ms: u64::from_be_bytes(time.try_into().ok()?) })
    }

    /// The body.
    #[must_use]
    pub fn octets(&self) -> [u8; 16] {
        ((u128::from(u64::from_be_bytes(self.nonce)) << 64) | u128::from(self.time_ms)).to_be_bytes()
    }

    /// The nonce, where one was asked for.
    #[must_use]
    pub fn echo(&self) -> Option<[u8; 8]> {
        Some(self.nonce).filter(|nonce| *nonce != [0; 8])
    }

    /// Unix seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.time_ms / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sixteen_octets_and_no_others_are_a_time(octets: Vec<u8>, body: [u8; 16]) {
            prop_assert_eq!(SetTime::read(&octets).is_some(), octets.len() == 16);
            prop_assert_eq!(SetTime::read(&body).unwrap().octets(), body);
        }
    }
}
