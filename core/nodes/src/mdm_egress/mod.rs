//! `mdm-egress`: follows the journal with a cursor of its own and writes files that a billing system loads.

mod files;
mod gaps;
mod rows;
mod utc;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::{FileError, Files};
use journal::{JournalError, Position, Reader};
use keystore::{Directory, Slots};
use node::{
    BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, Gauge, InputSpec, KindSpec, Next,
    NodeError, NodeKind, OutputSpec, PortType, Reason, Severity, Source, Worker,
};
use seal::ids::Dev;

use crate::journal::{FileLayer, Log};
use crate::record::{self, Report};
use crate::{key_store, stall};
use files::{Folder, Range};
use gaps::Gaps;
use rows::{Profiles, Sheet};

/// How often the journal's end is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a folder that takes nothing is left alone.
const PAUSE: Duration = Duration::from_millis(500);
/// Records read between two looks at the orders.
const RECORDS_A_TURN: usize = 10_000;
/// The state of gaps is stored after so much of the journal.
const GAPS_EVERY: u64 = 64 << 20;

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct MdmEgressKind;

impl NodeKind for MdmEgressKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "mdm-egress",
            about: "Writes readings as CSV files with gap reports and manifests.",
            fields: vec![
                key_store::field(),
                FieldSpec::or("path", FieldType::Path, "mdm", "Folder of the files."),
                FieldSpec::integer("close_s", (1, 86_400), 60, "A file is closed after so many seconds."),
                FieldSpec::integer(
                    "meters_max",
                    (1, 100_000_000),
                    1000,
                    "A file is closed when it holds so many meters.",
                ),
                FieldSpec::integer(
                    "file_mib",
                    (1, 1024),
                    64,
                    "A file is closed when its rows reach this size, in MiB.",
                ),
            ],
            inputs: vec![InputSpec::one(PortType::Log)],
            outputs: vec![OutputSpec {
                name: "events",
                port_type: PortType::Events,
                required: false,
                max: 8,
                about: "Reports that cannot be read.",
            }],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        Ok(Box::new(MdmEgress {
            directory: key_store::lent(config, env)?,
            slots: key_store::lent(config, env)?,
            folder: env.state.join(config.text("path")),
            limits: Limits {
                age: Duration::from_secs(u64::try_from(config.integer("close_s")).unwrap_or(1)),
                meters: config.count("meters_max"),
                octets: config.count("file_mib") << 20,
            },
            journal: env.writers().into_iter().next().unwrap_or_default().to_owned(),
            faults: HashMap::new(),
            readings: env.counter("metergraph_readings_exported_total", "Rows in finished files.", &[]),
            repeated: env.counter(
                "metergraph_readings_repeated_total",
                "Readings left out of files: their period was exported before.",
                &[],
            ),
            exports: env.counter("metergraph_files_exported_total", "Finished files.", &[]),
            behind: env.gauge(
                "metergraph_export_behind_bytes",
                "Octets of the journal that are not exported.",
                &[],
            ),
            profiles: Profiles::default(),
            files: FileLayer::of(env),
            env: env.clone(),
        }))
    }
}

/// When a file is closed.
struct Limits {
    age: Duration,
    meters: usize,
    octets: usize,
}

struct MdmEgress {
    env: Env,
    files: Arc<dyn Files>,
    directory: Arc<Directory>,
    slots: Arc<Slots>,
    folder: PathBuf,
    limits: Limits,
    journal: String,
    profiles: Profiles,
    faults: HashMap<Reason, Counter>,
    readings: Counter,
    repeated: Counter,
    exports: Counter,
    behind: Gauge,
}

/// The export that is being gathered.
struct Export {
    reader: Reader,
    gaps: Gaps,
    /// Where the state of gaps was stored last.
    gaps_stored: Position,
    from: Position,
    /// Behind the last record that was read.
    end: Position,
    /// Where this file must end: it was begun before a restart.
    to: Option<Position>,
    sheet: Sheet,
    meters: HashSet<Dev>,
    /// When its first record was read.
    begun: Option<Instant>,
}

