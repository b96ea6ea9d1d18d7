//! EDHOC's error message. Nobody signs it: whoever gets one takes it as a hint.

use alloc::vec::Vec;

use super::Refusal;
use super::cbor::Reader;
use super::message_1::{SUITE, selected_suite};

/// The longest wait that a device believes, in seconds.
pub const WAIT_MAX_S: u16 = 600;

const WAIT: &[u8] = b"wait ";

/// An error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMessage {
    /// Error 1 without detail.
    Unspecified,
    /// Error 1, refused by load: try again after so many seconds, at most [`WAIT_MAX_S`].
    Wait(u16),
    /// Error 2: the head-end takes other suites.
    WrongSuite,
}

impl ErrorMessage {
    /// Reads an error message, whoever wrote it; error 1 may say anything.
    ///
    /// # Errors
    /// [`Refusal::Format`].
    pub fn read(octets: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(octets);
        let message = match reader.integer()? {
            1 => wait(reader.text()?).map_or(Self::Unspecified, Self::Wait),
            2 => selected_suite(&mut reader).map(|_| Self::WrongSuite)?,
            _ => return Err(Refusal::Format),
        };
        if reader.rest().is_empty() { Ok(message) } else { Err(Refusal::Format) }
    }

    /// The message's octets, at most ten.
    #[must_use]
    pub fn octets(self) -> Vec<u8> {
        match self {
            Self::Unspecified => [0x01, 0x60].to_vec(),
            Self::WrongSuite => [0x02, SUITE].to_vec(),
            Self::Wait(seconds) => {
                let text = alloc::format!("wait {}", seconds.min(WAIT_MAX_S));
                [&[0x01, 0x60 | text.len() as u8], text.as_bytes()].concat()
            }
        }
    }
}

/// The seconds of `wait N`.
fn wait(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(WAIT).filter(|digits| (1..=9).contains(&digits.len()))?;
    digits.iter().all(u8::is_ascii_digit).then(|| {
        let seconds = digits.iter().fold(0_u32, |n, digit| n * 10 + u32::from(digit & 0x0f));
        seconds.min(u32::from(WAIT_MAX_S)) as u16
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_read_back() {
        assert_eq!(ErrorMessage::Unspecified.octets(), [0x01, 0x60]);
        assert_eq!(ErrorMessage::WrongSuite.octets(), [0x02, 0x02]);
        assert_eq!(ErrorMessage::Wait(30).octets(), b"\x01\x67wait 30");
        assert_eq!(ErrorMessage::Wait(u16::MAX).octets(), b"\x01\x68wait 600");
        for message in [
            ErrorMessage::Unspecified,
            ErrorMessage::WrongSuite,
            ErrorMessage::Wait(0),
            ErrorMessage::Wait(600),
        ] {
            assert_eq!(ErrorMessage::read(&message.octets()), Ok(message));
        }
    }

    #[test]
    fn a_hint_is_capped_and_other_text_is_none() {
        let read = |octets: &[u8]| ErrorMessage::read(octets);
        assert_eq!(read(b"\x01\x6dwait 99999999"), Ok(ErrorMessage::Wait(600)));
        for text in [&b"\x01\x64wait"[..], b"\x01\x65wait ", b"\x01\x67wait -1", b"\x01\x6fwait 1234567890"] {
            assert_eq!(read(text), Ok(ErrorMessage::Unspecified));
        }
        assert_eq!(read(&[0x02, 0x82, 0x03, 0x02]), Ok(ErrorMessage::WrongSuite));
        for octets in [&[][..], &[0x01], &[0x01, 0x40], &[0x01, 0x60, 0x00], &[0x02, 0x60], &[0x03, 0xf5]] {
            assert_eq!(read(octets), Err(Refusal::Format), "{octets:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let _ = ErrorMessage::read(&octets);
        }
    }
}
