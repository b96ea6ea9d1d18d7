//! A tap on the wire between a fleet and its head-end: it passes everything on, keeps what went by, can say all of
//! it once more, and can lead the fleet to another head-end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use c1222::Leniency;
use c1222::carriage::{self, Place};
use seal::frame::Head;
use seal::hex::Hex;
use seal::signature::sha256;

/// An APDU has at most so many octets.
const APDU_MAX: usize = 1 << 16;

/// One connection.
struct Passed {
    /// The port of the head-end.
    to: u16,
    /// What went up and what came down, octet for octet.
    ways: [Mutex<Vec<u8>>; 2],
    /// Its two ends.
    ends: [TcpStream; 2],
}

/// A tap in front of a head-end; clones are the same one.
#[derive(Clone)]
pub struct Tap {
    /// Where the fleet connects to.
    pub port: u16,
    to: Arc<AtomicU16>,
    closed: Arc<AtomicBool>,
    passed: Arc<Mutex<Vec<Arc<Passed>>>>,
}

impl Tap {
    /// A tap in front of this port. Where nobody listens there, connections end at once.
    pub fn before(to: u16) -> Self {
        let port = super::lab::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let to = Arc::new(AtomicU16::new(to));
        let tap = Self { port, to, closed: Arc::default(), passed: Arc::default() };
        let Self { to, closed, passed: all, .. } = tap.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let to = to.load(Ordering::SeqCst);
                if closed.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let passed = Arc::new(Passed { to, ways: Default::default(), ends: [client, server] });
                all.lock().unwrap().push(Arc::clone(&passed));
                for way in [0, 1] {
                    let (passed, closed) = (Arc::clone(&passed), Arc::clone(&closed));
                    std::thread::spawn(move || passed.pass(way, &closed));
                }
            }
        });
        tap
    }

    /// Leads the fleet to another head-end: what stands is ended, and goes there when it is made again.
    pub fn turn(&self, to: u16) {
        self.to.store(to, Ordering::SeqCst);
        self.passed.lock().unwrap().iter().for_each(|passed| passed.end());
    }

    /// The fleet and the head-end do not hear of each other any more, from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for passed in self.passed.lock().unwrap().iter() {
            let _ = passed.ends[0].shutdown(Shutdown::Both);
        }
    }

    /// It passes again.
    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// A line for each sealed frame that came down from this head-end, as the fleet's ledger has them: its key by
    /// association and epoch, its nonce by the counter, and its hash. Nobody has to open it for that.
    pub fn sealed_by(&self, to: u16) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for passed in self.passed.lock().unwrap().iter().filter(|passed| passed.to == to) {
            let down = passed.ways[1].lock().unwrap();
            let mut rest = &down[..];
            while let Some(len) =
                c1222::apdu::measure(rest, APDU_MAX).unwrap().filter(|len| *len <= rest.len())
            {
                let (apdu, after) = rest.split_at(len);
                rest = after;
                let Place::Frame(place) = carriage::locate(apdu, Leniency::Draft).unwrap().place else {
                    continue;
                };
                let (head, body) = (place.head(apdu), place.body(apdu));
                // Messages of registrations have no head.
                let Ok(read) = Head::read(head, body.len()) else { continue };
                let hash = sha256(&[head, body].concat());
                lines.insert(format!("{:08x}/{} {} {}", read.id, read.epoch_low, read.seq, Hex(&hash)));
            }
        }
        lines
    }

    /// Sends all that ever went up once more, on as many connections; answers how many octets.
    pub fn replay(&self) -> usize {
        let passed = self.passed.lock().unwrap();
        let recorded: Vec<Vec<u8>> =
            passed.iter().map(|passed| passed.ways[0].lock().unwrap().clone()).collect();
        drop(passed);
        let mut octets = 0;
        for up in recorded.into_iter().filter(|up| !up.is_empty()) {
            let mut stream = TcpStream::connect(("127.0.0.1", self.to.load(Ordering::SeqCst))).unwrap();
            let mut down = stream.try_clone().unwrap();
            let reader = std::thread::spawn(move || {
                let mut answers = [0; 4096];
                while down.read(&mut answers).is_ok_and(|count| count > 0) {}
            });
            stream.write_all(&up).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // The head-end closes when it has read all of it.
            reader.join().unwrap();
            octets += up.len();
            std::thread::sleep(Duration::from_millis(1));
        }
        octets
    }
}

impl Passed {
    /// Passes octets on, 0 up, 1 down, until either side ends. What a head-end says is kept also where nobody
    /// hears it any more: it was sealed.
    fn pass(&self, way: usize, closed: &AtomicBool) {
        let (mut from, mut to) = (&self.ends[way], &self.ends[1 - way]);
        let mut octets = vec![0; 1 << 16];
        while let Ok(count) = from.read(&mut octets) {
            let is_closed = closed.load(Ordering::SeqCst);
            if count == 0 || (is_closed && way == 0) {
                break;
            }
            if way == 1 {
                self.ways[way].lock().unwrap().extend(&octets[..count]);
            }
            if !is_closed && to.write_all(&octets[..count]).is_err() {
                break;
            }
            if way == 0 {
                self.ways[way].lock().unwrap().extend(&octets[..count]);
            }
        }
        // The head-end ends what it has, and is heard out.
        if way == 1 || !closed.load(Ordering::SeqCst) {
            self.end();
        }
    }

    fn end(&self) {
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
