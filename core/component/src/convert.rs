//! The same values on both sides: those of the WIT world, and those of the C contract.

use transport_sdk::abi::{self, bits, event, io as kinds, ready, status};

use crate::bindings::metergraph::transport::{io, types};

/// The code of a status; what the contract does not know is internal.
pub fn code(status: abi::Status) -> types::ErrorCode {
    use types::ErrorCode::*;
    match status {
        status::ARGUMENT => Argument,
        status::CONFIG => Config,
        status::DENIED => Denied,
        status::NOT_FOUND => NotFound,
        status::WOULD_BLOCK => WouldBlock,
        status::CLOSED => Closed,
        status::TIMED_OUT => TimedOut,
        status::BUSY => Busy,
        status::TOO_LARGE => TooLarge,
        status::NO_MEMORY => NoMemory,
        status::UNSUPPORTED => Unsupported,
        status::IO => Io,
        _ => Internal,
    }
}

/// The status of a code.
pub fn status_of(code: types::ErrorCode) -> abi::Status {
    use types::ErrorCode::*;
    match code {
        Argument => status::ARGUMENT,
        Config => status::CONFIG,
        Denied => status::DENIED,
        NotFound => status::NOT_FOUND,
        WouldBlock => status::WOULD_BLOCK,
        Closed => status::CLOSED,
        TimedOut => status::TIMED_OUT,
        Busy => status::BUSY,
        TooLarge => status::TOO_LARGE,
        NoMemory => status::NO_MEMORY,
        Unsupported => status::UNSUPPORTED,
        Io => status::IO,
        Internal => status::INTERNAL,
    }
}

/// The number of a kind of I/O object.
pub fn kind(kind: io::Kind) -> u32 {
    match kind {
        io::Kind::Udp => kinds::UDP,
        io::Kind::TcpConnect => kinds::TCP_CONNECT,
        io::Kind::TcpListen => kinds::TCP_LISTEN,
        io::Kind::Stream => kinds::STREAM,
    }
}

const READY: [(types::Ready, u32); 4] = [
    (types::Ready::READABLE, ready::READABLE),
    (types::Ready::WRITABLE, ready::WRITABLE),
    (types::Ready::CLOSED, ready::CLOSED),
    (types::Ready::ERROR, ready::ERROR),
];

/// The bits of readiness.
pub fn ready_bits(ready: types::Ready) -> u32 {
    READY.iter().filter(|(flag, _)| ready.contains(*flag)).fold(0, |bits, (_, bit)| bits | bit)
}

/// Readiness of the bits.
pub fn ready_of(bits: u32) -> types::Ready {
    let set = READY.iter().filter(|(_, bit)| bits & bit != 0);
    set.fold(types::Ready::empty(), |ready, (flag, _)| ready | *flag)
}

const FRAME: [(types::FrameBits, u32); 3] = [
    (types::FrameBits::PRIORITY, bits::PRIORITY),
    (types::FrameBits::BROADCAST, bits::BROADCAST),
    (types::FrameBits::REPORT, bits::REPORT),
];

/// The bits of a frame.
pub fn frame_bits(frame: types::FrameBits) -> u32 {
    FRAME.iter().filter(|(flag, _)| frame.contains(*flag)).fold(0, |bits, (_, bit)| bits | bit)
}

/// A frame's flags of its bits.
pub fn frame_bits_of(bits: u32) -> types::FrameBits {
    let set = FRAME.iter().filter(|(_, bit)| bits & bit != 0);
    set.fold(types::FrameBits::empty(), |frame, (flag, _)| frame | *flag)
}

/// An event as the host's worker reads it; texts are cut to the contract's length.
pub fn event_of(told: types::Event) -> abi::Event {
    let mut event = abi::Event::default();
    let text = match told {
        types::Event::Link(link) => {
            event.kind = event::LINK;
            event.link = link.link;
            event.state = match link.state {
                types::LinkState::Connecting => event::LINK_CONNECTING,
                types::LinkState::Up => event::LINK_UP,
                types::LinkState::Degraded => event::LINK_DEGRADED,
                types::LinkState::Down => event::LINK_DOWN,
            };
            event.reason = reason_of(link.reason);
            (event.mtu, event.hops, event.rssi) = (link.mtu, link.hops, link.rssi);
            (event.rtt, event.at) = (link.rtt, link.at);
            link.peer
        }
        types::Event::Tx(tx) => {
            event.kind = event::TX;
            (event.link, event.tag, event.at) = (tx.link, tx.tag, tx.at);
            event.state = match tx.status {
                types::TxStatus::Delivered => event::TX_DELIVERED,
                types::TxStatus::Sent => event::TX_SENT,
                types::TxStatus::Expired => event::TX_EXPIRED,
                types::TxStatus::Full => event::TX_FULL,
                types::TxStatus::LinkDown => event::TX_LINK_DOWN,
                types::TxStatus::Failed => event::TX_FAILED,
            };
            String::new()
        }
        types::Event::Note(note) => {
            event.kind = event::NOTE;
            event.reason = reason_of(note.reason);
            (event.link, event.tag) = (note.link, note.octets);
            note.text
        }
        types::Event::Fatal(error) => {
            event.kind = event::FATAL;
            event.state = status_of(error.code).cast_unsigned();
            error.message
        }
    };
    event.text_len = u32::try_from(abi::copy_text(&text, &mut event.text)).unwrap_or(0);
    event
}

fn reason_of(reason: types::Reason) -> u32 {
    use transport_sdk::Reason as Known;
    let known = match reason {
        types::Reason::None => Known::None,
        types::Reason::PeerClosed => Known::PeerClosed,
        types::Reason::ClosedMidFrame => Known::ClosedMidFrame,
        types::Reason::Idle => Known::Idle,
        types::Reason::HalfOpen => Known::HalfOpen,
        types::Reason::Framing => Known::Framing,
        types::Reason::Oversize => Known::Oversize,
        types::Reason::FrameTimeout => Known::FrameTimeout,
        types::Reason::Refused => Known::Refused,
        types::Reason::Unreachable => Known::Unreachable,
        types::Reason::LinksMax => Known::LinksMax,
        types::Reason::HostClosed => Known::HostClosed,
        types::Reason::Shutdown => Known::Shutdown,
        types::Reason::Io => Known::Io,
    };
    known as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_flags_and_statuses_come_back_as_they_went() {
        for status in -13..0 {
            assert_eq!(status_of(code(status)), status);
        }
        assert_eq!(code(-99), types::ErrorCode::Internal);
        for bits in 0..16 {
            assert_eq!(ready_bits(ready_of(bits)), bits);
        }
        for bits in 0..8 {
            assert_eq!(frame_bits(frame_bits_of(bits)), bits);
        }
    }
}
