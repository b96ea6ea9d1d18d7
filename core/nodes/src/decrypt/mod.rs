//! `decrypt`: a shard. It owns all state of its associations, so there are no locks: it opens what comes
//! up, hands accepted reports to the journal, and seals the acknowledgement once they are durable.

mod acknowledgements;
mod associations;
mod checkpoint;
mod classic;
mod classic_answers;
mod refusing;
mod replay_cache;
mod reports;

use std::sync::Arc;
use std::time::{Duration, Instant};

use c1222::ApTitleBuf;
use journal::Position;
use keystore::{Directory, Vault};
use node::{
    Batch, BatchPool, BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, InputSpec, KindSpec,
    Next, NodeError, NodeKind, OutputSpec, PortType, Problem, Reason, Severity, Source, Worker,
};
use seal::association::Association;
use seal::ids::{Epoch, Sid, System};

use crate::clock::unix_s;
use crate::in_flight::{InFlight, Settled};
use crate::journal::Log;
use crate::key_store;
use crate::located::Located;
use crate::refusals::Refusals;
use crate::tally::reasons;
use acknowledgements::{Acknowledgements, Answer};
use associations::{Associations, Heard, Place};
use checkpoint::ShardOf;
use classic::{Classics, Rules, Taken};
use refusing::Refusing;
use replay_cache::Message;
use reports::Candidate;

/// How long the journal is waited for between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a disk that took no checkpoint is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecryptKind;

impl NodeKind for DecryptKind {
    fn spec(&self) -> KindSpec {
        let output =
            |name, port_type, required, max, about| OutputSpec { name, port_type, required, max, about };
        KindSpec {
            name: "decrypt",
            about: "Opens what end devices send, each with its own key, and acknowledges it when durable.",
            fields: vec![
                key_store::field(),
                FieldSpec::integer("shards", (1, 64), 1, "Instances; each owns a part of all devices."),
                FieldSpec::or(
                    "aptitle",
                    FieldType::Text,
                    ".1",
                    "The head-end's own ApTitle, the sender of what goes down.",
                ),
                FieldSpec::integer(
                    "acknowledgements_max",
                    (1, 1 << 24),
                    1 << 20,
                    "Acknowledgements that wait to be sealed; past that the device repeats its report.",
                ),
                FieldSpec::integer(
                    "checkpoint_mib",
                    (1, 65_536),
                    256,
                    "Journal written between two checkpoints of the windows, in MiB.",
                ),
            ],
            inputs: vec![InputSpec::some(PortType::Frames)],
            outputs: vec![
                output("records", PortType::Records, true, 1, "Accepted reports, for the journal."),
                output("sealed", PortType::Sealed, false, 16, "Sealed APDUs, for downlinks."),
                output("events", PortType::Events, false, 8, "Refused frames and alarms."),
            ],
            provides: vec![],
            instances: Some("shards"),
            transport: None,
        }
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        let Err(error) = ApTitleBuf::parse(config.text("aptitle")) else { return Vec::new() };
        vec![Problem {
            code: "node::ap_title",
            field: Some("aptitle"),
            message: error.to_string(),
            help: None,
            warning: false,
        }]
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let directory: Arc<Directory> = key_store::lent(config, env)?;
        let title = ApTitleBuf::parse(config.text("aptitle"))
            .map_err(|error| BuildError::caused(env, "aptitle", error))?;
        let balancer = env.writers().into_iter().next().unwrap_or_default().to_owned();
        let journal = env.readers("records").into_iter().next().unwrap_or_default().to_owned();
        let own = ShardOf { shard: env.instance, shards: env.instances.max(1) };
        Ok(Box::new(Shard {
            own,
            vault: key_store::lent(config, env)?,
            refusing: Refusing::new(env, env.services.find_or_provide(&balancer, Refusals::default())),
            journal,
            associations: Associations::new(own.shard, own.shards),
            classics: Classics::new(Rules::default()),
            in_flight: InFlight::default(),
            acknowledgements: Acknowledgements::new(
                env,
                Arc::clone(&directory),
                title,
                config.count("acknowledgements_max"),
            ),
            numbers: Numbers::new(env),
            system: directory.system(),
            directory,
            pool: env.pool.clone(),
            sent: Vec::new(),
            candidates: Vec::new(),
            opened: Vec::new(),
            checkpoint_octets: u64::try_from(config.integer("checkpoint_mib")).unwrap_or(1) << 20,
            checkpointed: None,
            checkpoint_at: Instant::now(),
            since: Instant::now(),
            env: env.clone(),
        }))
    }
}

/// What a shard counts.
struct Numbers {
    duplicates: Counter,
    associations: node::Gauge,
}

