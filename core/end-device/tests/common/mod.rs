//! A tiny head-end: takes reports over TCP, opens them, acknowledges what is fresh or repeated.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use c1222::{ApTitleBuf, Apdu, Envelope, InvocationId, Leniency, carriage};
use metergraph_end_device::fleet::{Device, DeviceKeys, Settings};
use metergraph_end_device::report::ReportLayout;
use seal::association::{Accepted, Association};
use seal::control::{Down, Item};
use seal::frame::{FrameType, Head, TAG_LEN};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::{Job, open_batch, seal_batch};
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key128, Prk};

pub const SYSTEM: System = System([9; 8]);
pub const EPOCH: Epoch = Epoch(258);

pub fn layout() -> ReportLayout {
    let text = include_str!("../../../../graphs/profiles/residential.toml");
    ReportLayout::new(graph::device_profile::parse(text).0.unwrap()).unwrap()
}

fn keys(slot: u32) -> AssociationKeys {
    let mut prk = [1; 32];
    prk[..4].copy_from_slice(&slot.to_be_bytes());
    schedule::derive(&Prk::from_octets(prk), Sid(slot))
}

pub fn dev(slot: u32) -> Dev {
    Dev((0x0200_0000_0000_0000 + u64::from(slot)).to_be_bytes())
}

fn title(slot: u32) -> ApTitleBuf {
    ApTitleBuf::parse(&format!(".75.{}.{}", 1 + slot / 1000, 1 + slot % 1000)).unwrap()
}

/// Profile-1 devices, then classic ones.
pub fn devices(count: u32, classic: u32) -> Vec<Device> {
    let device = |slot| {
        let keys = if slot < count {
            DeviceKeys::Profile1 { epoch: EPOCH, keys: keys(slot) }
        } else {
            DeviceKeys::Classic { key_id: 1, key: Key128::from_octets([5; 16]) }
        };
        Device { dev: dev(slot), sid: Sid(slot), title: title(slot), layout: 0, keys }
    };
    (0..count + classic).map(device).collect()
}

pub fn settings(connect: SocketAddr) -> Settings {
    Settings {
        system: SYSTEM,
        connect: vec![connect],
        head_end: ApTitleBuf::parse(".1").unwrap(),
        relays: 3,
        rate: 0.0,
        duration: Duration::from_millis(300),
        grace: Duration::from_secs(30),
        seed: 1,
        list: None,
        state: None,
    }
}

/// What a head-end does wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Closes each connection after so many frames.
    pub close_after: Option<u64>,
    /// So many batches at the beginning of each connection are not acknowledged.
    pub silent: u64,
    /// Sends each acknowledgement twice, and once more with a bit flipped.
    pub noisy: bool,
}

/// What was taken in.
#[derive(Default)]
pub struct Taken {
    associations: Vec<Association>,
    /// Plaintexts of fresh reports by slot and counter; kept only when asked for.
    pub reports: BTreeMap<(u32, u32), Vec<u8>>,
    pub keep: bool,
    pub fresh: u64,
    pub duplicate: u64,
    /// APDUs that are no profile-1 frame: those of classic devices.
    pub classic: Vec<Vec<u8>>,
}

pub struct HeadEnd {
    pub address: SocketAddr,
    pub taken: Arc<Mutex<Taken>>,
    pub connections: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HeadEnd {
    pub fn start(devices: u32, keep: bool, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let association = |slot| {
            let mut association = Association::new(Sid(slot), dev(slot), EPOCH, keys(slot));
            association.reserved(EPOCH, 1 << 23);
            association
        };
        let associations = (0..devices).map(association).collect();
        let taken = Arc::new(Mutex::new(Taken { associations, keep, ..Taken::default() }));
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&taken), Arc::clone(&stop), Arc::clone(&connections));
        let thread = std::thread::spawn(move || {
            let (taken, stop, connections) = shared;
            let mut served = Vec::new();
            while let Ok((socket, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let taken = Arc::clone(&taken);
                served.push(std::thread::spawn(move || serve(socket, &taken, faults)));
            }
            served.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Self { address, taken, connections, stop, thread: Some(thread) }
    }

    /// Waits until every connection has been read to its end.
    pub fn stop(mut self) -> Taken {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.taken.lock().unwrap())
    }
}

fn serve(mut socket: TcpStream, taken: &Mutex<Taken>, faults: Faults) {
    socket.set_nodelay(true).unwrap();
    let (mut inbox, mut held, mut frames, mut batches) = (vec![0; 128 << 10], 0, 0_u64, 0_u64);
    let mut out = Vec::new();
    loop {
        let read = match socket.read(&mut inbox[held..]) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{error}"),
        };
        let filled = held + read;
        out.clear();
        let used = take(&mut inbox[..filled], &mut taken.lock().unwrap(), &mut frames, &mut out, faults);
        inbox.copy_within(used..filled, 0);
        held = filled - used;
        batches += 1;
        if batches > faults.silent && socket.write_all(&out).is_err() {
            return;
        }
        if faults.close_after.is_some_and(|limit| frames >= limit) {
            return;
        }
    }
}

