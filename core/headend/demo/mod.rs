//! `metergraph demo`: a head-end and a fleet as two processes, and what both say of the same reports.

mod process;
mod switching;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miette::{IntoDiagnostic, WrapErr, miette};
use node::Value;

use crate::cli::DemoArgs;
use crate::compare::{self, Exported, Listed};
use process::{Background, run_self};

/// The installation's identity in the demo: a public test value.
const SYSTEM: &str = "0011223344556677";
/// Rows of the CSV that are shown.
const ROWS_SHOWN: usize = 5;

/// Runs the demo.
///
/// # Errors
/// For people: a step that failed, with the place of its log.
pub fn demo(args: &DemoArgs) -> miette::Result<ExitCode> {
    let folder = Folder::make(&args.folder)?;
    prepare(args, &folder)?;

    let head_end = Background::start(
        &[
            "run".as_ref(),
            args.graph.as_os_str(),
            "--state".as_ref(),
            folder.state().as_os_str(),
            "--log".as_ref(),
            "json".as_ref(),
            "--report".as_ref(),
            folder.file("head-end.json").as_os_str(),
        ],
        &folder.file("head-end.log"),
    )?;
    head_end.wait_until_ready(&folder.state())?;
    let addresses = Addresses::read(&args.graph)?;
    run_fleet(args, &folder, &addresses)?;
    show_page(&addresses)?;
    head_end.stop()?;
    let code = judge(&folder)?;
    switching::play(args, &folder, &addresses)?;
    Ok(code)
}

/// Makes the keys and the key store.
fn prepare(args: &DemoArgs, folder: &Folder) -> miette::Result<()> {
    let (lab, state, devices) = (folder.file("lab.csv"), folder.state(), args.devices.to_string());
    run_self(&[
        "keys".as_ref(),
        "sample".as_ref(),
        "--devices".as_ref(),
        devices.as_ref(),
        "--profile".as_ref(),
        args.profile.as_os_str(),
        "--out".as_ref(),
        lab.as_os_str(),
    ])?;
    run_self(&[
        "keys".as_ref(),
        "init".as_ref(),
        "--state".as_ref(),
        state.as_os_str(),
        "--system".as_ref(),
        SYSTEM.as_ref(),
    ])?;
    run_self(&[
        "keys".as_ref(),
        "import".as_ref(),
        lab.as_os_str(),
        "--state".as_ref(),
        state.as_os_str(),
        "--test-keys".as_ref(),
    ])
}

fn run_fleet(args: &DemoArgs, folder: &Folder, addresses: &Addresses) -> miette::Result<()> {
    let (relays, rate, duration) =
        (args.relays.to_string(), args.rate.to_string(), args.duration.to_string());
    process::run_self_to(
        &[
            "fleet".as_ref(),
            "--shipment".as_ref(),
            folder.file("lab.csv").as_os_str(),
            "--system".as_ref(),
            SYSTEM.as_ref(),
            "--connect".as_ref(),
            addresses.meters.as_ref(),
            "--relays".as_ref(),
            relays.as_ref(),
            "--rate".as_ref(),
            rate.as_ref(),
            "--duration".as_ref(),
            duration.as_ref(),
            "--list".as_ref(),
            folder.file("reports.txt").as_os_str(),
            "--json".as_ref(),
        ],
        &folder.file("fleet.json"),
    )
}

/// Shows a part of the Prometheus page.
fn show_page(addresses: &Addresses) -> miette::Result<()> {
    let Some(http) = &addresses.http else { return Ok(()) };
    let page = process::get(http, "/metrics")
        .into_diagnostic()
        .wrap_err_with(|| format!("the metrics page on {http}"))?;
    println!("\nhttp://{http}/metrics says, among others:");
    let shown = |line: &&str| line.starts_with("metergraph_frames_") && !line.ends_with(" 0");
    for line in page.lines().filter(shown) {
        println!("  {line}");
    }
    Ok(())
}

/// Compares what the fleet lists with what the CSV files hold, and adds up all frames.
fn judge(folder: &Folder) -> miette::Result<ExitCode> {
    let listed = Listed::read(&folder.file("reports.txt"))?;
    let exported = Exported::read(&folder.state().join("mdm"))?;
    let sums = compare::Sums::read(&folder.file("fleet.json"), &folder.file("head-end.json"))?;

    println!("\nfirst rows of {}:", exported.first_file.display());
    for row in exported.first_rows.iter().take(ROWS_SHOWN) {
        println!("  {row}");
    }
    let differences = compare::differences(&listed, &exported);
    for difference in differences.iter().take(20) {
        eprintln!("  {difference}");
    }
    println!(
        "\n{} reports listed by the fleet, {} found in {} rows of {} files, {} differ",
        listed.reports.len(),
        exported.reports.len(),
        exported.rows,
        exported.files,
        differences.len()
    );
    println!("{sums}");
    if !differences.is_empty() || !sums.balanced() || sums.refused + sums.dropped > 0 {
        return Err(miette!(help = format!("see {}", folder.path.display()), "the two sides do not agree"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder that the demo works in.
struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A name that marks a folder as the demo's own, so that no other one is ever emptied.
    const MARK: &'static str = ".metergraph-demo";

    /// Makes the folder anew.
    fn make(path: &Path) -> miette::Result<Self> {
        let is_used = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if is_used {
            if !path.join(Self::MARK).exists() {
                return Err(miette!(
                    help = "name an empty or absent folder with --folder",
                    "{} holds something that is not the demo's",
                    path.display()
                ));
            }
            fs::remove_dir_all(path).into_diagnostic()?;
        }
        fs::create_dir_all(path)
            .and_then(|()| File::create(path.join(Self::MARK)))
            .into_diagnostic()
            .wrap_err_with(|| format!("make {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn state(&self) -> PathBuf {
        self.file("state")
    }
}

/// Where the graph listens.
struct Addresses {
    meters: String,
    http: Option<String>,
    api: Option<String>,
}

impl Addresses {
    fn read(graph: &Path) -> miette::Result<Self> {
        let plan = crate::run::compile(&crate::cli::GraphArgs {
            graph: graph.to_owned(),
            plugin_dirs: Vec::new(),
            no_plugins: true,
        })?;
        let meters = plan.transports.iter().find_map(|transport| listens(&transport.grants));
        let meters = meters.ok_or_else(|| miette!("{} listens nowhere", graph.display()))?;
        let api = plan.nodes.iter().find(|node| node.kind == "api");
        let api = api.map(|node| node.config.text("listen").to_owned());
        Ok(Self { meters, http: plan.http.clone(), api })
    }
}

/// The first address that a table of grants allows to listen on.
fn listens(grants: &Value) -> Option<String> {
    let Value::Table(grants) = grants else { return None };
    grants.values().find_map(|grant| match grant {
        Value::Table(grant) => match grant.get("tcp_listen") {
            Some(Value::Text(address)) => Some(address.clone()),
            _ => None,
        },
        _ => None,
    })
}
