//! `metergraph journal`: what the journal of a stopped head-end holds, a JSON object a record.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use journal::files::OsFiles;
use journal::{Durable, JournalError, Position, Reader};
use miette::{IntoDiagnostic, WrapErr};
use nodes::record::{self, Report, Reservation};
use seal::hex::Hex;
use serde_json::{Value, json};

/// Prints all records from the journal's beginning.
///
/// # Errors
/// When a head-end runs on the folder, or the journal cannot be read.
pub fn print(state: &Path) -> miette::Result<ExitCode> {
    let folder = state.join("journal");
    let wrong = || format!("journal {}", folder.display());
    let durable = Durable::of_stopped(&OsFiles, &folder).into_diagnostic().wrap_err_with(wrong)?;
    let open = |from| Reader::new(Arc::new(OsFiles), &folder, &durable, from);
    // What every cursor has passed is gone.
    let from = match open(Position::START).next() {
        Err(JournalError::Released { first, .. }) => first,
        _ => Position::START,
    };
    let mut reader = open(from);
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Some(found) = reader.next().into_diagnostic().wrap_err_with(wrong)? {
        let shown = show(found.position, found.kind, found.octets);
        if writeln!(out, "{shown}").is_err() {
            // Whoever reads has enough.
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(position: Position, kind: u8, octets: &[u8]) -> Value {
    let position = position.to_string();
    match kind {
        record::REPORT => match Report::read(octets) {
            Some((report, body)) => json!({
                "position": position,
                "record": "report",
                "origin": report.origin.word(),
                "message_id": report.message_id(),
                "dev": report.dev.to_string(),
                "sid": report.sid.to_string(),
                "epoch": report.epoch.0,
                "seq": report.seq,
                "iv": report.iv,
                "received": report.received,
                "body": Hex(body).to_string(),
            }),
            None => unreadable(&position, kind, octets),
        },
        record::RESERVATION => match Reservation::read(octets) {
            Some(reservation) => json!({
                "position": position,
                "record": "reservation",
                "sid": reservation.sid.to_string(),
                "epoch": reservation.epoch.0,
                "floor": reservation.floor,
                "day": reservation.day,
            }),
            None => unreadable(&position, kind, octets),
        },
        _ => unreadable(&position, kind, octets),
    }
}

fn unreadable(position: &str, kind: u8, octets: &[u8]) -> Value {
    json!({ "position": position, "record": "unknown", "kind": kind, "octets": Hex(octets).to_string() })
}
