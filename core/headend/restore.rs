//! `metergraph backup` and `metergraph restore`: the state of a head-end that does not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use journal::files::{Files, OsFiles};
use journal::{Settings, Writer};
use keystore::token::Config;
use keystore::{FOLDER, Store};
use miette::{IntoDiagnostic, WrapErr, miette};
use nodes::journal::Log;
use nodes::key_store::{Restore, RestoreError, Restored, incarnation_mark, set_incarnation_mark};

use crate::cli::RestoreArgs;

/// Files that say that somebody works in a folder.
const LOCKS: [&str; 2] = ["lock", "control.lock"];

/// The journal's sizes: a few records must find room whatever the graph says of them.
fn settings() -> Settings {
    Settings { size_max: u64::MAX, spares_max: usize::MAX, ..Settings::default() }
}

/// Copies a state folder.
///
/// # Errors
/// For people: a head-end that runs, files that cannot be read or written, a token that does not answer.
pub fn backup(state: &Path, journal: &Path, to: &Path) -> miette::Result<ExitCode> {
    if to.symlink_metadata().is_ok() {
        return Err(miette!("{} is there already", to.display()));
    }
    let keys = state.join(FOLDER);
    let folder = state.join(journal);
    let (store, files) = (Store::open(&keys).into_diagnostic()?, OsFiles);
    let log = Log::new(Arc::new(OsFiles), folder.clone());
    let writer = Writer::open(log.files(), log.folder(), settings(), log.durable()).into_diagnostic()?;
    let incarnation = store.token().incarnation().into_diagnostic()?;
    let (mark, found) =
        (incarnation_mark(&files, &folder).into_diagnostic()?, incarnation.read().into_diagnostic()?);
    if mark != found {
        return Err(miette!(
            help = "start the head-end once, or restore the state if it is a copy",
            "the incarnation of the state is {mark}, the token's is {found}"
        ));
    }
    // The store writes nothing while it is copied, but it may have something in memory: closed, it has not.
    let tokens = Config::read(&keys).into_diagnostic()?.files();
    drop(store);
    copy(state, to, &tokens).wrap_err_with(|| format!("copy {} to {}", state.display(), to.display()))?;
    // From here on the copy is behind its token, and nobody takes it for the state itself.
    let raised = found.saturating_add(1);
    set_incarnation_mark(&files, &folder, raised).into_diagnostic()?;
    incarnation.raise(raised).into_diagnostic()?;
    writer.close().into_diagnostic()?;
    eprintln!("{} holds the state as of incarnation {found}, without tokens", to.display());
    eprintln!("to use it: put it in the place of the state folder, and `metergraph restore --age DAYS`");
    Ok(ExitCode::SUCCESS)
}

/// Copies a folder, but for locks and these files; each file is durable.
fn copy(from: &Path, to: &Path, without: &[PathBuf]) -> miette::Result<()> {
    let named = |path: &Path| format!("{}", path.display());
    fs::create_dir(to).into_diagnostic().wrap_err_with(|| named(to))?;
    for entry in fs::read_dir(from).into_diagnostic().wrap_err_with(|| named(from))? {
        let entry = entry.into_diagnostic()?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type());
        if kind.into_diagnostic()?.is_dir() {
            copy(&source, &target, without)?;
        } else if !without.contains(&source) && !LOCKS.iter().any(|lock| entry.file_name() == *lock) {
            fs::copy(&source, &target).into_diagnostic().wrap_err_with(|| named(&source))?;
            fs::File::open(&target).and_then(|file| file.sync_all()).into_diagnostic()?;
        }
    }
    fs::File::open(to).and_then(|folder| folder.sync_all()).into_diagnostic()
}

/// Restores a state.
///
/// # Errors
/// For people: a head-end that runs, a state that is no backup, one that was restored before.
pub fn restore(args: &RestoreArgs) -> miette::Result<ExitCode> {
    let store = Arc::new(Store::open(&args.state.join(FOLDER)).into_diagnostic()?);
    let files: Arc<dyn Files> = Arc::new(OsFiles);
    let restore = Restore {
        store: &store,
        files,
        folder: args.state.join(&args.journal),
        settings: settings(),
        days: args.age,
        now: node::event::unix_ns() / 1_000_000_000,
        forced: args.force,
    };
    let Restored { incarnation, associations, group_epochs, skip } =
        restore.run().map_err(|error| explained(error, args.force))?;
    if args.json {
        let said = serde_json::json!({
            "incarnation": incarnation, "associations": associations, "group_epochs": group_epochs, "skip": skip,
        });
        println!("{said}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("restored as incarnation {incarnation}: every counter skips {skip}");
    if args.force {
        println!("{associations} associations are closed: their end devices have to register anew");
    } else {
        println!("{associations} associations and {group_epochs} group keys go on when the head-end runs;");
        println!(
            "what comes up counts from the proof of a new challenge on, which the desk asks for by itself"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn explained(error: RestoreError, forced: bool) -> miette::Report {
    let help = match &error {
        RestoreError::Ours { .. } => "this is the state that the token knows: start the head-end",
        RestoreError::Younger { needed, .. } => {
            return miette!(help = format!("say --age {needed}, or more if the backup is older"), "{error}");
        }
        RestoreError::Again { .. } if !forced => {
            "take a backup that was made after that restore; or, with --force, have every end device register anew"
        }
        _ => return miette!("{error}"),
    };
    miette!(help = help, "{error}")
}
