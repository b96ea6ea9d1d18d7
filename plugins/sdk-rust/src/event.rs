//! What a driver tells its host.

use crate::abi::{self, event};

/// Why a link went down or octets were refused: `MG_R_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// No reason to give.
    None,
    /// The peer closed between two frames.
    PeerClosed,
    /// The peer closed within a frame.
    ClosedMidFrame,
    /// Nothing came or went for the time configured.
    Idle,
    /// The peer no longer answers the network.
    HalfOpen,
    /// Octets that begin no frame, or a length that is none.
    Framing,
    /// A frame longer than configured.
    Oversize,
    /// A frame begun and not ended in time.
    FrameTimeout,
    /// The peer refused the connection.
    Refused,
    /// The connection could not be made.
    Unreachable,
    /// As many links as configured: further peers wait.
    LinksMax,
    /// The host asked for it.
    HostClosed,
    /// The transport is closing.
    Shutdown,
    /// The operating system reported an error.
    Io,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::None,
        Self::PeerClosed,
        Self::ClosedMidFrame,
        Self::Idle,
        Self::HalfOpen,
        Self::Framing,
        Self::Oversize,
        Self::FrameTimeout,
        Self::Refused,
        Self::Unreachable,
        Self::LinksMax,
        Self::HostClosed,
        Self::Shutdown,
        Self::Io,
    ];

    /// The reason of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The word in events, metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PeerClosed => "peer-closed",
            Self::ClosedMidFrame => "closed-mid-frame",
            Self::Idle => "idle",
            Self::HalfOpen => "half-open",
            Self::Framing => "framing",
            Self::Oversize => "oversize",
            Self::FrameTimeout => "frame-timeout",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::LinksMax => "links-max",
            Self::HostClosed => "host-closed",
            Self::Shutdown => "shutdown",
            Self::Io => "io",
        }
    }
}

/// Where a link is in its life: `MG_LINK_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LinkState {
    /// Being made.
    Connecting,
    /// Carries frames.
    Up,
    /// Carries frames badly.
    Degraded,
    /// Gone; its number is void.
    Down,
}

impl LinkState {
    /// The state of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            event::LINK_CONNECTING => Some(Self::Connecting),
            event::LINK_UP => Some(Self::Up),
            event::LINK_DEGRADED => Some(Self::Degraded),
            event::LINK_DOWN => Some(Self::Down),
            _ => None,
        }
    }
}

/// What became of a frame: `MG_TX_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TxEnd {
    /// The peer's link layer has it.
    Delivered,
    /// Handed to the medium.
    Sent,
    /// Its time passed first.
    Expired,
    /// The link's queue had no room.
    Full,
    /// No such link, or it went down first.
    LinkDown,
    /// Failed otherwise.
    Failed,
}

impl TxEnd {
    /// The end of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            event::TX_DELIVERED => Some(Self::Delivered),
            event::TX_SENT => Some(Self::Sent),
            event::TX_EXPIRED => Some(Self::Expired),
            event::TX_FULL => Some(Self::Full),
            event::TX_LINK_DOWN => Some(Self::LinkDown),
            event::TX_FAILED => Some(Self::Failed),
            _ => None,
        }
    }
}

/// A link changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Its number.
    pub link: u32,
    /// Its new state.
    pub state: LinkState,
    /// Why it is down.
    pub reason: Reason,
    /// Octets of its longest frame, 0 when unknown.
    pub mtu: u32,
    /// Hops to the peer, 0 when unknown.
    pub hops: u32,
    /// 1/256 dBm, 0 when unknown.
    pub rssi: i32,
    /// Round trip, ns, 0 when unknown.
    pub rtt: u64,
    /// Host time, ns.
    pub at: u64,
    /// Peer address in the driver's own form, at most 72 octets.
    pub peer: String,
}

