//! `metergraph fleet --manifest-secrets FILE`: whole end devices, which register before they report.

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use c1222::ApTitleBuf;
use clap::Args;
use end_device::agent::Settings;
use end_device::fleet::agents::{AgentFleet, AgentsOutcome, AgentsProgress, AgentsSettings, Faults};
use end_device::report::ReportLayout;
use end_device::secrets::{SecretDevice, Secrets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use miette::{IntoDiagnostic, WrapErr, miette};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{HEAD_END, addresses, duration, rate};
use crate::cli::FleetArgs;
use crate::keys;

/// What only a fleet of whole end devices knows.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The devices' secrets beside their manifest (TOML head, `---`, CSV): they register by EDHOC, report,
    /// and take commands.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shipment", "system", "serve"])]
    pub manifest_secrets: Option<PathBuf>,
    /// First registrations a second; 0 for all at once.
    #[arg(long, default_value_t = 200.0, requires = "manifest_secrets")]
    pub register_rate: f64,
    /// How many times faster than real registration, its pauses and time requests are.
    #[arg(long, default_value_t = 1, requires = "manifest_secrets")]
    pub time_scale: u32,
    /// Seconds without a valid downstream frame after which a device registers anew.
    #[arg(long, default_value_t = 7 * 86_400, requires = "manifest_secrets")]
    pub silence: u64,
    /// The devices have no time before they are told; else their clocks were set in the factory.
    #[arg(long, requires = "manifest_secrets")]
    pub no_clock: bool,
    /// Appends a line `key nonce frame` for each frame sealed, and compares with those that are there.
    #[arg(long, value_name = "FILE", requires = "manifest_secrets")]
    pub ledger: Option<PathBuf>,
    /// Of a thousand APDUs either way, so many are lost.
    #[arg(long, default_value_t = 0, requires = "manifest_secrets")]
    pub drop: u32,
    /// Of a thousand APDUs either way, so many come twice.
    #[arg(long, default_value_t = 0, requires = "manifest_secrets")]
    pub duplicate: u32,
    /// Of a thousand APDUs either way, so many come after the next one.
    #[arg(long, default_value_t = 0, requires = "manifest_secrets")]
    pub reorder: u32,
    /// The first so many devices do not hear class-4 commands to groups: they miss advances of the epoch.
    #[arg(long, default_value_t = 0, requires = "manifest_secrets")]
    pub miss_group_keys: usize,
    /// A device goes off and comes up again so often, in milliseconds; 0 for never.
    #[arg(long, default_value_t = 0, requires = "manifest_secrets")]
    pub restart_every: u64,
    /// Each device that comes up again is cut off at one of its next saves.
    #[arg(long, requires = "restart_every")]
    pub cut_storage: bool,
}

