//! `decrypt`: a shard. It owns all state of its associations and groups, so there are no locks: it opens what
//! comes up, hands accepted reports to the journal, seals the acknowledgement once they are durable, and
//! seals what it is ordered to send down.

mod acknowledgements;
mod associations;
mod checkpoint;
mod classic;
mod classic_answers;
mod closing;
mod downstream;
mod due;
mod gate;
mod groups;
mod kind;
mod lives;
mod orders;
mod rebuild;
mod refusing;
mod replay_cache;
mod reports;
mod reserving;
mod services;
mod settling;
mod store;
mod ways;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::Position;
use keystore::{Directory, Standing, Vault};
use node::{Batch, BatchPool, Context, Counter, Env, Next, NodeError, Reason, Severity, Source, Worker};
use seal::ids::{Epoch, Gid, Sid, System};
use seal::secret::scrubbed;

pub use associations::Heard;
pub(crate) use closing::Closing;
pub use closing::ClosingError;
pub use groups::title_of;
pub use kind::DecryptKind;
pub use services::{RegistrationService, Registrations};

use crate::clock::unix_s;
use crate::in_flight::{InFlight, Settled};
use crate::journal::Log;
use crate::located::Located;
use crate::tally::reasons;
use acknowledgements::{Acknowledgements, Answer};
use associations::{Associations, Place};
use checkpoint::{Books, ShardOf};
use classic::{Classics, Taken};
use downstream::{Downstream, House, Outgoing};
use gate::Challenges;
use groups::Groups;
use lives::Lives;
use orders::{Given, Newborn};
use refusing::Refusing;
use replay_cache::Message;
use reports::Candidate;
use reserving::{Records, Reserving};
use services::Request;
use ways::Ways;

/// The port of the balancer that frames come from; all other inputs bring orders.
const FRAMES: &str = "frames";
/// How long the journal is waited for between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a disk that took no checkpoint is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Repeats of frames: counted at once, told as one event a batch. Many are ordinary after an outage.
struct Duplicates {
    counter: Counter,
    untold: Cell<u64>,
}

impl Duplicates {
    fn add(&self, count: u64) {
        self.counter.add(count);
        self.untold.set(self.untold.get().saturating_add(count));
    }

    fn tell(&self, context: &mut Context) {
        let count = self.untold.take();
        context.events.report_many(reasons::UP_DUP, Severity::Info, Source::Node, count, || {
            "frames that were accepted before came again".to_owned()
        });
    }
}

/// What a shard counts.
struct Numbers {
    duplicates: Duplicates,
    unknown_orders: Counter,
    associations: node::Gauge,
    groups: node::Gauge,
    gated: node::Gauge,
}

impl Numbers {
    fn new(env: &Env) -> Self {
        Self {
            duplicates: Duplicates {
                counter: env.counter(
                    "metergraph_frames_duplicate_total",
                    "Repeats of frames that were accepted before.",
                    &[],
                ),
                untold: Cell::default(),
            },
            unknown_orders: env.counter(
                "metergraph_orders_unknown_total",
                "Orders for associations that the shard does not hold.",
                &[],
            ),
            associations: env.gauge("metergraph_associations", "Associations that a shard holds.", &[]),
            groups: env.gauge("metergraph_groups", "Groups whose keys a shard holds.", &[]),
            gated: env.gauge(
                "metergraph_associations_gated",
                "Associations of a restored state whose end devices have not proven a new challenge.",
                &[],
            ),
        }
    }
}

/// A record on its way to the journal, and what to do when it is settled.
enum Sent {
    /// A report in the window of an association.
    Report { place: Place, epoch: Epoch, seq: u32 },
    /// A counter block reserved.
    Reserved { place: Place, epoch: Epoch, floor: u32 },
    /// No record: a repeat to be acknowledged with a counter of the block that goes with it.
    Again { place: Place, epoch: Epoch, to: Heard },
    /// A classic message.
    Classic(Message),
    /// No record: the answer to the classic message before.
    Answer(Box<Answer>),
    /// The first frame under a new association.
    Proved { place: Place },
    /// A counter block of a group reserved.
    GroupReserved { gid: Gid, epoch: Epoch, floor: u32 },
    /// A device registered.
    Registered(Box<Newborn>),
    /// An association was replaced.
    Retired { sid: Sid, until: u64 },
    /// A device was revoked.
    Revoked { sid: Sid },
    /// Candidate epochs up to this one.
    Issued { place: Place, epoch: Epoch, campaign: u32 },
    /// An association should leave this epoch.
    Due { place: Place, epoch: Epoch },
    /// A group has a key.
    GroupKey(Box<orders::NewKey>),
    /// No record: to be sealed when what stands before it is durable.
    Outgoing(Box<Outgoing>),
    /// No record: a C12.22 service of the report before.
    Request(Box<Request>),
    /// No record: all that a batch of orders asked for stands before it. `sound` unless some of it could not
    /// be done.
    Orders { input: usize, number: u64, sound: bool },
}