/// What a driver tells its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link changed.
    Link(LinkEvent),
    /// What became of a frame that wanted a report.
    Tx {
        /// The frame's tag.
        tag: u64,
        /// Its link.
        link: u32,
        /// Its end.
        end: TxEnd,
        /// Host time, ns.
        at: u64,
    },
    /// Something to tell.
    Note {
        /// What it is about.
        reason: Reason,
        /// The link, or 0.
        link: u32,
        /// Octets refused, or 0.
        octets: u64,
        /// One line of at most 72 octets.
        text: String,
    },
    /// The driver cannot go on.
    Fatal {
        /// One of [`abi::status`], negative.
        status: abi::Status,
        /// One line of at most 72 octets.
        text: String,
    },
}

impl Event {
    /// In the form of the contract; a longer text is cut.
    #[must_use]
    pub fn to_abi(&self) -> abi::Event {
        let mut out = abi::Event::default();
        let text = match self {
            Self::Link(change) => {
                out.kind = event::LINK;
                out.link = change.link;
                out.state = change.state as u32;
                out.reason = change.reason as u32;
                (out.mtu, out.hops, out.rssi) = (change.mtu, change.hops, change.rssi);
                (out.rtt, out.at) = (change.rtt, change.at);
                &change.peer
            }
            Self::Tx { tag, link, end, at } => {
                out.kind = event::TX;
                (out.tag, out.link, out.state, out.at) = (*tag, *link, *end as u32, *at);
                ""
            }
            Self::Note { reason, link, octets, text } => {
                out.kind = event::NOTE;
                (out.reason, out.link, out.tag) = (*reason as u32, *link, *octets);
                text
            }
            Self::Fatal { status, text } => {
                out.kind = event::FATAL;
                out.state = status.cast_unsigned();
                text
            }
        };
        out.text_len = u32::try_from(abi::copy_text(text, &mut out.text)).unwrap_or(0);
        out
    }

    /// From the form of the contract; `None` when a number in it means nothing.
    #[must_use]
    pub fn from_abi(from: &abi::Event) -> Option<Self> {
        let text = from.text.get(..usize::try_from(from.text_len).ok()?)?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some(match from.kind {
            event::LINK => Self::Link(LinkEvent {
                link: from.link,
                state: LinkState::from_number(from.state)?,
                reason: Reason::from_number(from.reason)?,
                mtu: from.mtu,
                hops: from.hops,
                rssi: from.rssi,
                rtt: from.rtt,
                at: from.at,
                peer: text,
            }),
            event::TX => {
                Self::Tx { tag: from.tag, link: from.link, end: TxEnd::from_number(from.state)?, at: from.at }
            }
            event::NOTE => Self::Note {
                reason: Reason::from_number(from.reason)?,
                link: from.link,
                octets: from.tag,
                text,
            },
            event::FATAL => Self::Fatal { status: from.state.cast_signed(), text },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_contract() {
        let link = LinkEvent {
            link: 7,
            state: LinkState::Down,
            reason: Reason::Idle,
            mtu: 32767,
            hops: 2,
            rssi: -70 * 256,
            rtt: 5,
            at: 9,
            peer: "[2001:db8::1]:1153".into(),
        };
        let events = [
            Event::Link(link),
            Event::Tx { tag: 3, link: 7, end: TxEnd::Full, at: 8 },
            Event::Note { reason: Reason::Oversize, link: 7, octets: 40, text: "x".into() },
            Event::Fatal { status: abi::status::IO, text: "gone".into() },
        ];
        for event in events {
            assert_eq!(Event::from_abi(&event.to_abi()), Some(event));
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(50);
        let cut = Event::Fatal { status: -1, text }.to_abi();
        assert_eq!(cut.text_len, 72);
        assert!(Event::from_abi(&cut).is_some());
    }

    #[test]
    fn numbers_without_meaning_are_refused() {
        for bad in [
            abi::Event { kind: 9, ..abi::Event::default() },
            abi::Event { kind: event::LINK, state: 4, ..abi::Event::default() },
            abi::Event { kind: event::LINK, reason: 14, ..abi::Event::default() },
            abi::Event { kind: event::TX, state: 6, ..abi::Event::default() },
            abi::Event { kind: event::NOTE, text_len: 73, ..abi::Event::default() },
        ] {
            assert_eq!(Event::from_abi(&bad), None);
        }
    }

    #[test]
    fn reasons_have_their_places() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
