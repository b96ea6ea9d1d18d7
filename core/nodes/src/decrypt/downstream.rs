//! What the head-end tells end devices and groups: a bounded ring of commands and control items that wait
//! for a counter, sealed and sent before acknowledgements.
//!
//! What cannot be sent is counted by the place where, and reported; who ordered it repeats it.

use std::collections::{HashMap, VecDeque};

use c1222::carriage;
use commands::desk::Why;
use keystore::{Directory, Vault};
use node::{Batch, BatchPool, Context, Counter, Env, Frame, Reason, Severity, Source};
use seal::control::{Down, GroupKey, Item};
use seal::frame::{FRAME_MAX, FrameType, Head, PLAINTEXT_MAX};
use seal::ids::{Epoch, Gid, Sid, System};
use seal::profile1::Channel;
use zeroize::Zeroizing;

use super::associations::{Associations, Heard, Place};
use super::due;
use super::groups::{self, Groups, Next};
use super::reserving::{Records, Reserving, Unreserved};
use super::ways::Ways;
use crate::tally::reasons;

/// Whom something is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// One end device, where it was heard last, or where its request came from.
    Device { place: Place, sid: Sid, at: Option<Heard> },
    /// The members of a group.
    Group(Gid),
}

/// What is to be sealed.
pub(super) enum What {
    /// A signed command: type 2, or to a group type 3.
    Command(Box<[u8]>),
    /// Control items: type 4.
    Control(Box<[u8]>),
    /// A group's key, sealed by the key store until it is written: type 4.
    GroupKey { gid: Gid, epoch: Epoch, activate_at: u32, sealed: Box<[u8]> },
}

/// Something that waits to be sealed.
pub(super) struct Outgoing {
    pub(super) to: To,
    pub(super) what: What,
}

/// Why something is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The ring is full.
    Ring,
    /// No command, or no control items.
    Format,
    /// The association is gone.
    Unknown,
    Revoked,
    Retired,
    /// The device was not heard since the shard started.
    NotHeard,
    /// No downlink leads to the transport.
    NoDownlink,
    /// The group has no key in force.
    NoGroupKey,
    /// A sealed key does not open.
    Store,
    /// No further epoch can be issued for an ADVANCE.
    Epochs,
    Unreserved(Unreserved),
}

impl Lost {
    /// The place in metrics, and the reason in events.
    fn words(self) -> (&'static str, Reason) {
        match self {
            Self::Ring => ("ring", Reason("commands-full")),
            Self::Format => ("format", Reason("order-format")),
            Self::Unknown => ("unknown", Reason("unknown-order")),
            Self::Revoked => ("revoked", reasons::UP_REVOKED),
            Self::Retired => ("retired", Reason("association-retired")),
            Self::NotHeard => ("not-heard", Reason("not-heard")),
            Self::NoDownlink => ("no-downlink", Reason("no-downlink")),
            Self::NoGroupKey => ("no-group-key", Reason("no-group-key")),
            Self::Store => ("store", reasons::STORE),
            Self::Epochs => ("epochs", Reason("no-epoch-left")),
            Self::Unreserved(Unreserved::Closed(code)) => ("fence", Reason(code)),
            Self::Unreserved(Unreserved::Exhausted) => ("no-counter", reasons::SEQ),
        }
    }
}

/// Why something is not sent now.
enum Held {
    /// A counter or an edge is waited for.
    Waits,
    Lost(Lost),
}

impl From<Lost> for Held {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<Unreserved> for Held {
    fn from(unreserved: Unreserved) -> Self {
        Self::Lost(Lost::Unreserved(unreserved))
    }
}

/// What sealing draws on.
pub(super) struct House<'a> {
    pub(super) associations: &'a mut Associations,
    pub(super) groups: &'a mut Groups,
    pub(super) reserving: &'a Reserving,
    pub(super) ways: &'a mut Ways,
    pub(super) vault: &'a Vault,
    pub(super) directory: &'a Directory,
    pub(super) system: System,
    /// Unix seconds.
    pub(super) now: u64,
}

/// The commands and control items of one shard.
pub(super) struct Downstream {
    ring: VecDeque<Outgoing>,
    ring_max: usize,
    pool: BatchPool,
    /// By number of the transport: what goes there.
    batches: Vec<Batch>,
    /// A plaintext, sealed in place; it never grows.
    scratch: Zeroizing<Vec<u8>>,
    env: Env,
    sent: Counter,
    lost: HashMap<&'static str, Counter>,
}

