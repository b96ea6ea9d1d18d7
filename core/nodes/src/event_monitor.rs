//! `event-monitor`: every refused frame and every alarm becomes a named event in a JSON-lines log and
//! a number on the metrics page.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use node::{
    BuildError, Config, Context, Counter, Env, Event, FieldSpec, FieldType, InputSpec, KindSpec, Next,
    NodeError, NodeKind, NodeState, PortType, Reason, Source, Worker,
};
use serde::Serialize;

use crate::stall;

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
        let octets_max = u64::try_from(config.integer("file_mib")).unwrap_or(1) << 20;
        let log = EventLog::open(folder, octets_max, config.count("files_max"))
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
                    self.log.write(&event, &self.env.transports);
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

    /// A full disk must not stop the counting; what is lost to it is counted too.
    fn flush(&mut self, context: &Context) {
        match self.log.flush() {
            Ok(()) if context.status.state() == NodeState::Stalled => stall::end(context),
            Ok(()) => {}
            Err(Lost { events, error }) => {
                let help = "Events that could not be written to the log, repeats included.";
                self.env.counter("metergraph_events_lost_total", help, &[]).add(events);
                stall::begin(context, &format!("event log: {error}"));
            }
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
    octets: u64,
    octets_max: u64,
    files_max: usize,
    /// Lines to be written, and how many events they stand for.
    buffer: Vec<u8>,
    events: u64,
}

/// Events that could not be written.
#[derive(Debug)]
struct Lost {
    events: u64,
    error: io::Error,
}

impl EventLog {
    fn open(folder: PathBuf, octets_max: u64, files_max: usize) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let number = numbers(&folder)?.last().copied().unwrap_or(1);
        let file = open_file(&folder, number)?;
        let octets = file.metadata()?.len();
        // A crash may have left half a line: it must not spoil the next one.
        let mut last = [b'\n'];
        if octets > 0 {
            file.read_exact_at(&mut last, octets - 1)?;
        }
        let buffer = if last == [b'\n'] { Vec::new() } else { vec![b'\n'] };
        Ok(Self { folder, file, number, octets, octets_max, files_max, buffer, events: 0 })
    }

    fn write(&mut self, event: &Event, transports: &[String]) {
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
        // Texts and numbers into memory: there is nothing that could fail.
        if serde_json::to_writer(&mut self.buffer, &line).is_ok() {
            self.buffer.push(b'\n');
            self.events = self.events.saturating_add(event.count);
        }
    }

    fn flush(&mut self) -> Result<(), Lost> {
        let events = std::mem::take(&mut self.events);
        let written = self.roll().and_then(|()| self.file.write_all(&self.buffer));
        match &written {
            Ok(()) => self.octets = self.octets.saturating_add(self.buffer.len() as u64),
            // Half of it would spoil the next line. Where this fails too, it does.
            Err(_) => drop(self.file.set_len(self.octets)),
        }
        // What was not written is gone: events go on to come, and memory has a limit.
        self.buffer.clear();
        written.map_err(|error| Lost { events, error })
    }

    /// Begins the next file when this one is full; the oldest goes.
    fn roll(&mut self) -> io::Result<()> {
        if self.octets < self.octets_max || self.buffer.is_empty() {
            return Ok(());
        }
        let number = self.number.saturating_add(1);
        self.file = open_file(&self.folder, number)?;
        (self.number, self.octets) = (number, self.file.metadata()?.len());
        let all = numbers(&self.folder)?;
        for old in all.iter().take(all.len().saturating_sub(self.files_max)) {
            // Somebody else may have taken it away; the next roll tries again where it still stands.
            drop(std::fs::remove_file(path(&self.folder, *old)));
        }
        Ok(())
    }
}

fn path(folder: &std::path::Path, number: u64) -> PathBuf {
    folder.join(format!("events-{number:08}.jsonl"))
}

fn open_file(folder: &std::path::Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(path(folder, number))
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
        log.write(&event("SEC-UP-AUTH", Source::Association(0x0e52_0ad3), 3), &transports);
        log.write(&event("truncated", Source::Link { transport: 0, link: 9 }, 1), &transports);
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
            log.write(&event("x", Source::Node, 1), &[]);
            log.flush().unwrap();
        }
        assert_eq!(numbers(folder.path()).unwrap(), [4, 5]);
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(folder.path(), 3), "{}\n{\"first\":").unwrap();
        let mut log = EventLog::open(folder.path().into(), 1 << 20, 2).unwrap();
        log.write(&event("x", Source::Node, 1), &[]);
        log.flush().unwrap();
        let text = std::fs::read_to_string(path(folder.path(), 3)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[1]), (3, "{\"first\":"));
        assert!(serde_json::from_str::<serde_json::Value>(lines[2]).is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_takes_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::open(folder.path().join("events"), 1, 2).unwrap();
        log.write(&event("x", Source::Node, 1), &[]);
        log.flush().unwrap();
        // The next file cannot be made.
        std::fs::remove_dir_all(folder.path().join("events")).unwrap();
        for count in 1..4 {
            log.write(&event("x", Source::Node, count), &[]);
            assert_eq!(log.flush().unwrap_err().events, count);
            assert!(log.buffer.is_empty());
        }
        std::fs::create_dir(folder.path().join("events")).unwrap();
        log.write(&event("x", Source::Node, 1), &[]);
        log.flush().unwrap();
    }
}
