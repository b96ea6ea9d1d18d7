//! The devices' counters on disk, so that another run goes on where this one ends.
//!
//! One text file, a line a device; the last line of a device counts. While the fleet runs, a line is appended
//! and synced before the counters that it reserves are used, so that none is used twice after any cut. At the
//! end the file is written anew, with the frames that are not acknowledged.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::files::{FileError, FileHandle, Files, Lock, Open};
use seal::hex::Hex;
use seal::ids::{Dev, Sid, System};

use crate::reporter::{KeptFrame, Saved, UNACKNOWLEDGED_MAX};

/// The file in the state folder.
const FILE: &str = "fleet.txt";
/// The longest file.
const OCTETS_MAX: usize = 1 << 30;
/// Reservations are made durable at most so often, so that many go into one sync.
const COMMIT_EVERY_US: u64 = 5_000;
/// So many wait at most.
const WAITING_MAX: usize = 4096;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system's fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another fleet uses the folder.
    #[error("{0} is in use by another fleet")]
    Locked(PathBuf),
    /// Meters of another seed would go on with other readings.
    #[error("{path} was made with {made}; this run has {run}")]
    Other {
        /// The file.
        path: PathBuf,
        /// Seed and system that it was made with.
        made: String,
        /// Those of this run.
        run: String,
    },
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Ledger {
    files: Arc<dyn Files>,
    path: PathBuf,
    file: Box<dyn FileHandle>,
    _lock: Box<dyn Lock>,
    heading: String,
    /// Where the next line goes.
    end: u64,
    lines: String,
    /// Devices, by the fleet's own number, and the floors that the lines reserve.
    waiting: Vec<(usize, u32)>,
    committed_us: u64,
}

/// What the file says of each device.
pub(super) type SavedDevices = BTreeMap<Dev, Saved>;

impl Ledger {
    /// Opens or makes the file.
    pub(super) fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        seed: u64,
        system: System,
    ) -> Result<(Self, SavedDevices), LedgerError> {
        files.create_folder(folder)?;
        let lock = files.lock(&folder.join("lock")).map_err(|error| {
            if error.is_locked() { LedgerError::Locked(folder.to_owned()) } else { error.into() }
        })?;
        let path = folder.join(FILE);
        let heading = format!("seed {seed} system {system}");
        let octets = match files.read(&path, OCTETS_MAX) {
            Ok(octets) => octets,
            Err(error) if error.is_missing() => {
                files.write_atomically(&path, line(&heading).as_bytes())?;
                files.read(&path, OCTETS_MAX)?
            }
            Err(error) => return Err(error.into()),
        };
        let mut lines = octets.split_inclusive(|octet| *octet == b'\n').filter_map(checked);
        let made = lines.next().unwrap_or_default();
        if made != heading {
            let (path, made) = (path.clone(), made.to_owned());
            return Err(LedgerError::Other { path, made, run: heading });
        }
        // A line that a cut has torn was never synced, so its counters were never used.
        let saved = lines.filter_map(read).map(|saved| (saved.dev, saved)).collect();
        let file = files.open(&path, Open::Update)?;
        let end = octets.len() as u64;
        // What is left of a torn line ends here.
        let torn = octets.last().is_some_and(|octet| *octet != b'\n');
        let lines = if torn { "\n".to_owned() } else { String::new() };
        let (waiting, committed_us) = (Vec::new(), 0);
        let ledger = Self { files, path, file, _lock: lock, heading, end, lines, waiting, committed_us };
        Ok((ledger, saved))
    }

    /// Asks for the reservation in `saved`; [`Self::commit`] grants it.
    pub(super) fn ask(&mut self, device: usize, saved: &Saved) {
        self.lines.push_str(&line(&text(saved)));
        self.waiting.push((device, saved.floor));
    }

    /// Makes all reservations durable that were asked for, mostly; each that is goes to `granted`.
    pub(super) fn commit(
        &mut self,
        now_us: u64,
        mut granted: impl FnMut(usize, u32),
    ) -> Result<(), LedgerError> {
        let soon = now_us < self.committed_us.saturating_add(COMMIT_EVERY_US);
        if self.waiting.is_empty() || (soon && self.waiting.len() < WAITING_MAX) {
            return Ok(());
        }
        self.file.write_at(self.lines.as_bytes(), self.end)?;
        self.file.sync()?;
        self.end = self.end.saturating_add(self.lines.len() as u64);
        self.lines.clear();
        self.committed_us = now_us;
        self.waiting.drain(..).for_each(|(device, floor)| granted(device, floor));
        Ok(())
    }

    /// Writes the file anew.
    pub(super) fn close(self, saved: impl IntoIterator<Item = Saved>) -> Result<(), LedgerError> {
        let mut lines = line(&self.heading);
        saved.into_iter().for_each(|saved| lines.push_str(&line(&text(&saved))));
        Ok(self.files.write_atomically(&self.path, lines.as_bytes())?)
    }
}

/// A line: the checksum of its text, then the text.
fn line(text: &str) -> String {
    format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes()))
}

/// The text of a line, when it is whole.
fn checked(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, text) = line.split_once(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(text.as_bytes())).then_some(text)
}

