//! `metergraph keys ceremony`, `backup`, `restore`, `public`: the tokens of an installation.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keystore::FOLDER;
use keystore::token::ceremony::{self, Transcript};
use keystore::token::{Config, Holder};
use miette::{IntoDiagnostic, WrapErr, miette};
use seal::hex::Hex;
use zeroize::Zeroizing;

use crate::cli::TokenCommand;

/// The longest file that is read here: a backup.
const FILE_MAX: u64 = 1 << 20;

/// Carries out one of the commands.
pub fn tokens(command: &TokenCommand) -> miette::Result<()> {
    match command {
        TokenCommand::Ceremony { token, no_backup, transcript } => {
            absent(transcript)?;
            let made = ceremony::create(&read_config(token)?, !no_backup).into_diagnostic()?;
            conclude(&made, transcript)
        }
        TokenCommand::Backup { token, threshold, shares, out, transcript } => {
            backup(token, *threshold, *shares, out, transcript)
        }
        TokenCommand::Restore { token, backup, shares, incarnation, transcript } => {
            absent(transcript)?;
            let text = read(backup)?;
            let shares: Vec<_> = shares.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
            let config = read_config(token)?;
            let made = ceremony::restore(&config, &text, &shares, *incarnation).into_diagnostic()?;
            conclude(&made, transcript)
        }
        TokenCommand::Public { state } => public(state),
    }
}

/// Says which holders' tokens are files of this machine.
pub fn warn_of_software(state: &Path) {
    let Ok(config) = Config::read(&state.join(FOLDER)) else { return };
    let holders: Vec<String> = config.software().iter().map(ToString::to_string).collect();
    if !holders.is_empty() {
        eprintln!("warning: software keys, good for labs only: {}", holders.join(", "));
    }
}

/// Reads `tokens.toml`.
pub fn read_config(path: &Path) -> miette::Result<Config> {
    Config::read_file(path).into_diagnostic()
}

fn backup(token: &Path, threshold: u8, of: u8, out: &Path, transcript: &Path) -> miette::Result<()> {
    let share = |number: u8| -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(format!(".share-{number}"));
        name.into()
    };
    let config = read_config(token)?;
    // Nothing is begun that would have nowhere to go: the backup key exists only now.
    absent(out)?;
    absent(transcript)?;
    (1..=of).try_for_each(|number| absent(&share(number)))?;
    let made = ceremony::make_backup(&config, threshold, of).into_diagnostic()?;
    write(out, &made.backup)?;
    for (text, number) in made.shares.iter().zip(1..) {
        write(&share(number), text)?;
    }
    eprintln!("give each share to another person, and take its file off this machine");
    conclude(&made.transcript, transcript)
}

/// The public keys of a state folder's tokens, as JSON.
fn public(state: &Path) -> miette::Result<()> {
    let config = Config::read(&state.join(FOLDER)).into_diagnostic()?;
    let signer = config.open(Holder::Signer).into_diagnostic()?;
    let mut command = serde_json::Map::new();
    for skid in signer.skids() {
        let key = signer.command(skid).into_diagnostic()?.verifying_key();
        command.insert(skid.to_string(), text(key.uncompressed()).into());
    }
    let audit = config.open(Holder::Audit).and_then(|token| token.audit()).into_diagnostic()?;
    let registration =
        config.open(Holder::Registrar).and_then(|token| token.registration()).into_diagnostic()?;
    let keys = serde_json::json!({
        "command": command,
        "registration": text(registration.public_key().uncompressed()),
        "audit": text(audit.verifying_key().uncompressed()),
        "software": config.software().iter().map(|holder| holder.name()).collect::<Vec<_>>(),
    });
    println!("{keys}");
    Ok(())
}

/// x and y in 128 hex digits.
fn text(key: [u8; 65]) -> String {
    let [_, xy @ ..] = key;
    Hex(&xy).to_string()
}

fn conclude(transcript: &Transcript, path: &Path) -> miette::Result<()> {
    print!("{}", transcript.text());
    write(path, transcript.text())
}

fn absent(path: &Path) -> miette::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(miette!("{} is there already", path.display()));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> miette::Result<()> {
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().into_diagnostic().wrap_err_with(|| format!("write {}", path.display()))
}

fn read(path: &Path) -> miette::Result<Zeroizing<String>> {
    let at = || format!("{}", path.display());
    if fs::metadata(path).into_diagnostic().wrap_err_with(at)?.len() > FILE_MAX {
        return Err(miette!("{} is too long", path.display()));
    }
    fs::read_to_string(path).map(Zeroizing::new).into_diagnostic().wrap_err_with(at)
}
