//! `metergraph inspect`: captures decoded, verified, decrypted; sessions followed, segments joined.

mod found;
mod keys;
mod reader;
mod source;
mod stream;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use miette::IntoDiagnostic;

use crate::cli::InspectArgs;
use keys::Keys;
use reader::Inspector;

/// Prints every APDU of the files. The exit code is 1 when something is wrong with one of them.
///
/// # Errors
/// When a file or a key cannot be read.
pub fn inspect(args: &InspectArgs) -> miette::Result<ExitCode> {
    let keys = Keys::new(&args.keys, args.shipment.as_deref(), args.system.as_deref())?;
    let mut inspector = Inspector::new(keys, args.lenient);
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut apdus, mut faults, mut wrong_macs) = (0_u64, 0_u64, 0_u64);
    for file in &args.files {
        for found in source::read(file)? {
            for seen in inspector.look_at(found) {
                apdus += 1;
                faults += u64::from(seen.error.is_some());
                wrong_macs += u64::from(seen.mac_valid == Some(false));
                let written = if args.json {
                    serde_json::to_string(&seen).into_diagnostic().map(|text| writeln!(out, "{text}"))?
                } else {
                    writeln!(out, "{seen}")
                };
                match written {
                    // Whoever reads has enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                    other => other.into_diagnostic()?,
                }
            }
        }
    }
    out.flush().into_diagnostic()?;
    eprintln!("{apdus} APDUs, {faults} with faults, {wrong_macs} with a wrong MAC");
    Ok(if faults + wrong_macs == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
