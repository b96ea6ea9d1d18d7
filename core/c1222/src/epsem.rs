//! EPSEM: `control [ed-class 4] (len service)* [mac 4]`.

use std::fmt;

use crate::ber::{self, Reader};
use crate::error::DecodeError;
use crate::request::Request;
use crate::response::Response;

/// Octets of a MAC.
pub const MAC_LEN: usize = 4;

/// How an EPSEM is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityMode {
    /// 0: in clear.
    Clear,
    /// 1: in clear, with a MAC.
    Mac,
    /// 2: encrypted, with a MAC.
    Cipher,
}

impl SecurityMode {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Clear => 0,
            Self::Mac => 1,
            Self::Cipher => 2,
        }
    }
}

/// When a request wants a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseControl {
    /// 0.
    Always,
    /// 1: only when a service is refused.
    OnException,
    /// 2.
    Never,
    /// 3.
    Reserved,
}

/// The control octet. It is never encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EpsemControl(pub u8);

impl EpsemControl {
    /// The special session that no acceptance window or replay rejection applies to.
    pub const RECOVERY_SESSION: u8 = 0x40;
    /// A proxy serves this.
    pub const PROXY_SERVICE_USED: u8 = 0x20;
    /// Four octets of ED class follow.
    pub const ED_CLASS_INCLUDED: u8 = 0x10;

    /// The control octet of this mode and wish; bit 7 is always 1.
    #[must_use]
    pub fn new(mode: SecurityMode, response: ResponseControl) -> Self {
        let response = match response {
            ResponseControl::Always => 0,
            ResponseControl::OnException => 1,
            ResponseControl::Never => 2,
            ResponseControl::Reserved => 3,
        };
        Self(0x80 | (mode.number() << 2) | response)
    }

    /// Whether these bits are set.
    #[must_use]
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// The same with these bits set.
    #[must_use]
    pub fn with(self, bits: u8) -> Self {
        Self(self.0 | bits)
    }

    /// The security mode.
    ///
    /// # Errors
    /// [`DecodeError::ReservedSecurityMode`] for mode 3.
    pub fn security_mode(self) -> Result<SecurityMode, DecodeError> {
        match (self.0 >> 2) & 3 {
            0 => Ok(SecurityMode::Clear),
            1 => Ok(SecurityMode::Mac),
            2 => Ok(SecurityMode::Cipher),
            _ => Err(DecodeError::ReservedSecurityMode),
        }
    }

    /// When a response is wanted.
    #[must_use]
    pub fn response_control(self) -> ResponseControl {
        match self.0 & 3 {
            0 => ResponseControl::Always,
            1 => ResponseControl::OnException,
            2 => ResponseControl::Never,
            _ => ResponseControl::Reserved,
        }
    }
}

impl fmt::Debug for EpsemControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpsemControl({:02x})", self.0)
    }
}

/// The parts of an EPSEM as the wire carries it, clear or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing<'a> {
    /// The control octet.
    pub control: EpsemControl,
    /// Its security mode.
    pub mode: SecurityMode,
    /// What follows, without the MAC: encrypted in mode 2.
    pub payload: &'a [u8],
    /// The MAC of modes 1 and 2.
    pub mac: Option<&'a [u8; MAC_LEN]>,
}

impl<'a> Sealing<'a> {
    /// Takes an EPSEM apart by its security mode.
    ///
    /// # Errors
    /// [`DecodeError::NoEpsem`], [`DecodeError::ReservedSecurityMode`], [`DecodeError::NoMac`].
    pub fn split(epsem: &'a [u8]) -> Result<Self, DecodeError> {
        let (control, rest) = epsem.split_first().ok_or(DecodeError::NoEpsem)?;
        let control = EpsemControl(*control);
        let mode = control.security_mode()?;
        if mode == SecurityMode::Clear {
            return Ok(Self { control, mode, payload: rest, mac: None });
        }
        let (payload, mac) = rest.split_last_chunk().ok_or(DecodeError::NoMac)?;
        Ok(Self { control, mode, payload, mac: Some(mac) })
    }
}

