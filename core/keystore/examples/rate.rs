//! How long a shipment takes into a key store, and from there into memory.
//!
//! `cargo run -p metergraph-keystore --example rate [DEVICES]`

use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;
use std::time::Instant;

use metergraph_keystore::sample::{self, Sample};
use metergraph_keystore::shipment::Shipment;
use metergraph_keystore::{FOLDER, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let devices = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let state = tempfile::tempdir()?;
    let file = state.path().join("shipment.csv");
    let folder = state.path().join(FOLDER);
    let text = || Some(b"name = \"made up\"".to_vec());

    step("write the sample", || {
        let mut out = BufWriter::new(File::create(&file)?);
        Ok(sample::write(&Sample { devices, classic: devices / 10, profile: "p.toml" }, &mut out)?)
    })?;
    step("init", || Ok(Store::init(&folder, None)?))?;
    let shipment = step("read the shipment", || Ok(Shipment::read(File::open(&file)?)?))?;
    step("import", || Ok(Store::open(&folder)?.import(&shipment, &|_| text(), true)?))?;
    drop(shipment);
    let store = step("open", || Ok(Store::open(&folder)?))?;
    let directory = step("directory", || Ok(store.directory()?))?;
    let vault = store.into_vault();
    for shard in 0..2 {
        let name = format!("load shard {shard} of 2");
        let count = step(&name, || Ok(vault.load(&|partition| partition % 2 == shard, &mut |_| {})?))?;
        println!("{count:>38} associations");
    }
    println!("{:>38} devices in the directory", directory.devices());
    Ok(())
}

/// Runs a step and prints its time, and the process's memory after it.
fn step<T>(name: &str, run: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    let start = Instant::now();
    let result = run()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().trim();
    println!("{name:<24} {:>10.3} s  {memory:>12} resident", start.elapsed().as_secs_f64());
    Ok(result)
}
