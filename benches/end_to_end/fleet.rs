//! `metergraph fleet` as a process of its own.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::Args;
use crate::process::{Background, command};
use crate::support::Failure;

/// Beyond its own time to send and to wait.
const MARGIN: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(60);

/// What a fleet says at its end, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub struct Said {
    pub sent: u64,
    pub reports: u64,
    pub acked: u64,
    pub unacked: u64,
    pub refused_downstream: u64,
    pub links_lost: u64,
    pub seconds: f64,
    pub acked_per_second: f64,
    pub latency_p50_ms: Option<f64>,
    pub latency_p99_ms: Option<f64>,
    pub bytes: u64,
}

/// Runs a fleet to its end; answers what it says, and its CPU seconds.
pub fn run(
    args: &Args,
    shipment: &Path,
    system: &str,
    address: &str,
    (rate, relays): (u32, u32),
    folder: &Path,
) -> Result<(Said, f64), Failure> {
    let (json, errors) = (folder.join("fleet.json"), folder.join("fleet.log"));
    let words = [args.devices, relays, rate, args.duration].map(|number| number.to_string());
    let [devices, relays, rate, duration] = &words;
    let grace = GRACE.as_secs().to_string();
    let mut command = command(&[
        "fleet".as_ref(),
        "--shipment".as_ref(),
        shipment.as_os_str(),
        "--system".as_ref(),
        system.as_ref(),
        "--connect".as_ref(),
        address.as_ref(),
        "--devices".as_ref(),
        devices.as_ref(),
        "--relays".as_ref(),
        relays.as_ref(),
        "--rate".as_ref(),
        rate.as_ref(),
        "--duration".as_ref(),
        duration.as_ref(),
        "--grace".as_ref(),
        grace.as_ref(),
        "--json".as_ref(),
    ]);
    command.stdout(File::create(&json)?).stderr(File::create(&errors)?);
    let mut process = Background::start(command)?;
    process.wait(Duration::from_secs(args.duration.into()) + GRACE + MARGIN)?;
    let cpu_s = process.cpu_s()?;
    let status = process.status()?;
    if !status.success() {
        let said = fs::read_to_string(&errors).unwrap_or_default();
        return Err(format!("the fleet ended with {status}: {said}").into());
    }
    Ok((serde_json::from_str(&fs::read_to_string(&json)?)?, cpu_s))
}
