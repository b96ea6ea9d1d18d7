//! The demo's second act: meters that are known by public keys alone register, and one is switched off and on
//! by signed commands.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use api::view::{Command, Device, NewCommand, Order, Outcome, To};
use miette::{IntoDiagnostic, miette};

use super::process::{Background, run_self, run_self_to};
use super::{Addresses, Folder, SYSTEM};
use crate::cli::DemoArgs;
use crate::client::{ApiArgs, Client};

/// Meters of the second act.
const DEVICES: &str = "20";
/// The one that is switched: the lab's third.
const METER: &str = "0200004d47000002";
/// How long a registration or a command may take here.
const LIMIT: Duration = Duration::from_secs(30);

/// Plays it.
///
/// # Errors
/// For people: what did not come to pass.
pub(super) fn play(args: &DemoArgs, folder: &Folder, addresses: &Addresses) -> miette::Result<()> {
    let (state, root, manifest) = (folder.file("lab"), folder.file("root.key"), folder.file("meters.csv"));
    let run = |words: &[&str], more: &[&OsStr]| {
        let all: Vec<&OsStr> = words.iter().map(|word| word.as_ref()).chain(more.iter().copied()).collect();
        run_self(&all)
    };
    let (state_, root_) = (state.as_os_str(), root.as_os_str());
    run(&["keys", "init", "--system", SYSTEM, "--state"], &[state_, "--lab-root".as_ref(), root_])?;
    run(
        &["keys", "sample", "--manifest", "--devices", DEVICES, "--state"],
        &[
            state_,
            "--lab-root".as_ref(),
            root_,
            "--profile".as_ref(),
            args.profile.as_os_str(),
            "--out".as_ref(),
            manifest.as_os_str(),
        ],
    )?;
    run(&["keys", "import"], &[manifest.as_os_str(), "--state".as_ref(), state_])?;
    run(&["policy", "sample", "--state"], &[state_, "--lab-root".as_ref(), root_])?;
    let token = folder.file("token");
    let add = ["token", "add", "demo", "--role", "reader,operator", "--state"];
    let add: Vec<&OsStr> = add.iter().map(|word| (*word).as_ref()).chain([state_]).collect();
    run_self_to(&add, &token)?;

    let head_end = Background::start(
        &["run".as_ref(), args.graph.as_os_str(), "--state".as_ref(), state_],
        &folder.file("head-end-2.log"),
    )?;
    head_end.wait_until_ready(&state)?;
    let fleet = Background::start(
        &[
            "fleet".as_ref(),
            "--manifest-secrets".as_ref(),
            folder.file("meters.secrets.csv").as_os_str(),
            "--connect".as_ref(),
            addresses.meters.as_ref(),
            "--duration".as_ref(),
            "60".as_ref(),
        ],
        &folder.file("fleet-2.log"),
    )?;
    let api = addresses.api.as_ref().ok_or_else(|| miette!("the graph has no node of kind `api`"))?;
    let client = Client::new(&ApiArgs {
        api: format!("http://{api}"),
        token_file: Some(token),
        ca: None,
        json: false,
    })?;
    println!("\n{DEVICES} meters that are known by their public keys alone register with the head-end:");
    let since = Instant::now();
    let sid = loop {
        let device: Device = client.get(&format!("/v1/devices/{METER}"), Duration::ZERO)?;
        match device.sid {
            Some(sid) => break sid,
            None if since.elapsed() > LIMIT => return Err(miette!("meter {METER} does not register")),
            None => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    println!("  meter {METER} has association {sid}, with keys that nobody else has");
    for order in [Order::Disconnect, Order::Reconnect] {
        switch(&client, order)?;
    }
    drop(fleet);
    head_end.stop()
}

/// Has the meter's switch worked, and shows what the meter signed.
fn switch(client: &Client, order: Order) -> miette::Result<()> {
    let order_id = format!("demo-{}", if order == Order::Disconnect { "off" } else { "on" });
    let asked = NewCommand {
        to: To::Device(METER.to_owned()),
        order,
        valid_from: None,
        ttl_min: 5,
        request_id: Some(order_id),
    };
    let accepted: api::view::Accepted = client.post("/v1/commands", &asked)?;
    let path = format!("/v1/commands/{}?wait={}", accepted.id, LIMIT.as_secs());
    let command: Command = client.get(&path, LIMIT)?;
    match (&command.outcome, &command.receipt) {
        (Some(Outcome::Done { result: 0, .. }), Some(receipt)) if receipt.verified => {
            let signature = receipt.signature.get(..16).unwrap_or_default();
            println!("  {}: done; the meter's own signature {signature}... is verified", command.order);
            Ok(())
        }
        _ => Err(miette!("{}: {}", command.order, serde_json::to_string(&command).into_diagnostic()?)),
    }
}
