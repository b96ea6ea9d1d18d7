//! Frames a second from end device to acknowledgement, over loopback TCP, durable:
//! `cargo bench --bench end_to_end [-- --json]`.
//!
//! Head-end and fleet are two processes on one machine. A report counts when the fleet has opened its
//! acknowledgement, and the head-end acknowledges only what its journal has synced. First the fleet sends as fast
//! as it is acknowledged, several times; then once at a steady rate, which shows latency and whether the export
//! keeps up; then behind more cell relays. Every frame must be accounted for on both sides, or the bench fails.

#[path = "../support/disk.rs"]
mod disk;
mod fleet;
mod head_end;
mod process;
mod run;
mod sums;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use clap::Parser;

use disk::syncs;
use run::{Figure, Outcome, Setting};
use support::{Failure, Figures, Folder, Spread};

/// What can be typed after `cargo bench --bench end_to_end --`.
#[derive(Debug, Parser)]
pub struct Args {
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
    /// Runs as fast as acknowledgements come.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of sending in each run.
    #[arg(long, default_value_t = 10)]
    duration: u32,
    /// End devices.
    #[arg(long, default_value_t = 100_000)]
    devices: u32,
    /// Cell relays, a connection each.
    #[arg(long, default_value_t = 10)]
    relays: u32,
    /// Further numbers of cell relays, with one run each: the more connections, the less comes at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    more_relays: Vec<u32>,
    /// Frames a second of the steady run; 0 for none.
    #[arg(long, default_value_t = 200_000)]
    steady: u32,
    /// The graph.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/bench.toml"))]
    graph: PathBuf,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let folder = Folder::make("end-to-end")?;
    let setting = Setting::prepare(&args, &folder)?;
    let mut figures = Figures::new(args.json);
    figures.put("processors", std::thread::available_parallelism()?.get() as f64, "processors");
    figures.put("load of the machine before", load()?, "processes");
    figures.put("end devices", f64::from(args.devices), "devices");
    figures.put("cell relays", f64::from(args.relays), "connections");

    let mut outcomes = Vec::new();
    for number in 1..=args.runs {
        eprintln!("run {number} of {}, as fast as it is acknowledged, {} s", args.runs, args.duration);
        outcomes.push(setting.run(0, args.relays)?);
    }
    show(&mut figures, "end to end", &outcomes, |_| true);
    // The disk alone, in pieces as large as the commits were.
    let mean = Spread::of(outcomes.iter().map(|outcome| outcome.commit_octets)).median as usize;
    for octets in [4096, mean.clamp(1, 16 << 20).next_multiple_of(4096)] {
        let name = format!("disk alone, write and fdatasync of {octets} octets");
        figures.put(&name, syncs(&folder, octets)?, "syncs/s");
    }
    if args.steady > 0 {
        eprintln!("one run at {} frames/s, {} s", args.steady, args.duration);
        let outcome = setting.run(args.steady, args.relays)?;
        show(&mut figures, &format!("at {} frames/s", args.steady), &[outcome], |figure| figure.main);
    }
    for relays in &args.more_relays {
        eprintln!("one run behind {relays} relays, as fast as it is acknowledged, {} s", args.duration);
        let outcome = setting.run(0, *relays)?;
        show(&mut figures, &format!("behind {relays} relays"), &[outcome], |figure| figure.main);
    }
    figures.end();
    Ok(())
}

fn show(figures: &mut Figures, what: &str, outcomes: &[Outcome], wanted: impl Fn(&Figure) -> bool) {
    let Some(first) = outcomes.first() else { return };
    for figure in first.figures.iter().filter(|figure| wanted(figure)) {
        // What one run has no figure for, such as a thread that did next to nothing, is 0 there.
        let values = outcomes.iter().map(|outcome| {
            let same = outcome.figures.iter().find(|other| other.name == figure.name);
            same.map_or(0.0, |same| same.value)
        });
        figures.spread(&format!("{what}, {}", figure.name), Spread::of(values), figure.unit);
    }
}

/// The load average of the last minute.
fn load() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}
