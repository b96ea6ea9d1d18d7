//! `event-monitor`: every refused frame and every alarm becomes a named event in a JSON-lines log and
//! a number on the metrics page.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use node::{
    BuildError, Config, Context, Counter, Env, Event, FieldSpec, FieldType, InputSpec, KindSpec, Next,
    NodeError, NodeKind, NodeState, PortType, Reason, Source, Worker,
};
use serde::Serialize;

/// Events written between two flushes.
const WRITE_BATCH: usize = 256;

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventMonitorKind;

impl NodeKind for EventMonitorKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "event-monitor",
            about: "Writes every event to a JSON-lines log and counts it.",
            fields: vec![
                FieldSpec::or("path", FieldType::Path, "events", "Folder of the log files."),
                FieldSpec::integer("file_mib", (1, 4096), 64, "A log file is closed at this size, in MiB."),
                FieldSpec::integer("files_max", (2, 10_000), 16, "Log files kept; the oldest goes."),
            ],
            inputs: vec![InputSpec::some(PortType::Events)],
            outputs: vec![],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let folder = env.state.join(config.text("path"));
        let log = EventLog::open(folder, config.count("file_mib") << 20, config.count("files_max"))
            .map_err(|error| BuildError::caused(env, "open the event log", error))?;
        Ok(Box::new(Monitor { log, env: env.clone(), counters: HashMap::new() }))
    }
}

struct Monitor {
    log: EventLog,
    env: Env,
    counters: HashMap<Reason, Counter>,
}

impl Worker for Monitor {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let mut unflushed = 0;
        loop {
            match context.next(if unflushed > 0 { Duration::ZERO } else { Duration::from_secs(1) })? {
                Next::Event(event) => {
                    self.count(&event);
                    // A full disk must not stop the counting; the lines that are lost are counted too.
                    if let Err(error) = self.log.write(&event, &self.env.transports) {
                        self.lose(context, &event, &error);
                    }
                    unflushed += 1;
                    if unflushed >= WRITE_BATCH {
                        self.flush(context);
                        unflushed = 0;
                    }
                }
                Next::Idle => {
                    self.flush(context);
                    unflushed = 0;
                }
                Next::Batch { batch, .. } => context.count_dropped(batch.len() as u64),
                Next::Finished => {
                    self.flush(context);
                    return Ok(());
                }
            }
        }
    }
}

impl Monitor {
    fn count(&mut self, event: &Event) {
        let counter = self.counters.entry(event.reason).or_insert_with(|| {
            self.env.counter(
                "metergraph_events_total",
                "Events by reason, repeats included.",
                &[("reason", event.reason.0)],
            )
        });
        counter.add(event.count);
    }

    fn lose(&self, context: &Context, event: &Event, error: &io::Error) {
        self.env
            .counter("metergraph_events_lost_total", "Events that could not be written to the log.", &[])
            .add(event.count);
        context.status.set(NodeState::Stalled, &format!("event log: {error}"));
    }

    fn flush(&mut self, context: &Context) {
        match self.log.flush() {
            Ok(()) if context.status.state() == NodeState::Stalled => {
                context.status.set(NodeState::Running, "");
            }
            Ok(()) => {}
            Err(error) => context.status.set(NodeState::Stalled, &format!("event log: {error}")),
        }
    }
}

/// One line of the log.
#[derive(Serialize)]
struct Line<'a> {
    first: u64,
    last: u64,
    count: u64,
    reason: &'a str,
    severity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    detail: &'a str,
}

/// Numbered JSON-lines files in one folder, with a limit on size and number.
struct EventLog {
    folder: PathBuf,
    file: File,
    number: u64,
    octets: usize,
    octets_max: usize,
    files_max: usize,
    buffer: Vec<u8>,
}

impl EventLog {
    fn open(folder: PathBuf, octets_max: usize, files_max: usize) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let number = numbers(&folder)?.last().copied().unwrap_or(1);
        let file = open_file(&folder, number)?;
        let octets = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        Ok(Self { folder, file, number, octets, octets_max, files_max, buffer: Vec::new() })
    }

    fn write(&mut self, event: &Event, transports: &[String]) -> io::Result<()> {
        let (transport, link, sid) = match event.source {
            Source::Link { transport, link } => {
                (transports.get(usize::from(transport)).map(String::as_str), Some(link), None)
            }
            Source::Association(sid) => (None, None, Some(format!("{sid:08x}"))),
            Source::Node | Source::Other => (None, None, None),
        };
        let line = Line {
            first: event.first,
            last: event.last,
            count: event.count,
            reason: event.reason.0,
            severity: event.severity.word(),
            transport,
            link,
            sid,
            detail: &event.detail,
        };
        serde_json::to_writer(&mut self.buffer, &line)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.octets >= self.octets_max {
            let number = self.number.saturating_add(1);
            self.file = open_file(&self.folder, number)?;
            self.number = number;
            self.octets = 0;
            let all = numbers(&self.folder)?;
            for old in all.iter().take(all.len().saturating_sub(self.files_max)) {
                std::fs::remove_file(path(&self.folder, *old))?;
            }
        }
        let result = self.file.write_all(&self.buffer);
        self.octets = self.octets.saturating_add(self.buffer.len());
        // After a failed write the lines are gone: repeating them could tear the log in the middle.
        self.buffer.clear();
        result
    }
}

fn path(folder: &std::path::Path, number: u64) -> PathBuf {
    folder.join(format!("events-{number:08}.jsonl"))
}

fn open_file(folder: &std::path::Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path(folder, number))
}

fn numbers(folder: &std::path::Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("events-")?.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::Severity;

    fn event(reason: &'static str, source: Source, count: u64) -> Event {
        Event {
            reason: Reason(reason),
            severity: Severity::Warning,
            source,
            detail: "a \"quoted\" detail".into(),
            count,
            first: 1,
            last: 2,
        }
    }

    #[test]
    fn lines_are_json_and_name_their_source() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::open(folder.path().into(), 1 << 20, 4).unwrap();
        let transports = vec!["wan".to_owned()];
        log.write(&event("SEC-UP-AUTH", Source::Association(0x0e52_0ad3), 3), &transports).unwrap();
        log.write(&event("truncated", Source::Link { transport: 0, link: 9 }, 1), &transports).unwrap();
        log.flush().unwrap();
        let text = std::fs::read_to_string(path(folder.path(), 1)).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["sid"], "0e520ad3");
        assert_eq!(lines[0]["count"], 3);
        assert_eq!((&lines[1]["transport"], &lines[1]["link"]), (&"wan".into(), &9.into()));
    }

    #[test]
    fn files_are_limited_in_size_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::open(folder.path().into(), 1, 2).unwrap();
        for _ in 0..5 {
            log.write(&event("x", Source::Node, 1), &[]).unwrap();
            log.flush().unwrap();
        }
        assert_eq!(numbers(folder.path()).unwrap(), [4, 5]);
    }
}
