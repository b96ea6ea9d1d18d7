//! What the desk knows, in the log: heard record by record, and put into a checkpoint of its own.

use commands::desk::{Desk, Ended, Fleet, Heard, Taken};
use journal::{Checkpoint, CheckpointWriter, JournalError, Position, Reader};
use seal::control::{Items, Up};

use crate::journal::Log;
use crate::record::{
    self, DeskEntry, Due, GroupKey, Issued, Origin, Proved, Refused, Report, Restored, Revoked, Signed,
};

/// A chunk is written when it has so many octets.
const CHUNK_OCTETS: usize = 64 << 10;

/// Takes in the checkpoint of this name and the log after it. Answers the reader that goes on, and where the
/// checkpoint is.
pub(super) fn rebuild(
    log: &Log,
    name: &str,
    desk: &mut Desk,
    fleet: &dyn Fleet,
    taken: &mut dyn FnMut(&Taken),
) -> Result<(Reader, Option<Position>), JournalError> {
    let mut stored = None;
    if let Some(mut checkpoint) = Checkpoint::open(&*log.files(), log.folder(), name)? {
        stored = Some(checkpoint.position());
        while let Some(chunk) = checkpoint.next()? {
            for entry in entries(chunk) {
                desk.hear(Some(entry.at), &entry.heard, fleet);
            }
        }
    }
    let from = match stored {
        Some(position) => position,
        None => log.first()?,
    };
    let mut reader = log.reader(from);
    while let Some(found) = reader.next()? {
        each(found.kind, found.octets, &mut |at, heard| {
            if let Heard::Taken(command) = &heard {
                taken(command);
            }
            desk.hear(at, &heard, fleet);
        });
    }
    Ok((reader, stored))
}

/// Reads on; tells `ended` of commands that ended. Answers whether there may be more to read.
pub(super) fn follow(
    reader: &mut Reader,
    desk: &mut Desk,
    fleet: &dyn Fleet,
    at_most: usize,
    ended: &mut dyn FnMut(Ended),
) -> Result<bool, JournalError> {
    for _ in 0..at_most {
        let Some(found) = reader.next()? else { return Ok(false) };
        each(found.kind, found.octets, &mut |at, heard| {
            desk.hear(at, &heard, fleet).into_iter().for_each(&mut *ended);
        });
    }
    Ok(true)
}

/// What a record tells the desk.
fn each(kind: u8, octets: &[u8], tell: &mut dyn FnMut(Option<u64>, Heard)) {
    match kind {
        record::REPORT => {
            if let Some((report, body)) = Report::read(octets) {
                of_report(&report, body, tell);
            }
        }
        record::SIGNED => {
            if let Some(Signed { id, octets }) = Signed::read(octets) {
                tell(None, Heard::Signed { id, octets: octets.to_vec() });
            }
        }
        record::REFUSED => {
            if let Some(Refused { id, code }) = Refused::read(octets) {
                tell(None, Heard::Refused { id, code: code.to_owned() });
            }
        }
        record::ISSUED => {
            if let Some(Issued { sid, epoch, campaign }) = Issued::read(octets) {
                tell(None, Heard::Issued { sid, epoch, campaign });
            }
        }
        record::PROVED => {
            if let Some(Proved { dev, .. }) = Proved::read(octets) {
                tell(None, Heard::Proved { dev });
            }
        }
        record::REVOKED => {
            if let Some(Revoked { dev, .. }) = Revoked::read(octets) {
                tell(None, Heard::Revoked { dev });
            }
        }
        record::GROUP_KEY => {
            if let Some(GroupKey { gid, epoch, activate_at, sealed }) = GroupKey::read(octets) {
                tell(None, Heard::GroupKey { gid, epoch, activate_at, sealed: sealed.to_vec() });
            }
        }
        record::DUE => {
            if let Some(Due { sid, dev, epoch, why }) = Due::read(octets) {
                tell(None, Heard::Due { sid, dev, epoch, why });
            }
        }
        record::RESTORED => {
            if let Some(Restored { incarnation, days, at }) = Restored::read(octets) {
                tell(Some(at), Heard::Restored { incarnation, days });
            }
        }
        kind if DeskEntry::is_kind(kind) => {
            if let Some(DeskEntry { at, heard }) = DeskEntry::read(octets) {
                tell(Some(at), heard);
            }
        }
        _ => {}
    }
}

fn of_report(report: &Report, body: &[u8], tell: &mut dyn FnMut(Option<u64>, Heard)) {
    if report.origin.is_classic() {
        return;
    }
    let (at, dev) = (Some(report.received / 1_000_000_000), report.dev);
    tell(at, Heard::Report { sid: report.sid, dev, epoch: report.epoch });
    if report.origin != Origin::Control {
        return;
    }
    let items: Option<Items<'_, Up<'_>>> = Items::read(body).ok();
    for item in items.into_iter().flatten() {
        match item {
            Up::Result(outcome) => tell(
                at,
                Heard::Result {
                    dev,
                    skid: outcome.skid,
                    kind: outcome.kind,
                    ctr: outcome.ctr,
                    result: outcome.result,
                    rest: outcome.rest.to_vec(),
                },
            ),
            Up::TimeRequest { nonce } => tell(at, Heard::TimeRequest { dev, nonce: *nonce }),
            _ => {}
        }
    }
}

/// Writes a checkpoint; all of the log before `position` is in it.
pub(super) fn write(log: &Log, name: &str, position: Position, desk: &Desk) -> Result<(), JournalError> {
    let mut writer = CheckpointWriter::begin(log.files(), log.folder(), name, position)?;
    let (mut chunk, mut entry, mut written) = (Vec::with_capacity(CHUNK_OCTETS), Vec::new(), Ok(()));
    desk.tell(&mut |at, heard| {
        entry.clear();
        DeskEntry { at, heard }.write(&mut entry);
        if written.is_ok() && chunk.len().saturating_add(entry.len()) > CHUNK_OCTETS {
            written = writer.put(&chunk);
            chunk.clear();
        }
        let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
        chunk.extend_from_slice(&length.to_be_bytes());
        chunk.extend_from_slice(&entry);
    });
    written?;
    writer.put(&chunk)?;
    writer.finish()?;
    log.mark(name);
    Ok(())
}

/// The entries of a chunk. It is whole, or reading it has failed; an entry of another release is passed over.
fn entries(mut chunk: &[u8]) -> impl Iterator<Item = DeskEntry> {
    std::iter::from_fn(move || {
        let (length, rest) = chunk.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (entry, rest) = rest.split_at_checked(length)?;
        chunk = rest;
        Some(DeskEntry::read(entry))
    })
    .flatten()
}