impl Downstream {
    pub(super) fn new(env: &Env, ring_max: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            ring_max,
            pool: env.pool.clone(),
            batches: Vec::new(),
            scratch: Zeroizing::new(Vec::with_capacity(FRAME_MAX)),
            env: env.clone(),
            sent: env.counter(
                "metergraph_commands_sent_total",
                "Commands and control items, but for acknowledgements, sealed and sent.",
                &[],
            ),
            lost: HashMap::new(),
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Puts something into the ring.
    pub(super) fn push(&mut self, context: &mut Context, outgoing: Outgoing) {
        if self.ring.len() < self.ring_max {
            self.ring.push_back(outgoing);
        } else {
            self.give_up(context, outgoing.to, Lost::Ring);
        }
    }

    /// Counts and reports what is not sent.
    pub(super) fn give_up(&mut self, context: &mut Context, to: To, lost: Lost) {
        let (place, reason) = lost.words();
        let env = &self.env;
        let counter = self.lost.entry(place).or_insert_with(|| {
            env.counter(
                "metergraph_commands_dropped_total",
                "Commands and control items given up, by the place where; who ordered them repeats them.",
                &[("where", place)],
            )
        });
        counter.add(1);
        let source = match to {
            To::Device { sid, .. } => Source::Association(sid.0),
            To::Group(_) => Source::Node,
        };
        context.events.report(reason, Severity::Warning, source, || match to {
            To::Device { sid, .. } => format!("what was to go to {sid} is given up: {place}"),
            To::Group(gid) => format!("what was to go to group {gid} is given up: {place}"),
        });
    }

    /// Seals and sends what has a counter; what has none asks for it.
    pub(super) fn send(&mut self, context: &mut Context, mut house: House<'_>, mut records: Records<'_>) {
        if self.ring.is_empty() {
            return;
        }
        self.batches.resize_with(house.ways.count(), Batch::default);
        for _ in 0..self.ring.len() {
            let Some(outgoing) = self.ring.pop_front() else { break };
            match self.seal(context, &outgoing, &mut house, &mut records) {
                Ok(()) => {}
                Err(Held::Waits) => self.ring.push_back(outgoing),
                Err(Held::Lost(lost)) => self.give_up(context, outgoing.to, lost),
            }
        }
        for transport in house.ways.transports() {
            let Some(batch) = self.batches.get_mut(usize::from(transport)) else { continue };
            let batch = std::mem::replace(batch, self.pool.take());
            let frames = batch.len() as u64;
            // There was room, and nobody else fills this edge.
            if let Ok(true) = house.ways.offer(context, transport, batch) {
                self.sent.add(frames);
            }
        }
    }

    fn seal(
        &mut self,
        context: &mut Context,
        outgoing: &Outgoing,
        house: &mut House<'_>,
        records: &mut Records<'_>,
    ) -> Result<(), Held> {
        match outgoing.to {
            To::Device { place, sid, at } => {
                let heard = self.may_go(house, place, sid, at)?;
                if !house.ways.has_room(context, heard.transport) {
                    return Err(Held::Waits);
                }
                let seq = take_seq(context, house, place, records)?;
                self.write(&outgoing.what, house.vault)?;
                let Some(entry) = house.associations.get(place) else { return Err(Lost::Unknown.into()) };
                let channel = entry.association.downstream(house.system);
                let frame_type = match outgoing.what {
                    What::Command(_) => FrameType::Command,
                    What::Control(_) | What::GroupKey { .. } => FrameType::DownControl,
                };
                let head = channel.head(frame_type, sid.0, seq);
                self.seal_scratch(&channel, &head)?;
                let frame = Frame { link: heard.link, bits: Frame::PRIORITY, ..Frame::default() };
                let device = house.directory.device(sid);
                let called = device.as_ref().map(|device| device.title());
                self.carry(heard.transport, frame, &house.ways.envelope(called), &head);
            }
            To::Group(gid) => {
                let transports: Vec<u8> = house.ways.transports().collect();
                if transports.is_empty() {
                    return Err(Lost::NoDownlink.into());
                }
                if !transports.iter().all(|transport| house.ways.has_room(context, *transport)) {
                    return Err(Held::Waits);
                }
                self.write(&outgoing.what, house.vault)?;
                let head = match house.groups.next(gid, house.now) {
                    Next::Seal(keys, seq) => {
                        let channel = keys.channel(house.system);
                        let head = channel.head(FrameType::GroupCommand, gid.0, seq);
                        self.seal_scratch(&channel, &head)?;
                        head
                    }
                    Next::Reserve(wanted) => {
                        house.reserving.group(house.groups, gid, wanted, records)?;
                        return Err(Held::Waits);
                    }
                    Next::Wait => return Err(Held::Waits),
                    Next::NoKey => return Err(Lost::NoGroupKey.into()),
                    Next::Exhausted => return Err(Unreserved::Exhausted.into()),
                };
                let title = groups::title_of(gid);
                for transport in transports {
                    let bits = Frame::PRIORITY | Frame::BROADCAST;
                    let frame = Frame { bits, ..Frame::default() };
                    let called = title.as_ref().map(c1222::ApTitleBuf::as_title);
                    self.carry(transport, frame, &house.ways.envelope(called), &head);
                }
            }
        }
        Ok(())
    }

    /// Whether anything may be sealed for a device, and where it goes.
    fn may_go(&self, house: &House<'_>, place: Place, sid: Sid, at: Option<Heard>) -> Result<Heard, Lost> {
        let entry = house.associations.get(place).filter(|entry| entry.association.sid() == sid);
        let entry = entry.ok_or(Lost::Unknown)?;
        if entry.association.is_revoked() {
            return Err(Lost::Revoked);
        }
        if entry.retired {
            return Err(Lost::Retired);
        }
        let heard = at.or_else(|| entry.heard()).ok_or(Lost::NotHeard)?;
        house.ways.edge(heard.transport).map(|_| heard).ok_or(Lost::NoDownlink)
    }

    /// Writes a plaintext.
    fn write(&mut self, what: &What, vault: &Vault) -> Result<(), Lost> {
        self.scratch.clear();
        match what {
            What::Command(octets) | What::Control(octets) => {
                if octets.len() > PLAINTEXT_MAX {
                    return Err(Lost::Format);
                }
                self.scratch.extend_from_slice(octets);
            }
            What::GroupKey { gid, epoch, activate_at, sealed } => {
                let gms = super::store::open_group_key(vault, *gid, *epoch, sealed).ok_or(Lost::Store)?;
                let (gid, epoch, activate_at) = (*gid, *epoch, *activate_at);
                Down::GroupKey(GroupKey { gid, epoch, gms: gms.expose(), activate_at })
                    .write(&mut self.scratch);
            }
        }
        Ok(())
    }

    /// Seals the plaintext in place: ciphertext and tag are left.
    fn seal_scratch(&mut self, channel: &Channel<'_>, head: &Head) -> Result<(), Lost> {
        let text = self.scratch.len();
        self.scratch.extend_from_slice(&[0; seal::frame::TAG_LEN]);
        let job = channel.job(head, 0, text.saturating_add(seal::frame::TAG_LEN));
        if seal::profile1::seal_one(&mut self.scratch, &job) { Ok(()) } else { Err(Lost::Format) }
    }

    /// Appends the APDU of the sealed frame to what goes to a transport.
    fn carry(&mut self, transport: u8, frame: Frame, envelope: &c1222::Envelope<'_>, head: &Head) {
        let Some(batch) = self.batches.get_mut(usize::from(transport)) else { return };
        let written = batch.push_with(frame.with_transport(transport), |data| {
            carriage::write_head(data, envelope, &head.octets(), self.scratch.len())?;
            data.extend_from_slice(&self.scratch);
            Ok::<(), c1222::DecodeError>(())
        });
        if written.is_err() {
            // Cannot be: the head of a frame always fits. The descriptor is empty then.
            batch.frames.pop();
        }
    }
}

/// The next counter of an association, or a reservation of some.
fn take_seq(
    context: &mut Context,
    house: &mut House<'_>,
    place: Place,
    records: &mut Records<'_>,
) -> Result<u32, Held> {
    let Some(entry) = house.associations.get_mut(place) else { return Err(Lost::Unknown.into()) };
    let epoch = entry.association.epoch();
    let (taken, reserving) = (entry.association.take_seq(), entry.reserving);
    let reserved = house.reserving.association(house.associations, place, epoch, house.now, records);
    if let Ok(true) = reserved {
        due::say(context, house.associations, place, Why::Counters, records);
    }
    match taken {
        Some(seq) => Ok(seq),
        None if reserving => Err(Held::Waits),
        None => reserved.map_or_else(|unreserved| Err(unreserved.into()), |_| Err(Held::Waits)),
    }
}
