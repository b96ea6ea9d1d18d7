//! Datagrams to and from the peers of a grant.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

use transport_sdk::abi::status;

use crate::grants::Allowed;

/// Peers that are remembered; their numbers are never used again. Further ones are refused.
const PEERS_MAX: usize = 1 << 20;
/// The longest datagram, octets.
pub const DATAGRAM_MAX: usize = 65_535;

/// A bound socket and the peers that it knows by number.
#[derive(Debug)]
pub struct Datagram {
    pub(crate) socket: UdpSocket,
    allowed: Vec<Allowed>,
    numbers: HashMap<SocketAddr, u32>,
    peers: Vec<SocketAddr>,
    /// Datagrams of senders that the grant does not cover, or that no number was left for.
    refused: u64,
}

impl Datagram {
    /// Binds a socket that does not block.
    ///
    /// # Errors
    /// The operating system's.
    pub fn bind(at: SocketAddr, allowed: Vec<Allowed>) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, allowed, numbers: HashMap::new(), peers: Vec::new(), refused: 0 })
    }

    /// Datagrams refused since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// The number of a peer.
    ///
    /// # Errors
    /// `MG_E_DENIED` where the grant does not cover it, `MG_E_BUSY` where there are too many.
    pub fn number(&mut self, peer: SocketAddr) -> Result<u32, i32> {
        if let Some(number) = self.numbers.get(&peer) {
            return Ok(*number);
        }
        if !self.allowed.iter().any(|rule| rule.covers(peer)) {
            return Err(status::DENIED);
        }
        if self.peers.len() >= PEERS_MAX {
            return Err(status::BUSY);
        }
        let number = u32::try_from(self.peers.len()).map_err(|_| status::BUSY)?;
        self.peers.push(peer);
        self.numbers.insert(peer, number);
        Ok(number)
    }

    /// The address of a peer's number.
    #[must_use]
    pub fn peer(&self, number: u32) -> Option<SocketAddr> {
        self.peers.get(number as usize).copied()
    }

    /// Sends one datagram; `true` when the system took it or lost it, `false` when it has no room now.
    ///
    /// # Errors
    /// `MG_E_NOT_FOUND` for a peer without a number, `MG_E_TOO_LARGE`, `MG_E_IO`.
    pub fn send(&self, peer: u32, octets: &[u8]) -> Result<bool, i32> {
        let peer = self.peer(peer).ok_or(status::NOT_FOUND)?;
        loop {
            return match self.socket.send_to(octets, peer) {
                Ok(_) => Ok(true),
                Err(error) => match (error.kind(), error.raw_os_error()) {
                    (ErrorKind::Interrupted, _) => continue,
                    (ErrorKind::WouldBlock, _) => Ok(false),
                    (_, Some(libc::EMSGSIZE)) => Err(status::TOO_LARGE),
                    // An ICMP answer to an earlier one; datagrams may be lost.
                    (_, Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH)) => Ok(true),
                    _ => Err(status::IO),
                },
            };
        }
    }

    /// Receives one datagram into `into`: its sender's number and length. Those of unknown senders are
    /// counted and passed over, at most as many as there is room for in one call.
    ///
    /// # Errors
    /// `MG_E_WOULD_BLOCK`, `MG_E_IO`.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<(u32, usize), i32> {
        const PASSED_MAX: usize = 64;
        for _ in 0..PASSED_MAX {
            match self.socket.recv_from(into) {
                Ok((length, peer)) => match self.number(peer) {
                    Ok(number) => return Ok((number, length)),
                    Err(_) => self.refused = self.refused.saturating_add(1),
                },
                Err(error) => match (error.kind(), error.raw_os_error()) {
                    (ErrorKind::Interrupted, _) | (_, Some(libc::ECONNREFUSED)) => {}
                    (ErrorKind::WouldBlock, _) => return Err(status::WOULD_BLOCK),
                    _ => return Err(status::IO),
                },
            }
        }
        Err(status::BUSY)
    }
}
