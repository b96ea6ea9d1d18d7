//! `journal`: makes records durable, many shards' batches with one write, and says how far.

mod log;

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{JournalError, Position, Settings, Writer};
use node::{
    Batch, BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, Gauge, InputSpec, KindSpec, Next,
    NodeError, NodeKind, NodeState, OutputSpec, PortType, Reason, Severity, Source, Worker,
};

pub use log::{FileLayer, Log};

use crate::record;

/// How long a full disk or journal is left alone before the next try.
const PAUSE: Duration = Duration::from_millis(200);
/// How often segments that everybody has passed are looked for.
const RELEASE_EVERY: Duration = Duration::from_secs(2);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalKind;

impl NodeKind for JournalKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "journal",
            about: "Keeps every accepted report durably until all readers have passed it.",
            fields: vec![
                FieldSpec::or("path", FieldType::Path, "journal", "Folder of the log."),
                FieldSpec::integer("segment_mib", (1, 65_536), 64, "Size of one segment file, in MiB."),
                FieldSpec::integer(
                    "size_max_mib",
                    (2, 1 << 30),
                    65_536,
                    "All segments together, in MiB; at this size reading from sockets pauses.",
                ),
            ],
            inputs: vec![InputSpec::some(PortType::Records)],
            outputs: vec![
                OutputSpec {
                    name: "log",
                    port_type: PortType::Log,
                    required: false,
                    max: 16,
                    about: "The durable log; each reader has a cursor of its own.",
                },
                OutputSpec {
                    name: "events",
                    port_type: PortType::Events,
                    required: false,
                    max: 8,
                    about: "A full or failing disk.",
                },
            ],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let folder = env.state.join(config.text("path"));
        let log = env.services.find_or_provide(&env.node, Log::new(FileLayer::of(env), folder));
        let mib = |key: &str| u64::try_from(config.integer(key)).unwrap_or(0) << 20;
        let settings = Settings {
            segment_octets: mib("segment_mib"),
            size_max: mib("size_max_mib"),
            ..Settings::default()
        };
        let writer = Writer::open(log.files(), log.folder(), settings, log.durable())
            .map_err(|error| BuildError::caused(env, "open the journal", error))?;
        log.set_settled(writer.end());
        Ok(Box::new(Journal {
            commit_octets: settings.batch_octets_max() / 2,
            writer: Some(writer),
            readers: env.readers("log").len(),
            log,
            group: Vec::new(),
            frames: 0,
            looked: Instant::now(),
            numbers: Numbers::new(env),
        }))
    }
}

/// What the node counts.
struct Numbers {
    journaled: Counter,
    failed: Counter,
    commits: Counter,
    octets: Gauge,
}

impl Numbers {
    fn new(env: &Env) -> Self {
        Self {
            journaled: env.counter(
                "metergraph_frames_journaled_total",
                "Frames whose report is durable.",
                &[],
            ),
            failed: env.counter(
                "metergraph_frames_dropped_total",
                "Frames given up, by the place where.",
                &[("where", "journal-write")],
            ),
            commits: env.counter("metergraph_journal_commits_total", "Durable writes.", &[]),
            octets: env.gauge("metergraph_journal_bytes", "Octets that the segments take.", &[]),
        }
    }
}

struct Journal {
    /// `None` only after it was closed.
    writer: Option<Writer>,
    log: Arc<Log>,
    /// Nodes that follow the log.
    readers: usize,
    /// Past so many octets no further batch joins a commit.
    commit_octets: usize,
    /// Input and number of each batch in the present commit.
    group: Vec<(usize, u64)>,
    /// Frames in the present commit.
    frames: u64,
    looked: Instant,
    numbers: Numbers,
}

impl Worker for Journal {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        loop {
            match context.next(Duration::from_secs(1))? {
                Next::Batch { input, number, batch } => {
                    self.gather(context, input, number, batch)?;
                    self.commit(context)?;
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished => {
                    if let Some(writer) = self.writer.take() {
                        writer.close().map_err(|error| NodeError::caused("close the journal", error))?;
                    }
                    return Ok(());
                }
            }
            self.release(context)?;
        }
    }
}

impl Journal {
    fn writer(&mut self) -> Result<&mut Writer, NodeError> {
        self.writer.as_mut().ok_or_else(|| NodeError::new("the journal is closed"))
    }

