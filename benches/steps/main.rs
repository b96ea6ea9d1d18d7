//! What each step costs, in nanoseconds of one thread's CPU time: `cargo bench --bench steps [-- --json] [STEP..]`.
//!
//! Steps: `decode`, `open`, `way` (to the shard), `shard`, `egress`, `journal`; without one, all. Keys and frames are those of 100,000
//! associations in random order.

mod decode;
#[path = "../support/disk.rs"]
mod disk;
mod egress;
mod journal;
mod lab;
mod open;
mod rig;
mod shard;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/timing.rs"]
mod timing;
mod way;

use lab::Lab;
use support::{Failure, Figures};

type Step = fn(&Lab, &mut Figures) -> Result<(), Failure>;

const STEPS: [(&str, Step); 6] = [
    ("decode", decode::bench),
    ("open", open::bench),
    ("way", way::bench),
    ("shard", shard::bench),
    ("egress", egress::bench),
    ("journal", journal::bench),
];

fn main() -> Result<(), Failure> {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let mut figures = Figures::new(words.iter().any(|word| word == "--json"));
    let steps: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--json").collect();
    if let Some(other) = steps.iter().find(|step| STEPS.iter().all(|(name, _)| name != *step)) {
        return Err(format!("there is no step `{other}`").into());
    }
    let lab = Lab::make()?;
    for (name, step) in STEPS {
        if steps.is_empty() || steps.contains(&name) {
            step(&lab, &mut figures)?;
        }
    }
    figures.end();
    Ok(())
}