struct Shard {
    own: ShardOf,
    env: Env,
    vault: Arc<Vault>,
    directory: Arc<Directory>,
    system: System,
    refusing: Refusing,
    /// The journal's node.
    journal: String,
    /// Whether the key store follows the journal: without that it keeps nothing that orders bring.
    followed: bool,
    associations: Associations,
    classics: Classics,
    groups: Groups,
    lives: Lives,
    /// Epochs on their way to the journal: the newest of each association, and its campaign.
    issuing: HashMap<Place, (Epoch, u32)>,
    /// What opens the gate of a restored state.
    challenges: Challenges,
    /// Batches of orders that are not settled.
    given: Given,
    /// An association of the batch that is being settled was not taken.
    spoilt: bool,
    ways: Ways,
    downstream: Downstream,
    reserving: Reserving,
    registrations: Option<Arc<RegistrationService>>,
    in_flight: InFlight<Sent>,
    acknowledgements: Acknowledgements,
    numbers: Numbers,
    pool: BatchPool,
    /// Records of the batch in hand.
    sent: Vec<Sent>,
    /// Frames of the batch in hand that may be opened, and whether each did.
    candidates: Vec<Candidate>,
    opened: Vec<bool>,
    checkpoint_octets: u64,
    /// Of the last checkpoint of this run.
    checkpointed: Option<Position>,
    /// No checkpoint before this.
    checkpoint_at: Instant,
    since: Instant,
}

impl Worker for Shard {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let records = context.output("records").ok_or_else(|| NodeError::new("no output `records`"))?;
        let log: Arc<Log> = self
            .env
            .services
            .find(&self.journal)
            .ok_or_else(|| NodeError::new(format!("the journal `{}` is not open", self.journal)))?;
        self.ways.connect(context, &self.env);
        self.registrations = self.env.writers().into_iter().find_map(|node| self.env.services.find(node));
        let frames: Vec<bool> = context.inputs.iter().map(|edge| edge.name().port == FRAMES).collect();
        scrubbed::<32, _>(|| self.rebuild(context, records, &log))?;
        loop {
            self.keep_up(context, records, &log)?;
            match context.next(Duration::from_secs(1))? {
                Next::Batch { input, number, batch } => {
                    // While this one slept the journal may have said what its frames repeat.
                    self.settle(context, records)?;
                    if frames.get(input).copied().unwrap_or(false) {
                        self.take(context, records, &log, batch)?;
                    } else {
                        self.obey(context, records, &log, (input, number), &batch)?;
                    }
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished if self.in_flight.is_empty() && self.downstream.is_empty() => {
                    self.checkpoint(context, &log, log.settled());
                    return Ok(());
                }
                // The last reports are acknowledged when they are durable.
                Next::Finished => context.wait(LOOK)?,
            }
        }
    }
}

impl Shard {
    /// Does what the journal's progress asks for: windows, acknowledgements, checkpoints.
    fn keep_up(&mut self, context: &mut Context, records: usize, log: &Log) -> Result<(), NodeError> {
        // What is settled up to here is known after the next look at the edge.
        let settled = log.settled();
        self.settle(context, records)?;
        self.lives.expire(&mut self.associations, unix_s());
        self.send_down(context, records);
        let how = (self.system, self.reserving.is_closed());
        self.acknowledgements.send(context, &mut self.ways, &mut self.associations, how);
        let wanted = self.checkpointed.is_none_or(|last| {
            let grown = settled.since(last);
            // A journal without room cannot grow to the next one.
            grown >= self.checkpoint_octets || (grown > 0 && log.wants_mark(last))
        });
        if wanted && Instant::now() >= self.checkpoint_at {
            self.checkpoint(context, log, settled);
        }
        Ok(())
    }

