//! One end device served over real TCP and UDP, to a client that shares no code with it but the codec.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use c1222::canonified::{canonify, sealed_places};
use c1222::reassembler::{Reassembler, Reassembly};
use c1222::tables::TableId;
use c1222::{
    ApTitleBuf, Apdu, Envelope, Epsem, EpsemControl, EpsemWriter, InvocationId, Leniency, Request, ap_title,
};
use metergraph_end_device::end_device::{Classic, EndDevice, Moment, Setup};
use metergraph_end_device::meter::Meter;
use metergraph_end_device::server::{Complaint, Limits, Server, Stopper};
use seal::eax_prime::{EaxPrime, Mode};
use seal::ids::Dev;
use seal::secret::Key128;

const ST5: Request<'_> = Request::FullRead(TableId::standard(5));
const ST64: Request<'_> = Request::FullRead(TableId::standard(64));
const SOON: Duration = Duration::from_secs(20);

/// A device that is served until this is dropped.
struct Served {
    address: SocketAddr,
    stopper: Stopper,
    complaints: Receiver<Complaint>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new(title: &str, classic: Option<Classic>, limits: Limits) -> Self {
        let text = include_str!("../../../graphs/profiles/residential.toml");
        let profile = graph::device_profile::parse(text).0.unwrap();
        let title = ApTitleBuf::parse(title).unwrap();
        let setup = Setup::new(profile, title, "MGRF0001".into(), Meter::new(1, Dev([1; 8])));
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let device = EndDevice::new(Setup { classic, ..setup }, Moment { unix_s, steady_ns: 0 });
        let mut server = Server::bind(device, "127.0.0.1:0".parse().unwrap(), limits).unwrap();
        let (address, stopper) = (server.address().unwrap(), server.stopper());
        let (sender, complaints) = channel();
        let thread = std::thread::spawn(move || {
            server.run(|complaint| sender.send(complaint).unwrap_or(())).unwrap();
        });
        Self { address, stopper, complaints, thread: Some(thread) }
    }

