//! `metergraph fleet`: simulated end devices behind cell relays.

mod agents;
mod serve;

use std::io::{IsTerminal, stderr};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use agents::AgentArgs;
use c1222::ApTitleBuf;
use end_device::fleet::{Device, DeviceKeys, Fleet, Outcome, Progress, Settings};
use end_device::report::{LayoutError, ReportLayout};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keystore::shipment::{Row, RowKeys, Shipment};
use miette::{IntoDiagnostic, WrapErr, miette};
use seal::schedule;
use seal::secret::Key128;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::FleetArgs;
use crate::keys;

/// The head-end's title, as graphs have it when they say nothing else.
const HEAD_END: &str = ".1";

/// Runs a fleet. The exit code is 1 when reports were left unacknowledged.
///
/// # Errors
/// For people: files that cannot be read or written, a head-end that is not there.
pub fn fleet(args: &FleetArgs) -> miette::Result<ExitCode> {
    if args.serve.is_some() {
        return serve::serve(args);
    }
    if args.agents.manifest_secrets.is_some() {
        return agents::agents(args);
    }
    let (Some(shipment), Some(system), Some(connect)) = (&args.shipment, &args.system, &args.connect) else {
        return Err(miette!("a fleet needs --shipment, --system and --connect"));
    };
    let settings = Settings {
        system: keys::read_system(system)?,
        connect: addresses(connect)?,
        head_end: ApTitleBuf::parse(HEAD_END).into_diagnostic()?,
        relays: args.relays.max(1),
        rate: rate(args.rate)?,
        duration: duration("--duration", args.duration)?,
        grace: duration("--grace", args.grace)?,
        seed: args.seed,
        list: args.list.clone(),
        state: args.state.clone(),
    };
    let (layouts, devices) = devices(shipment, args.devices)?;
    let bar = Bar::new(settings.duration);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).into_diagnostic()?;
    }
    let outcome = Fleet::new(settings, layouts, devices).and_then(|fleet| {
        fleet.run(|progress| {
            bar.show(progress);
            !stop.load(Ordering::Relaxed)
        })
    });
    bar.0.finish_and_clear();
    let outcome = outcome.into_diagnostic()?;
    if args.json {
        println!("{}", serde_json::to_string(&outcome).into_diagnostic()?);
    } else {
        print(&outcome);
    }
    if outcome.unacked == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} reports were not acknowledged", outcome.unacked);
    Ok(ExitCode::from(1))
}

fn addresses(connect: &str) -> miette::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = connect
        .to_socket_addrs()
        .into_diagnostic()
        .wrap_err_with(|| format!("--connect {connect}"))?
        .collect();
    if found.is_empty() { Err(miette!("--connect {connect}: no address")) } else { Ok(found) }
}

fn rate(rate: f64) -> miette::Result<f64> {
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err(miette!("--rate {rate} is no rate")) }
}

fn duration(name: &str, seconds: f64) -> miette::Result<Duration> {
    Duration::try_from_secs_f64(seconds).into_diagnostic().wrap_err_with(|| format!("{name} {seconds}"))
}

/// The first devices of a shipment file that have something to report, and what their reports look like.
fn devices(path: &Path, wanted: Option<usize>) -> miette::Result<(Vec<ReportLayout>, Vec<Device>)> {
    let shipment = keys::read_shipment(path)?;
    let rows = shipment.rows();
    let wanted = wanted.unwrap_or(rows.len());
    let Some(rows) = rows.get(..wanted).filter(|rows| !rows.is_empty()) else {
        return Err(miette!("{} holds {} devices, not {wanted}", path.display(), rows.len()));
    };
    let (layouts, places) = layouts(path, &shipment)?;
    let devices: Vec<Device> = rows
        .iter()
        .filter_map(|row| {
            let layout = (*places.get(usize::from(row.profile))?)?;
            Some(device(row, layout))
        })
        .collect();
    let silent = rows.len() - devices.len();
    if silent > 0 {
        eprintln!("{silent} devices have profiles without readings; they send nothing");
    }
    if devices.is_empty() {
        return Err(miette!("no device of {} has something to report", path.display()));
    }
    Ok((layouts, devices))
}

/// What reports look like, and for each profile of the shipment which of them it has.
fn layouts(path: &Path, shipment: &Shipment) -> miette::Result<(Vec<ReportLayout>, Vec<Option<usize>>)> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut layouts, mut places) = (Vec::new(), Vec::new());
    for name in shipment.profiles() {
        match ReportLayout::new(keys::read_profile(&folder.join(name))?) {
            Ok(layout) => {
                places.push(Some(layouts.len()));
                layouts.push(layout);
            }
            Err(LayoutError::Empty(_)) => places.push(None),
            Err(error) => return Err(error).into_diagnostic(),
        }
    }
    Ok((layouts, places))
}

