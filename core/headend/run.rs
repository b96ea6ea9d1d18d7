//! `metergraph run`: from a graph file to a running head-end, and its orderly end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use graph::Plan;
use miette::{IntoDiagnostic, WrapErr, miette};
use runtime::Options;
use tracing::{info, warn};

use crate::cli::{GraphArgs, RunArgs};
use crate::graph_file::GraphFile;
use crate::{kinds, logging};

/// Connections that a head-end should be able to hold.
const OPEN_FILES_WANTED: u64 = 11_000;
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Runs a graph until SIGTERM or SIGINT, then drains it.
///
/// # Errors
/// For people: what is wrong with the graph, or what could not be opened.
pub fn run(args: &RunArgs) -> miette::Result<()> {
    logging::start(args.log);
    let plan = compile(&args.graph)?;
    want_open_files();
    keep_keys_out_of_dumps();
    let mut signals =
        signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
            .into_diagnostic()?;
    let options =
        Options { state: args.state.clone(), plugin_dirs: plugin_dirs(&args.graph), ..Options::default() };
    options.services.provide("", Arc::new(kinds::bindings_of(&args.state)));
    let running = runtime::start(&plan, &kinds::registry(), options)
        .into_diagnostic()
        .wrap_err_with(|| format!("graph {} does not start", args.graph.graph.display()))?;
    info!(graph = plan.name, state = %args.state.display(), "running");
    let end = loop {
        if signals.pending().next().is_some() {
            running.begin_stop();
        }
        if let Some(end) = running.wait(LOOK) {
            break end;
        }
    };
    let status = running.status();
    if let Some(path) = &args.report {
        write_report(path, &status)?;
    }
    info!(forced = end.forced, "ended");
    if end.abandoned {
        return Err(miette!("a worker did not end; see the log"));
    }
    Ok(())
}

/// Raises the limit of open files, and says so in one clear line when it stays below what is wanted.
fn want_open_files() {
    match transport::raise_file_limit() {
        Ok(have) if have < OPEN_FILES_WANTED => warn!(
            have,
            wanted = OPEN_FILES_WANTED,
            "the system allows fewer open files than wanted: connections past that are refused (raise `ulimit -n`)"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "the limit of open files could not be raised"),
    }
}

/// Keys must not reach a core file, nor another process of this user (security layer §4).
fn keep_keys_out_of_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let set =
        setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = set {
        warn!(%error, "core dumps could not be switched off: a crash could leave keys on the disk");
    }
}

fn write_report(path: &Path, status: &runtime::Status) -> miette::Result<()> {
    let text = serde_json::to_string_pretty(status).into_diagnostic()?;
    std::fs::write(path, text).into_diagnostic().wrap_err_with(|| format!("write {}", path.display()))
}

/// Compiles a graph file; its faults go to stderr.
///
/// # Errors
/// When the file cannot be read, or holds an error.
pub fn compile(args: &GraphArgs) -> miette::Result<Plan> {
    let file = GraphFile::read(&args.graph)?;
    let compiled = file.compile(args);
    eprint!("{}", file.render(&compiled.diagnostics));
    let mut plan =
        compiled.plan.ok_or_else(|| miette!("{} has faults; nothing was started", args.graph.display()))?;
    let faults = file.resolve(&mut plan);
    eprint!("{}", file.render(&faults));
    if faults.iter().any(graph::Diagnostic::is_error) {
        return Err(miette!("{} has faults; nothing was started", args.graph.display()));
    }
    Ok(plan)
}

/// Where plugins are looked for: as told, else beside this program.
#[must_use]
pub fn plugin_dirs(args: &GraphArgs) -> Vec<PathBuf> {
    if !args.plugin_dirs.is_empty() {
        return args.plugin_dirs.clone();
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    beside.into_iter().flat_map(|folder| [folder.join("deps"), folder.clone()]).rev().collect()
}
