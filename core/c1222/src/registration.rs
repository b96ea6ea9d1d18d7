//! The bodies of Registration: how a node enters the network, and what it is told.

use std::fmt;

use crate::ap_title::{ApTitle, Form};
use crate::ber;
use crate::error::DecodeError;
use crate::native_address::{NativeAddress, ShortOctets};
use crate::parameters::Parameters;
use crate::u24::U24;

/// An identifier with its tag whose octets need not be an object identifier: serial number, device class,
/// security mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaggedId<'a> {
    /// How it is tagged.
    pub form: Form,
    /// The octets after tag and length.
    pub octets: &'a [u8],
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NodeType(pub u8);

impl NodeType {
    /// Bit 0.
    pub const RELAY: u8 = 0x01;
    /// Bit 1.
    pub const MASTER_RELAY: u8 = 0x02;
    /// Bit 2.
    pub const HOST: u8 = 0x04;
    /// Bit 3.
    pub const NOTIFICATION_HOST: u8 = 0x08;
    /// Bit 4.
    pub const AUTHENTICATION_HOST: u8 = 0x10;
    /// Bit 5.
    pub const END_DEVICE: u8 = 0x20;
    const RESERVED: u8 = 0x40;
    const DOMAIN_PATTERN: u8 = 0x80;
}

/// How a node can be reached, and, in the answer, which of these it is to use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnectionType(pub u8);

impl ConnectionType {
    /// Bit 0 of a request: takes broadcast and multicast.
    pub const BROADCAST: u8 = 0x01;
    /// Bit 0 of an answer: messages may go directly.
    pub const DIRECT_MESSAGING: u8 = 0x01;
    /// Bit 1: message acceptance window.
    pub const ACCEPTANCE_WINDOW: u8 = 0x02;
    /// Bit 2.
    pub const PLAYBACK_REJECTION: u8 = 0x04;
    /// Bit 4: connectionless mode.
    pub const CL: u8 = 0x10;
    /// Bit 5: listens in connectionless mode (UDP).
    pub const ACCEPT_CL: u8 = 0x20;
    /// Bit 6: connection mode.
    pub const CO: u8 = 0x40;
    /// Bit 7: listens in connection mode (TCP).
    pub const ACCEPT_CO: u8 = 0x80;
    const RESERVED: u8 = 0x08;
}

/// A node asks to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration<'a> {
    /// What it is. Whether a domain pattern is present is told by `domain_pattern`.
    pub node_type: NodeType,
    /// How it can be reached.
    pub connection_type: ConnectionType,
    /// Class of the device.
    pub device_class: [u8; 4],
    /// The title it has; `None` asks for one.
    pub title: Option<ApTitle<'a>>,
    /// Its serial number, which names the hardware.
    pub serial_number: TaggedId<'a>,
    /// Where it is reached: a [`NativeAddress`] on IP networks.
    pub native_address: ShortOctets<'a>,
    /// How often it wishes to register, in seconds; [`U24::MAX`] for no wish.
    pub period_s: U24,
    /// The titles that a relay serves.
    pub domain_pattern: Option<ShortOctets<'a>>,
}

/// A node is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered<'a> {
    /// The title it has from now on.
    pub title: ApTitle<'a>,
    /// Up to how long it waits, at random, before it registers after an outage, in seconds.
    pub delay_s: u16,
    /// How often it must register, in seconds; 0 for never.
    pub period_s: U24,
    /// What it is to use.
    pub info: ConnectionType,
}

impl<'a> Registration<'a> {
    /// Reads what follows code 27.
    pub(crate) fn read(parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        let node_type = parameters.octet()?;
        Ok(Self {
            node_type: NodeType(node_type & !NodeType::DOMAIN_PATTERN),
            connection_type: ConnectionType(parameters.octet()?),
            device_class: *parameters.array()?,
            title: match TaggedId::read(parameters)? {
                TaggedId { octets: [], .. } => None,
                id => Some(id.title()?),
            },
            serial_number: TaggedId::read(parameters)?,
            native_address: parameters.short()?,
            period_s: parameters.u24()?,
            domain_pattern: match node_type & NodeType::DOMAIN_PATTERN {
                0 => None,
                _ => Some(parameters.short()?),
            },
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let pattern = if self.domain_pattern.is_some() { NodeType::DOMAIN_PATTERN } else { 0 };
        out.push((self.node_type.0 & !NodeType::DOMAIN_PATTERN) | pattern);
        out.push(self.connection_type.0);
        out.extend_from_slice(&self.device_class);
        match &self.title {
            Some(title) => title.write(out),
            None => ber::write_tlv(out, Form::RelativeOid.tag(), &[]),
        }
        self.serial_number.write(out);
        self.native_address.write(out);
        out.extend_from_slice(&self.period_s.octets());
        if let Some(pattern) = &self.domain_pattern {
            pattern.write(out);
        }
    }

    /// Where it is reached on an IP network.
    ///
    /// # Errors
    /// [`DecodeError::BadNativeAddress`] when that is no IP network.
    pub fn ip_address(&self) -> Result<NativeAddress, DecodeError> {
        NativeAddress::decode(self.native_address.octets())
    }

    /// Whether all that must be 0 is.
    ///
    /// # Errors
    /// [`DecodeError::ReservedBits`].
    pub fn check(&self) -> Result<(), DecodeError> {
        let reserved = self.node_type.0 & NodeType::RESERVED;
        check_reserved(reserved | (self.connection_type.0 & ConnectionType::RESERVED))
    }
}

impl<'a> Registered<'a> {
    /// Reads what follows code 00.
    pub(crate) fn read(parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            title: parameters.title()?,
            delay_s: parameters.u16()?,
            period_s: parameters.u24()?,
            info: ConnectionType(parameters.octet()?),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.title.write(out);
        out.extend_from_slice(&self.delay_s.to_be_bytes());
        out.extend_from_slice(&self.period_s.octets());
        out.push(self.info.0);
    }

    /// Whether all that must be 0 is.
    ///
    /// # Errors
    /// [`DecodeError::ReservedBits`].
    pub fn check(&self) -> Result<(), DecodeError> {
        check_reserved(self.info.0 & ConnectionType::RESERVED)
    }
}

fn check_reserved(bits: u8) -> Result<(), DecodeError> {
    if bits == 0 { Ok(()) } else { Err(DecodeError::ReservedBits) }
}

impl<'a> TaggedId<'a> {
    /// Reads tag, length and octets.
    pub(crate) fn read(parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        let tlv = parameters.tlv()?;
        Ok(Self { form: Form::of(tlv.tag).ok_or(parameters.bad())?, octets: tlv.content.rest() })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        ber::write_tlv(out, self.form.tag(), self.octets);
    }

    /// The ApTitle that it is.
    ///
    /// # Errors
    /// As [`ApTitle::new`].
    pub fn title(&self) -> Result<ApTitle<'a>, DecodeError> {
        ApTitle::new(self.form, self.octets)
    }
}

impl fmt::Debug for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeType({:02x})", self.0)
    }
}

impl fmt::Debug for ConnectionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionType({:02x})", self.0)
    }
}
