//! Taking connections.

use transport_sdk::abi::{ready, status};
use transport_sdk::{Error, Host, IoKind, Reason};

use crate::driver::{Object, Tcp};
use crate::links::Link;

/// Connections taken from one listener in one poll, so that a rush does not hold up the links.
const ACCEPTS_MAX: usize = 128;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The host's I/O object.
    pub(crate) io: u32,
    /// Whether it takes nobody now.
    paused: bool,
}

impl Tcp {
    /// Opens all configured listeners; they take nobody yet.
    pub(crate) fn listen(&mut self, host: &Host<'_>) -> Result<(), Error> {
        for grant in &self.config.listen {
            let io = host.io_open(IoKind::TcpListen, grant, "")?;
            self.objects.insert(io, Object::Listener(self.listeners.len()));
            self.listeners.push(Listener { io, paused: true });
        }
        Ok(())
    }

    /// Takes connections that wait.
    pub(crate) fn accept(&mut self, host: &Host<'_>, place: usize, now: u64) {
        let Some(io) = self.listeners.get(place).map(|listener| listener.io) else { return };
        for _ in 0..ACCEPTS_MAX {
            if self.links.len() >= self.config.links_max {
                self.refuse(0, Reason::LinksMax, 0, "further peers wait until a link ends");
                self.pause(host, place);
                return;
            }
            if self.events_full() {
                self.pause(host, place);
                return;
            }
            match host.io_accept(io) {
                Ok(id) => {
                    let peer = host.io_peer_address(id).unwrap_or_else(|| "unknown".to_owned());
                    self.add_link(host, now, Link { io: id, up: true, peer, ..Link::default() });
                }
                // At a limit of its own the host says so itself, and waits before it tells of it again.
                Err(status::WOULD_BLOCK | status::BUSY) => return,
                Err(code) => {
                    self.refuse(0, Reason::Io, 0, &format!("no more peers here: {}", status::word(code)));
                    self.pause(host, place);
                    return;
                }
            }
        }
    }

    fn pause(&mut self, host: &Host<'_>, place: usize) {
        if let Some(listener) = self.listeners.get_mut(place) {
            listener.paused = true;
            host.io_interest(listener.io, 0);
        }
    }

    /// Lets paused listeners go on where there is room again.
    pub(crate) fn resume_listeners(&mut self, host: &Host<'_>) {
        if self.links.len() >= self.config.links_max || self.events_full() {
            return;
        }
        for listener in self.listeners.iter_mut().filter(|listener| listener.paused) {
            listener.paused = false;
            host.io_interest(listener.io, ready::READABLE);
        }
    }
}
