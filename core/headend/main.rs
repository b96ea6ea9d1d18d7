//! The command line. Exit code 0: done; 1: refused or found wrong; 2: misused.

use std::process::ExitCode;

use clap::Parser;
use metergraph::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match metergraph::dispatch(cli.command) {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::from(1)
        }
    }
}
