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

use super::associations::{Associations, Entry, Place};

/// Acknowledgements sealed together.
const BATCH: usize = 512;
/// Octets of an ACK item: code, epoch, highest, bitmap.
const ACK_OCTETS: usize = 14;

/// The acknowledgements of one shard.
pub(super) struct Acknowledgements {
    ring: VecDeque<(Place, Epoch)>,
    ring_max: usize,
    directory: Arc<Directory>,
    /// The head-end's own title.
    title: ApTitleBuf,
    invocation: u16,
    /// The output and its edge to the downlink of each transport.
    output: usize,
    edges: Vec<Option<usize>>,
    pool: BatchPool,
    sealed: Vec<bool>,
    numbers: Numbers,
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
            sent: env.counter("metergraph_acknowledgements_total", "Acknowledgements sealed and sent.", &[]),
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
            ring: VecDeque::new(),
            ring_max,
            directory,
            title,
            invocation: 0,
            output: 0,
            edges: Vec::new(),
            pool: env.pool.clone(),
            sealed: Vec::new(),
            numbers: Numbers::new(env),
        }
    }

    /// Learns which edge leads to the downlink of which transport.
    pub(super) fn connect(&mut self, context: &Context, env: &Env) {
        self.ring.clear();
        let Some(output) = context.output("sealed") else { return };
        self.output = output;
        let edges = context.outputs.get(output).map(|output| output.edges.as_slice()).unwrap_or_default();
        self.edges = env
            .transports
            .iter()
            .map(|transport| edges.iter().position(|edge| env.leads_to_transport(&edge.name().to, transport)))
            .collect();
    }

    /// A durable report of this epoch is to be acknowledged.
    pub(super) fn due(&mut self, place: Place, epoch: Epoch, entry: &mut Entry) {
        // One acknowledgement speaks of a whole window; reports of another epoch than the active one are
        // rare and have one each.
        if entry.due && epoch == entry.association.epoch() {
            return;
        }
        if self.ring.len() >= self.ring_max {
            self.numbers.full.add(1);
            return;
        }
        entry.due = true;
        self.ring.push_back((place, epoch));
    }

    /// Seals and sends all that are due.
    pub(super) fn send(&mut self, context: &mut Context, associations: &mut Associations, system: System) {
        while !self.ring.is_empty() {
            let count = self.ring.len().min(BATCH);
            let mut batches: Vec<Batch> = self.edges.iter().map(|_| self.pool.take()).collect();
            let due: Vec<(Place, Epoch)> = self.ring.drain(..count).collect();
            let mut sealing: Vec<Vec<Sealing>> = self.edges.iter().map(|_| Vec::new()).collect();
            for (place, epoch) in due {
                let Some(entry) = associations.get_mut(place) else { continue };
                entry.due = false;
                self.write(place, epoch, entry, &mut batches, &mut sealing);
            }
            for (transport, (mut batch, sealing)) in batches.into_iter().zip(sealing).enumerate() {
                self.seal(&mut batch, &sealing, associations, system);
                let frames = batch.len() as u64;
                if let Some(edge) = self.edges.get(transport).copied().flatten() {
                    match context.offer(self.output, edge, batch) {
                        Ok(_) => self.numbers.sent.add(frames),
                        Err(_) => self.numbers.edge.add(frames),
                    }
                }
            }
        }
    }

    /// Writes one acknowledgement's APDU with its plaintext in place.
    fn write(
        &mut self,
        place: Place,
        epoch: Epoch,
        entry: &mut Entry,
        batches: &mut [Batch],
        sealing: &mut [Vec<Sealing>],
    ) {
        let Some(heard) = entry.heard() else {
            self.numbers.nowhere.add(1);
            return;
        };
        let transport = usize::from(heard.transport);
        let linked = self.edges.get(transport).is_some_and(Option::is_some);
        let (true, Some(batch), Some(sealing)) =
            (linked, batches.get_mut(transport), sealing.get_mut(transport))
        else {
            self.numbers.nowhere.add(1);
            return;
        };
        let association = &mut entry.association;
        let Some(ack) = association.ack(epoch) else { return };
        let Some(seq) = association.take_seq() else {
            self.numbers.counter.add(1);
            return;
        };
        let (sid, active) = (association.sid(), association.epoch());
        let head = Head { frame_type: FrameType::DownControl, id: sid.0, epoch_low: active.low(), seq };
        self.invocation = self.invocation.wrapping_add(1);
        let device = self.directory.device(sid);
        let envelope = Envelope {
            called: device.map(|device| device.title),
            calling: Some(self.title.as_title()),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        let frame = Frame { link: heard.link, ..Frame::default() }.with_transport(heard.transport);
        let octets: [u8; HEAD_LEN] = head.octets();
        let written = batch.push_with(frame, |data| {
            carriage::write_head(data, &envelope, &octets, ACK_OCTETS + TAG_LEN)?;
            let start = data.len();
            Down::Ack(ack).write(data);
            data.extend_from_slice(&[0; TAG_LEN]);
            Ok::<usize, c1222::DecodeError>(start)
        });
        match written {
            Ok(start) => sealing.push(Sealing { place, head, start }),
            // Cannot be: the head of a type 4 frame always fits. The descriptor is empty then.
            Err(_) => drop(batch.frames.pop()),
        }
    }

    fn seal(&mut self, batch: &mut Batch, sealing: &[Sealing], associations: &Associations, system: System) {
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(sealing.len());
        jobs.extend(sealing.iter().filter_map(|sealing| {
            let channel = associations.get(sealing.place)?.association.downstream(system);
            Some(channel.job(&sealing.head, sealing.start, ACK_OCTETS + TAG_LEN))
        }));
        profile1::seal_batch(&mut batch.data, &jobs, &mut self.sealed);
        // What could not be sealed must not leave the house.
        let mut verdicts = self.sealed.iter();
        batch.frames.retain(|_| verdicts.next().copied().unwrap_or(false));
    }
}

/// An acknowledgement whose plaintext stands in a batch.
struct Sealing {
    place: Place,
    head: Head,
    start: usize,
}
