//! The signer's state in the log: rebuilt at the start, kept up with what end devices answer, and put into a
//! checkpoint of its own.

use commands::signer::Signer;
use journal::{Checkpoint, CheckpointWriter, JournalError, Position, Reader};
use seal::control::{Items, Up};

use crate::journal::Log;
use crate::record::{self, Ctr, Origin, Report, Restored, Revoked, Signed};

/// A chunk is written when it has so many octets.
const CHUNK_OCTETS: usize = 64 << 10;

/// The checkpoint's name.
pub(super) fn name(skid: u8) -> String {
    format!("signer-{skid}")
}

/// Takes in the checkpoint and the log after it. Answers the reader that goes on, and where the checkpoint is.
pub(super) fn rebuild(
    log: &Log,
    skid: u8,
    signer: &mut Signer,
) -> Result<(Reader, Option<Position>), JournalError> {
    let mut stored = None;
    if let Some(mut checkpoint) = Checkpoint::open(&*log.files(), log.folder(), &name(skid))? {
        stored = Some(checkpoint.position());
        while let Some(chunk) = checkpoint.next()? {
            // A chunk is whole, or reading it has failed: what it may lack is of another release.
            let _ = signer.restore(chunk);
        }
        log.mark(&name(skid));
    }
    let from = match stored {
        Some(position) => position,
        None => log.first()?,
    };
    let mut reader = log.reader(from);
    while let Some(found) = reader.next()? {
        match found.kind {
            record::CTR => {
                Ctr::read(found.octets).into_iter().for_each(|Ctr(ctr)| signer.replay_reservation(ctr));
            }
            record::SIGNED => {
                let signed = Signed::read(found.octets);
                signed.into_iter().for_each(|signed| signer.replay_signed(signed.id, signed.octets));
            }
            record::RESTORED => {
                let restored = Restored::read(found.octets).into_iter();
                restored.for_each(|restored| signer.restored(restored.incarnation, restored.skip()));
            }
            kind => hear(kind, found.octets, signer),
        }
    }
    signer.rebuilt();
    Ok((reader, stored))
}

/// Takes in what end devices have answered since; own records are known.
pub(super) fn follow(reader: &mut Reader, signer: &mut Signer) -> Result<(), JournalError> {
    while let Some(found) = reader.next()? {
        hear(found.kind, found.octets, signer);
    }
    Ok(())
}

fn hear(kind: u8, octets: &[u8], signer: &mut Signer) {
    match kind {
        record::REPORT => {
            let Some((report, body)) =
                Report::read(octets).filter(|(report, _)| report.origin == Origin::Control)
            else {
                return;
            };
            let items: Option<Items<'_, Up<'_>>> = Items::read(body).ok();
            for item in items.into_iter().flatten() {
                if let Up::Result(outcome) = item {
                    signer.result(report.dev, &outcome);
                }
            }
        }
        record::REVOKED => Revoked::read(octets).into_iter().for_each(|revoked| signer.revoked(revoked.dev)),
        _ => {}
    }
}

/// Writes a checkpoint; all of the log before `position` is in it.
pub(super) fn write(log: &Log, skid: u8, position: Position, signer: &Signer) -> Result<(), JournalError> {
    let mut writer = CheckpointWriter::begin(log.files(), log.folder(), &name(skid), position)?;
    let (mut chunk, mut written) = (Vec::with_capacity(CHUNK_OCTETS), Ok(()));
    signer.entries(&mut |entry| {
        if written.is_ok() && chunk.len().saturating_add(entry.len()) > CHUNK_OCTETS {
            written = writer.put(&chunk);
            chunk.clear();
        }
        chunk.extend_from_slice(entry);
    });
    written?;
    writer.put(&chunk)?;
    writer.finish()?;
    log.mark(&name(skid));
    Ok(())
}
