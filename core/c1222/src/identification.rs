//! The answer to Identification.

use crate::error::DecodeError;
use crate::parameters::Parameters;
use crate::registration::TaggedId;
use crate::service_code::ServiceCode;

/// Which standard a node follows, and what it offers.
#[derive(Clone, Copy, Debug)]
pub struct Identification<'a> {
    /// 03 is C12.22.
    pub standard: u8,
    /// Its version.
    pub version: u8,
    /// Its revision.
    pub revision: u8,
    features: List<'a>,
}

/// Where the features come from.
#[derive(Clone, Copy, Debug)]
enum List<'a> {
    /// As received, with the 00 that ends them.
    Octets(&'a [u8]),
    /// To be sent.
    Given(&'a [Feature<'a>]),
}

/// One feature of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature<'a> {
    /// 04: a security mechanism that it knows.
    SecurityMechanism(TaggedId<'a>),
    /// 05.
    Sessions {
        /// Bit 7: takes requests outside of a session.
        sessionless: bool,
        /// Bits 0 to 6: how many sessions it holds.
        sessions: u8,
    },
    /// 06.
    DeviceClass(TaggedId<'a>),
    /// 07: `len1 format1 octets`.
    Identity {
        /// 1 is 7-bit ASCII.
        format: u8,
        /// At most 254 octets; more are not sent.
        octets: &'a [u8],
    },
    /// A feature that has no known length, with everything that follows it.
    Unknown(&'a [u8]),
}

impl<'a> Identification<'a> {
    /// C12.22, with the version of the published standard.
    #[must_use]
    pub fn c1222(features: &'a [Feature<'a>]) -> Self {
        Self { standard: 3, version: 1, revision: 0, features: List::Given(features) }
    }

    /// Its features, in order.
    pub fn features(&self) -> impl Iterator<Item = Feature<'a>> + use<'a> {
        let (octets, given) = match self.features {
            List::Octets(octets) => (octets, &[][..]),
            List::Given(features) => (&[][..], features),
        };
        let mut parameters = Parameters::new(ServiceCode::IDENTIFICATION, octets);
        // Received features were read once already.
        std::iter::from_fn(move || Feature::read(&mut parameters).ok().flatten()).chain(given.iter().copied())
    }

    /// Reads what follows code 00.
    pub(crate) fn read(parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        let [standard, version, revision] = *parameters.array()?;
        let start = *parameters;
        while !matches!(Feature::read(parameters)?, None | Some(Feature::Unknown(_))) {}
        let features = List::Octets(parameters.since(&start));
        Ok(Self { standard, version, revision, features })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.standard, self.version, self.revision]);
        match self.features {
            List::Octets(octets) => out.extend_from_slice(octets),
            List::Given(features) => {
                for feature in features {
                    feature.write(out);
                }
                if !matches!(features.last(), Some(Feature::Unknown(_))) {
                    out.push(0);
                }
            }
        }
    }
}

impl<'a> Feature<'a> {
    /// The next feature; `None` at the 00 that ends them.
    fn read(parameters: &mut Parameters<'a>) -> Result<Option<Self>, DecodeError> {
        let start = *parameters;
        Ok(Some(match parameters.octet()? {
            0x00 => return Ok(None),
            0x04 => Self::SecurityMechanism(TaggedId::read(parameters)?),
            0x05 => {
                let octet = parameters.octet()?;
                Self::Sessions { sessionless: octet & 0x80 != 0, sessions: octet & 0x7f }
            }
            0x06 => Self::DeviceClass(TaggedId::read(parameters)?),
            0x07 => {
                let octets = parameters.short()?.octets();
                let (format, octets) = octets.split_first().ok_or(parameters.bad())?;
                Self::Identity { format: *format, octets }
            }
            _ => {
                parameters.take(parameters.rest().len())?;
                Self::Unknown(parameters.since(&start))
            }
        }))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::SecurityMechanism(id) => {
                out.push(0x04);
                id.write(out);
            }
            Self::Sessions { sessionless, sessions } => {
                out.extend_from_slice(&[0x05, (u8::from(*sessionless) << 7) | (sessions & 0x7f)]);
            }
            Self::DeviceClass(id) => {
                out.push(0x06);
                id.write(out);
            }
            Self::Identity { format, octets } => {
                let octets = octets.get(..254).unwrap_or(octets);
                let len = u8::try_from(octets.len()).unwrap_or(254);
                out.extend_from_slice(&[0x07, len.saturating_add(1), *format]);
                out.extend_from_slice(octets);
            }
            Self::Unknown(octets) => out.extend_from_slice(octets),
        }
    }
}

impl PartialEq for Identification<'_> {
    fn eq(&self, other: &Self) -> bool {
        let version = |of: &Self| [of.standard, of.version, of.revision];
        version(self) == version(other) && self.features().eq(other.features())
    }
}

impl Eq for Identification<'_> {}
