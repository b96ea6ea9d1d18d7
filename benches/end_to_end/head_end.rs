//! `metergraph run` as a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use runtime::{Answer, Request, Status, ask};

use crate::process::{Background, command};
use crate::support::Failure;

const READY_LIMIT: Duration = Duration::from_secs(60);
/// The graph's own drain limit is below.
const END_LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

/// A running head-end.
pub struct HeadEnd {
    process: Background,
    state: PathBuf,
    report: PathBuf,
    log: PathBuf,
    /// What it had taken when it was ready.
    cpu_s: f64,
    threads_s: BTreeMap<String, f64>,
}

/// CPU seconds since a head-end was ready.
pub struct Spent {
    pub cpu_s: f64,
    pub threads_s: BTreeMap<String, f64>,
}

impl HeadEnd {
    /// Starts it on a state folder, and waits until it is ready.
    pub fn start(graph: &Path, state: &Path, folder: &Path) -> Result<Self, Failure> {
        let (report, log) = (folder.join("head-end.json"), folder.join("head-end.log"));
        let plugins = plugins()?;
        let mut command = command(&[
            "run".as_ref(),
            graph.as_os_str(),
            "--plugin-dir".as_ref(),
            plugins.as_os_str(),
            "--state".as_ref(),
            state.as_os_str(),
            "--log".as_ref(),
            "json".as_ref(),
            "--report".as_ref(),
            report.as_os_str(),
        ]);
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let process = Background::start(command)?;
        let state = state.to_owned();
        let mut started = Self { process, state, report, log, cpu_s: 0.0, threads_s: BTreeMap::new() };
        let since = Instant::now();
        while !started.status().is_ok_and(|status| status.ready) {
            if since.elapsed() > READY_LIMIT || started.process.has_ended()? {
                return Err(started.fault("is not ready"));
            }
            thread::sleep(LOOK);
        }
        (started.cpu_s, started.threads_s) = (started.process.cpu_s()?, started.process.threads_s()?);
        Ok(started)
    }

    /// How it is.
    pub fn status(&self) -> Result<Status, Failure> {
        match ask(&self.state, &Request::Status)? {
            Answer::Status(status) => Ok(status),
            Answer::Error(error) => Err(error.into()),
        }
    }

    /// What it has taken since it was ready.
    pub fn spent(&self) -> Result<Spent, Failure> {
        let mut threads_s = self.process.threads_s()?;
        for (name, spent) in &mut threads_s {
            *spent -= self.threads_s.get(name).copied().unwrap_or_default();
        }
        Ok(Spent { cpu_s: self.process.cpu_s()? - self.cpu_s, threads_s })
    }

    /// Lets it drain and end; answers its last status.
    pub fn stop(mut self) -> Result<Status, Failure> {
        self.process.terminate()?;
        self.process.wait(END_LIMIT)?;
        if !self.process.status()?.success() {
            return Err(self.fault("did not end well"));
        }
        Ok(serde_json::from_str(&fs::read_to_string(&self.report)?)?)
    }

    fn fault(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("the head-end {what}:\n{log}").into()
    }
}

/// The folder of the plugin that was built with this bench.
fn plugins() -> Result<PathBuf, Failure> {
    let program = Path::new(env!("CARGO_BIN_EXE_metergraph"));
    Ok(program.parent().ok_or("the program is nowhere")?.join("deps"))
}
