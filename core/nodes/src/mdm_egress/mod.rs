//! `mdm-egress`: follows the journal with a cursor of its own and writes files that a billing system loads.

mod files;
mod gaps;
mod rows;
mod utc;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::FileError;
use journal::{JournalError, Position, Reader};
use keystore::Directory;
use node::{
    BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, Gauge, InputSpec, KindSpec, Next,
    NodeError, NodeKind, NodeState, OutputSpec, PortType, Reason, Severity, Source, Worker,
};
use seal::ids::Dev;

use crate::journal::{FileLayer, Log};
use crate::key_store;
use crate::record::{self, Report};
use files::{Begun, Folder, Range};
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
            folder: env.state.join(config.text("path")),
            limits: Limits {
                age: Duration::from_secs(u64::try_from(config.integer("close_s")).unwrap_or(1)),
                meters: config.count("meters_max"),
                octets: config.count("file_mib") << 20,
            },
            journal: env.writers().into_iter().next().unwrap_or_default().to_owned(),
            faults: HashMap::new(),
            readings: env.counter("metergraph_readings_exported_total", "Rows in finished files.", &[]),
            exports: env.counter("metergraph_files_exported_total", "Finished files.", &[]),
            behind: env.gauge(
                "metergraph_export_behind_bytes",
                "Octets of the journal that are not exported.",
                &[],
            ),
            profiles: Profiles::default(),
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
    directory: Arc<Directory>,
    folder: PathBuf,
    limits: Limits,
    journal: String,
    profiles: Profiles,
    faults: HashMap<Reason, Counter>,
    readings: Counter,
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
    /// Where this file must end: it was begun before a restart.
    to: Option<Position>,
    sheet: Sheet,
    meters: HashSet<Dev>,
    begun: Option<Instant>,
}

impl Worker for MdmEgress {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let log: Arc<Log> = self
            .env
            .services
            .find(&self.journal)
            .ok_or_else(|| NodeError::new(format!("the journal `{}` is not open", self.journal)))?;
        let mut export = self.resume(context, &log)?;
        loop {
            let more = self.gather(context, &log, &mut export)?;
            self.behind.set(i64::try_from(log.durable().position().since(export.from)).unwrap_or(i64::MAX));
            if more && !context.orders.stopped() {
                continue;
            }
            if let Next::Finished = context.next(LOOK)? {
                // The journal has ended: nothing comes after what is durable now.
                while self.gather(context, &log, &mut export)? {}
                if export.begun.is_some() {
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
        let (mut gaps, stored) = Gaps::load(log, &self.gaps_name()).map_err(failed)?;
        let cursor = log.cursors().load(&self.env.node).map_err(failed)?;
        let mut from = cursor.map_or(Position::START, |cursor| cursor.position);
        let files = FileLayer::of(&self.env);
        let folder = Folder { files: &*files, path: &self.folder };
        let begun = folder.begun(from).map_err(|error| NodeError::caused("read the folder", error))?;
        let to = match begun {
            Begun::No => None,
            Begun::Unfinished(range) => Some(range.to),
            // Finished, but the cursor did not come to be stored.
            Begun::Done(range) => {
                from = range.to;
                None
            }
        };
        let mut reader = log.reader(stored);
        while reader.position() < from {
            let Some(found) = reader.next().map_err(failed)? else { break };
            let Some((report, body)) = report_of(found.kind, found.octets) else { continue };
            let (mut sheet, profiles) = (Sheet::default(), &mut self.profiles);
            rows::push(&mut sheet, &mut gaps, profiles, &self.directory, &report, body, |_| {});
        }
        log.cursors().store(&self.env.node, from, &[]).map_err(failed)?;
        gaps.store(log, &self.gaps_name(), from).map_err(failed)?;
        log.mark(&self.env.node);
        context.events.flush(false);
        Ok(Export {
            reader: log.reader(from),
            gaps,
            gaps_stored: from,
            from,
            to,
            sheet: Sheet::default(),
            meters: HashSet::new(),
            begun: None,
        })
    }

    fn gaps_name(&self) -> String {
        format!("gaps-{}", self.env.node)
    }

    /// Reads on, and closes the file when it is full or old. Answers whether there may be more to read.
    fn gather(&mut self, context: &mut Context, log: &Log, export: &mut Export) -> Result<bool, NodeError> {
        for _ in 0..RECORDS_A_TURN {
            if self.is_full(export) {
                self.close(context, log, export)?;
            }
            let found = export.reader.next().map_err(|error| NodeError::caused("read the journal", error))?;
            let Some(found) = found else {
                if export.to.is_none() && export.begun.is_some_and(|at| at.elapsed() >= self.limits.age) {
                    self.close(context, log, export)?;
                }
                return Ok(false);
            };
            export.begun.get_or_insert_with(Instant::now);
            let Some((report, body)) = report_of(found.kind, found.octets) else { continue };
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
        Ok(true)
    }

    fn is_full(&self, export: &Export) -> bool {
        match export.to {
            Some(to) => export.reader.position() >= to,
            None => {
                export.meters.len() >= self.limits.meters || export.sheet.rows.len() >= self.limits.octets
            }
        }
    }

    /// Writes the file up to where the reader stands and moves the cursor; waits while there is no room.
    fn close(&mut self, context: &mut Context, log: &Log, export: &mut Export) -> Result<(), NodeError> {
        let range = Range { from: export.from, to: export.reader.position() };
        while let Err(error) = self.write(log, range, export) {
            if context.status.state() != NodeState::Stalled {
                context.status.set(NodeState::Stalled, &error.to_string());
            }
            let detail = error.to_string();
            context.events.report(Reason("export-failed"), Severity::Alarm, Source::Node, || detail);
            context.wait(PAUSE)?;
        }
        if context.status.state() == NodeState::Stalled {
            context.status.set(NodeState::Running, "");
        }
        self.readings.add(export.sheet.readings);
        export.sheet.rows.clear();
        export.sheet.gaps.clear();
        export.sheet.readings = 0;
        export.meters.clear();
        (export.from, export.to, export.begun) = (range.to, None, None);
        if range.to.since(export.gaps_stored) >= GAPS_EVERY {
            let stored = export.gaps.store(log, &self.gaps_name(), range.to);
            stored.map_err(|error| NodeError::caused("store the state of gaps", error))?;
            export.gaps_stored = range.to;
        }
        Ok(())
    }

    fn write(&self, log: &Log, range: Range, export: &Export) -> Result<(), ExportError> {
        // A range without readings needs no files; the cursor passes it.
        if export.sheet.readings > 0 || !export.sheet.gaps.is_empty() {
            let files = FileLayer::of(&self.env);
            let folder = Folder { files: &*files, path: &self.folder };
            folder.write(range, &export.sheet, export.meters.len() as u64)?;
            self.exports.add(1);
        }
        log.cursors().store(&self.env.node, range.to, &[])?;
        Ok(())
    }
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