    /// Sends commands and control items; what has no counter asks the journal for some.
    fn send_down(&mut self, context: &mut Context, records: usize) {
        if self.downstream.is_empty() {
            return;
        }
        let (mut out, mut sent) = (self.pool.take(), Vec::new());
        self.reserving.begin();
        let house = House {
            associations: &mut self.associations,
            groups: &mut self.groups,
            reserving: &self.reserving,
            ways: &mut self.ways,
            vault: &self.vault,
            directory: &self.directory,
            system: self.system,
            now: unix_s(),
        };
        let records_of = Records { out: &mut out, sent: &mut sent };
        scrubbed::<16, _>(|| self.downstream.send(context, house, records_of));
        match context.offer(records, 0, out) {
            Ok(Some(number)) => self.in_flight.add(number, &mut sent),
            Ok(None) => {}
            // The journal is behind: the next look asks again.
            Err(_) => sent.drain(..).for_each(|sent| self.settled(context, sent, Settled::Failed)),
        }
    }

    /// Opens a batch and sends what was accepted to the journal.
    fn take(
        &mut self,
        context: &mut Context,
        records: usize,
        log: &Log,
        mut batch: Batch,
    ) -> Result<(), NodeError> {
        let mut out = self.pool.take();
        self.reserving.begin();
        self.open_reports(context, &mut batch, &mut out);
        self.numbers.duplicates.tell(context);
        self.open_classics(context, &batch, &mut out);
        let accepted = |sent: &&Sent| matches!(sent, Sent::Report { .. } | Sent::Classic(_));
        let frames = self.sent.iter().filter(accepted).count() as u64;
        self.write(context, records, log, out, frames)
    }

    /// Sends the records of the batch in hand to the journal; `frames` of them are reports.
    fn write(
        &mut self,
        context: &mut Context,
        records: usize,
        log: &Log,
        mut out: Batch,
        frames: u64,
    ) -> Result<(), NodeError> {
        let mut sent = std::mem::take(&mut self.sent);
        loop {
            match context.offer(records, 0, out) {
                Ok(Some(number)) => self.in_flight.add(number, &mut sent),
                Ok(None) => {}
                Err(back) => {
                    // A journal without room is waited for, but what it has settled is heard: it may be
                    // this shard's checkpoint that it waits for.
                    out = back;
                    context.hold(frames);
                    context.wait(LOOK)?;
                    self.keep_up(context, records, log)?;
                    continue;
                }
            }
            break;
        }
        sent.clear();
        self.sent = sent;
        context.hold(0);
        Ok(())
    }

    fn open_classics(&mut self, context: &mut Context, batch: &Batch, out: &mut Batch) {
        for frame in &batch.frames {
            let Located::Classic { sid } = Located::get(frame) else { continue };
            let apdu = batch.octets(frame).unwrap_or_default();
            let (sid, heard) = (Sid(sid), Heard::on(frame));
            match self.classics.accept(sid, apdu, out) {
                Ok(Taken { message, sound, answer }) => {
                    self.sent.push(Sent::Classic(message));
                    self.sent.extend(answer.map(|apdu| Sent::Answer(Box::new(Answer { to: heard, apdu }))));
                    if !sound {
                        let source = Source::Association(sid.0);
                        context.events.report(reasons::UP_BODY, Severity::Alarm, source, || {
                            "a classic message opened, but its body does not parse; it is kept".to_owned()
                        });
                    }
                }
                Err(refused) => {
                    let reason = match self.directory.standing(sid) {
                        // It was sorted before its device was revoked or registered.
                        Some(Standing::Revoked) => reasons::UP_REVOKED,
                        Some(Standing::Retired) => reasons::LEGACY,
                        _ => refused.reason,
                    };
                    self.refusing.refuse(context, heard, sid, reason, || refused.detail);
                }
            }
        }
    }

    /// Writes a checkpoint; everything of this shard before `position` must be settled here. Where it cannot
    /// be written, the one before still holds, and more of the journal is kept.
    fn checkpoint(&mut self, context: &mut Context, log: &Log, position: Position) {
        let Self { associations, classics, groups, .. } = &*self;
        match checkpoint::write(log, self.own, position, &Books { associations, classics, groups }) {
            Ok(()) => self.checkpointed = Some(position),
            Err(error) => {
                self.checkpoint_at = Instant::now() + PAUSE;
                context
                    .events
                    .report(Reason("checkpoint-failed"), Severity::Alarm, Source::Node, || error.to_string());
            }
        }
    }

    /// Milliseconds of the shard's own clock: it begins late enough for a first repeat.
    fn now_ms(&self) -> u32 {
        let elapsed = self.since.elapsed().as_millis() & u128::from(u32::MAX);
        u32::try_from(elapsed).unwrap_or(0).wrapping_add(1000)
    }
}