    /// Takes a batch and what else waits, up to the size of a commit.
    fn gather(
        &mut self,
        context: &mut Context,
        input: usize,
        number: u64,
        batch: Batch,
    ) -> Result<(), NodeError> {
        self.append(context, input, number, &batch)?;
        while self.writer()?.batch_octets() < self.commit_octets {
            match context.poll() {
                Some(Next::Batch { input, number, batch }) => self.append(context, input, number, &batch)?,
                // The end is seen again after the commit.
                Some(Next::Event(_) | Next::Idle | Next::Finished) | None => break,
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        context: &mut Context,
        input: usize,
        number: u64,
        batch: &Batch,
    ) -> Result<(), NodeError> {
        self.group.push((input, number));
        for frame in &batch.frames {
            let kind = record::kind_of(frame);
            if kind == record::REPORT {
                self.frames += 1;
            }
            let octets = batch.octets(frame).unwrap_or_default();
            if let Err(error) = self.writer()?.append(kind, octets) {
                return Err(self.give_up(context, "append to the journal", error));
            }
        }
        context.hold(self.frames);
        Ok(())
    }

    /// Makes the group durable; while there is no room it waits, and with it everything before it.
    fn commit(&mut self, context: &mut Context) -> Result<(), NodeError> {
        loop {
            match self.writer()?.commit() {
                Ok(position) => {
                    self.settle(context, position);
                    return Ok(());
                }
                Err(error @ (JournalError::Full { .. } | JournalError::DiskFull(_))) => {
                    if context.orders.stopped() {
                        return Err(self.give_up(context, "no room for the last reports", error));
                    }
                    self.stall(context, &error);
                    std::thread::sleep(PAUSE);
                    self.looked = Instant::now().checked_sub(RELEASE_EVERY).unwrap_or(self.looked);
                    self.release(context)?;
                }
                Err(error) => return Err(self.give_up(context, "write the journal", error)),
            }
        }
    }

    fn settle(&mut self, context: &mut Context, position: Position) {
        for (input, number) in self.group.drain(..) {
            if let Some(edge) = context.inputs.get(input) {
                edge.settle(number);
            }
        }
        self.log.set_settled(position);
        self.numbers.journaled.add(self.frames);
        self.numbers.commits.add(1);
        self.frames = 0;
        context.hold(0);
        if context.status.state() == NodeState::Stalled {
            context.status.set(NodeState::Running, "");
        }
    }

    fn stall(&self, context: &mut Context, error: &JournalError) {
        if context.status.state() != NodeState::Stalled {
            context.status.set(NodeState::Stalled, &error.to_string());
        }
        let reason = match error {
            JournalError::Full { .. } => Reason("journal-full"),
            _ => Reason("disk-full"),
        };
        context.events.report(reason, Severity::Alarm, Source::Node, || error.to_string());
        context.events.flush(false);
    }

    /// Fails the group: the shards take their windows back and the devices repeat their reports.
    fn give_up(&mut self, context: &mut Context, what: &str, error: JournalError) -> NodeError {
        let detail = error.to_string();
        context.events.report(Reason("journal-write"), Severity::Alarm, Source::Node, || detail);
        if let Some(writer) = self.writer.as_mut() {
            // When this fails too, the batch may turn up whole after a cut: then its reports were durable
            // all the same, and their repeats are duplicates.
            let _ = writer.discard();
        }
        for (input, number) in self.group.drain(..) {
            if let Some(edge) = context.inputs.get(input) {
                edge.fail(number);
                edge.settle(number);
            }
        }
        self.numbers.failed.add(self.frames);
        self.frames = 0;
        context.hold(0);
        NodeError::caused(what, error)
    }

    /// Gives up the segments that every reader and every shard has passed.
    fn release(&mut self, context: &Context) -> Result<(), NodeError> {
        if self.looked.elapsed() < RELEASE_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        // A mark holds nothing back before it is there.
        if self.log.marks() >= self.readers + context.inputs.len()
            && let Some(floor) =
                self.log.floor().map_err(|error| NodeError::caused("read the marks", error))?
        {
            let released = self.writer()?.release(floor);
            released.map_err(|error| NodeError::caused("release segments", error))?;
        }
        let octets = self.writer()?.octets();
        self.numbers.octets.set(i64::try_from(octets).unwrap_or(i64::MAX));
        Ok(())
    }
}