impl Worker for MdmEgress {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let log: Arc<Log> = self
            .env
            .services
            .find(&self.journal)
            .ok_or_else(|| NodeError::new(format!("the journal `{}` is not open", self.journal)))?;
        // A report under an association that only the journal tells of yet would be passed over as nobody's.
        while !self.slots.is_open() {
            context.wait(LOOK)?;
        }
        let mut export = self.resume(context, &log)?;
        loop {
            let more = self.gather(context, &log, &mut export)?;
            self.behind.set(i64::try_from(log.durable().position().since(export.from)).unwrap_or(i64::MAX));
            if let Next::Finished = context.next(if more { Duration::ZERO } else { LOOK })? {
                // The journal has ended: nothing comes after what is durable now.
                while self.gather(context, &log, &mut export)? {}
                if export.end > export.from {
                    self.close(context, &log, &mut export)?;
                }
                return Ok(());
            }
        }
    }
}

impl MdmEgress {
    /// Goes on where the cursor stands.
    fn resume(&mut self, context: &mut Context, log: &Log) -> Result<Export, NodeError> {
        let failed = |error: JournalError| NodeError::caused("resume the export", error);
        insist(context, || self.folder().tidy())?;
        let (from, to) = match log.cursors().load(&self.env.node).map_err(failed)? {
            Some(cursor) => (cursor.position, announced(&cursor.payload)),
            None => {
                let first = log.first().map_err(failed)?;
                insist(context, || self.store(log, first, None))?;
                (first, None)
            }
        };
        let (mut gaps, gaps_stored) = match Gaps::load(log, &self.gaps_name()).map_err(failed)? {
            Some(stored) => stored,
            None => {
                let gaps = Gaps::default();
                insist(context, || gaps.store(log, &self.gaps_name(), from))?;
                (gaps, from)
            }
        };
        log.mark(&self.env.node);
        let mut reader = log.reader(gaps_stored);
        while reader.position() < from {
            let Some(found) = reader.next().map_err(failed)? else { break };
            let Some((report, body)) = report_of(found.kind, found.octets) else { continue };
            let (mut sheet, profiles) = (Sheet::default(), &mut self.profiles);
            rows::push(&mut sheet, &mut gaps, profiles, &self.directory, &report, body, |_| {});
        }
        Ok(Export {
            reader: log.reader(from),
            gaps,
            gaps_stored,
            from,
            end: from,
            to,
            sheet: Sheet::default(),
            meters: HashSet::new(),
            begun: None,
        })
    }

    fn gaps_name(&self) -> String {
        format!("gaps-{}", self.env.node)
    }

