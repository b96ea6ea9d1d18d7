//! `metergraph keys ...`: the key store of a state folder.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keystore::sample::{self, Sample};
use keystore::shipment::{Shipment, ShipmentError};
use keystore::{FOLDER, ImportError, Imported, Store};
use miette::{IntoDiagnostic, WrapErr, miette};
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
        KeysCommand::Init { state, system } => init(state, system.as_deref()),
        KeysCommand::Import { file, state, test_keys, json } => import(file, state, *test_keys, *json),
        KeysCommand::Sample { devices, classic, profile, out } => {
            write_sample(*devices, *classic, profile, out)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn init(state: &Path, system: Option<&str>) -> miette::Result<()> {
    let system = system.map(read_system).transpose()?;
    let system = Store::init(&state.join(FOLDER), system).into_diagnostic()?;
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
    let shipment = read_shipment(path)?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let texts = profiles(&shipment, &folder)?;
    let find = |name: &str| texts.iter().find(|(other, _)| other == name).map(|(_, text)| text.clone());
    let mut store = Store::open(&state.join(FOLDER)).into_diagnostic()?;
    let imported = store.import(&shipment, &find, test_keys).map_err(|error| match error {
        ImportError::Faults(faults) => bad_rows(path, &faults),
        error @ ImportError::Store(_) => miette!("{error}"),
    })?;
    let Imported { profile1, classic, devices } = imported;
    if json {
        let counts = serde_json::json!({ "profile1": profile1, "classic": classic, "devices": devices });
        println!("{counts}");
    } else {
        println!("{} devices taken in ({classic} classic), {devices} in the store", profile1 + classic);
    }
    Ok(())
}

/// The texts of all profiles that a shipment names, each checked.
fn profiles(shipment: &Shipment, folder: &Path) -> miette::Result<Vec<(String, Vec<u8>)>> {
    let mut texts = Vec::new();
    let mut wrong = Vec::new();
    for name in shipment.profiles() {
        let path = folder.join(name);
        let Ok(text) = read_profile_text(&path) else {
            // The import names the rows that want it.
            continue;
        };
        let (_, faults) = graph::device_profile::parse(&text);
        eprint!("{}", graph::render::text(&path.display().to_string(), &text, &faults, false));
        if faults.iter().any(graph::Diagnostic::is_error) {
            wrong.push(path.display().to_string());
        }
        texts.push((name.clone(), text.into_bytes()));
    }
    if wrong.is_empty() {
        return Ok(texts);
    }
    Err(miette!("nothing was taken: faults in device profile {}", wrong.join(", ")))
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
