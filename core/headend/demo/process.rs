//! Other runs of this very program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, WrapErr, miette};
use runtime::control::{Answer, Request, ask};

/// How long a head-end may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a head-end may take to end, beyond its own drain limit.
const END_LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the HTTP side may take to answer.
const HTTP_LIMIT: Duration = Duration::from_secs(5);

fn command(arguments: &[&OsStr]) -> miette::Result<Command> {
    let mut command = Command::new(std::env::current_exe().into_diagnostic()?);
    command.args(arguments).stdin(Stdio::null());
    let shown: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    eprintln!("$ metergraph {}", shown.join(" "));
    Ok(command)
}

fn name(arguments: &[&OsStr]) -> String {
    arguments.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Runs this program to its end.
///
/// # Errors
/// When it does not start, or does not end with 0.
pub fn run_self(arguments: &[&OsStr]) -> miette::Result<()> {
    run(command(arguments)?, &name(arguments))
}

/// As [`run_self`], with its standard output in a file.
///
/// # Errors
/// As [`run_self`], and when the file cannot be made.
pub fn run_self_to(arguments: &[&OsStr], output: &Path) -> miette::Result<()> {
    let file = File::create(output).into_diagnostic()?;
    let mut command = command(arguments)?;
    command.stdout(file);
    run(command, &name(arguments))
}

fn run(mut command: Command, name: &str) -> miette::Result<()> {
    let status = command.status().into_diagnostic()?;
    if status.success() { Ok(()) } else { Err(miette!("metergraph {name} ended with {status}")) }
}

/// A head-end that runs beside us; killed when dropped.
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts it with its log in a file.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(arguments: &[&OsStr], log: &Path) -> miette::Result<Self> {
        let file = File::create(log).into_diagnostic()?;
        let child = command(arguments)?.stdout(Stdio::null()).stderr(file).spawn().into_diagnostic()?;
        Ok(Self { child, log: log.to_owned() })
    }

    fn ended(&self, what: impl std::fmt::Display) -> miette::Report {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        miette!(
            help = tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
            "the head-end {what}; its log is {}",
            self.log.display()
        )
    }

    /// Waits until every node runs.
    ///
    /// # Errors
    /// When it ends instead, or takes too long.
    pub fn wait_until_ready(&self, state: &Path) -> miette::Result<()> {
        let since = Instant::now();
        while since.elapsed() < READY_LIMIT {
            if let Ok(Answer::Status(status)) = ask(state, &Request::Status)
                && status.ready
            {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(self.ended("was not ready in time"))
    }

    /// Tells it to end (SIGTERM), and waits until it has drained.
    ///
    /// # Errors
    /// When it takes too long, or ends with another code than 0.
    pub fn stop(mut self) -> miette::Result<()> {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().into_diagnostic().wrap_err("kill")?;
        if !told.success() {
            return Err(self.ended("could not be told to end"));
        }
        let since = Instant::now();
        while since.elapsed() < END_LIMIT {
            if let Some(status) = self.child.try_wait().into_diagnostic()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(self.ended(format!("ended with {status}")))
                };
            }
            std::thread::sleep(LOOK);
        }
        Err(self.ended("did not end in time"))
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

/// The body of an HTTP answer.
///
/// # Errors
/// The operating system's, or that the answer was not 200.
pub fn get(address: &str, path: &str) -> io::Result<String> {
    let mut peer = TcpStream::connect(address)?;
    peer.set_read_timeout(Some(HTTP_LIMIT))?;
    write!(peer, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(text.lines().next().unwrap_or("no answer").to_owned())),
    }
}