/// Runs a fleet of agents. The exit code is 1 when a device is not registered or not acknowledged, or a nonce
/// was used twice.
///
/// # Errors
/// For people: files that cannot be read or written, a head-end that is not there.
pub fn agents(args: &FleetArgs) -> miette::Result<ExitCode> {
    let (Some(path), Some(connect)) = (&args.agents.manifest_secrets, &args.connect) else {
        return Err(miette!("a fleet needs --manifest-secrets and --connect"));
    };
    let settings = settings(args, connect)?;
    let mut secrets =
        Secrets::open(path).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
    let wanted = args.devices.unwrap_or(secrets.devices.len());
    if wanted == 0 || wanted > secrets.devices.len() {
        return Err(miette!("{} holds {} devices, not {wanted}", path.display(), secrets.devices.len()));
    }
    secrets.devices.truncate(wanted);
    let (layouts, names) = layouts(path, &secrets)?;
    let place = |device: &SecretDevice| names.iter().position(|name| *name == device.profile);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).into_diagnostic()?;
    }
    let bar = bar(settings.duration);
    let fleet = AgentFleet::new(settings, secrets, layouts, place).into_diagnostic()?;
    let outcome = fleet.run(|progress| {
        show(&bar, progress);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let outcome = outcome.into_diagnostic()?;
    if args.json {
        println!("{}", serde_json::to_string(&outcome).into_diagnostic()?);
    } else {
        print(&outcome);
    }
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn settings(args: &FleetArgs, connect: &str) -> miette::Result<AgentsSettings> {
    let AgentArgs { drop, duplicate, reorder, .. } = args.agents;
    if drop.saturating_add(duplicate).saturating_add(reorder) > 1000 {
        return Err(miette!("--drop, --duplicate and --reorder are parts of a thousand together"));
    }
    Ok(AgentsSettings {
        connect: addresses(connect)?,
        head_end: ApTitleBuf::parse(HEAD_END).into_diagnostic()?,
        relays: args.relays.max(1),
        register_rate: rate(args.agents.register_rate)?,
        rate: rate(args.rate)?,
        duration: duration("--duration", args.duration)?,
        grace: duration("--grace", args.grace)?,
        seed: args.seed,
        state: args.state.clone(),
        list: args.list.clone(),
        ledger: args.agents.ledger.clone(),
        agent: Settings {
            speedup: args.agents.time_scale.max(1),
            silence_s: args.agents.silence,
            clock_set: !args.agents.no_clock,
            ..Settings::default()
        },
        faults: Faults {
            drop_per_mille: drop,
            duplicate_per_mille: duplicate,
            reorder_per_mille: reorder,
            miss_group_keys: args.agents.miss_group_keys,
            restart_every_ms: args.agents.restart_every,
            cut_storage: args.agents.cut_storage,
        },
    })
}

/// What reports look like, and of which profile each layout is.
fn layouts(path: &Path, secrets: &Secrets) -> miette::Result<(Vec<ReportLayout>, Vec<String>)> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut names: Vec<String> = secrets.devices.iter().map(|device| device.profile.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let layouts = names
        .iter()
        .map(|name| ReportLayout::new(keys::read_profile(&folder.join(name))?).into_diagnostic())
        .collect::<miette::Result<_>>()?;
    Ok((layouts, names))
}

fn bar(duration: Duration) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let length = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: &AgentsProgress) {
    let AgentsProgress { seconds, links, registered, reports, acked, executed } = progress;
    bar.set_position((seconds * 1000.0) as u64);
    bar.set_message(format!(
        "{seconds:.0} s, {links} relays, {registered} registered, {reports} reports, {acked} acknowledged, \
         {executed} commands"
    ));
}

fn print(outcome: &AgentsOutcome) {
    let AgentsOutcome { devices, relays, registered, registrations, reports, acked, unacked, .. } = outcome;
    println!(
        "{devices} devices behind {relays} relays; {registered} registered, {registrations} registrations"
    );
    if let Some(after) = outcome.registered_after_s {
        println!("all registered after {after:.1} s");
    }
    println!("{reports} reports; {acked} frames acknowledged, {unacked} not, {} repeats", outcome.repeats);
    for (class, count) in &outcome.executed {
        println!("{count} commands executed: {class}");
    }
    for (code, count) in &outcome.refused {
        println!("{count} refused by devices: {code}");
    }
    for (epoch, count) in &outcome.epochs {
        println!("{count} in epoch {epoch}");
    }
    if outcome.nonce_reuses > 0 {
        println!("{} NONCES USED TWICE", outcome.nonce_reuses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystore::ProfileId;
    use keystore::manifest::{LabHead, LabSample};
    use seal::command::Classes;
    use seal::edhoc::{Credential, HeadEndKid, PrivateKey};
    use seal::ids::System;
    use seal::signature::SigningKey;

    #[test]
    fn a_labs_secrets_make_a_fleet() {
        let folder = tempfile::tempdir().unwrap();
        let key = PrivateKey::from_octets(&[9; 32]).unwrap().public_key();
        let root = SigningKey::from_octets(&[7; 32]).unwrap().verifying_key();
        let head = LabHead {
            system: System([1; 8]),
            head_end: Credential { kid: HeadEndKid::new(0x13).unwrap(), key },
            signers: vec![(0, root, Classes(1 << 4)), (1, root, Classes(0x2f))],
        };
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/profiles/residential.toml");
        let sample = LabSample { devices: 5, first: 1, profile, profile_id: ProfileId([0; 32]), head: &head };
        let (mut manifest, mut secrets) = (Vec::new(), Vec::new());
        sample.write(&mut manifest, &mut secrets).unwrap();
        let path = folder.path().join("secrets");
        std::fs::write(&path, secrets).unwrap();
        let secrets = Secrets::open(&path).unwrap();
        assert_eq!(
            (secrets.system, secrets.devices.len(), secrets.signers.keys().len()),
            (head.system, 5, 2)
        );
        assert_eq!(secrets.signers.get(1).map(|signer| signer.classes), Some(Classes(0x2f)));
        let (layouts, names) = layouts(&path, &secrets).unwrap();
        assert_eq!((layouts.len(), names), (1, vec![profile.to_owned()]));
    }
}