    fn folder(&self) -> Folder<'_> {
        Folder { files: &*self.files, path: &self.folder }
    }

    /// Stores the cursor, with the end of the file that is about to be written from there.
    fn store(&self, log: &Log, from: Position, to: Option<Position>) -> Result<(), JournalError> {
        let payload = to.map(|to| to.0.to_be_bytes());
        log.cursors().store(&self.env.node, from, payload.as_ref().map_or(&[], |payload| payload))
    }

    /// Reads on, and closes the file when it is full or old. Answers whether there may be more to read.
    fn gather(&mut self, context: &mut Context, log: &Log, export: &mut Export) -> Result<bool, NodeError> {
        let old = export.begun.is_some_and(|at| at.elapsed() >= self.limits.age);
        // A journal without room may wait for this cursor.
        if export.to.is_none() && export.end > export.from && (old || log.wants_room()) {
            self.close(context, log, export)?;
        }
        self.keep_gaps(context, log, export)?;
        for _ in 0..RECORDS_A_TURN {
            if self.is_full(export) {
                self.close(context, log, export)?;
            }
            let found = export.reader.next().map_err(|error| NodeError::caused("read the journal", error))?;
            let Some(found) = found else { return Ok(false) };
            export.begun.get_or_insert_with(Instant::now);
            if let Some((report, body)) = report_of(found.kind, found.octets) {
                let (faults, env) = (&mut self.faults, &self.env);
                let before = export.sheet.readings;
                rows::push(
                    &mut export.sheet,
                    &mut export.gaps,
                    &mut self.profiles,
                    &self.directory,
                    &report,
                    body,
                    |(reason, detail)| {
                        let counter = faults.entry(reason).or_insert_with(|| {
                            env.counter(
                                "metergraph_reports_unreadable_total",
                                "Parts of reports that give no readings, by reason.",
                                &[("reason", reason.0)],
                            )
                        });
                        counter.add(1);
                        let source = Source::Association(report.sid.0);
                        context.events.report(reason, Severity::Warning, source, || detail);
                    },
                );
                if export.sheet.readings > before {
                    export.meters.insert(report.dev);
                }
            }
            // Later it may stand behind the end of a segment, where the file would not end again.
            export.end = export.reader.position();
        }
        Ok(true)
    }

    fn is_full(&self, export: &Export) -> bool {
        match export.to {
            Some(to) => export.end >= to,
            None => {
                export.meters.len() >= self.limits.meters || export.sheet.rows.len() >= self.limits.octets
            }
        }
    }

    /// Writes the file up to the last record and moves the cursor; waits while there is no room.
    fn close(&mut self, context: &mut Context, log: &Log, export: &mut Export) -> Result<(), NodeError> {
        let range = Range { from: export.from, to: export.end };
        insist(context, || self.write(log, range, export))?;
        self.exports.add(u64::from(!export.sheet.is_empty()));
        self.readings.add(export.sheet.readings);
        self.repeated.add(export.sheet.repeated);
        export.sheet.clear();
        export.meters.clear();
        (export.from, export.to, export.begun) = (range.to, None, None);
        self.keep_gaps(context, log, export)
    }

    /// Stores the state of gaps now and then, where a file ends; a start reads the journal from there on.
    fn keep_gaps(&self, context: &mut Context, log: &Log, export: &mut Export) -> Result<(), NodeError> {
        let behind = export.from.since(export.gaps_stored);
        let wanted = behind >= GAPS_EVERY || (behind > 0 && log.wants_mark(export.gaps_stored));
        if wanted && export.end == export.from {
            insist(context, || export.gaps.store(log, &self.gaps_name(), export.from))?;
            export.gaps_stored = export.from;
        }
        Ok(())
    }

    fn write(&self, log: &Log, range: Range, export: &Export) -> Result<(), ExportError> {
        // A range without readings needs no files; the cursor passes it.
        if !export.sheet.is_empty() {
            // What the file is called is durable before it can be seen: whoever takes it away in the moment
            // before a crash finds it again under the same name.
            self.store(log, range.from, Some(range.to))?;
            self.folder().write(range, &export.sheet, export.meters.len() as u64)?;
        }
        Ok(self.store(log, range.to, None)?)
    }
}

/// Does what needs a disk that works, again and again until it has succeeded.
fn insist<E: Display>(
    context: &mut Context,
    mut act: impl FnMut() -> Result<(), E>,
) -> Result<(), NodeError> {
    let mut stalled = false;
    while let Err(error) = act() {
        stalled = true;
        stall::begin(context, &error.to_string());
        let detail = || error.to_string();
        context.events.report(Reason("export-failed"), Severity::Alarm, Source::Node, detail);
        context.wait(PAUSE)?;
    }
    if stalled {
        stall::end(context);
    }
    Ok(())
}

/// Where a file that was announced in the cursor must end.
fn announced(payload: &[u8]) -> Option<Position> {
    payload.try_into().ok().map(|octets| Position(u64::from_be_bytes(octets)))
}

/// Why an export could not be finished yet.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cursor(#[from] JournalError),
}

fn report_of(kind: u8, octets: &[u8]) -> Option<(Report, &[u8])> {
    if kind == record::REPORT { Report::read(octets) } else { None }
}
