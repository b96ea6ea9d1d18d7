//! What can be wrong with octets, each fault with one kebab-case name.

use crate::element::Tag;
use crate::service_code::ServiceCode;

/// How strictly a decoder reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leniency {
    /// The published standard.
    #[default]
    Strict,
    /// Also what nodes of the 2006 and 2008 drafts send: relative ApTitles tagged `0d`, lengths inside
    /// user-information that overstate by one, response codes 10 and 11 without their size.
    Draft,
}

/// Why octets are refused. Each variant has one name, used in metrics, events and by `inspect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DecodeError {
    /// The octets end before the APDU does.
    #[error("the octets end before the APDU does")]
    Truncated,
    /// Octets follow where the APDU or the structure has ended.
    #[error("octets follow after the end")]
    TrailingOctets,
    /// The first octet is not 60.
    #[error("an APDU begins with 60, not {0:02x}")]
    NotAnApdu(u8),
    /// A length has an indefinite or oversized form, or points beyond what holds it.
    #[error("a length does not fit what holds it")]
    BadLength,
    /// More octets than the reader takes.
    #[error("larger than the limit")]
    TooLarge,
    /// An ACSE element that C12.22 does not know.
    #[error("unknown ACSE element {0:02x}")]
    UnknownElement(u8),
    /// An ACSE element stands twice.
    #[error("ACSE element {} stands twice", .0.hex())]
    DuplicateElement(Tag),
    /// An ACSE element that must be present is not.
    #[error("ACSE element {} is missing", .0.hex())]
    MissingElement(Tag),
    /// The content of an ACSE element has another form than it must have.
    #[error("ACSE element {} is malformed", .0.hex())]
    BadElement(Tag),
    /// An object identifier is cut inside an arc, padded, or has an arc of over 63 bits.
    #[error("malformed object identifier")]
    BadObjectIdentifier,
    /// An ApTitle is empty, too long, or has an unknown tag.
    #[error("malformed ApTitle")]
    BadApTitle,
    /// An invocation id is not of 1 to 4 octets.
    #[error("an invocation id has 1 to 4 octets")]
    BadInvocationId,
    /// The calling-authentication-value has none of its three forms.
    #[error("malformed calling-authentication-value")]
    BadAuthentication,
    /// User-information holds no EPSEM control octet.
    #[error("user-information without EPSEM control octet")]
    NoEpsem,
    /// A segment without offset, without octets, or reaching beyond its total size.
    #[error("malformed segment")]
    BadSegment,
    /// Security mode 3 is reserved.
    #[error("reserved security mode")]
    ReservedSecurityMode,
    /// The security mode says there is a MAC, but fewer than 4 octets follow the control octet.
    #[error("too short for its MAC")]
    NoMac,
    /// The EPSEM is encrypted; its services can only be read from the plaintext.
    #[error("the EPSEM is encrypted")]
    Encrypted,
    /// The EPSEM announces an ED class, but fewer than 4 octets follow.
    #[error("too short for its ED class")]
    NoEdClass,
    /// A service's length reaches beyond the EPSEM.
    #[error("a service reaches beyond the EPSEM")]
    BadServiceLength,
    /// Other octets than 00 follow a service of length 00.
    #[error("padding is not 00")]
    BadPadding,
    /// A service has no code: its octets are empty.
    #[error("a service without code")]
    EmptyService,
    /// The parameters of a request or response do not fit its service.
    #[error("parameters do not fit service {0}")]
    BadParameters(ServiceCode),
    /// The checksum of table data is wrong.
    #[error("wrong table checksum")]
    TableChecksum,
    /// Bits that must be 0 are 1.
    #[error("reserved bits are set")]
    ReservedBits,
    /// A native address has none of the lengths of RFC 6142 §4.
    #[error("no native address of an IP network")]
    BadNativeAddress,
    /// The authentication value of a profile-1 APDU does not have the octets that its type asks for.
    #[error("the authentication value does not fit the frame type")]
    FrameHeadLength,
    /// The frame is of another profile version than 1.
    #[error("unknown frame version")]
    FrameVersion,
    /// No frame type of profile 1.
    #[error("unknown frame type")]
    FrameType,
    /// The outer control octet of a profile-1 APDU, masked by 9c, is not 88.
    #[error("outer control octet of a profile-1 APDU")]
    OuterControl,
    /// Neither the message nor a session says the initialization vector.
    #[error("no initialization vector")]
    NoIv,
}

impl DecodeError {
    /// The kebab-case name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TrailingOctets => "trailing-octets",
            Self::NotAnApdu(_) => "not-an-apdu",
            Self::BadLength => "bad-length",
            Self::TooLarge => "too-large",
            Self::UnknownElement(_) => "unknown-element",
            Self::DuplicateElement(_) => "duplicate-element",
            Self::MissingElement(_) => "missing-element",
            Self::BadElement(_) => "bad-element",
            Self::BadObjectIdentifier => "bad-object-identifier",
            Self::BadApTitle => "bad-ap-title",
            Self::BadInvocationId => "bad-invocation-id",
            Self::BadAuthentication => "bad-authentication",
            Self::NoEpsem => "no-epsem",
            Self::BadSegment => "bad-segment",
            Self::ReservedSecurityMode => "reserved-security-mode",
            Self::NoMac => "no-mac",
            Self::Encrypted => "encrypted",
            Self::NoEdClass => "no-ed-class",
            Self::BadServiceLength => "bad-service-length",
            Self::BadPadding => "bad-padding",
            Self::EmptyService => "empty-service",
            Self::BadParameters(_) => "bad-parameters",
            Self::TableChecksum => "table-checksum",
            Self::ReservedBits => "reserved-bits",
            Self::BadNativeAddress => "bad-native-address",
            Self::FrameHeadLength => "frame-head-length",
            Self::FrameVersion => "frame-version",
            Self::FrameType => "frame-type",
            Self::OuterControl => "outer-control",
            Self::NoIv => "no-iv",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_variant_one_kebab_case_name() {
        use DecodeError as E;
        let all = [
            E::Truncated,
            E::TrailingOctets,
            E::NotAnApdu(0),
            E::BadLength,
            E::TooLarge,
            E::UnknownElement(0),
            E::DuplicateElement(Tag::CalledApTitle),
            E::MissingElement(Tag::CalledApTitle),
            E::BadElement(Tag::CalledApTitle),
            E::BadObjectIdentifier,
            E::BadApTitle,
            E::BadInvocationId,
            E::BadAuthentication,
            E::NoEpsem,
            E::BadSegment,
            E::ReservedSecurityMode,
            E::NoMac,
            E::Encrypted,
            E::NoEdClass,
            E::BadServiceLength,
            E::BadPadding,
            E::EmptyService,
            E::BadParameters(ServiceCode::LOGON),
            E::TableChecksum,
            E::ReservedBits,
            E::BadNativeAddress,
            E::FrameHeadLength,
            E::FrameVersion,
            E::FrameType,
            E::OuterControl,
            E::NoIv,
        ];
        let mut names: Vec<&str> = all.iter().map(DecodeError::name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'-'))));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert_eq!(
            E::BadParameters(ServiceCode::LOGON).to_string(),
            "parameters do not fit service logon (50)"
        );
    }
}
