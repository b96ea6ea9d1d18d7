//! Acknowledgements that are due, and their way down.
//!
//! The ring is bounded: past that an acknowledgement is dropped and counted, and the device repeats its
//! report. So is one that finds its edge full or no counter durably reserved.

use std::collections::VecDeque;
use std::sync::Arc;

use c1222::{ApTitleBuf, Envelope, InvocationId, carriage};
use keystore::Directory;
use node::{Batch, BatchPool, Context, Counter, Env, Frame};
use seal::control::{Down, Item};
use seal::frame::{FrameType, HEAD_LEN, Head, TAG_LEN};
use seal::ids::{Epoch, System};
use seal::profile1::{self, Job};

use super::associations::{Associations, Entry, Heard, Place};

/// Acknowledgements sealed together.
const BATCH: usize = 512;
/// Octets of an ACK item: code, epoch, highest, bitmap.
const ACK_OCTETS: usize = 14;

/// An acknowledgement that is due.
struct Due {
    place: Place,
    epoch: Epoch,
    /// Where it goes, if not to where the device was heard last.
    to: Option<Heard>,
}

/// An answer to a classic device, sealed already.
pub(super) struct Answer {
    /// Where the request came from.
    pub(super) to: Heard,
    /// Its APDU.
    pub(super) apdu: Box<[u8]>,
}

/// The acknowledgements of one shard.
pub(super) struct Acknowledgements {
    /// To be sent beside them.
    pub(super) answers: Vec<Answer>,
    ring: VecDeque<Due>,
    ring_max: usize,
    directory: Arc<Directory>,
    /// The head-end's own title.
    title: ApTitleBuf,
    invocation: u16,
    output: usize,
    /// By number of the transport: the way to its downlink.
    ways: Vec<Option<Way>>,
    pool: BatchPool,
    sealed: Vec<bool>,
    numbers: Numbers,
}

/// The edge to a downlink, and what is written for it.
struct Way {
    edge: usize,
    batch: Batch,
    sealing: Vec<Sealing>,
}

/// An acknowledgement whose plaintext stands in a batch.
struct Sealing {
    place: Place,
    head: Head,
    start: usize,
}

struct Numbers {
    sent: Counter,
    full: Counter,
    edge: Counter,
    counter: Counter,
    nowhere: Counter,
}

impl Numbers {
    fn new(env: &Env) -> Self {
        let dropped = |place| {
            env.counter(
                "metergraph_acknowledgements_dropped_total",
                "Acknowledgements given up, by the place where; the device repeats its report.",
                &[("where", place)],
            )
        };
        Self {
            sent: env.counter(
                "metergraph_acknowledgements_total",
                "Acknowledgements, and answers to classic devices, sealed and sent.",
                &[],
            ),
            full: dropped("ring"),
            edge: dropped("edge"),
            counter: dropped("no-counter"),
            nowhere: dropped("no-downlink"),
        }
    }
}

impl Acknowledgements {
    pub(super) fn new(env: &Env, directory: Arc<Directory>, title: ApTitleBuf, ring_max: usize) -> Self {
        Self {
            answers: Vec::new(),
            ring: VecDeque::new(),
            ring_max,
            directory,
            title,
            invocation: 0,
            output: 0,
            ways: Vec::new(),
            pool: env.pool.clone(),
            sealed: Vec::new(),
            numbers: Numbers::new(env),
        }
    }

    /// Learns which edge leads to the downlink of which transport.
    pub(super) fn connect(&mut self, context: &Context, env: &Env) {
        let Some(output) = context.output("sealed") else { return };
        self.output = output;
        let edges = context.outputs.get(output).map(|output| output.edges.as_slice()).unwrap_or_default();
        let way = |transport: &String| {
            let edge = edges.iter().position(|edge| env.leads_to_transport(&edge.name().to, transport))?;
            Some(Way { edge, batch: self.pool.take(), sealing: Vec::new() })
        };
        self.ways = env.transports.iter().map(way).collect();
    }

    /// A durable report of this epoch is to be acknowledged, to where its device was heard last.
    pub(super) fn due(&mut self, place: Place, epoch: Epoch, entry: &mut Entry) {
        // One acknowledgement speaks of a whole window; reports of another epoch than the active one are
        // rare and have one each.
        if !(entry.due && epoch == entry.association.epoch()) {
            entry.due = self.push(Due { place, epoch, to: None }) || entry.due;
        }
    }

    /// A repeat of a durable report is to be acknowledged, to where it came from: where its device was heard
    /// last may be a link that is gone, and after a start nobody knows.
    pub(super) fn again(&mut self, place: Place, epoch: Epoch, to: Heard) {
        self.push(Due { place, epoch, to: Some(to) });
    }

