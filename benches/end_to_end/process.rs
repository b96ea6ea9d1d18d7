//! Runs of the program itself, and the CPU time that they take.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::support::Failure;

const LOOK: Duration = Duration::from_millis(20);

/// The program with these arguments.
pub fn command(arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metergraph"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end and answers what it wrote.
///
/// # Errors
/// What it says, when it does not end with 0.
pub fn output(arguments: &[&OsStr]) -> Result<String, Failure> {
    let output = command(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("metergraph {arguments:?} ended with {}: {said}", output.status).into())
}

/// A run in the background, killed when it is dropped.
pub struct Background {
    child: Child,
    id: Pid,
}

impl Background {
    /// Begins it.
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut command: Command) -> Result<Self, Failure> {
        let child = command.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        Ok(Self { child, id })
    }

    /// CPU seconds that it has taken so far, also after its end, until it is waited for.
    ///
    /// # Errors
    /// The system's.
    pub fn cpu_s(&self) -> Result<f64, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        // The name in parentheses may hold anything.
        let (_, fields) = text.rsplit_once(')').ok_or("a strange stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// CPU seconds of its threads, those of one name together.
    ///
    /// # Errors
    /// The system's.
    pub fn threads_s(&self) -> Result<BTreeMap<String, f64>, Failure> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.id))? {
            // A thread may end between two lines.
            let Some((name, spent)) = thread_s(&entry?.path()) else { continue };
            *threads.entry(name).or_default() += spent;
        }
        Ok(threads)
    }

    /// Whether it has ended; it still can be asked for its CPU time.
    ///
    /// # Errors
    /// The system's.
    pub fn has_ended(&self) -> Result<bool, Failure> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.id), options)?.is_some())
    }

    /// Waits for its end, for so long.
    ///
    /// # Errors
    /// When it takes longer.
    pub fn wait(&self, limit: Duration) -> Result<(), Failure> {
        let since = Instant::now();
        while !self.has_ended()? {
            if since.elapsed() > limit {
                return Err(format!("a run did not end within {limit:?}").into());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Tells it to end.
    ///
    /// # Errors
    /// The system's.
    pub fn terminate(&self) -> Result<(), Failure> {
        Ok(kill_process(self.id, Signal::TERM)?)
    }

    /// How it ended.
    ///
    /// # Errors
    /// The system's.
    pub fn status(&mut self) -> Result<ExitStatus, Failure> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may have ended since; then there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn thread_s(task: &Path) -> Option<(String, f64)> {
    let name = fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
    let spent = fs::read_to_string(task.join("schedstat")).ok()?;
    Some((name, spent.split(' ').next()?.parse::<f64>().ok()? / 1e9))
}
