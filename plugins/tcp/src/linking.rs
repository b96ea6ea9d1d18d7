//! The life of links: made or dialled, watched by their deadlines, ended with a reason.

use transport_sdk::abi::{ready, status};
use transport_sdk::{Error, Event, Host, IoKind, LinkEvent, LinkState, Reason};

use crate::config::Peer;
use crate::driver::{Object, Tcp};
use crate::links::Link;
use crate::timers::Due;

/// A frame that is late while more of it waits to be read gets so much longer, ns.
const GRACE: u64 = 1_000_000_000;

impl Tcp {
    /// Adds a link over an I/O object and arms its deadline.
    pub(crate) fn add_link(&mut self, host: &Host<'_>, now: u64, mut link: Link) -> Option<u32> {
        let (io, up) = (link.io, link.up);
        (link.active, link.up_at) = (now, now);
        link.connect_deadline = now.saturating_add(self.config.connect_timeout);
        let Some(number) = self.links.insert(link) else {
            host.io_close(io);
            return None;
        };
        self.objects.insert(io, Object::Link(number));
        host.io_interest(io, if up { ready::READABLE } else { ready::WRITABLE });
        self.arm(number);
        if up {
            self.stats.links = self.stats.links.saturating_add(1);
        }
        self.tell_link(number, if up { LinkState::Up } else { LinkState::Connecting }, now);
        Some(number)
    }

    fn tell_link(&mut self, number: u32, state: LinkState, now: u64) {
        let peer = self.links.get_mut(number).map(|link| link.peer.clone()).unwrap_or_default();
        self.events.push_back(link_event(number, state, Reason::None, self.config.frame_max, now, peer));
    }

    /// Sets the deadline of a link anew, from what it waits for.
    pub(crate) fn arm(&mut self, number: u32) {
        let Some(link) = self.links.get_mut(number) else { return };
        let mut at = if link.up {
            link.active.saturating_add(self.config.idle_timeout)
        } else {
            link.connect_deadline
        };
        if link.frame_deadline != 0 {
            at = at.min(link.frame_deadline);
        }
        // A later deadline waits until the present one has come: activity itself moves nothing.
        if link.timer == 0 || at < link.timer {
            self.timers.set(Due::Link(number), link.timer, at);
            link.timer = at;
        }
    }

    /// Ends a link: tells why, brings its frames to an end, dials again where that is configured.
    pub(crate) fn end_link(&mut self, host: &Host<'_>, number: u32, reason: Reason, now: u64) {
        let Some(mut link) = self.links.remove(number) else { return };
        host.io_close(link.io);
        self.objects.remove(&link.io);
        self.timers.set(Due::Link(number), link.timer, 0);
        if link.up {
            self.stats.links = self.stats.links.saturating_sub(1);
        }
        if !link.rx.is_empty() {
            self.refuse(number, reason, link.rx.len(), "octets of an unfinished frame");
        }
        self.end_queue(number, &mut link.tx, now);
        self.events.push_back(link_event(number, LinkState::Down, reason, 0, now, link.peer));
        if let Some(place) = link.dial {
            let stood = link.up && now.saturating_sub(link.up_at) >= self.config.redial_max;
            if let Some(dial) = self.dials.get_mut(place).filter(|_| stood) {
                dial.has_stood();
            }
            self.redial(host, place, now);
        }
        self.resume_listeners(host);
    }

    /// A link whose connection is ready.
    pub(crate) fn link_ready(&mut self, host: &Host<'_>, number: u32, what: u32, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        if !link.up {
            if what & ready::ERROR != 0 {
                let reason = match host.io_read(link.io, &mut [0]) {
                    Err(status::NOT_FOUND) => Reason::Refused,
                    _ => Reason::Unreachable,
                };
                self.end_link(host, number, reason, now);
            } else if what & ready::WRITABLE != 0 {
                (link.up, link.up_at, link.active, link.connect_deadline) = (true, now, now, 0);
                host.io_interest(link.io, ready::READABLE);
                self.stats.links = self.stats.links.saturating_add(1);
                self.arm(number);
                self.tell_link(number, LinkState::Up, now);
            }
            return;
        }
        if what & (ready::READABLE | ready::CLOSED) != 0 && !link.queued {
            link.queued = true;
            // What waits to be fetched need not be told again.
            host.io_interest(link.io, if link.blocked { ready::WRITABLE } else { 0 });
            self.to_read.push_back(number);
        }
        if what & ready::WRITABLE != 0 && !link.dirty {
            link.dirty = true;
            self.to_write.push_back(number);
        }
    }

    /// A link whose deadline has come.
    pub(crate) fn link_due(&mut self, host: &Host<'_>, number: u32, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        link.timer = 0;
        let idle_at = link.active.saturating_add(self.config.idle_timeout);
        let reason = if !link.up {
            (link.connect_deadline <= now).then_some(Reason::Unreachable)
        } else if link.queued {
            // More has come that the host has not fetched: not the peer's fault.
            if link.frame_deadline != 0 {
                link.frame_deadline = link.frame_deadline.max(now.saturating_add(GRACE));
            }
            link.active = now;
            None
        } else if link.frame_deadline != 0 && link.frame_deadline <= now {
            Some(Reason::FrameTimeout)
        } else {
            (idle_at <= now).then_some(Reason::Idle)
        };
        match reason {
            Some(reason) => self.end_link(host, number, reason, now),
            None => self.arm(number),
        }
    }

    /// Dials a configured peer.
    pub(crate) fn dial(&mut self, host: &Host<'_>, place: usize, now: u64) {
        let Some(dial) = self.dials.get_mut(place) else { return };
        dial.timer = 0;
        let peer = dial.peer.clone();
        if let Err(error) = self.connect(host, &peer, Some(place), now) {
            self.refuse(0, Reason::Unreachable, 0, &format!("{}: {error}", peer.address));
            self.redial(host, place, now);
        }
    }

    /// Begins to make a connection.
    pub(crate) fn connect(
        &mut self,
        host: &Host<'_>,
        peer: &Peer,
        dial: Option<usize>,
        now: u64,
    ) -> Result<u32, Error> {
        if self.links.len() >= self.config.links_max {
            return Err(Error::new(status::BUSY, "as many links as allowed"));
        }
        let io = host.io_open(IoKind::TcpConnect, &peer.grant, &peer.address)?;
        let link = Link { io, dial, peer: peer.address.clone(), ..Link::default() };
        self.add_link(host, now, link).ok_or_else(|| Error::new(status::BUSY, "no link number is free"))
    }

    pub(crate) fn redial(&mut self, host: &Host<'_>, place: usize, now: u64) {
        let Some(dial) = self.dials.get_mut(place) else { return };
        if self.closed {
            return;
        }
        let mut random = [0; 8];
        host.random(&mut random);
        let pause = dial.pause(self.config.redial_min, self.config.redial_max, u64::from_ne_bytes(random));
        let at = now.saturating_add(pause);
        self.timers.set(Due::Dial(place), dial.timer, at);
        dial.timer = at;
    }

    /// Counts octets that are no frame.
    pub(crate) fn refuse(&mut self, link: u32, reason: Reason, octets: usize, text: &str) {
        let text = text.to_owned();
        self.events.push_back(Event::Note { reason, link, octets: octets as u64, text });
    }
}

fn link_event(link: u32, state: LinkState, reason: Reason, mtu: usize, at: u64, peer: String) -> Event {
    let mtu = u32::try_from(mtu).unwrap_or(u32::MAX);
    Event::Link(LinkEvent { link, state, reason, mtu, hops: 0, rssi: 0, rtt: 0, at, peer })
}