/// An EPSEM whose services can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epsem<'a> {
    /// The control octet.
    pub control: EpsemControl,
    /// Class of the end device.
    pub ed_class: Option<[u8; 4]>,
    services: &'a [u8],
}

impl<'a> Epsem<'a> {
    /// Reads an EPSEM in clear, or with a MAC, which the caller must have verified.
    ///
    /// # Errors
    /// As [`Sealing::split`], [`DecodeError::Encrypted`] in mode 2, [`DecodeError::NoEdClass`].
    pub fn decode(epsem: &'a [u8]) -> Result<Self, DecodeError> {
        let parts = Sealing::split(epsem)?;
        if parts.mode == SecurityMode::Cipher {
            return Err(DecodeError::Encrypted);
        }
        Self::of_plaintext(parts.control, parts.payload)
    }

    /// Reads what follows the control octet, once it is plaintext and without MAC.
    ///
    /// # Errors
    /// [`DecodeError::NoEdClass`].
    pub fn of_plaintext(control: EpsemControl, plaintext: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(plaintext);
        let ed_class = match control.has(EpsemControl::ED_CLASS_INCLUDED) {
            true => Some(*reader.array().ok_or(DecodeError::NoEdClass)?),
            false => None,
        };
        Ok(Self { control, ed_class, services: reader.rest() })
    }

    /// Its services, in order, each without its length.
    #[must_use]
    pub fn services(&self) -> Services<'a> {
        Services { reader: Reader::new(self.services) }
    }

    /// How many services it holds, when all of it is sound.
    ///
    /// # Errors
    /// [`DecodeError::BadServiceLength`]; [`DecodeError::BadPadding`] when other octets than 00 follow the
    /// first service of length 00.
    pub fn check(&self) -> Result<usize, DecodeError> {
        let mut services = self.services();
        let mut count = 0_usize;
        for service in services.by_ref() {
            service?;
            count = count.saturating_add(1);
        }
        let sound = services.padding().iter().all(|octet| *octet == 0);
        if sound { Ok(count) } else { Err(DecodeError::BadPadding) }
    }
}

/// The services of an EPSEM. Ends at its end, at a length of 00 (padding), or after a fault.
#[derive(Clone, Debug)]
pub struct Services<'a> {
    reader: Reader<'a>,
}

impl<'a> Services<'a> {
    /// What is left when the iterator has ended: padding, from its first 00 on.
    #[must_use]
    pub fn padding(&self) -> &'a [u8] {
        self.reader.rest()
    }
}

impl<'a> Iterator for Services<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let mut reader = self.reader;
        let service = reader.length().ok().map(|len| reader.take(len));
        match service {
            Some(Some([])) => None,
            Some(Some(service)) => {
                self.reader = reader;
                Some(Ok(service))
            }
            _ => {
                self.reader = Reader::new(&[]);
                Some(Err(DecodeError::BadServiceLength))
            }
        }
    }
}

