//! One run: a new state folder, a head-end, a fleet, and what both say.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::files::OsFiles;
use journal::{Durable, Position, Settings, Writer};
use runtime::Status;

use crate::fleet::Said;
use crate::head_end::{HeadEnd, Spent};
use crate::sums::Sums;
use crate::support::{Failure, Folder};
use crate::{Args, fleet, process};

/// The installation's identity: a public test value.
const SYSTEM: &str = "0011223344556677";
const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/profiles/residential.toml");

/// What all runs have in common.
pub struct Setting<'a> {
    args: &'a Args,
    folder: &'a Folder,
    shipment: PathBuf,
    /// Where the graph listens.
    address: String,
}

/// A figure of a run.
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// Whether it says how the run went, and not where the time was spent.
    pub main: bool,
}

/// The figures of a run.
pub struct Outcome {
    pub figures: Vec<Figure>,
    /// Octets that a commit wrote, on average.
    pub commit_octets: f64,
}

impl<'a> Setting<'a> {
    /// Makes the devices.
    pub fn prepare(args: &'a Args, folder: &'a Folder) -> Result<Self, Failure> {
        let (shipment, devices) = (folder.join("devices.csv"), args.devices.to_string());
        process::output(&[
            "keys".as_ref(),
            "sample".as_ref(),
            "--devices".as_ref(),
            devices.as_ref(),
            "--profile".as_ref(),
            PROFILE.as_ref(),
            "--out".as_ref(),
            shipment.as_os_str(),
        ])?;
        let graph = fs::read_to_string(&args.graph)?;
        let after = graph.split_once("tcp_listen = \"").ok_or("the graph listens nowhere")?.1;
        let address = after.split('"').next().unwrap_or_default().to_owned();
        Ok(Self { args, folder, shipment, address })
    }

    /// One run; `rate` 0 is as fast as acknowledgements come.
    pub fn run(&self, rate: u32, relays: u32) -> Result<Outcome, Failure> {
        let state = self.folder.join("state");
        let store: [&OsStr; 2] = ["--state".as_ref(), state.as_os_str()];
        let import = ["import".as_ref(), self.shipment.as_os_str(), "--test-keys".as_ref()];
        for words in [&["init".as_ref(), "--system".as_ref(), SYSTEM.as_ref()][..], &import] {
            process::output(&[&["keys".as_ref()], words, &store].concat())?;
        }
        let head_end = HeadEnd::start(&self.args.graph, &state, self.folder.path())?;
        let (shipment, folder) = (&self.shipment, self.folder.path());
        let (said, fleet_s) = fleet::run(self.args, shipment, SYSTEM, &self.address, (rate, relays), folder)?;
        let (spent, status) = (head_end.spent()?, head_end.status()?);
        let sums = Sums::check(&said, &head_end.stop()?)?;
        let octets = journal_octets(&state)?;
        fs::remove_dir_all(&state)?;
        Ok(outcome(&said, &sums, fleet_s, &spent, &status, octets))
    }
}

/// What the journal wrote.
fn journal_octets(state: &Path) -> Result<f64, Failure> {
    let (folder, durable) = (state.join("journal"), Durable::default());
    let writer = Writer::open(Arc::new(OsFiles), &folder, Settings::default(), &durable)?;
    Ok(writer.end().since(Position::START) as f64)
}

/// What is shown: rates, then where the time went, then how large batches were.
fn outcome(said: &Said, sums: &Sums, fleet_s: f64, spent: &Spent, status: &Status, octets: f64) -> Outcome {
    let frames = said.acked.max(1) as f64;
    let sum = |name: &str| status.sum(name, None) as f64;
    let commits = sum("metergraph_journal_commits_total").max(1.0);
    let mut figures: Vec<Figure> = Vec::new();
    let mut put = |main, name: &str, value, unit| {
        figures.push(Figure { name: name.to_owned(), value, unit, main });
    };
    put(true, "acknowledgements opened", said.acked_per_second, "frames/s");
    put(true, "latency of half", said.latency_p50_ms.unwrap_or_default(), "ms");
    put(true, "latency of 99 in 100", said.latency_p99_ms.unwrap_or_default(), "ms");
    put(true, "sent", said.sent as f64, "frames");
    put(true, "acknowledged", said.acked as f64, "frames");
    for (name, count) in sums.ends() {
        put(true, name, count as f64, "frames");
    }
    put(true, "journal commits", commits / said.seconds, "commits/s");
    put(true, "CPU time of the fleet", fleet_s, "s");
    put(true, "CPU time of the head-end", spent.cpu_s, "s");
    put(true, "processors busy with both", (fleet_s + spent.cpu_s) / said.seconds, "processors");
    put(true, "export meanwhile", sum("metergraph_readings_exported_total") / said.seconds, "rows/s");
    put(true, "export behind at the end", sum("metergraph_export_behind_bytes") / octets * 100.0, "%");
    put(false, "an APDU", said.bytes as f64 / said.sent.max(1) as f64, "octets");
    put(false, "a report in the journal", octets / frames, "octets");
    put(false, "a commit", frames / commits, "frames");
    put(false, "fleet", fleet_s * 1e9 / frames, "ns/frame");
    put(false, "head-end", spent.cpu_s * 1e9 / frames, "ns/frame");
    for (name, seconds) in spent.threads_s.iter().filter(|(_, seconds)| **seconds >= 0.01) {
        put(false, &format!("head-end, thread {name}"), seconds * 1e9 / frames, "ns/frame");
    }
    for edge in status.edges.iter().filter(|edge| edge.batches > 0) {
        let frames = edge.frames as f64 / edge.batches as f64;
        put(false, &format!("a batch of {}", edge.edge), frames, "frames");
    }
    Outcome { figures, commit_octets: octets / commits }
}
