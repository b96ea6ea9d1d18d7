//! `metergraph token ...`: the bearer tokens of a head-end's interface, in its state folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::Role;
use api::tokens::{TokenError, Tokens};
use clap::Subcommand;
use miette::{IntoDiagnostic, WrapErr};

/// The file in the state folder.
const FILE: &str = "tokens.toml";
const DAY_S: u64 = 86_400;

/// `metergraph token ...`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, once; only its hash is kept.
    Add {
        /// Whose it is: the requester's name in the policy and in the audit log.
        name: String,
        /// What its holder may: reader, operator, approver, security.
        #[arg(long = "role", required = true, value_delimiter = ',')]
        roles: Vec<Role>,
        /// Refused after so many days.
        #[arg(long, default_value_t = 90)]
        days: u64,
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
    /// Lists the tokens by name.
    List {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
    /// Takes a token out; a running head-end hears of it within a second.
    Remove {
        /// Whose it is.
        name: String,
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
}

/// Carries out one of the commands.
///
/// # Errors
/// For people: what is wrong with the file.
pub fn token(command: &TokenCommand) -> miette::Result<ExitCode> {
    match command {
        TokenCommand::Add { name, roles, days, state } => {
            let path = state.join(FILE);
            let mut tokens = read(&path)?;
            let now = node::event::unix_ns() / 1_000_000_000;
            let expires = now.saturating_add(days.saturating_mul(DAY_S));
            let token = tokens.add(name, roles, expires).into_diagnostic()?;
            tokens.write(&path).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
            println!("{}", token.reveal());
        }
        TokenCommand::List { state } => {
            for entry in read(&state.join(FILE))?.entries() {
                let roles: Vec<String> = entry.roles.iter().map(ToString::to_string).collect();
                println!("{}  {}  until {}", entry.name, roles.join(","), entry.expires);
            }
        }
        TokenCommand::Remove { name, state } => {
            let path = state.join(FILE);
            let mut tokens = read(&path)?;
            tokens.remove(name).into_diagnostic()?;
            tokens.write(&path).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The tokens of the file; none, where there is no file yet.
fn read(path: &Path) -> miette::Result<Tokens> {
    match Tokens::read(path) {
        Err(TokenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(Tokens::default()),
        read => read.into_diagnostic().wrap_err_with(|| format!("{}", path.display())),
    }
}