    fn push(&mut self, due: Due) -> bool {
        let room = self.ring.len() < self.ring_max;
        if self.ways.is_empty() {
            return false;
        }
        if room {
            self.ring.push_back(due);
        } else {
            self.numbers.full.add(1);
        }
        room
    }

    /// Seals and sends all that are due.
    pub(super) fn send(&mut self, context: &mut Context, associations: &mut Associations, system: System) {
        for answer in std::mem::take(&mut self.answers) {
            self.pass_on(context, &answer);
        }
        while !self.ring.is_empty() {
            self.warm(associations);
            for _ in 0..BATCH {
                let Some(due) = self.ring.pop_front() else { break };
                if let Some(entry) = associations.get_mut(due.place) {
                    self.write(&due, entry);
                }
            }
            for way in self.ways.iter_mut().flatten() {
                seal(way, associations, system, &mut self.sealed);
                let batch = std::mem::replace(&mut way.batch, self.pool.take());
                let frames = batch.len() as u64;
                match context.offer(self.output, way.edge, batch) {
                    Ok(Some(_)) => self.numbers.sent.add(frames),
                    Ok(None) => {}
                    Err(_) => self.numbers.edge.add(frames),
                }
            }
        }
    }

    /// Has the memory of what is known of the next devices fetched: one look at each, with nothing that waits
    /// for it.
    fn warm(&self, associations: &Associations) {
        let entries = self.ring.iter().take(BATCH).filter_map(|due| associations.get(due.place));
        let looks = entries.filter_map(|entry| self.directory.kind(entry.association.sid()));
        std::hint::black_box(looks.count());
    }

    /// Sends what is sealed already; like an acknowledgement it is given up where there is no room.
    fn pass_on(&self, context: &mut Context, Answer { to, apdu }: &Answer) {
        let Some(Some(way)) = self.ways.get(usize::from(to.transport)) else {
            return self.numbers.nowhere.add(1);
        };
        let (mut batch, frame) = (self.pool.take(), Frame { link: to.link, ..Frame::default() });
        batch.push(apdu, frame.with_transport(to.transport));
        match context.offer(self.output, way.edge, batch) {
            Ok(sent) => self.numbers.sent.add(u64::from(sent.is_some())),
            Err(_) => self.numbers.edge.add(1),
        }
    }

    /// Writes one acknowledgement's APDU with its plaintext in place.
    fn write(&mut self, due: &Due, entry: &mut Entry) {
        if due.to.is_none() {
            entry.due = false;
        }
        let Some(heard) = due.to.or_else(|| entry.heard()) else { return self.numbers.nowhere.add(1) };
        let Some(Some(way)) = self.ways.get_mut(usize::from(heard.transport)) else {
            return self.numbers.nowhere.add(1);
        };
        let association = &mut entry.association;
        let Some(ack) = association.ack(due.epoch) else { return };
        let Some(seq) = association.take_seq() else { return self.numbers.counter.add(1) };
        let (sid, active) = (association.sid(), association.epoch());
        let head = Head { frame_type: FrameType::DownControl, id: sid.0, epoch_low: active.low(), seq };
        self.invocation = self.invocation.wrapping_add(1);
        let envelope = Envelope {
            called: self.directory.device(sid).map(|device| device.title),
            calling: Some(self.title.as_title()),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        let frame = Frame { link: heard.link, ..Frame::default() }.with_transport(heard.transport);
        let octets: [u8; HEAD_LEN] = head.octets();
        let written = way.batch.push_with(frame, |data| {
            carriage::write_head(data, &envelope, &octets, ACK_OCTETS + TAG_LEN)?;
            let start = data.len();
            Down::Ack(ack).write(data);
            data.extend_from_slice(&[0; TAG_LEN]);
            Ok::<usize, c1222::DecodeError>(start)
        });
        match written {
            Ok(start) => way.sealing.push(Sealing { place: due.place, head, start }),
            // Cannot be: the head of a type 4 frame always fits. The descriptor is empty then.
            Err(_) => drop(way.batch.frames.pop()),
        }
    }
}

/// Seals what is written for a way.
fn seal(way: &mut Way, associations: &Associations, system: System, sealed: &mut Vec<bool>) {
    let mut jobs: Vec<Job<'_>> = Vec::with_capacity(way.sealing.len());
    jobs.extend(way.sealing.iter().filter_map(|sealing| {
        let channel = associations.get(sealing.place)?.association.downstream(system);
        Some(channel.job(&sealing.head, sealing.start, ACK_OCTETS + TAG_LEN))
    }));
    profile1::seal_batch(&mut way.batch.data, &jobs, sealed);
    way.sealing.clear();
    // What could not be sealed must not leave the house.
    let mut verdicts = sealed.iter();
    way.batch.frames.retain(|_| verdicts.next().copied().unwrap_or(false));
}
