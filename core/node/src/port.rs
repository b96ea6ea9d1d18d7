//! Typed ports: what may be connected to what.

use std::fmt;

/// What flows through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortType {
    /// Octets as a transport received them, one frame each: from a transport to `ingress`.
    Received,
    /// Whole APDUs, segments put together.
    Apdus,
    /// APDUs of one partition's shard, with the place of the sealed frame found.
    Frames,
    /// Encoded journal records.
    Records,
    /// The durable log: no queue, each reader has a cursor of its own.
    Log,
    /// APDUs to be sent to a link.
    Sealed,
    /// Octets for a transport to send: from `downlink` to a transport.
    Transmit,
    /// EDHOC messages of end devices that register.
    Registrations,
    /// What a shard is told to do: new associations, commands to seal, group keys.
    Orders,
    /// Commands that wait for their signature.
    Intents,
    /// Entries for the audit log.
    Audit,
    /// Events.
    Events,
}

impl PortType {
    /// The word in diagnostics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Apdus => "apdus",
            Self::Frames => "frames",
            Self::Records => "records",
            Self::Log => "log",
            Self::Sealed => "sealed",
            Self::Transmit => "transmit",
            Self::Registrations => "registrations",
            Self::Orders => "orders",
            Self::Intents => "intents",
            Self::Audit => "audit",
            Self::Events => "events",
        }
    }

    /// Whether it flows towards end devices.
    #[must_use]
    pub fn is_downstream(self) -> bool {
        matches!(self, Self::Orders | Self::Intents | Self::Sealed | Self::Transmit)
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a node takes through its `input` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// What flows.
    pub port_type: PortType,
    /// At least so many entries.
    pub min: usize,
    /// At most so many entries.
    pub max: usize,
}

impl InputSpec {
    /// At least one entry of this type.
    #[must_use]
    pub fn some(port_type: PortType) -> Self {
        Self { port_type, min: 1, max: 64 }
    }

    /// Any number of entries of this type, also none.
    #[must_use]
    pub fn any(port_type: PortType) -> Self {
        Self { port_type, min: 0, max: 64 }
    }

    /// Exactly one entry of this type.
    #[must_use]
    pub fn one(port_type: PortType) -> Self {
        Self { port_type, min: 1, max: 1 }
    }
}

/// What a node gives: `NODE.PORT`, or `NODE` alone for its first port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// The port's name in `input` lists.
    pub name: &'static str,
    /// What flows.
    pub port_type: PortType,
    /// Whether somebody must read it.
    pub required: bool,
    /// How many nodes may read it.
    pub max: usize,
    /// One sentence for people.
    pub about: &'static str,
}