/// `dev sid epoch floor number mark`, and `seq:number:body` for each frame.
fn text(saved: &Saved) -> String {
    let Saved { dev, sid, epoch, floor, number, mark, frames } = saved;
    let mut text = format!("{dev} {sid} {epoch} {floor} {number} {mark}");
    for KeptFrame { seq, number, body } in frames {
        // A string takes any text.
        let _ = write!(text, " {seq}:{number}:{}", Hex(body));
    }
    text
}

fn read(text: &str) -> Option<Saved> {
    let mut words = text.split(' ');
    let mut word = || words.next();
    let (dev, sid): (Dev, Sid) = (word()?.parse().ok()?, word()?.parse().ok()?);
    let epoch = word()?.parse().ok()?;
    let (floor, number, mark) = (word()?.parse().ok()?, word()?.parse().ok()?, word()?.parse().ok()?);
    let frames: Vec<KeptFrame> = words.map(frame).collect::<Option<_>>()?;
    (frames.len() <= UNACKNOWLEDGED_MAX).then_some(Saved { dev, sid, epoch, floor, number, mark, frames })
}

fn frame(text: &str) -> Option<KeptFrame> {
    let (seq, rest) = text.split_once(':')?;
    let (number, body) = rest.split_once(':')?;
    let digit = |octet: &u8| char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let body = body
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4) | digit(low)?),
            _ => None,
        })
        .collect::<Option<_>>()?;
    Some(KeptFrame { seq: seq.parse().ok()?, number: number.parse().ok()?, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::files::ForgetfulFiles;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use seal::ids::Epoch;

    const SYSTEM: System = System([3; 8]);

    fn saved(dev: u8, floor: u32) -> Saved {
        let frames = vec![
            KeptFrame { seq: 5, number: 4, body: vec![0, 0xff, 7] },
            KeptFrame { seq: 6, number: 5, body: vec![1] },
        ];
        Saved { dev: Dev([dev; 8]), sid: Sid(7), epoch: Epoch(258), floor, number: 6, mark: 9, frames }
    }

    fn open(files: &ForgetfulFiles) -> (Ledger, SavedDevices) {
        Ledger::open(Arc::new(files.clone()), Path::new("state"), 1, SYSTEM).unwrap()
    }

    #[test]
    fn another_run_reads_what_this_one_saved() {
        let files = ForgetfulFiles::default();
        let (mut ledger, found) = open(&files);
        assert!(found.is_empty());
        ledger.ask(0, &saved(1, 32));
        ledger.ask(1, &saved(2, 32));
        let mut granted = Vec::new();
        ledger.commit(COMMIT_EVERY_US, |device, floor| granted.push((device, floor))).unwrap();
        assert_eq!(granted, [(0, 32), (1, 32)]);
        ledger.ask(0, &saved(1, 64));
        ledger.commit(COMMIT_EVERY_US + 1, |_, _| panic!("too soon")).unwrap();
        ledger.commit(2 * COMMIT_EVERY_US, |_, _| {}).unwrap();
        drop(ledger);
        let (ledger, found) = open(&files);
        assert_eq!(found.values().cloned().collect::<Vec<_>>(), [saved(1, 64), saved(2, 32)]);
        ledger.close([saved(2, 96)]).unwrap();
        assert_eq!(open(&files).1.into_values().collect::<Vec<_>>(), [saved(2, 96)]);
    }

    #[test]
    fn one_fleet_at_a_time_and_only_the_same() {
        let files = ForgetfulFiles::default();
        let (ledger, _) = open(&files);
        let open = |seed| Ledger::open(Arc::new(files.clone()), Path::new("state"), seed, SYSTEM);
        assert!(matches!(open(1), Err(LedgerError::Locked(_))));
        drop(ledger);
        let error = open(2).err().unwrap().to_string();
        assert!(error.contains("seed 1 system 0303030303030303; this run has seed 2"), "{error}");
    }

    proptest! {
        /// Whatever a cut leaves of what was not synced, a granted floor is still there.
        #[test]
        fn a_cut_takes_no_granted_reservation(
            rounds in vec((vec(0..20_u8, 0..40), any::<bool>(), any::<u64>()), 1..6),
        ) {
            let files = ForgetfulFiles::default();
            let (mut granted, mut floor): (BTreeMap<usize, u32>, u32) = (BTreeMap::new(), 0);
            let mut now_us = 0;
            for (asked, commit, seed) in rounds {
                let (mut ledger, found) = open(&files);
                for (device, floor) in &granted {
                    let saved = found.get(&Dev([*device as u8; 8])).map_or(0, |saved| saved.floor);
                    prop_assert!(saved >= *floor, "{} after {}", saved, floor);
                }
                for device in asked {
                    floor += 32;
                    ledger.ask(usize::from(device), &saved(device, floor));
                }
                now_us += COMMIT_EVERY_US;
                if commit {
                    ledger.commit(now_us, |device, floor| { granted.insert(device, floor); }).unwrap();
                } else {
                    // Written, but the power goes before the sync.
                    ledger.file.write_at(ledger.lines.as_bytes(), ledger.end).unwrap();
                }
                files.cut(seed);
            }
        }

        #[test]
        fn no_line_is_too_wild(text in ".{0,80}", octets: Vec<u8>) {
            let _ = (read(&text), checked(&octets));
        }
    }
}