    fn open() -> Self {
        Self::new(".68.33.3", None, Limits::default())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn datagrams(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }

    /// The name of the next complaint.
    fn complaint(&self) -> &'static str {
        self.complaints.recv_timeout(SOON).unwrap().fault.name()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn request(invocation: u32, requests: &[Request<'_>]) -> Vec<u8> {
    let (called, calling) = (ApTitleBuf::parse(".68.33.3").unwrap(), ApTitleBuf::parse(".9.1").unwrap());
    let mut out = Vec::new();
    let mut epsem = EpsemWriter::new(&mut out, EpsemControl(0x80), None);
    for request in requests {
        epsem.request(request);
    }
    Envelope {
        called: Some(called.as_title()),
        calling: Some(calling.as_title()),
        ..Envelope::new(InvocationId::new(invocation))
    }
    .wrap(&mut out, 0);
    out
}

/// The next APDU of a stream.
fn read_apdu(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    loop {
        match c1222::apdu::measure(&octets, 1 << 16).unwrap() {
            Some(len) if len == octets.len() => return octets,
            _ => {
                let mut octet = [0];
                stream.read_exact(&mut octet).unwrap();
                octets.push(octet[0]);
            }
        }
    }
}

/// The id that is answered, and the octets of each response.
fn responses(apdu: &[u8]) -> (u32, Vec<Vec<u8>>) {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    let epsem = Epsem::decode(apdu.epsem().unwrap()).unwrap();
    let services = epsem.services().map(|service| service.unwrap().to_vec()).collect();
    (apdu.envelope.answer_to.unwrap().value(), services)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_stream_is_cut_where_apdus_end() {
    let served = Served::open();
    let mut stream = served.connect();
    // Two in one piece, and a third that begins in it.
    let third = request(3, &[Request::Identification]);
    let octets = [request(1, &[ST5]), request(2, &[ST64, ST5]), third[..5].to_vec()].concat();
    stream.write_all(&octets).unwrap();
    let (id, first) = responses(&read_apdu(&mut stream));
    assert_eq!((id, first[0].len()), (1, 1 + 2 + 20 + 1));
    let (id, second) = responses(&read_apdu(&mut stream));
    assert_eq!((id, second[0].len(), &second[1]), (2, 1 + 2 + 2688 + 1, &first[0]));
    // The rest of it octet by octet.
    for octet in &third[5..] {
        stream.write_all(&[*octet]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let (id, third) = responses(&read_apdu(&mut stream));
    assert_eq!((id, &third[0][..2]), (3, &[0, 3][..]));
    // A session outlives its connection.
    let logon = Request::Logon { user_id: 1, user: &[b' '; 10], timeout_s: Some(60) };
    stream.write_all(&request(4, &[logon])).unwrap();
    read_apdu(&mut stream);
    drop(stream);
    let mut stream = served.connect();
    stream.write_all(&request(5, &[Request::Logoff])).unwrap();
    assert_eq!(responses(&read_apdu(&mut stream)).1, [[0]]);
}

#[test]
fn datagrams_are_answered_in_segments_where_they_are_long() {
    let served = Served::open();
    let socket = served.datagrams();
    let mut buffer = [0; 2000];
    socket.send(&request(1, &[ST5])).unwrap();
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(responses(&buffer[..len]).0, 1);
    socket.send(&request(2, &[ST64])).unwrap();
    let mut reassembler = Reassembler::new(Default::default());
    let whole = loop {
        let len = socket.recv(&mut buffer).unwrap();
        assert!(len <= 548);
        match reassembler.push(1, &Apdu::decode(&buffer[..len], Leniency::Strict).unwrap(), 0) {
            Reassembly::Incomplete => {}
            Reassembly::Complete(whole) => break whole,
            other => panic!("{other:?}"),
        }
    };
    let (id, whole) = responses(&whole);
    assert_eq!((id, whole[0].len()), (2, 2692));
    // A request in segments, in the wrong order.
    let mut segments = Vec::new();
    let long = request(3, &[ST5; 20]);
    c1222::segment::split(&long, 60, |segment| segments.push(segment.to_vec())).unwrap();
    assert!(segments.len() > 2);
    for segment in segments.iter().rev() {
        socket.send(segment).unwrap();
    }
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(responses(&buffer[..len]).1.len(), 20);
    // Garbage, nothing, and then business as usual.
    for garbage in [&b"garbage"[..], &[], &[0x60, 0x7f, 1]] {
        socket.send(garbage).unwrap();
    }
    socket.send(&request(4, &[ST5])).unwrap();
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(responses(&buffer[..len]).0, 4);
    assert_eq!(
        ["not-an-apdu", "truncated", "truncated"].map(|_| served.complaint()),
        ["not-an-apdu", "truncated", "truncated"]
    );
    assert!(served.complaints.try_recv().is_err());
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let served = Served::open();
    let mut good = served.connect();
    let mut octets = request(1, &[ST5]);
    octets.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    for (garbage, answers, name) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 0, "not-an-apdu"),
        (&octets, 1, "not-an-apdu"),
        (&[0x60, 0x83, 0x01, 0, 0], 0, "too-large"),
        (&[0x60, 0x80], 0, "bad-length"),
        (&[0x60, 0x84, 0xff, 0xff, 0xff, 0xff], 0, "too-large"),
    ] {
        let mut bad = served.connect();
        bad.write_all(garbage).unwrap();
        for _ in 0..answers {
            read_apdu(&mut bad);
        }
        assert!(is_closed(&mut bad), "{name}");
        assert_eq!(served.complaint(), name);
    }
    // A whole APDU that says nothing sensible leaves its connection as it is.
    good.write_all(&[&[0x60, 5, 0xa8, 3, 2, 1, 9][..], &request(2, &[ST5])].concat()).unwrap();
    assert_eq!(responses(&read_apdu(&mut good)).0, 2);
    assert_eq!(served.complaint(), "missing-element");
    // Whoever goes in the middle of an APDU leaves nothing behind.
    let mut cut = served.connect();
    cut.write_all(&octets[..9]).unwrap();
    drop(cut);
    assert_eq!(served.complaint(), "truncated");
}

#[test]
fn connections_have_limits() {
    let limits = Limits {
        links: 2,
        idle: Duration::from_millis(1500),
        message: Duration::from_millis(700),
        ..Limits::default()
    };
    let served = Served::new(".68.33.3", None, limits);
    let (mut slow, mut idle) = (served.connect(), served.connect());
    slow.write_all(&request(1, &[ST5])).unwrap();
    idle.write_all(&request(2, &[ST5])).unwrap();
    read_apdu(&mut slow);
    read_apdu(&mut idle);
    let mut third = served.connect();
    assert!(is_closed(&mut third));
    assert_eq!(served.complaint(), "too-many-links");
    // One octet after the other is not quiet, but takes too long.
    let begun = Instant::now();
    for octet in request(3, &[ST5]) {
        if slow.write_all(&[octet]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() < SOON);
    assert!(is_closed(&mut slow) && is_closed(&mut idle));
    let mut names = [served.complaint(), served.complaint()];
    names.sort_unstable();
    assert_eq!(names, ["idle", "too-slow"]);
    let mut next = served.connect();
    next.write_all(&request(4, &[ST5])).unwrap();
    assert_eq!(responses(&read_apdu(&mut next)).0, 4);
}

#[test]
fn answers_that_are_not_taken_stop_questions() {
    let limits = Limits { message: Duration::from_secs(2), ..Limits::default() };
    let served = Served::new(".68.33.3", None, limits);
    let mut greedy = served.connect();
    greedy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    // Some 30 MB of answers: no kernel keeps that much.
    for invocation in 0..1000 {
        if greedy.write_all(&request(invocation, &[ST64; 11])).is_err() {
            break;
        }
        sent += 1;
    }
    // Somebody else is served meanwhile.
    let mut other = served.connect();
    other.write_all(&request(2000, &[ST5])).unwrap();
    assert_eq!(responses(&read_apdu(&mut other)).0, 2000);
    assert_eq!(served.complaint(), "not-taken");
    let mut octets = Vec::new();
    let _ = greedy.read_to_end(&mut octets);
    assert!(octets.len() < sent * 20_000, "{} octets of {sent} answers", octets.len());
}

#[test]
fn all_answers_come_to_who_takes_them() {
    let served = Served::open();
    let mut stream = served.connect();
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        (0..300).map(|_| responses(&read_apdu(&mut reader)).0).collect::<Vec<_>>()
    });
    for invocation in 0..300 {
        stream.write_all(&request(invocation, &[ST64; 8])).unwrap();
    }
    assert_eq!(reading.join().unwrap(), (0..300).collect::<Vec<_>>());
}

/// The example 8 of the standard: its request, and its key.
fn example() -> (Vec<u8>, Key128) {
    let octets = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let request = octets(
        "604fa20580037bc175a60480027b04a803020103ac0fa20da00ba109800102810448f3d061be2a282881268841d10cda762068\
         11b36f781489a11997773e117cb07aa3aa40374a7107c50da7f799c5d4e8",
    );
    (request, Key128::from_hex("01020304050607080102030405060708").unwrap())
}

#[test]
fn the_standards_example_is_answered_under_its_key_over_both() {
    let (request, key) = example();
    for over_tcp in [true, false] {
        let (_, same_key) = example();
        let served = Served::new(".123.8437", Some(Classic::new([(2, &same_key)], 0)), Limits::default());
        let mut answer = vec![0; 2000];
        if over_tcp {
            let mut stream = served.connect();
            stream.write_all(&request).unwrap();
            answer = read_apdu(&mut stream);
        } else {
            let socket = served.datagrams();
            socket.send(&request).unwrap();
            let len = socket.recv(&mut answer).unwrap();
            answer.truncate(len);
        }
        let apdu = Apdu::decode(&answer, Leniency::Strict).unwrap();
        let mut header = Vec::new();
        let key_iv = canonify(&apdu, None, &ap_title::ROOT, &mut header).unwrap();
        assert_eq!(key_iv.key_id, 2);
        let places = sealed_places(&apdu).unwrap().unwrap();
        let mut body = answer[places.payload].to_vec();
        let mac = answer[places.mac].try_into().unwrap();
        EaxPrime::new(&key).open(Mode::Cipher, &header, &mut body, mac).unwrap();
        // Security, then 16 octets of ST1.
        let serial = b"MGRF0001        ";
        let checksum = c1222::table_data::checksum(serial);
        assert_eq!(body, [&[1, 0, 20, 0, 0, 16], &serial[..], &[checksum]].concat());
        assert_eq!(apdu.envelope.answer_to.unwrap().octets(), [3]);
    }
}

#[test]
fn it_says_where_it_is() {
    let served = Served::open();
    let socket = served.datagrams();
    let title = ApTitleBuf::parse(".68.33.3").unwrap();
    socket.send(&request(1, &[Request::Resolve(title.as_title())])).unwrap();
    let mut buffer = [0; 200];
    let len = socket.recv(&mut buffer).unwrap();
    let port = served.address.port().to_be_bytes();
    assert_eq!(responses(&buffer[..len]).1, [[0, 6, 127, 0, 0, 1, port[0], port[1]]]);
}
