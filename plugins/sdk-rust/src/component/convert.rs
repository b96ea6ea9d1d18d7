//! The same values on both sides: those of the WIT world, and those of the C contract.

use super::bindings::metergraph::transport::types;
use crate::abi::{self, Frame, Status, bits, event, ready};

/// A fault of the plugin.
pub fn internal(what: &str) -> types::Error {
    types::Error { code: types::ErrorCode::Internal, message: what.into(), os_error: 0 }
}

const FRAME_BITS: [(types::FrameBits, u32); 3] = [
    (types::FrameBits::PRIORITY, bits::PRIORITY),
    (types::FrameBits::BROADCAST, bits::BROADCAST),
    (types::FrameBits::REPORT, bits::REPORT),
];

pub fn frame_of(frame: &types::Frame) -> Frame {
    let set = FRAME_BITS.iter().filter(|(flag, _)| frame.bits.contains(*flag));
    Frame {
        link: frame.link,
        offset: frame.offset,
        len: frame.len,
        bits: set.fold(0, |bits, (_, bit)| bits | bit),
        tag: frame.tag,
        at: frame.at,
    }
}

pub fn to_frame(frame: &Frame) -> types::Frame {
    let set = FRAME_BITS.iter().filter(|(_, bit)| frame.bits & bit != 0);
    types::Frame {
        link: frame.link,
        offset: frame.offset,
        len: frame.len,
        bits: set.fold(types::FrameBits::empty(), |bits, (flag, _)| bits | *flag),
        tag: frame.tag,
        at: frame.at,
    }
}

pub const READY: [(types::Ready, u32); 4] = [
    (types::Ready::READABLE, ready::READABLE),
    (types::Ready::WRITABLE, ready::WRITABLE),
    (types::Ready::CLOSED, ready::CLOSED),
    (types::Ready::ERROR, ready::ERROR),
];

pub fn ready_of(flags: types::Ready) -> u32 {
    READY.iter().filter(|(flag, _)| flags.contains(*flag)).fold(0, |bits, (_, bit)| bits | bit)
}

const CODES: [types::ErrorCode; 13] = [
    types::ErrorCode::Argument,
    types::ErrorCode::Config,
    types::ErrorCode::Denied,
    types::ErrorCode::NotFound,
    types::ErrorCode::WouldBlock,
    types::ErrorCode::Closed,
    types::ErrorCode::TimedOut,
    types::ErrorCode::Busy,
    types::ErrorCode::TooLarge,
    types::ErrorCode::NoMemory,
    types::ErrorCode::Unsupported,
    types::ErrorCode::Io,
    types::ErrorCode::Internal,
];

/// The code of a status: they are in the same order.
pub fn code_of(code: Status) -> types::ErrorCode {
    let place = usize::try_from(code.saturating_add(1).unsigned_abs()).unwrap_or(usize::MAX);
    CODES.get(place).copied().unwrap_or(types::ErrorCode::Internal)
}

/// The status of a code.
pub fn status_of(code: types::ErrorCode) -> Status {
    let place = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1);
    -1 - place as Status
}

pub fn to_event(told: &abi::Event) -> Result<types::Event, types::Error> {
    let used = told.text.get(..told.text_len as usize).unwrap_or(&told.text);
    let text = String::from_utf8_lossy(used).into_owned();
    let unknown = || internal(&format!("event of kind {}, state {}", told.kind, told.state));
    Ok(match told.kind {
        event::LINK => types::Event::Link(types::LinkEvent {
            link: told.link,
            state: match told.state {
                event::LINK_CONNECTING => types::LinkState::Connecting,
                event::LINK_UP => types::LinkState::Up,
                event::LINK_DEGRADED => types::LinkState::Degraded,
                event::LINK_DOWN => types::LinkState::Down,
                _ => return Err(unknown()),
            },
            reason: to_reason(told.reason).ok_or_else(unknown)?,
            mtu: told.mtu,
            hops: told.hops,
            rssi: told.rssi,
            rtt: told.rtt,
            at: told.at,
            peer: text,
        }),
        event::TX => types::Event::Tx(types::TxEvent {
            link: told.link,
            tag: told.tag,
            status: match told.state {
                event::TX_DELIVERED => types::TxStatus::Delivered,
                event::TX_SENT => types::TxStatus::Sent,
                event::TX_EXPIRED => types::TxStatus::Expired,
                event::TX_FULL => types::TxStatus::Full,
                event::TX_LINK_DOWN => types::TxStatus::LinkDown,
                event::TX_FAILED => types::TxStatus::Failed,
                _ => return Err(unknown()),
            },
            at: told.at,
        }),
        event::NOTE => types::Event::Note(types::NoteEvent {
            reason: to_reason(told.reason).ok_or_else(unknown)?,
            link: told.link,
            octets: told.tag,
            text,
        }),
        event::FATAL => types::Event::Fatal(types::Error {
            code: code_of(told.state.cast_signed()),
            message: text,
            os_error: 0,
        }),
        _ => return Err(unknown()),
    })
}

pub fn to_reason(number: u32) -> Option<types::Reason> {
    use crate::Reason as Known;
    Some(match Known::from_number(number)? {
        Known::None => types::Reason::None,
        Known::PeerClosed => types::Reason::PeerClosed,
        Known::ClosedMidFrame => types::Reason::ClosedMidFrame,
        Known::Idle => types::Reason::Idle,
        Known::HalfOpen => types::Reason::HalfOpen,
        Known::Framing => types::Reason::Framing,
        Known::Oversize => types::Reason::Oversize,
        Known::FrameTimeout => types::Reason::FrameTimeout,
        Known::Refused => types::Reason::Refused,
        Known::Unreachable => types::Reason::Unreachable,
        Known::LinksMax => types::Reason::LinksMax,
        Known::HostClosed => types::Reason::HostClosed,
        Known::Shutdown => types::Reason::Shutdown,
        Known::Io => types::Reason::Io,
    })
}