impl Numbers {
    fn new(env: &Env) -> Self {
        Self {
            duplicates: env.counter(
                "metergraph_frames_duplicate_total",
                "Repeats of frames that were accepted before.",
                &[],
            ),
            associations: env.gauge("metergraph_associations", "Associations that a shard holds.", &[]),
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
    associations: Associations,
    classics: Classics,
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
        self.acknowledgements.connect(context, &self.env);
        self.rebuild(context, records, &log)?;
        loop {
            self.keep_up(context, records, &log)?;
            match context.next(Duration::from_secs(1))? {
                Next::Batch { batch, .. } => {
                    // While this one slept the journal may have said what its frames repeat.
                    self.settle(context, records)?;
                    self.take(context, records, &log, batch)?;
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished if self.in_flight.is_empty() => {
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
    /// Loads the associations and what checkpoint and journal say of them.
    fn rebuild(&mut self, context: &mut Context, records: usize, log: &Log) -> Result<(), NodeError> {
        // What an earlier run of this shard sent is settled first, and what nobody knows of is certain only
        // in a log that was opened again: it would else be told half of it.
        let edge = context.outputs.get(records).and_then(|output| output.edges.first()).map(Arc::clone);
        while log.has_ended() || edge.as_ref().is_some_and(|edge| edge.settled() < edge.pushed()) {
            context.wait(LOOK)?;
        }
        let settled = log.settled();
        let rules = Rules::read(&self.directory);
        for (profile, error) in &rules.faults {
            let what = || format!("device profile {profile}: {error}");
            context.events.report(Reason("device-profile"), Severity::Alarm, Source::Node, what);
        }
        let mut associations = Associations::new(self.own.shard, self.own.shards);
        let mut classics = Classics::new(rules);
        let wanted = |partition: u16| usize::from(partition) % self.own.shards == self.own.shard;
        self.vault
            .load(&wanted, &mut |stored| match associations::split(stored.keys) {
                Ok(keys) => {
                    associations.add(Association::new(stored.sid, stored.dev, stored.epoch, keys));
                }
                Err(keys) => classics.add(stored.sid, stored.dev, stored.title, stored.profile, keys),
            })
            .map_err(|error| NodeError::caused("load associations", error))?;
        checkpoint::read(log, &mut associations, &mut classics)
            .map_err(|error| NodeError::caused("rebuild windows from the journal", error))?;
        self.numbers.associations.set(i64::try_from(associations.len()).unwrap_or(i64::MAX));
        self.associations = associations;
        self.classics = classics;
        self.in_flight = InFlight::default();
        self.checkpoint(context, log, settled);
        Ok(())
    }

    /// Does what the journal's progress asks for: windows, acknowledgements, checkpoints.
    fn keep_up(&mut self, context: &mut Context, records: usize, log: &Log) -> Result<(), NodeError> {
        // What is settled up to here is known after the next look at the edge.
        let settled = log.settled();
        self.settle(context, records)?;
        self.acknowledgements.send(context, &mut self.associations, self.system);
        let wanted = self.checkpointed.is_none_or(|last| {
            let grown = settled.since(last);
            // A journal without room cannot grow to the next one.
            grown >= self.checkpoint_octets || (grown > 0 && log.wants_room())
        });
        if wanted && Instant::now() >= self.checkpoint_at {
            self.checkpoint(context, log, settled);
        }
        Ok(())
    }

    /// Hears from the journal what became of earlier batches.
    fn settle(&mut self, context: &Context, records: usize) -> Result<(), NodeError> {
        let Some(edge) = context.outputs.get(records).and_then(|output| output.edges.first()) else {
            return Ok(());
        };
        let (associations, acknowledgements) = (&mut self.associations, &mut self.acknowledgements);
        let cache = self.classics.cache_mut();
        let now = unix_s();
        let known = self.in_flight.settle(edge, |sent, outcome| match (sent, outcome) {
            (Sent::Report { place, epoch, seq }, outcome) => {
                let Some(entry) = associations.get_mut(place) else { return };
                if outcome == Settled::Committed {
                    entry.association.committed(epoch, seq, now);
                    acknowledgements.due(place, epoch, entry);
                } else {
                    entry.association.failed(epoch, seq);
                }
            }
            (Sent::Reserved { place, epoch, floor }, outcome) => {
                let Some(entry) = associations.get_mut(place) else { return };
                entry.reserving = false;
                if outcome == Settled::Committed {
                    entry.association.reserved(epoch, floor);
                }
            }
            (Sent::Again { place, epoch, to }, Settled::Committed) => {
                acknowledgements.again(place, epoch, to);
            }
            (Sent::Answer(answer), Settled::Committed) => acknowledgements.answers.push(*answer),
            (Sent::Classic(message), Settled::Failed) => cache.remove(&message),
            (Sent::Again { .. } | Sent::Answer(_), Settled::Failed) => {}
            (Sent::Classic(_), Settled::Committed) => {}
        });
        if known { Ok(()) } else { Err(NodeError::Rebuild("the journal was started anew".into())) }
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
        self.open_reports(context, &mut batch, &mut out);
        self.open_classics(context, &batch, &mut out);
        let accepted = |sent: &&Sent| matches!(sent, Sent::Report { .. } | Sent::Classic(_));
        let frames = self.sent.iter().filter(accepted).count() as u64;
        loop {
            match context.offer(records, 0, out) {
                Ok(Some(number)) => self.in_flight.add(number, &mut self.sent),
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
        self.sent.clear();
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
                    self.refusing.refuse(context, heard, sid, refused.reason, || refused.detail);
                }
            }
        }
    }

    /// Writes a checkpoint; everything of this shard before `position` must be settled here. Where it cannot
    /// be written, the one before still holds, and more of the journal is kept.
    fn checkpoint(&mut self, context: &mut Context, log: &Log, position: Position) {
        match checkpoint::write(log, self.own, position, &self.associations, &self.classics) {
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
