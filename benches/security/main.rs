//! What security costs, in CPU time of one thread, beside what it may cost:
//! `cargo bench --bench security [-- --json] [STEP..]`.
//!
//! Steps: `registration`, `registrar` (the node), `command`, `signer` (the node), `token` (SoftHSM2), `records`,
//! `epochs`; without one, all. A goal that is missed is printed, and fails nothing: another machine is another
//! figure.

mod command;
mod epochs;
mod goal;
mod records;
mod registrar;
mod registration;
mod signer;
mod site;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/timing.rs"]
mod timing;
mod token;

use support::{Failure, Figures};

type Step = fn(&mut Figures) -> Result<(), Failure>;

const STEPS: [(&str, Step); 7] = [
    ("registration", registration::bench),
    ("registrar", registrar::bench),
    ("command", command::bench),
    ("signer", signer::bench),
    ("token", token::bench),
    ("records", records::bench),
    ("epochs", epochs::bench),
];

fn main() -> Result<(), Failure> {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let steps: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--json").collect();
    if let Some(other) = steps.iter().find(|step| STEPS.iter().all(|(name, _)| name != *step)) {
        return Err(format!("there is no step `{other}`").into());
    }
    if steps.is_empty() || steps.contains(&"token") {
        token::begin(&words)?;
    }
    let mut figures = Figures::new(words.iter().any(|word| word == "--json"));
    for (name, step) in STEPS {
        if steps.is_empty() || steps.contains(&name) {
            step(&mut figures)?;
        }
    }
    figures.end();
    Ok(())
}
