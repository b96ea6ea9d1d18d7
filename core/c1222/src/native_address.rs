//! Addresses of nodes on an IP network (RFC 6142 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ber::Reader;
use crate::error::DecodeError;

/// The port of C12.22 over TCP and UDP, meant where an address has none.
pub const PORT: u16 = 1153;

/// Octets whose number fits one octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShortOctets<'a>(&'a [u8]);

impl<'a> ShortOctets<'a> {
    /// The octets, when there are at most 255.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Option<Self> {
        (octets.len() <= 255).then_some(Self(octets))
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.0
    }

    /// Appends `len1 octets`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(self.0);
    }
}

/// The protocol of a native address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// 06.
    Tcp,
    /// 11.
    Udp,
}

/// Where a node is reached on an IP network: 4 or 16 octets, then optionally port 2 and protocol 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NativeAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port; none means [`PORT`].
    pub port: Option<u16>,
    /// The protocol; only with a port.
    pub protocol: Option<Protocol>,
}

impl NativeAddress {
    /// The lengths of RFC 6142.
    const LENGTHS: [usize; 6] = [4, 6, 7, 16, 18, 19];

    /// Reads the octets.
    ///
    /// # Errors
    /// [`DecodeError::BadNativeAddress`] unless there are 4, 6, 7, 16, 18 or 19, or for another protocol.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        Self::read(octets).ok_or(DecodeError::BadNativeAddress)
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(octets);
        let ip = match octets.len() {
            4 | 6 | 7 => IpAddr::V4(Ipv4Addr::from(*reader.array::<4>()?)),
            16 | 18 | 19 => IpAddr::V6(Ipv6Addr::from(*reader.array::<16>()?)),
            _ => return None,
        };
        let port = reader.u16();
        let protocol = match reader.octet() {
            None => None,
            Some(0x06) => Some(Protocol::Tcp),
            Some(0x11) => Some(Protocol::Udp),
            Some(_) => return None,
        };
        Some(Self { ip, port, protocol })
    }

    /// Reads a field of a table, which is filled up with zeros: those are stripped, and the rest is taken
    /// to the next length that an address can have.
    ///
    /// # Errors
    /// [`DecodeError::BadNativeAddress`] when all octets are zero, or the rest is no address.
    pub fn of_table_field(field: &[u8]) -> Result<Self, DecodeError> {
        let used = field.iter().rposition(|octet| *octet != 0).map_or(0, |last| last.saturating_add(1));
        let len = Self::LENGTHS.into_iter().find(|len| used > 0 && *len >= used);
        let octets = len.and_then(|len| field.get(..len)).ok_or(DecodeError::BadNativeAddress)?;
        Self::decode(octets)
    }

    /// Appends the octets. A protocol without port gets [`PORT`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self.ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        if let Some(port) = self.port.or(self.protocol.map(|_| PORT)) {
            out.extend_from_slice(&port.to_be_bytes());
        }
        match self.protocol {
            Some(Protocol::Tcp) => out.push(0x06),
            Some(Protocol::Udp) => out.push(0x11),
            None => {}
        }
    }

    /// Address and port.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(PORT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_reads_back() {
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            for (port, protocol) in [
                (None, None),
                (Some(1153), None),
                (Some(9), Some(Protocol::Tcp)),
                (Some(9), Some(Protocol::Udp)),
            ] {
                let address = NativeAddress { ip, port, protocol };
                let mut out = Vec::new();
                address.encode(&mut out);
                assert!(NativeAddress::LENGTHS.contains(&out.len()));
                assert_eq!(NativeAddress::decode(&out), Ok(address));
                out.resize(20, 0);
                assert_eq!(NativeAddress::of_table_field(&out), Ok(address));
            }
        }
    }

    #[test]
    fn zeros_at_the_end_belong_to_the_address() {
        let address = NativeAddress::of_table_field(&[10, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(address.socket().to_string(), "10.0.0.0:1153");
        for field in [&[0; 20][..], &[], &[1, 2], &[1, 2, 3, 4, 5, 6, 7]] {
            assert_eq!(NativeAddress::of_table_field(field), Err(DecodeError::BadNativeAddress));
        }
    }
}
