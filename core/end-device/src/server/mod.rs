//! One end device on an IP network: TCP and UDP on one port (RFC 6142), one thread, a limit on everything.

mod complaint;
mod link;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use c1222::native_address::NativeAddress;
use c1222::segment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use complaint::{Complaint, Fault, Transport};

use crate::end_device::{APDU_MAX, EndDevice, Moment, Verdict};
use link::{Link, is_temporary};

/// How often connections are looked at whose time may be over.
const LOOK: Duration = Duration::from_millis(250);
/// Datagrams that are answered before connections get their turn.
const DATAGRAMS: usize = 64;
/// Octets of the largest datagram.
const DATAGRAM_MAX: usize = 1 << 16;
/// Octets of a datagram that no network must cut: those of the packet without IP and UDP heads.
const SEGMENT_MAX: (usize, usize) = (576 - 28, 1280 - 48);
/// A free port for TCP may be taken for UDP; so often another one is tried.
const PORTS: usize = 16;
/// Set in the links of datagrams, so that none is that of a connection.
const DATAGRAM_LINK: u64 = 1 << 63;

/// What a server takes from those who ask it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub links: usize,
    /// Octets of an APDU.
    pub apdu_max: usize,
    /// How long a connection may be quiet.
    pub idle: Duration,
    /// How long an APDU may take from its first octet to its last, and an answer to be taken.
    pub message: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: 64,
            apdu_max: APDU_MAX,
            idle: Duration::from_secs(300),
            message: Duration::from_secs(30),
        }
    }
}

/// Ends a server from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<UnixStream>);

