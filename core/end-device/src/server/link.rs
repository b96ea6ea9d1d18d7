//! One TCP connection: octets in, whole APDUs out of them, answers back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use c1222::DecodeError;
use c1222::apdu::measure;

use super::Limits;
use super::complaint::Fault;
use crate::end_device::{EndDevice, Moment, Verdict};

/// Octets that are read at once.
const READ: usize = 16 << 10;
/// Octets of answers that wait, above which no more are made; one answer more may wait.
const WAITING_MAX: usize = 64 << 10;

/// One connection.
pub(super) struct Link {
    pub id: u64,
    pub peer: SocketAddr,
    pub stream: TcpStream,
    received: Vec<u8>,
    to_send: Vec<u8>,
    /// Since when nothing came.
    quiet_since: u64,
    /// Since when the message that has begun is not whole.
    begun: Option<u64>,
    /// Since when answers wait.
    waiting_since: u64,
    /// Nothing more is read; it is closed when all answers are sent.
    is_ending: bool,
}

impl Link {
    pub fn new(id: u64, peer: SocketAddr, stream: TcpStream, now: u64) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            id,
            peer,
            stream,
            received: Vec::new(),
            to_send: Vec::new(),
            quiet_since: now,
            begun: None,
            waiting_since: now,
            is_ending: false,
        })
    }

    /// Whether it should be watched for octets to read: not while many answers wait to be sent.
    pub fn wants_to_read(&self) -> bool {
        !self.is_ending && self.to_send.len() < WAITING_MAX
    }

    /// Whether it should be watched for room to write.
    pub fn wants_to_write(&self) -> bool {
        !self.to_send.is_empty()
    }

    /// Whether nothing more is to be done.
    pub fn is_done(&self) -> bool {
        self.is_ending && self.to_send.is_empty()
    }

    /// Reads a bounded part of what is there, answers what is whole and sends what can be sent. Faults go to
    /// `complain`. `false` when the connection is gone.
    pub fn turn(
        &mut self,
        is_readable: bool,
        device: &mut EndDevice,
        limits: &Limits,
        now: Moment,
        mut complain: impl FnMut(Fault),
    ) -> bool {
        if !self.write(now) {
            return false;
        }
        if is_readable && self.wants_to_read() {
            let mut buffer = [0; READ];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_ending = true,
                Ok(count) => {
                    self.quiet_since = now.steady_ns;
                    self.received.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
                Err(error) if is_temporary(&error) => {}
                Err(_) => return false,
            }
        }
        // What is whole waits only while answers do.
        while self.serve(device, limits, now, &mut complain) {
            if !self.write(now) {
                return false;
            }
        }
        if self.is_ending && self.to_send.is_empty() && !self.received.is_empty() {
            complain(DecodeError::Truncated.into());
        }
        true
    }

    /// Answers APDUs that are whole, until too many answers wait; whether there were any.
    fn serve(
        &mut self,
        device: &mut EndDevice,
        limits: &Limits,
        now: Moment,
        complain: &mut impl FnMut(Fault),
    ) -> bool {
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        let mut answer = Vec::new();
        let mut any = false;
        while self.to_send.len() < WAITING_MAX {
            let whole = match measure(rest, limits.apdu_max) {
                Ok(whole) => whole.and_then(|len| rest.split_at_checked(len)),
                Err(error) => {
                    // Where an APDU ends is not known any more, so neither is where the next begins.
                    complain(error.into());
                    (self.is_ending, rest) = (true, &[]);
                    break;
                }
            };
            let Some((apdu, after)) = whole else { break };
            match device.receive(self.id, apdu, now, &mut answer) {
                Verdict::Served | Verdict::Waiting => {}
                Verdict::Repeated => complain(Fault::Repeated),
                Verdict::Refused(refusal) => complain(refusal.into()),
            }
            if self.to_send.is_empty() {
                self.waiting_since = now.steady_ns;
            }
            self.to_send.extend_from_slice(&answer);
            (rest, any) = (after, true);
        }
        self.begun = match self.begun.filter(|_| !any) {
            _ if rest.is_empty() => None,
            None => Some(now.steady_ns),
            begun => begun,
        };
        self.received.extend_from_slice(rest);
        any
    }

    /// Sends what can be sent now. `false` when the connection is gone.
    fn write(&mut self, now: Moment) -> bool {
        while !self.to_send.is_empty() {
            match self.stream.write(&self.to_send) {
                Ok(0) => return false,
                Ok(count) => {
                    self.to_send.drain(..count.min(self.to_send.len()));
                    self.waiting_since = now.steady_ns;
                    // Whoever takes answers is not idle.
                    self.quiet_since = now.steady_ns;
                }
                Err(error) if is_temporary(&error) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Why its time is over, if it is.
    pub fn overdue(&self, limits: &Limits, now: u64) -> Option<Fault> {
        let over = |since: u64, limit: std::time::Duration| {
            u128::from(now.saturating_sub(since)) >= limit.as_nanos()
        };
        if !self.to_send.is_empty() {
            return over(self.waiting_since, limits.message).then_some(Fault::NotTaken);
        }
        if self.begun.is_some_and(|begun| over(begun, limits.message)) {
            return Some(Fault::TooSlow);
        }
        over(self.quiet_since, limits.idle).then_some(Fault::Idle)
    }
}

/// Whether it is to be tried again later.
pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
