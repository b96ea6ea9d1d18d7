//! `journal`: makes records durable, many shards' batches with one write, and says how far.

mod log;

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{JournalError, Position, Settings, Writer};
use node::{
    Batch, BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, Gauge, InputSpec, KindSpec, Next,
    NodeError, NodeKind, OutputSpec, PortType, Reason, Severity, Source, Worker,
};

pub use log::{FileLayer, Log};

use crate::clock::unix_s;
use crate::{record, stall};

/// How long a full disk or journal is left alone before the next try.
const PAUSE: Duration = Duration::from_millis(200);
/// How often segments that everybody has passed are looked for.
const RELEASE_EVERY: Duration = Duration::from_secs(2);
/// Kinds of records that hold a key, sealed: the files that they stood in are overwritten.
const KEYED: &[u8] = &[record::ASSOCIATION, record::GROUP_KEY];

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
                FieldSpec::integer(
                    "age_max_s",
                    (1, 86_400),
                    86_400,
                    "Seconds after which a segment is ended and all who hold segments back are asked to move on.",
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
            .and_then(|writer| writer.wiping(KEYED))
            .map_err(|error| BuildError::caused(env, "open the journal", error))?;
        log.set_settled(writer.end());
        // Nobody knows for how long it has been there.
        log.set_aged(writer.end());
        log.set_ended(false);
        Ok(Box::new(Journal {
            commit_octets: settings.batch_octets_max() / 2,
            writer: Some(writer),
            readers: env.readers("log").len(),
            log,
            group: Vec::new(),
            frames: 0,
            split: false,
            looked: Instant::now(),
            age_max: Duration::from_secs(u64::try_from(config.integer("age_max_s")).unwrap_or(1)),
            asked: Instant::now(),
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
    /// By input: the last batch in the present commit; 0 for none.
    group: Vec<u64>,
    /// Frames in the present commit.
    frames: u64,
    /// A part of the last batch went with a commit of its own.
    split: bool,
    looked: Instant,
    /// How long segments and marks may stay as they are, and when that was looked at last.
    age_max: Duration,
    asked: Instant,
    numbers: Numbers,
}

impl Worker for Journal {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        loop {
            match context.next(Duration::from_secs(1))? {
                Next::Batch { input, number, batch } => {
                    self.gather(context, input, number, batch)?;
                    let position = self.write(context)?;
                    self.settle(context, position);
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished => return self.close(context),
            }
            self.age(context)?;
            self.release(context)?;
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.log.set_wants_room(false);
        self.log.set_ended(true);
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
        self.group.resize(context.inputs.len(), 0);
        if let Some(last) = self.group.get_mut(input) {
            *last = number;
        }
        for frame in &batch.frames {
            let kind = record::kind_of(frame);
            let octets = batch.octets(frame).unwrap_or_default();
            let mut appended = self.writer()?.append(kind, octets);
            if let Err(JournalError::BatchFull { .. }) = appended {
                self.write(context)?;
                self.split = true;
                appended = self.writer()?.append(kind, octets);
            }
            if let Err(error) = appended {
                return Err(self.give_up(context, "append to the journal", error));
            }
            if kind == record::REPORT {
                self.frames += 1;
            }
        }
        context.hold(self.frames);
        Ok(())
    }

    /// Makes what was appended durable and counts it; while there is no room it waits, and with it
    /// everything before it.
    fn write(&mut self, context: &mut Context) -> Result<Position, NodeError> {
        loop {
            match self.writer()?.commit() {
                Ok(position) => {
                    self.numbers.journaled.add(self.frames);
                    self.numbers.commits.add(1);
                    context.let_go(self.frames);
                    self.frames = 0;
                    if self.log.wants_room() {
                        self.log.set_wants_room(false);
                        stall::end(context);
                    }
                    return Ok(position);
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

    /// Tells the shards that their batches are durable.
    fn settle(&mut self, context: &mut Context, position: Position) {
        // Each shard is woken once, for all its batches.
        for (edge, last) in context.inputs.iter().zip(self.group.drain(..)).filter(|(_, last)| *last > 0) {
            edge.settle(last);
        }
        self.split = false;
        self.log.set_settled(position);
        context.hold(0);
    }

    fn stall(&self, context: &mut Context, error: &JournalError) {
        self.log.set_wants_room(true);
        stall::begin(context, &error.to_string());
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
        let discarded = self.writer.as_mut().is_some_and(|writer| writer.discard().is_ok());
        // Else some of the group is durable, or may turn out to be when the log is opened again: it stays
        // unsettled, so its shards are told that nothing is known of it and rebuild their windows then.
        if discarded && !self.split {
            for (edge, last) in context.inputs.iter().zip(self.group.drain(..)).filter(|(_, last)| *last > 0)
            {
                (edge.settled() + 1..=last).for_each(|number| edge.fail(number));
                edge.settle(last);
            }
            self.numbers.failed.add(self.frames);
            self.frames = 0;
            context.hold(0);
        }
        NodeError::caused(what, error)
    }

    /// Ends the log. All in it is durable already: a disk without room for its last mark does no harm.
    fn close(&mut self, context: &mut Context) -> Result<(), NodeError> {
        match self.writer.take().map_or(Ok(()), Writer::close) {
            Err(error @ (JournalError::Full { .. } | JournalError::DiskFull(_))) => {
                self.stall(context, &error);
                Ok(())
            }
            closed => closed.map_err(|error| NodeError::caused("close the journal", error)),
        }
    }

    /// Ends a segment that is old enough, and asks whoever holds segments back to move on once a day: a
    /// head-end to which little comes would else keep for weeks what was erased (security layer §4). All that
    /// was written is settled here.
    fn age(&mut self, context: &mut Context) -> Result<(), NodeError> {
        if self.looked.elapsed() < RELEASE_EVERY {
            return Ok(());
        }
        let (age_max, late) = (self.age_max, self.asked.elapsed() >= self.age_max);
        let ended = match self.writer()?.end_segment_of(age_max.as_secs(), unix_s()) {
            // The next record meets the same, and waits for room.
            Err(JournalError::Full { .. } | JournalError::DiskFull(_)) => false,
            Err(error) => return Err(self.give_up(context, "end a segment", error)),
            Ok(ended) => ended,
        };
        if ended || late {
            self.asked = Instant::now();
            let end = self.writer()?.end();
            self.log.set_settled(end);
            self.log.set_aged(end);
        }
        Ok(())
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
