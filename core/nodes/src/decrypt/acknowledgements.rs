//! Acknowledgements that are due, and their way down.
//!
//! The ring is bounded: past that an acknowledgement is dropped and counted, and the device repeats its
//! report. So is one that finds its edge full or no counter durably reserved, because the fence is closed or
//! for another reason.

use std::collections::VecDeque;
use std::sync::Arc;

use c1222::carriage;
use keystore::Directory;
use node::{Batch, BatchPool, Context, Counter, Env, Frame};
use seal::control::{Down, Item};
use seal::frame::{FrameType, HEAD_LEN, Head, TAG_LEN};
use seal::ids::{Epoch, System};
use seal::profile1::{self, Job};

use super::associations::{Associations, Entry, Heard, Place};
use super::ways::Ways;

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
    /// By number of the transport: what goes to its downlink.
    papers: Vec<Paper>,
    pool: BatchPool,
    sealed: Vec<bool>,
    numbers: Numbers,
}

/// What is written for one downlink.
#[derive(Default)]
struct Paper {
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
    fence: Counter,
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
            fence: dropped("fence"),
            counter: dropped("no-counter"),
            nowhere: dropped("no-downlink"),
        }
    }
}

impl Acknowledgements {
    pub(super) fn new(env: &Env, directory: Arc<Directory>, ring_max: usize) -> Self {
        Self {
            answers: Vec::new(),
            ring: VecDeque::new(),
            ring_max,
            directory,
            papers: Vec::new(),
            pool: env.pool.clone(),
            sealed: Vec::new(),
            numbers: Numbers::new(env),
        }
    }

    /// A durable report of this epoch is to be acknowledged, to where its device was heard last.
    pub(super) fn due(&mut self, place: Place, epoch: Epoch, entry: &mut Entry) {
        // One acknowledgement speaks of a whole window; reports of another epoch than the active one are
        // rare and have one each.
        if !(entry.retired || entry.due && epoch == entry.association.epoch()) {
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
        if room {
            self.ring.push_back(due);
        } else {
            self.numbers.full.add(1);
        }
        room
    }

    /// Seals and sends all that are due; `closed` says that the fence is.
    pub(super) fn send(
        &mut self,
        context: &mut Context,
        ways: &mut Ways,
        associations: &mut Associations,
        (system, closed): (System, bool),
    ) {
        for answer in std::mem::take(&mut self.answers) {
            self.pass_on(context, ways, &answer);
        }
        if ways.count() == 0 {
            // No downlink at all: nobody waits for acknowledgements.
            self.ring.clear();
        }
        self.papers.resize_with(ways.count(), Paper::default);
        while !self.ring.is_empty() {
            self.warm(associations);
            for _ in 0..BATCH {
                let Some(due) = self.ring.pop_front() else { break };
                if let Some(entry) = associations.get_mut(due.place) {
                    self.write(ways, &due, entry, closed);
                }
            }
            for (paper, transport) in self.papers.iter_mut().zip(0..) {
                if paper.batch.is_empty() {
                    continue;
                }
                seal(paper, associations, system, &mut self.sealed);
                let batch = std::mem::replace(&mut paper.batch, self.pool.take());
                let frames = batch.len() as u64;
                match ways.offer_late(context, transport, batch) {
                    Ok(true) => self.numbers.sent.add(frames),
                    Ok(false) => {}
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
    fn pass_on(&self, context: &mut Context, ways: &Ways, Answer { to, apdu }: &Answer) {
        if ways.edge(to.transport).is_none() {
            return self.numbers.nowhere.add(1);
        }
        let (mut batch, frame) = (self.pool.take(), Frame { link: to.link, ..Frame::default() });
        batch.push(apdu, frame.with_transport(to.transport));
        match ways.offer_late(context, to.transport, batch) {
            Ok(sent) => self.numbers.sent.add(u64::from(sent)),
            Err(_) => self.numbers.edge.add(1),
        }
    }

    /// Writes one acknowledgement's APDU with its plaintext in place.
    fn write(&mut self, ways: &mut Ways, due: &Due, entry: &mut Entry, closed: bool) {
        if due.to.is_none() {
            entry.due = false;
        }
        let Some(heard) = due.to.or_else(|| entry.heard()) else { return self.numbers.nowhere.add(1) };
        let paper = self.papers.get_mut(usize::from(heard.transport));
        let Some(paper) = paper.filter(|_| ways.edge(heard.transport).is_some()) else {
            return self.numbers.nowhere.add(1);
        };
        let association = &mut entry.association;
        let Some(ack) = association.ack(due.epoch) else { return };
        let Some(seq) = association.take_seq() else {
            // A counter at its end stays there, whatever the fence says.
            let fenced = closed && association.wanted_floor().is_some();
            let counter = if fenced { &self.numbers.fence } else { &self.numbers.counter };
            return counter.add(1);
        };
        let (sid, active) = (association.sid(), association.epoch());
        let head = Head { frame_type: FrameType::DownControl, id: sid.0, epoch_low: active.low(), seq };
        let device = self.directory.device(sid);
        let envelope = ways.envelope(device.as_ref().map(|device| device.title()));
        let frame = Frame { link: heard.link, ..Frame::default() }.with_transport(heard.transport);
        let octets: [u8; HEAD_LEN] = head.octets();
        let written = paper.batch.push_with(frame, |data| {
            carriage::write_head(data, &envelope, &octets, ACK_OCTETS + TAG_LEN)?;
            let start = data.len();
            Down::Ack(ack).write(data);
            data.extend_from_slice(&[0; TAG_LEN]);
            Ok::<usize, c1222::DecodeError>(start)
        });
        match written {
            Ok(start) => paper.sealing.push(Sealing { place: due.place, head, start }),
            // Cannot be: the head of a type 4 frame always fits. The descriptor is empty then.
            Err(_) => drop(paper.batch.frames.pop()),
        }
    }
}

/// Seals what is written for a downlink.
fn seal(paper: &mut Paper, associations: &Associations, system: System, sealed: &mut Vec<bool>) {
    let mut jobs: Vec<Job<'_>> = Vec::with_capacity(paper.sealing.len());
    jobs.extend(paper.sealing.iter().filter_map(|sealing| {
        let channel = associations.get(sealing.place)?.association.downstream(system);
        Some(channel.job(&sealing.head, sealing.start, ACK_OCTETS + TAG_LEN))
    }));
    profile1::seal_batch(&mut paper.batch.data, &jobs, sealed);
    paper.sealing.clear();
    // What could not be sealed must not leave the house.
    let mut verdicts = sealed.iter();
    paper.batch.frames.retain(|_| verdicts.next().copied().unwrap_or(false));
}