/// Appends an EPSEM service by service.
#[derive(Debug)]
pub struct EpsemWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> EpsemWriter<'o> {
    /// Appends control octet and ED class; the bit that announces the class is set to fit.
    pub fn new(out: &'o mut Vec<u8>, control: EpsemControl, ed_class: Option<[u8; 4]>) -> Self {
        let start = out.len();
        let control = control.0 & !EpsemControl::ED_CLASS_INCLUDED;
        match ed_class {
            Some(ed_class) => {
                out.push(control | EpsemControl::ED_CLASS_INCLUDED);
                out.extend_from_slice(&ed_class);
            }
            None => out.push(control),
        }
        Self { out, start }
    }

    /// Appends the service that `write` appends, with its length before it. Writing nothing adds nothing.
    pub fn service(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.out.len();
        write(self.out);
        let len = self.out.len().saturating_sub(start);
        if len > 0 {
            ber::write_before(self.out, start, |out| ber::write_length(out, len));
        }
        self
    }

    /// Appends a request.
    pub fn request(&mut self, request: &Request<'_>) -> &mut Self {
        self.service(|out| request.encode(out))
    }

    /// Appends a response.
    pub fn response(&mut self, response: &Response<'_>) -> &mut Self {
        self.service(|out| response.encode(out))
    }

    /// Appends services of length 00 until the EPSEM is a multiple of `multiple` octets.
    pub fn pad(&mut self, multiple: usize) -> &mut Self {
        let len = self.out.len().saturating_sub(self.start);
        let padded = len.checked_next_multiple_of(multiple).unwrap_or(len);
        self.out.resize(self.start.saturating_add(padded), 0);
        self
    }

    /// Appends the place of a MAC, zeros: lengths count it, and EAX' seals in place.
    pub fn leave_mac(&mut self) -> &mut Self {
        self.out.extend_from_slice(&[0; MAC_LEN]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bits() {
        for mode in [SecurityMode::Clear, SecurityMode::Mac, SecurityMode::Cipher] {
            for response in [ResponseControl::Always, ResponseControl::OnException, ResponseControl::Never] {
                let control = EpsemControl::new(mode, response);
                assert_eq!((control.security_mode(), control.response_control()), (Ok(mode), response));
                assert!(control.has(0x80) && !control.has(EpsemControl::ED_CLASS_INCLUDED));
            }
        }
        assert_eq!(EpsemControl(0x8c).security_mode(), Err(DecodeError::ReservedSecurityMode));
    }

    #[test]
    fn sealing_goes_by_mode() {
        assert_eq!(Sealing::split(&[]), Err(DecodeError::NoEpsem));
        assert_eq!(Sealing::split(&[0x88, 1, 2, 3]), Err(DecodeError::NoMac));
        let sealed = Sealing::split(&[0x88, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!((sealed.payload, sealed.mac), (&[1][..], Some(&[2, 3, 4, 5])));
        assert_eq!(Epsem::decode(&[0x88, 1, 2, 3, 4, 5]), Err(DecodeError::Encrypted));
        assert_eq!(Epsem::decode(&[0x90, 1, 2, 3]), Err(DecodeError::NoEdClass));
    }

    #[test]
    fn services_end_at_padding() {
        let epsem = Epsem::decode(&[0x80, 1, 0x20, 2, 0x70, 9, 0, 0]).unwrap();
        let services: Vec<_> = epsem.services().collect();
        assert_eq!(services, [Ok(&[0x20][..]), Ok(&[0x70, 9])]);
        assert_eq!(epsem.check(), Ok(2));
        let dirty = Epsem::decode(&[0x80, 1, 0x20, 0, 1]).unwrap();
        assert_eq!((dirty.services().count(), dirty.check()), (1, Err(DecodeError::BadPadding)));
    }

    #[test]
    fn a_service_beyond_the_end_is_one_fault() {
        for octets in [&[0x80, 3, 1, 2][..], &[0x80, 0x81], &[0x80, 0x80, 1], &[0x80, 0xff]] {
            let services: Vec<_> = Epsem::decode(octets).unwrap().services().collect();
            assert_eq!(services, [Err(DecodeError::BadServiceLength)]);
        }
    }

    #[test]
    fn written_services_read_back() {
        let mut out = vec![0xee];
        let control = EpsemControl::new(SecurityMode::Mac, ResponseControl::Never);
        EpsemWriter::new(&mut out, control, Some(*b"TEMP"))
            .service(|out| out.extend_from_slice(&[7; 200]))
            .service(|_| ())
            .request(&Request::Logoff)
            .pad(32)
            .leave_mac();
        let epsem = Epsem::decode(&out[1..]).unwrap();
        assert_eq!((epsem.ed_class, epsem.control), (Some(*b"TEMP"), EpsemControl(0x96)));
        let services: Vec<_> = epsem.services().map(Result::unwrap).collect();
        assert_eq!(services, [&[7; 200][..], &[0x52]]);
        assert_eq!((out.len() - 1 - MAC_LEN) % 32, 0);
    }
}
