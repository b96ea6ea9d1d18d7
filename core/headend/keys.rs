//! `metergraph keys ...`: the key store of a state folder.

pub mod ceremony;
pub(crate) mod kek;
pub(crate) mod lab_key;
mod manifest;
pub(crate) mod root;
mod trust;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use journal::files::{Files, OsFiles};
use keystore::sample::{self, Sample};
use keystore::shipment::{Shipment, ShipmentError};
use keystore::{FOLDER, ImportError, Imported, Store};
use miette::{IntoDiagnostic, WrapErr, miette};
use nodes::key_store;
use seal::ids::System;

use crate::cli::KeysCommand;

/// The longest device-profile file.
const PROFILE_MAX: u64 = 1 << 20;

/// Carries out one of the commands.
///
/// # Errors
/// For people: what cannot be read or taken.
pub fn keys(command: &KeysCommand) -> miette::Result<ExitCode> {
    match command {
        KeysCommand::Init { state, system, root, lab_root, token } => {
            init(state, system.as_deref(), token.as_deref())?;
            trust::set_root(state, root.as_deref(), lab_root.as_deref())
        }
        KeysCommand::AdvanceEpoch { delta, wave, group, api } => {
            return crate::client::advance(*delta, *wave, group.as_deref(), api);
        }
        KeysCommand::RootCommand(args) => return root::root_command(args),
        KeysCommand::Tokens(command) => ceremony::tokens(command),
        KeysCommand::Trust(command) => trust::trust(command),
        KeysCommand::Import { file, state, test_keys, json } => import(file, state, *test_keys, *json),
        KeysCommand::Sample {
            devices, profile, out, first, kid, lab_root: Some(lab_root), state, ..
        } => {
            let (devices, first, kid) = (*devices, *first, *kid);
            manifest::LabManifest { devices, first, profile, out, state, lab_root, kid }.write()
        }
        KeysCommand::Sample { devices, classic, profile, out, .. } => {
            write_sample(*devices, *classic, profile, out)
        }
        KeysCommand::RotateDek { state, journal, partitions } => rotate(state, journal, partitions),
        KeysCommand::RotateKek(args) => kek::rotate(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn init(state: &Path, system: Option<&str>, token: Option<&Path>) -> miette::Result<()> {
    let system = system.map(read_system).transpose()?;
    let tokens = token.map(ceremony::read_config).transpose()?;
    let system = Store::init_with(&state.join(FOLDER), system, tokens.as_ref()).into_diagnostic()?;
    eprintln!("key store in {}", state.join(FOLDER).display());
    println!("{system}");
    Ok(())
}

/// Reads an installation's identity.
///
/// # Errors
/// When it is not 16 hex digits.
pub fn read_system(text: &str) -> miette::Result<System> {
    text.parse().into_diagnostic().wrap_err("--system")
}

/// Reads a shipment file; its faults are listed by line.
///
/// # Errors
/// When it cannot be read, or holds a fault.
pub fn read_shipment(path: &Path) -> miette::Result<Shipment> {
    let file = File::open(path).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
    Shipment::read(file).map_err(|error| match error {
        ShipmentError::Faults(faults) => bad_rows(path, &faults),
        error @ ShipmentError::Io(_) => miette!("{}: {error}", path.display()),
    })
}

fn bad_rows(path: &Path, faults: &keystore::shipment::Faults) -> miette::Report {
    miette!(
        help = "nothing was taken; mend the rows and import the file again",
        "{} has {} bad {}:\n{faults}",
        path.display(),
        faults.total(),
        if faults.total() == 1 { "row" } else { "rows" }
    )
}

fn import(path: &Path, state: &Path, test_keys: bool, json: bool) -> miette::Result<()> {
    let imported = if manifest::is_manifest(path) {
        manifest::import(path, state)?
    } else {
        import_shipment(path, state, test_keys)?
    };
    let Imported { profile1, classic, devices } = imported;
    if json {
        let counts = serde_json::json!({ "profile1": profile1, "classic": classic, "devices": devices });
        println!("{counts}");
    } else {
        println!("{} devices taken in ({classic} classic), {devices} in the store", profile1 + classic);
    }
    Ok(())
}

fn import_shipment(path: &Path, state: &Path, test_keys: bool) -> miette::Result<Imported> {
    let shipment = read_shipment(path)?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let texts = profiles(&shipment, &folder)?;
    let find = |name: &str| texts.iter().find(|(other, _)| other == name).map(|(_, text)| text.clone());
    let mut store = Store::open(&state.join(FOLDER)).into_diagnostic()?;
    store.import(&shipment, &find, test_keys).map_err(|error| match error {
        ImportError::Faults(faults) => bad_rows(path, &faults),
        error => miette!("{error}"),
    })
}

/// Draws new data keys, when nobody needs what the old ones sealed in the journal.
fn rotate(state: &Path, journal: &Path, partitions: &[u16]) -> miette::Result<()> {
    let all: Vec<u16> = (0..1024).collect();
    let partitions = if partitions.is_empty() { &all } else { partitions };
    let mut store = Store::open(&state.join(FOLDER)).into_diagnostic()?;
    let files: Arc<dyn Files> = Arc::new(OsFiles);
    key_store::catch_up(&store, &files, &state.join(journal)).into_diagnostic()?;
    store.rotate_deks(partitions).into_diagnostic()?;
    eprintln!("{} partitions are sealed under new data keys", partitions.len());
    Ok(())
}

/// The texts of all profiles that a shipment names, each checked.
fn profiles(shipment: &Shipment, folder: &Path) -> miette::Result<Vec<(String, Vec<u8>)>> {
    let mut texts = Vec::new();
    let mut wrong = Vec::new();
    for name in shipment.profiles() {
        let path = folder.join(name);
        // The import names the rows that want one that cannot be read.
        let Some((text, good)) = check_profile(&path) else { continue };
        if !good {
            wrong.push(path.display().to_string());
        }
        texts.push((name.clone(), text.into_bytes()));
    }
    if wrong.is_empty() {
        return Ok(texts);
    }
    Err(miette!("nothing was taken: faults in device profile {}", wrong.join(", ")))
}

/// The text of a device profile, and whether it is good; its faults are shown on stderr.
fn check_profile(path: &Path) -> Option<(String, bool)> {
    let text = read_profile_text(path).ok()?;
    let (_, faults) = graph::device_profile::parse(&text);
    eprint!("{}", graph::render::text(&path.display().to_string(), &text, &faults, false));
    let good = !faults.iter().any(graph::Diagnostic::is_error);
    Some((text, good))
}

fn read_profile_text(path: &Path) -> miette::Result<String> {
    let file = File::open(path).into_diagnostic()?;
    std::io::read_to_string(std::io::Read::take(file, PROFILE_MAX)).into_diagnostic()
}

/// Reads a device profile and shows its faults on stderr.
///
/// # Errors
/// When it cannot be read, or holds an error.
pub fn read_profile(path: &Path) -> miette::Result<c1222::device_profile::DeviceProfile> {
    let text = read_profile_text(path).wrap_err_with(|| format!("{}", path.display()))?;
    let (profile, faults) = graph::device_profile::parse(&text);
    eprint!("{}", graph::render::text(&path.display().to_string(), &text, &faults, false));
    profile.ok_or_else(|| miette!("{} is no device profile", path.display()))
}

fn write_sample(devices: u32, classic: u32, profile: &Path, out: &Path) -> miette::Result<()> {
    // The file names the profile by a path from its own folder; an absolute one always leads there.
    let profile = profile
        .canonicalize()
        .into_diagnostic()
        .wrap_err_with(|| format!("device profile {}", profile.display()))?;
    let profile = profile.to_str().ok_or_else(|| miette!("the profile's path is no UTF-8"))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(out)
        .into_diagnostic()
        .wrap_err_with(|| format!("write {}", out.display()))?;
    let mut writer = BufWriter::new(file);
    sample::write(&Sample { devices, classic, profile }, &mut writer)
        .and_then(|()| writer.flush())
        .into_diagnostic()
        .wrap_err_with(|| format!("write {}", out.display()))?;
    eprintln!("{devices} made-up devices in {}; their keys are for labs only", PathBuf::from(out).display());
    Ok(())
}
