//! What runs: a fleet and a head-end with a tap between them, and a served device with a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use c1222::{Apdu, Leniency, UserInformation, apdu};

use crate::support::lab::Running;
use crate::support::program;

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(20);

/// A connection that was listened to: what its two ends have said.
#[derive(Clone, Default)]
pub struct Heard {
    pub host: Vec<u8>,
    pub node: Vec<u8>,
}

/// A port that leads to another one, and hears everything.
pub struct Tap {
    pub port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Tap {
    /// A tap before a port of this machine, where the node listens.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tap = Self { port: listener.local_addr().unwrap().port(), heard: Arc::default() };
        let heard = Arc::clone(&tap.heard);
        std::thread::spawn(move || {
            for host in listener.incoming() {
                let (host, node) = (host.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
                let place = {
                    let mut heard = heard.lock().unwrap();
                    heard.push(Heard::default());
                    heard.len() - 1
                };
                let ends = [(&host, &node, true), (&node, &host, false)];
                for (from, to, is_host) in ends {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let heard = Arc::clone(&heard);
                    std::thread::spawn(move || {
                        let mut octets = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut octets) {
                            let mut heard = heard.lock().unwrap();
                            let side = if is_host { &mut heard[place].host } else { &mut heard[place].node };
                            side.extend_from_slice(&octets[..count]);
                            drop(heard);
                            if to.write_all(&octets[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        tap
    }

    /// Everything that was said so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

/// The whole APDUs of a stream.
pub fn cut(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut apdus = Vec::new();
    while let Some(len) = apdu::measure(stream, 1 << 20).unwrap()
        && let Some((apdu, rest)) = stream.split_at_checked(len)
    {
        apdus.push(apdu);
        stream = rest;
    }
    apdus
}

/// A device that `metergraph fleet --serve` serves, and a client of it.
pub struct Served {
    _running: Running,
    stream: TcpStream,
    socket: UdpSocket,
}

impl Served {
    /// A classic device with this key, `ID:HEX`.
    pub fn classic(title: &str, key: &str) -> Self {
        let mut command = program();
        command.args(["fleet", "--serve", "127.0.0.1:0", "--classic", "--aptitle", title, "--key", key]);
        let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap();
        let address: SocketAddr = address.parse().unwrap_or_else(|_| panic!("no address in {line:?}"));
        let (stream, socket) =
            (TcpStream::connect(address).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { _running: running, stream, socket }
    }

    /// What it answers to a datagram, in one or more.
    pub fn datagram(&self, request: &[u8]) -> Vec<Vec<u8>> {
        self.socket.send(request).unwrap();
        let (mut answers, mut missing) = (Vec::new(), 1);
        let mut octets = [0; 1 << 16];
        while missing > 0 {
            let count = self.socket.recv(&mut octets).unwrap();
            let apdu = Apdu::decode(&octets[..count], Leniency::Strict).unwrap();
            missing = match apdu.user {
                UserInformation::Epsem(_) => 0,
                UserInformation::Segment(segment) if answers.is_empty() => {
                    segment.total as usize - segment.part.len()
                }
                UserInformation::Segment(segment) => missing - segment.part.len(),
            };
            answers.push(octets[..count].to_vec());
        }
        answers
    }

    /// What it answers to requests that come back to back.
    pub fn stream(&mut self, requests: &[&[u8]]) -> Vec<u8> {
        self.stream.write_all(&requests.concat()).unwrap();
        let mut answers = Vec::new();
        while cut(&answers).len() < requests.len() {
            let mut octets = [0; 1 << 16];
            let count = self.stream.read(&mut octets).unwrap();
            assert!(count > 0, "the device has closed after {} answers", cut(&answers).len());
            answers.extend_from_slice(&octets[..count]);
        }
        answers
    }
}
