//! Metergraph: an open head-end for advanced metering.
//!
//! The library behind the command line: [`kinds::registry`] holds the node kinds that are shipped,
//! [`dispatch`] carries out a command.

pub mod cli;
pub mod client;
pub mod compare;
mod demo;
mod fleet;
pub mod graph_file;
mod inspect;
mod journal;
pub mod keys;
pub mod kinds;
mod logging;
pub mod plugin;
pub mod policy;
mod restore;
pub mod run;
mod status;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cli::Command;
use graph_file::commands;

/// Carries out one command.
///
/// # Errors
/// For people: what was refused or found wrong; the exit code is then 1.
pub fn dispatch(command: Command) -> miette::Result<ExitCode> {
    if !matches!(command, Command::Run(_) | Command::Fleet(_) | Command::Demo(_)) {
        end_with_the_reader();
    }
    match command {
        Command::Run(args) => run::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => commands::check(&args),
        Command::Explain { code } => commands::explain(code.as_deref()),
        Command::Draw { graph, format } => commands::draw(&graph, format),
        Command::Schema => Ok(commands::schema()),
        Command::Status { state, json } => status::status(&state, json),
        Command::Keys(command) => keys::keys(&command),
        Command::Fleet(args) => fleet::fleet(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Journal { state } => journal::print(&state),
        Command::Backup { state, journal, to } => restore::backup(&state, &journal, &to),
        Command::Restore(args) => restore::restore(&args),
        Command::Plugin(command) => plugin::plugin(&command),
        Command::Command { command, api } => client::command(&command, &api),
        Command::Group { command, api } => client::group(&command, &api),
        Command::Campaign { command, api } => client::campaign(&command, &api),
        Command::Device { command, api } => client::device(&command, &api),
        Command::Token(command) => client::token(&command),
        Command::Policy(command) => policy::policy(&command),
        Command::Demo(args) => demo::demo(&args),
    }
}

/// Whoever reads our output may have enough of it: then this program ends quietly, as others do.
fn end_with_the_reader() {
    let always = Arc::new(AtomicBool::new(true));
    if let Err(error) =
        signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGPIPE, 0, always)
    {
        eprintln!("SIGPIPE: {error}");
    }
}