/// Takes in all whole APDUs, and appends the acknowledgements; answers how many octets they have.
fn take(data: &mut [u8], taken: &mut Taken, frames: &mut u64, out: &mut Vec<u8>, faults: Faults) -> usize {
    let (mut used, mut arrivals) = (0, Vec::new());
    while let Some(len) = c1222::apdu::measure(&data[used..], 4096).unwrap() {
        if used + len > data.len() {
            break;
        }
        let octets = &data[used..used + len];
        let apdu = Apdu::decode(octets, Leniency::Strict).unwrap();
        match carriage::read(&apdu).unwrap() {
            Some(carried) => {
                let head = Head::read(carried.head, carried.body.len()).unwrap();
                arrivals.push((head, used + apdu.user_at() + 1, carried.body.len()));
            }
            None => taken.classic.push(octets.to_vec()),
        }
        used += len;
        *frames += 1;
    }
    let jobs: Vec<Job<'_>> = arrivals
        .iter()
        .map(|(head, start, len)| {
            taken.associations[head.id as usize].admit(head, SYSTEM).unwrap().job(head, *start, *len)
        })
        .collect();
    let mut opened = Vec::new();
    open_batch(data, &jobs, &mut opened);
    let mut due = Vec::new();
    for ((head, start, len), opened) in arrivals.into_iter().zip(opened) {
        let association = &mut taken.associations[head.id as usize];
        match association.accept(&head, opened).unwrap() {
            Accepted::Fresh(epoch) => {
                association.committed(epoch, head.seq, 0);
                taken.fresh += 1;
                if taken.keep {
                    let report = data[start..start + len - TAG_LEN].to_vec();
                    assert!(taken.reports.insert((head.id, head.seq), report).is_none());
                }
            }
            Accepted::Duplicate { .. } => taken.duplicate += 1,
        }
        due.push(head.id);
    }
    due.sort_unstable();
    due.dedup();
    acknowledge(&due, taken, out, faults);
    used
}

fn acknowledge(due: &[u32], taken: &mut Taken, out: &mut Vec<u8>, faults: Faults) {
    let (host, mut plaintext) = (ApTitleBuf::parse(".1").unwrap(), Vec::new());
    let mut places = Vec::new();
    for slot in due {
        let association = &mut taken.associations[*slot as usize];
        let Some(ack) = association.ack(EPOCH) else { continue };
        let seq = association.take_seq().unwrap();
        let head = association.downstream(SYSTEM).head(FrameType::DownControl, *slot, seq);
        plaintext.clear();
        Down::Ack(ack).write(&mut plaintext);
        let title = title(*slot);
        let envelope = Envelope {
            called: Some(title.as_title()),
            calling: Some(host.as_title()),
            ..Envelope::new(InvocationId::new(seq))
        };
        let begin = out.len();
        carriage::write_head(out, &envelope, &head.octets(), plaintext.len() + TAG_LEN).unwrap();
        let start = out.len();
        out.extend_from_slice(&plaintext);
        out.extend_from_slice(&[0; TAG_LEN]);
        places.push((head, begin, start, out.len()));
    }
    let jobs: Vec<Job<'_>> = places
        .iter()
        .map(|(head, _, start, end)| {
            taken.associations[head.id as usize].downstream(SYSTEM).job(head, *start, end - start)
        })
        .collect();
    seal_batch(out, &jobs, &mut Vec::new());
    if faults.noisy {
        for (_, begin, start, end) in places {
            let apdu = out[begin..end].to_vec();
            let mut flipped = apdu.clone();
            flipped[start - begin] ^= 1;
            out.extend_from_slice(&apdu);
            out.extend_from_slice(&flipped);
        }
    }
}
