//! `decrypt`: a shard. It owns all state of its associations, so there are no locks: it opens what comes
//! up, hands accepted reports to the journal, and seals the acknowledgement once they are durable.

mod acknowledgements;
mod associations;
mod checkpoint;
mod classic;
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
use seal::ids::{Epoch, System};

use crate::clock::{monotonic_ns, unix_s};
use crate::in_flight::{InFlight, Settled};
use crate::journal::Log;
use crate::key_store;
use crate::located::Located;
use crate::refusals::{Pair, Refusals};
use crate::tally::Tally;
use acknowledgements::Acknowledgements;
use associations::{Associations, Place};
use checkpoint::ShardOf;
use classic::{Classics, Rules};
use replay_cache::Message;

/// How long a start waits for the journal to settle what an earlier run sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

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
            refusals: env.services.find_or_provide(&balancer, Refusals::default()),
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
            tally: Tally::new(env),
            numbers: Numbers::new(env),
            system: directory.system(),
            directory,
            pool: env.pool.clone(),
            sent: Vec::new(),
            opened: Vec::new(),
            checkpoint_octets: u64::try_from(config.integer("checkpoint_mib")).unwrap_or(1) << 20,
            checkpointed: Position::START,
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
    /// A classic message.
    Classic(Message),
}

struct Shard {
    own: ShardOf,
    env: Env,
    vault: Arc<Vault>,
    directory: Arc<Directory>,
    system: System,
    refusals: Arc<Refusals>,
    /// The journal's node.
    journal: String,
    associations: Associations,
    classics: Classics,
    in_flight: InFlight<Sent>,
    acknowledgements: Acknowledgements,
    tally: Tally,
    numbers: Numbers,
    pool: BatchPool,
    /// Records of the batch in hand.
    sent: Vec<Sent>,
    /// Verdicts of the batch in hand.
    opened: Vec<bool>,
    checkpoint_octets: u64,
    checkpointed: Position,
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
            // What is settled up to here is known after the next look at the edge.
            let settled = log.settled();
            self.settle(context, records)?;
            self.acknowledgements.send(context, &mut self.associations, self.system);
            if settled.since(self.checkpointed) >= self.checkpoint_octets {
                self.checkpoint(&log, settled)?;
            }
            match context.next(Duration::from_secs(1))? {
                Next::Batch { batch, .. } => self.take(context, records, batch)?,
                Next::Event(_) | Next::Idle => {}
                Next::Finished if self.in_flight.is_empty() => return self.checkpoint(&log, log.settled()),
                // The last reports are acknowledged when they are durable.
                Next::Finished => context.wait(Duration::from_millis(20))?,
            }
        }
    }
}

impl Shard {
    /// Loads the associations and what checkpoint and journal say of them.
    fn rebuild(&mut self, context: &mut Context, records: usize, log: &Log) -> Result<(), NodeError> {
        // What an earlier run of this shard sent is settled first, or the journal would tell half of it.
        let edge = context.outputs.get(records).and_then(|output| output.edges.first()).map(Arc::clone);
        let waiting = Instant::now();
        while edge.as_ref().is_some_and(|edge| edge.settled() < edge.pushed()) {
            if waiting.elapsed() > SETTLE_LIMIT {
                return Err(NodeError::new("the journal does not settle what was sent before"));
            }
            context.wait(Duration::from_millis(20))?;
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
        checkpoint::read(log, &mut associations, classics.cache_mut())
            .map_err(|error| NodeError::caused("rebuild windows from the journal", error))?;
        self.numbers.associations.set(i64::try_from(associations.len()).unwrap_or(i64::MAX));
        self.associations = associations;
        self.classics = classics;
        self.in_flight = InFlight::default();
        self.checkpoint(log, settled)
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
            (Sent::Classic(_), Settled::Committed) => {}
            (Sent::Classic(message), Settled::Failed) => cache.remove(&message),
        });
        if known { Ok(()) } else { Err(NodeError::Rebuild("the journal was started anew".into())) }
    }

    /// Opens a batch and sends what was accepted to the journal.
    fn take(&mut self, context: &mut Context, records: usize, mut batch: Batch) -> Result<(), NodeError> {
        let mut out = self.pool.take();
        self.open_reports(context, &mut batch, &mut out);
        if batch.frames.iter().any(|frame| matches!(Located::get(frame), Located::Classic { .. })) {
            self.open_classics(context, &batch, &mut out);
        }
        if let Some(number) = context.send(records, 0, out)? {
            self.in_flight.add(number, &mut self.sent);
        }
        self.sent.clear();
        context.hold(0);
        Ok(())
    }

    fn open_classics(&mut self, context: &mut Context, batch: &Batch, out: &mut Batch) {
        for frame in &batch.frames {
            let Located::Classic { sid } = Located::get(frame) else { continue };
            let apdu = batch.octets(frame).unwrap_or_default();
            match self.classics.accept(sid, apdu, out) {
                Ok(message) => self.sent.push(Sent::Classic(message)),
                Err(refused) => {
                    let pair = Pair { transport: frame.transport(), link: frame.link, sid };
                    self.refusals.count(pair, monotonic_ns());
                    let source = Source::Association(sid);
                    self.tally.refuse(&mut context.events, refused.reason, source, || refused.detail);
                }
            }
        }
    }

    /// Writes a checkpoint; everything of this shard before `position` must be settled here.
    fn checkpoint(&mut self, log: &Log, position: Position) -> Result<(), NodeError> {
        checkpoint::write(log, self.own, position, &self.associations, self.classics.cache())
            .map_err(|error| NodeError::caused("write a checkpoint", error))?;
        self.checkpointed = position;
        Ok(())
    }

    /// Seconds of the shard's own clock, from 1.
    fn second(&self) -> u32 {
        u32::try_from(self.since.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(1)
    }
}