fn device(row: &Row, layout: usize) -> Device {
    let keys = match &row.keys {
        RowKeys::Profile1(prk) => {
            DeviceKeys::Profile1 { epoch: row.epoch, keys: schedule::derive(prk, row.sid) }
        }
        RowKeys::Classic(keys) => {
            // A shipment's classic device has at least one key.
            let key = keys.iter().next();
            let (key_id, key) = key.map_or((0, [0; Key128::LEN]), |(id, key)| (id, *key.expose()));
            DeviceKeys::Classic { key_id, key: Key128::from_octets(key) }
        }
    };
    Device { dev: row.dev, sid: row.sid, title: row.title.clone(), layout, keys }
}

/// How it goes, on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(duration: Duration) -> Self {
        if !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(
            Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            ProgressDrawTarget::stderr(),
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, progress: &Progress) {
        let Progress { seconds, links, sent, acked, unacked } = progress;
        self.0.set_position((seconds * 1000.0) as u64);
        self.0.set_message(format!(
            "{seconds:.0} s, {links} relays, {sent} sent, {acked} acknowledged, {unacked} on their way"
        ));
    }
}

fn print(outcome: &Outcome) {
    let Outcome { devices, classic_devices, relays, sent, reports, repeats, acked, unacked, .. } = outcome;
    println!("{devices} devices and {classic_devices} classic ones behind {relays} relays");
    println!("{sent} sent: {reports} reports, {repeats} repeats, {} classic reports", outcome.classic);
    println!("{acked} acknowledged, {unacked} not");
    for (reason, count) in &outcome.refused_downstream_by {
        println!("{count} refused by devices: {reason}");
    }
    println!(
        "{:.0} reports/s, {:.0} acknowledged/s in {:.1} s",
        outcome.reports_per_second, outcome.acked_per_second, outcome.seconds
    );
    if let (Some(half), Some(most)) = (outcome.latency_p50_ms, outcome.latency_p99_ms) {
        println!("acknowledged after {half:.1} ms (half), {most:.1} ms (99 of 100)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystore::sample::{self, Sample};

    fn shipment(folder: &Path, devices: u32, classic: u32) -> std::path::PathBuf {
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/profiles/residential.toml");
        let mut octets = Vec::new();
        sample::write(&Sample { devices, classic, profile }, &mut octets).unwrap();
        let path = folder.join("lab.csv");
        std::fs::write(&path, octets).unwrap();
        path
    }

    #[test]
    fn devices_of_both_kinds_come_from_the_shipment() {
        let folder = tempfile::tempdir().unwrap();
        let path = shipment(folder.path(), 10, 3);
        let (layouts, all) = devices(&path, None).unwrap();
        assert_eq!((layouts.len(), all.len()), (1, 10));
        let classic = all.iter().filter(|device| matches!(device.keys, DeviceKeys::Classic { .. }));
        assert_eq!(classic.count(), 3);
        assert_eq!(devices(&path, Some(4)).unwrap().1.len(), 4);
        for wanted in [0, 11] {
            assert!(devices(&path, Some(wanted)).is_err());
        }
    }

    #[test]
    fn devices_without_readings_send_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = shipment(folder.path(), 2, 0);
        std::fs::write(folder.path().join("empty.toml"), "device_profile = 1\nname = \"x\"\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, last) = text.trim_end().rsplit_once('\n').unwrap();
        let fields: Vec<&str> = last.split(',').collect();
        let last = last.replace(fields[3], "empty.toml");
        std::fs::write(&path, format!("{head}\n{last}\n")).unwrap();
        assert_eq!(devices(&path, None).unwrap().1.len(), 1);
        std::fs::write(&path, format!("{}\n{last}\n", text.lines().next().unwrap())).unwrap();
        assert!(devices(&path, None).is_err());
    }

    #[test]
    fn odd_numbers_are_refused() {
        assert!(rate(f64::NAN).is_err() && rate(-1.0).is_err() && rate(0.0).is_ok());
        assert!(duration("--grace", -1.0).is_err() && duration("--grace", 0.5).is_ok());
        assert!(addresses("127.0.0.1").is_err() && addresses("127.0.0.1:1153").is_ok());
    }
}
