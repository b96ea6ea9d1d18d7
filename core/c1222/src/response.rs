//! Responses, with their parameters.

use crate::ap_title::ApTitle;
use crate::error::{DecodeError, Leniency};
use crate::identification::Identification;
use crate::native_address::{NativeAddress, ShortOctets};
use crate::parameters::Parameters;
use crate::registration::Registered;
use crate::request::write_optional;
use crate::response_code::ResponseCode;
use crate::service_code::ServiceCode;
use crate::table_data::TableData;

/// One response. The n-th response of an EPSEM answers the n-th request, and how it reads depends on that.
/// Where there are fewer responses than requests (the standard's own example 8 leaves out that to Security),
/// nothing tells which is missing: read them as responses to no known service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// 00, and the service has nothing to say.
    Done,
    /// 00 to Identification.
    Identification(Identification<'a>),
    /// 00 to a read.
    Read(TableData<'a>),
    /// 00 to Logon: the idle time-out in seconds that is granted. C12.18 has none.
    Logon(Option<u16>),
    /// 00 to Registration.
    Registration(Registered<'a>),
    /// 00 to Resolve.
    Resolve(ShortOctets<'a>),
    /// 00 to Trace.
    Trace(Titles<'a>),
    /// 00 to a request that is not known, or not one of C12.22: what follows.
    Other(&'a [u8]),
    /// The request was refused.
    Refused {
        /// Why; not [`ResponseCode::Ok`].
        code: ResponseCode,
        /// More about it.
        detail: Detail<'a>,
    },
}

/// What follows the code of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail<'a> {
    /// Nothing.
    None,
    /// RQTL, RSTL: the most octets that are possible.
    SizeMax(u32),
    /// SGERR: which part of the segmented APDU.
    Segment {
        /// Its first octet.
        offset: u32,
        /// Its octets.
        size: u32,
    },
    /// To Trace: as far as the way is known.
    Way(Titles<'a>),
    /// What follows a code that is not defined to have a detail.
    Other(&'a [u8]),
}

/// ApTitles, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Titles<'a>(List<'a>);

#[derive(Clone, Copy, Debug)]
enum List<'a> {
    /// As received.
    Octets(&'a [u8]),
    /// To be sent.
    Given(&'a [ApTitle<'a>]),
}

impl<'a> Response<'a> {
    /// Reads one service of an EPSEM, without its length, as the response to a service, which is `None`
    /// when it is not known. Checksums and reserved bits are left to [`Response::check`].
    ///
    /// Draft-era nodes send 10 for SGNP and 11 for SGERR; with [`Leniency::Draft`], 10 without size and 11
    /// with a detail are read so.
    ///
    /// # Errors
    /// [`DecodeError::EmptyService`], [`DecodeError::BadParameters`]; [`DecodeError::BadApTitle`] or
    /// [`DecodeError::BadObjectIdentifier`] for a title in it.
    pub fn decode(
        octets: &'a [u8],
        request: Option<ServiceCode>,
        leniency: Leniency,
    ) -> Result<Self, DecodeError> {
        let (code, rest) = octets.split_first().ok_or(DecodeError::EmptyService)?;
        let mut parameters = Parameters::new(request.unwrap_or(ServiceCode(*code)), rest);
        let response = match (ResponseCode::of(*code), request) {
            (ResponseCode::Ok, Some(request)) => Self::read(request, &mut parameters)?,
            (ResponseCode::Ok, None) => return Ok(Self::Other(rest)),
            (code, request) => Self::refused(code, request, &mut parameters, leniency)?,
        };
        parameters.end(response)
    }

    fn read(request: ServiceCode, parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        Ok(match request.0 {
            0x20 => Self::Identification(Identification::read(parameters)?),
            0x30 | 0x3e | 0x3f => Self::Read(TableData::read(parameters, false)?),
            0x31..=0x39 => Self::Read(TableData::read(parameters, true)?),
            0x50 => Self::Logon(parameters.optional_u16()?),
            0x27 => Self::Registration(Registered::read(parameters)?),
            0x25 => Self::Resolve(parameters.short()?),
            0x26 => Self::Trace(Titles::read(parameters)?),
            0x21 | 0x22 | 0x24 | 0x40..=0x49 | 0x4f | 0x51 | 0x52 | 0x70 => Self::Done,
            _ => Self::Other(parameters.take(parameters.rest().len())?),
        })
    }

    fn refused(
        code: ResponseCode,
        request: Option<ServiceCode>,
        parameters: &mut Parameters<'a>,
        leniency: Leniency,
    ) -> Result<Self, DecodeError> {
        use ResponseCode::{Rqtl, Rstl, Sgerr, Sgnp};
        let code = match (code, leniency, parameters.is_empty()) {
            (Rstl, Leniency::Draft, true) => Sgnp,
            (Sgnp, Leniency::Draft, false) => Sgerr,
            _ => code,
        };
        let len = parameters.rest().len();
        let detail = match code {
            _ if len == 0 => Detail::None,
            Rqtl | Rstl => Detail::SizeMax(size(parameters.take(len)?).ok_or(parameters.bad())?),
            Sgerr => {
                let (offset, rest) =
                    parameters.take(len)?.split_at_checked(len / 2).ok_or(parameters.bad())?;
                match (size(offset), size(rest)) {
                    (Some(offset), Some(size)) if len.is_multiple_of(2) => Detail::Segment { offset, size },
                    _ => return Err(parameters.bad()),
                }
            }
            _ if request == Some(ServiceCode::TRACE) => Detail::Way(Titles::read(parameters)?),
            _ => Detail::Other(parameters.take(len)?),
        };
        Ok(Self::Refused { code, detail })
    }

    /// Appends the service, without its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code().octet());
        match self {
            Self::Done => {}
            Self::Identification(identification) => identification.write(out),
            Self::Read(data) => data.write(out),
            Self::Logon(timeout_s) => write_optional(out, *timeout_s),
            Self::Registration(registered) => registered.write(out),
            Self::Resolve(address) => address.write(out),
            Self::Trace(titles) => titles.write(out),
            Self::Other(octets) => out.extend_from_slice(octets),
            Self::Refused { detail, .. } => detail.write(out),
        }
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> ResponseCode {
        match self {
            Self::Refused { code, .. } => *code,
            _ => ResponseCode::Ok,
        }
    }

    /// A refusal without detail.
    #[must_use]
    pub fn refusal(code: ResponseCode) -> Self {
        Self::Refused { code, detail: Detail::None }
    }

    /// Whether what the octets say is sound: checksums of table data, reserved bits, the form of a native
    /// address.
    ///
    /// # Errors
    /// [`DecodeError::TableChecksum`], [`DecodeError::ReservedBits`], [`DecodeError::BadNativeAddress`].
    pub fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Read(data) => data.check(),
            Self::Registration(registered) => registered.check(),
            Self::Resolve(address) => NativeAddress::decode(address.octets()).map(drop),
            _ => Ok(()),
        }
    }
}

/// A size of 3 or 4 octets.
fn size(octets: &[u8]) -> Option<u32> {
    match octets {
        [a, b, c] => Some(u32::from_be_bytes([0, *a, *b, *c])),
        [a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

impl Detail<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::SizeMax(size) => out.extend_from_slice(&size.to_be_bytes()),
            Self::Segment { offset, size } => {
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
            }
            Self::Way(titles) => titles.write(out),
            Self::Other(octets) => out.extend_from_slice(octets),
        }
    }
}

impl<'a> Titles<'a> {
    /// Titles to be sent.
    #[must_use]
    pub fn of(titles: &'a [ApTitle<'a>]) -> Self {
        Self(List::Given(titles))
    }

    /// The titles, in order.
    pub fn iter(&self) -> impl Iterator<Item = ApTitle<'a>> + use<'a> {
        let (octets, given) = match self.0 {
            List::Octets(octets) => (octets, &[][..]),
            List::Given(titles) => (&[][..], titles),
        };
        let mut parameters = Parameters::new(ServiceCode::TRACE, octets);
        // Received titles were read once already.
        std::iter::from_fn(move || parameters.title().ok()).chain(given.iter().copied())
    }

    fn read(parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        let start = *parameters;
        while !parameters.is_empty() {
            parameters.title()?;
        }
        Ok(Self(List::Octets(parameters.since(&start))))
    }

    fn write(&self, out: &mut Vec<u8>) {
        for title in self.iter() {
            title.write(out);
        }
    }
}

impl PartialEq for Titles<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Titles<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(octets: &[u8], leniency: Leniency) -> Result<Response<'_>, DecodeError> {
        Response::decode(octets, Some(ServiceCode::FULL_READ), leniency)
    }

    fn refused(code: ResponseCode, detail: Detail<'_>) -> Result<Response<'_>, DecodeError> {
        Ok(Response::Refused { code, detail })
    }

    #[test]
    fn sizes_have_three_or_four_octets() {
        let strict = Leniency::Strict;
        let (rstl, bad) = (ResponseCode::Rstl, DecodeError::BadParameters(ServiceCode::FULL_READ));
        assert_eq!(decode(&[0x10, 0, 2, 0x83], strict), refused(rstl, Detail::SizeMax(643)));
        assert_eq!(decode(&[0x10, 0, 0, 2, 0x83], strict), refused(rstl, Detail::SizeMax(643)));
        assert_eq!(decode(&[0x10], strict), refused(rstl, Detail::None));
        assert_eq!(decode(&[0x10, 0, 2], strict), Err(bad));
        let segment = Detail::Segment { offset: 108, size: 643 };
        assert_eq!(decode(&[0x12, 0, 0, 108, 0, 2, 0x83], strict), refused(ResponseCode::Sgerr, segment));
        assert_eq!(decode(&[0x12, 0, 0, 108, 0, 2, 0x83, 0], strict), Err(bad));
    }

    #[test]
    fn draft_codes_lie_one_lower() {
        let (sgnp, sgerr) = (ResponseCode::Sgnp, ResponseCode::Sgerr);
        let segment = Detail::Segment { offset: 5, size: 6 };
        let octets = [0x11, 0, 0, 5, 0, 0, 6];
        assert_eq!(decode(&octets, Leniency::Draft), refused(sgerr, segment));
        assert_eq!(decode(&octets, Leniency::Strict), refused(sgnp, Detail::Other(&octets[1..])));
        assert_eq!(decode(&[0x10], Leniency::Draft), refused(sgnp, Detail::None));
        let size = Detail::SizeMax(9);
        assert_eq!(decode(&[0x10, 0, 0, 9], Leniency::Draft), refused(ResponseCode::Rstl, size));
    }

    #[test]
    fn a_response_to_an_unknown_request_is_kept_raw() {
        let octets = [0, 1, 2, 3];
        assert_eq!(Response::decode(&octets, None, Leniency::Strict), Ok(Response::Other(&[1, 2, 3])));
        let own = refused(ResponseCode::Other(0x1e), Detail::Other(&[7]));
        assert_eq!(Response::decode(&[0x1e, 7], None, Leniency::Strict), own);
        assert_eq!(Response::decode(&[], None, Leniency::Strict), Err(DecodeError::EmptyService));
    }

    #[test]
    fn what_says_nothing_has_no_octets() {
        let write = Some(ServiceCode::FULL_WRITE);
        assert_eq!(Response::decode(&[0], write, Leniency::Strict), Ok(Response::Done));
        let bad = Err(DecodeError::BadParameters(ServiceCode::FULL_WRITE));
        assert_eq!(Response::decode(&[0, 0], write, Leniency::Strict), bad);
    }

    #[test]
    fn a_resolved_address_must_be_one() {
        let resolve = Some(ServiceCode::RESOLVE);
        let response = Response::decode(&[0, 4, 10, 0, 0, 1], resolve, Leniency::Strict).unwrap();
        assert_eq!(response.check(), Ok(()));
        let response = Response::decode(&[0, 3, 10, 0, 0], resolve, Leniency::Strict).unwrap();
        assert_eq!(response.check(), Err(DecodeError::BadNativeAddress));
    }
}
