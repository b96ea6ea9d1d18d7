//! What a server has to say about those who ask it.

use std::fmt;
use std::net::SocketAddr;

use c1222::DecodeError;

use crate::end_device::Refusal;

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over a connection.
    Tcp,
    /// In a datagram.
    Udp,
}

/// Why something was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A message was refused as a whole.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A message came before and was dropped.
    #[error("a repetition, dropped")]
    Repeated,
    /// No message begins where one should; the connection is closed.
    #[error("{0}; closed")]
    Stream(#[from] DecodeError),
    /// There are as many connections as can be; this one is closed.
    #[error("too many connections; closed")]
    TooManyLinks,
    /// Nothing came for too long; the connection is closed.
    #[error("idle; closed")]
    Idle,
    /// A message did not come to its end in time; the connection is closed.
    #[error("a message takes too long; closed")]
    TooSlow,
    /// Answers are not taken; the connection is closed.
    #[error("answers are not taken; closed")]
    NotTaken,
}

impl Fault {
    /// The kebab-case name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.name(),
            Self::Repeated => "repeated",
            Self::Stream(error) => error.name(),
            Self::TooManyLinks => "too-many-links",
            Self::Idle => "idle",
            Self::TooSlow => "too-slow",
            Self::NotTaken => "not-taken",
        }
    }
}

/// A fault, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Who sent it.
    pub peer: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What was wrong.
    pub fault: Fault,
}

impl fmt::Display for Complaint {
    /// `127.0.0.1:40000 tcp: wrong-mac: the MAC is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{} {transport}: {}: {}", self.peer, self.fault.name(), self.fault)
    }
}
