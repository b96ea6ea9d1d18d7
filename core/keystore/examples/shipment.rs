//! How long a shipment takes into a key store, and from there into memory; and registrations after it.
//!
//! `cargo run -p metergraph-keystore --example shipment [DEVICES]`

use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;
use std::sync::Arc;
use std::time::Instant;

use c1222::ApTitleBuf;
use metergraph_keystore::sample::{self, Sample};
use metergraph_keystore::shipment::Shipment;
use metergraph_keystore::{Change, FOLDER, NewAssociation, ProfileId, Store, Vault};
use seal::ids::{Dev, Sid};
use seal::secret::Prk;

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
    let store = Arc::new(store);
    let vault = store.vault();
    for shard in 0..2 {
        let name = format!("load shard {shard} of 2");
        let count = step(&name, || Ok(vault.load(&|partition| partition % 2 == shard, &mut |_| {})?))?;
        println!("{count:>38} associations");
    }
    println!("{:>38} devices in the directory", directory.devices());
    let slots = directory.slots();
    slots.open();
    for count in [1, 100, 10_000] {
        let new = step(&format!("seal {count} registrations"), || {
            let sids = std::iter::from_fn(|| slots.allocate()).take(count);
            sids.map(|sid| registration(&vault, sid)).collect::<Result<Vec<_>, _>>()
        })?;
        step(&format!("take in {count}"), || Ok(store.apply(&new, 0)?))?;
    }
    Ok(())
}

fn registration(vault: &Vault, sid: Sid) -> Result<Change, Box<dyn Error>> {
    let (dev, title) = (Dev((u64::MAX - u64::from(sid.0)).to_be_bytes()), ApTitleBuf::parse(".9")?);
    let prk = Prk::from_octets([7; 32]);
    let profile = ProfileId::of(b"name = \"made up\"");
    let new = NewAssociation { sid, dev, prk: &prk, title: title.as_title(), esn: "E", profile };
    Ok(Change::Association { sid, dev, sealed: vault.seal_association(&new)?.into() })
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