impl Stopper {
    /// Ends it.
    pub fn stop(&self) {
        // The other end is open as long as there is somebody to be woken.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// What is to be done.
struct Ready {
    stop: bool,
    datagrams: bool,
    connections: bool,
    /// Of each link, whether it can be read and whether it can be written.
    links: Vec<(bool, bool)>,
}

/// One end device and its sockets.
pub struct Server {
    device: EndDevice,
    limits: Limits,
    listener: TcpListener,
    datagrams: UdpSocket,
    woken: UnixStream,
    stopper: Stopper,
    links: Vec<Link>,
    next_link: u64,
    begun: Instant,
}

impl Server {
    /// Opens TCP and UDP on one port; port 0 is any that is free.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(mut device: EndDevice, address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let (listener, datagrams) = bind_both(address)?;
        let bound = listener.local_addr()?;
        if !bound.ip().is_unspecified() {
            device.set_native_address(NativeAddress {
                ip: bound.ip(),
                port: Some(bound.port()),
                protocol: None,
            });
        }
        let (woken, waker) = UnixStream::pair()?;
        Ok(Self {
            device,
            limits,
            listener,
            datagrams,
            woken,
            stopper: Stopper(Arc::new(waker)),
            links: Vec::new(),
            next_link: 0,
            begun: Instant::now(),
        })
    }

    /// Where it is reached, over both.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What ends [`Self::run`].
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// When the system cannot wait for sockets.
    pub fn run(&mut self, mut complain: impl FnMut(Complaint)) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            if ready.stop {
                return Ok(());
            }
            if ready.datagrams {
                self.take_datagrams(&mut complain);
            }
            self.serve_links(&ready.links, &mut complain);
            // Last, so that the links are those that were waited for.
            if ready.connections {
                self.accept(&mut complain);
            }
        }
    }

    /// Waits for something to do.
    fn wait(&self) -> io::Result<Ready> {
        let mut fds = vec![
            PollFd::new(&self.woken, PollFlags::IN),
            PollFd::new(&self.datagrams, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        fds.extend(self.links.iter().map(|link| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, link.wants_to_read());
            flags.set(PollFlags::OUT, link.wants_to_write());
            PollFd::new(&link.stream, flags)
        }));
        let limit = Timespec::try_from(LOOK).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let mut ready = fds.iter().map(|fd| {
            let flags = fd.revents();
            (flags.intersects(PollFlags::IN | gone), flags.intersects(PollFlags::OUT | gone))
        });
        let mut next = || ready.next().is_some_and(|(readable, _)| readable);
        let (stop, datagrams, connections) = (next(), next(), next());
        Ok(Ready { stop, datagrams, connections, links: ready.collect() })
    }

    fn now(&self) -> Moment {
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Moment { unix_s, steady_ns: u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }

    fn accept(&mut self, complain: &mut impl FnMut(Complaint)) {
        let (stream, peer) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_temporary(&error) => return,
            Err(_) => {
                // No descriptor is left, most likely. The connection waits until one is.
                std::thread::sleep(LOOK);
                return;
            }
        };
        if self.links.len() >= self.limits.links {
            complain(Complaint { peer, transport: Transport::Tcp, fault: Fault::TooManyLinks });
            return;
        }
        self.next_link = self.next_link.wrapping_add(1) & !DATAGRAM_LINK;
        let now = self.now().steady_ns;
        // A connection that is gone already needs no word.
        self.links.extend(Link::new(self.next_link, peer, stream, now));
    }

    fn serve_links(&mut self, ready: &[(bool, bool)], complain: &mut impl FnMut(Complaint)) {
        let now = self.now();
        let (device, limits) = (&mut self.device, &self.limits);
        let mut ready = ready.iter().copied();
        self.links.retain_mut(|link| {
            let (readable, writable) = ready.next().unwrap_or_default();
            let peer = link.peer;
            let mut complain = |fault: Fault| complain(Complaint { peer, transport: Transport::Tcp, fault });
            let mut keep =
                (!readable && !writable) || link.turn(readable, device, limits, now, &mut complain);
            if keep && let Some(fault) = link.overdue(limits, now.steady_ns) {
                complain(fault);
                keep = false;
            }
            keep = keep && !link.is_done();
            if !keep {
                device.close_link(link.id);
            }
            keep
        });
    }

    fn take_datagrams(&mut self, complain: &mut impl FnMut(Complaint)) {
        let mut octets = vec![0; DATAGRAM_MAX];
        let mut answer = Vec::new();
        for _ in 0..DATAGRAMS {
            // An error here is about an earlier answer, if it is not that nothing is left.
            let Ok((len, peer)) = self.datagrams.recv_from(&mut octets) else { return };
            if peer.port() == 0 {
                continue;
            }
            let complaint = |fault: Fault| Complaint { peer, transport: Transport::Udp, fault };
            let octets = octets.get(..len).unwrap_or_default();
            let now = self.now();
            match self.device.receive(link_of(peer), octets, now, &mut answer) {
                Verdict::Served | Verdict::Waiting => {}
                Verdict::Repeated => complain(complaint(Fault::Repeated)),
                Verdict::Refused(refusal) => complain(complaint(refusal.into())),
            }
            if answer.is_empty() {
                continue;
            }
            let (v4, v6) = SEGMENT_MAX;
            let is_v4 = match peer.ip() {
                IpAddr::V4(_) => true,
                IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
            };
            // What a full socket does not take is lost, like any datagram.
            let cut = segment::split(&answer, if is_v4 { v4 } else { v6 }, |piece| {
                let _ = self.datagrams.send_to(piece, peer);
            });
            if let Err(error) = cut {
                complain(complaint(crate::end_device::Refusal::Segment(error).into()));
            }
        }
    }
}

/// Opens both sockets on one port.
fn bind_both(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = if address.port() == 0 { PORTS } else { 1 };
    loop {
        let listener = TcpListener::bind(address)?;
        tries = tries.saturating_sub(1);
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(datagrams) => {
                listener.set_nonblocking(true)?;
                datagrams.set_nonblocking(true)?;
                return Ok((listener, datagrams));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whose datagrams these are, for the limits on unfinished messages.
fn link_of(peer: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    peer.hash(&mut hasher);
    hasher.finish() | DATAGRAM_LINK
}
