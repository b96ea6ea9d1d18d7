//! The log over a disk that forgets: power cuts, kills, failing writes and syncs, a full disk, in any
//! order. What was committed is read back exactly once, in order; what was not either comes whole or not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Entry, FOLDER, Random, open, read_from, read_on, reader};
use metergraph_journal::files::ForgetfulFiles;
use metergraph_journal::{Cursors, Durable, JournalError, Position, Reader, Writer};

type Batch = Vec<(u8, Vec<u8>)>;

/// Says which seed failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

/// What happened over all seeds, to see that everything did.
#[derive(Debug, Default)]
struct Tally {
    commits: u64,
    failed: u64,
    cuts: u64,
    kills: u64,
    reopened: u64,
    turned_up: u64,
    released: u64,
    discarded: u64,
    must_reopen: u64,
    full: u64,
}

/// A writer, a reader that follows it, and what must be in the log.
struct World {
    random: Random,
    files: ForgetfulFiles,
    durable: Durable,
    writer: Option<Writer>,
    follower: Reader,
    /// Everything ever committed.
    committed: Vec<Entry>,
    /// All before may have been released.
    floor: Position,
    batch: Batch,
    /// Batches that failed, of which one may turn up.
    unsure: Vec<Batch>,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> Self {
        let (files, durable) = (ForgetfulFiles::default(), Durable::default());
        let follower = reader(&files, &durable, Position::START);
        Self {
            random: Random(seed),
            writer: Some(open(&files, &durable).unwrap()),
            files,
            durable,
            follower,
            committed: Vec::new(),
            floor: Position::START,
            batch: Vec::new(),
            unsure: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..16 => self.append(),
            16..27 => self.commit(),
            27 => self.discard(),
            28 | 29 => self.release(),
            30 => self.files.fail_syncs(1 + u32::try_from(self.random.below(2)).unwrap()),
            31 => self.files.fail_write_after(self.random.below(20_000)),
            32 => {
                let space = (!self.random.one_in(3)).then(|| self.random.below(60_000));
                self.files.set_space(space);
            }
            33 | 34 => {
                let operations = self.random.below(12);
                self.files.stop_after(operations);
            }
            35 | 36 => self.cut(),
            37 => self.kill(),
            38 => self.reopen(),
            _ => self.store_cursor(),
        }
        self.follow();
    }

    fn append(&mut self) {
        let kind = u8::try_from(self.random.below(256)).unwrap();
        let length = match self.random.below(8) {
            0 => 0,
            1 => self.random.below(9000),
            _ => self.random.below(300),
        };
        let octets: Vec<u8> = (0..length).map(|_| self.random.word().to_le_bytes()[0]).collect();
        match self.writer().append(kind, &octets) {
            Ok(()) => self.batch.push((kind, octets)),
            Err(JournalError::BatchFull { .. }) => self.commit(),
            Err(error) => panic!("{error}"),
        }
    }

    fn commit(&mut self) {
        match self.writer().commit() {
            Ok(end) => {
                assert_eq!(end, self.writer().end());
                if self.batch.is_empty() {
                    return;
                }
                self.tally.commits += 1;
                self.unsure.clear();
                let batch = std::mem::take(&mut self.batch);
                let entries = read_on(&mut self.follower).unwrap();
                assert!(same(&entries, &batch));
                self.committed.extend(entries);
            }
            Err(error) => {
                self.tally.failed += 1;
                assert!(!self.batch.is_empty() || matches!(error, JournalError::MustReopen { .. }));
                self.unsure.push(self.batch.clone());
                match error {
                    JournalError::MustReopen { .. } => {
                        self.tally.must_reopen += 1;
                        self.reopen();
                    }
                    JournalError::DiskFull(_) => self.tally.full += 1,
                    JournalError::File(_) => {}
                    other => panic!("{other}"),
                }
            }
        }
    }

    fn discard(&mut self) {
        self.batch.clear();
        if self.writer().discard().is_ok() {
            self.unsure.clear();
            self.tally.discarded += 1;
        }
    }

    fn release(&mut self) {
        if self.committed.is_empty() {
            return;
        }
        let index = self.random.below(self.committed.len() as u64);
        let position = self.committed[usize::try_from(index).unwrap()].0;
        // A cursor that stands further back holds it.
        let floor = metergraph_journal::floor(&self.files, Path::new(FOLDER)).unwrap();
        let position = floor.map_or(position, |floor| floor.min(position));
        self.floor = self.floor.max(position);
        match self.writer().release(position) {
            Ok(released) => self.tally.released += released as u64,
            Err(JournalError::File(_) | JournalError::MustReopen { .. }) => self.reopen(),
            Err(error) => panic!("{error}"),
        }
    }

    fn store_cursor(&mut self) {
        let cursors = Cursors::new(Arc::new(self.files.clone()), Path::new(FOLDER));
        drop(cursors.store("follower", self.follower.position(), b"payload"));
    }

    /// Nothing that was not committed is ever read.
    fn follow(&mut self) {
        match read_on(&mut self.follower) {
            Ok(entries) => assert_eq!(entries, [], "not committed"),
            // Between a cut and the next opening old handles are dead.
            Err(JournalError::File(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn cut(&mut self) {
        self.tally.cuts += 1;
        let seed = self.random.word();
        self.files.cut(seed);
        self.new_process();
    }

    fn kill(&mut self) {
        self.tally.kills += 1;
        let seed = self.random.word();
        self.files.kill(seed);
        self.new_process();
    }

    fn new_process(&mut self) {
        self.durable = Durable::default();
        self.follower = reader(&self.files, &self.durable, self.follower.position());
        self.open();
    }

    /// The node fails and comes back, in the same process.
    fn reopen(&mut self) {
        self.tally.reopened += 1;
        match self.writer.take() {
            Some(writer) if self.batch.is_empty() && self.random.one_in(2) => drop(writer.close()),
            writer => drop(writer),
        }
        self.open();
    }

    fn open(&mut self) {
        drop(self.writer.take());
        let writer = loop {
            match open(&self.files, &self.durable) {
                Ok(writer) => break writer,
                Err(JournalError::File(_) | JournalError::DiskFull(_)) => {
                    // Meanwhile the disk is repaired, or the power goes again.
                    self.files.set_space(None);
                    match self.random.below(3) {
                        0 => self.files.kill(self.random.word()),
                        _ => self.files.cut(self.random.word()),
                    }
                    self.durable = Durable::default();
                    let from = self.follower.position();
                    self.follower = reader(&self.files, &self.durable, from);
                }
                Err(error) => panic!("{error}"),
            }
        };
        let found = read_from(&self.files, &self.durable, writer.first()).unwrap();
        self.writer = Some(writer);
        self.compare(found);
        self.batch.clear();
        self.unsure.clear();
        // The follower reads on: only what turned up is new to it.
        let turned_up = read_on(&mut self.follower).unwrap();
        self.committed.extend(turned_up);
    }

    /// What is found is what was committed, but for what was released, and at most one failed batch.
    fn compare(&mut self, found: Vec<Entry>) {
        let first = found.first().map_or(Position(u64::MAX), |entry| entry.0);
        let kept = self.committed.partition_point(|entry| entry.0 < first);
        // With nothing found everything must have been released.
        assert!(self.committed[..kept].iter().all(|entry| entry.0 < self.floor), "lost, not released");
        let kept = &self.committed[kept..];
        assert!(found.len() >= kept.len(), "lost");
        assert_eq!(found[..kept.len()], *kept, "changed");
        let more = &found[kept.len()..];
        if !more.is_empty() {
            self.tally.turned_up += 1;
            assert!(self.unsure.iter().any(|batch| same(more, batch)), "not a batch that failed");
        }
    }
}

fn same(entries: &[Entry], batch: &Batch) -> bool {
    entries
        .iter()
        .map(|(_, kind, octets)| (kind, octets))
        .eq(batch.iter().map(|(kind, octets)| (kind, octets)))
}

#[test]
fn committed_records_survive_everything_exactly_once() {
    let mut all = Tally::default();
    for seed in 0..4000 {
        let _seed = Seed(seed);
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.step();
        }
        world.cut();
        let tally = world.tally;
        all.commits += tally.commits;
        all.failed += tally.failed;
        all.cuts += tally.cuts;
        all.kills += tally.kills;
        all.reopened += tally.reopened;
        all.turned_up += tally.turned_up;
        all.released += tally.released;
        all.discarded += tally.discarded;
        all.must_reopen += tally.must_reopen;
        all.full += tally.full;
    }
    println!("{all:?}");
    for (what, count) in [
        ("commits", all.commits),
        ("failed", all.failed),
        ("cuts", all.cuts),
        ("kills", all.kills),
        ("reopened", all.reopened),
        ("turned up", all.turned_up),
        ("released", all.released),
        ("discarded", all.discarded),
        ("must reopen", all.must_reopen),
        ("full", all.full),
    ] {
        assert!(count > 20, "{what} hardly happened: {count}");
    }
}

/// One life of a log that touches every step: commits, rolls over new and recycled segments, retention.
fn script(files: &ForgetfulFiles, durable: &Durable) -> (Vec<Batch>, Option<Batch>) {
    let mut committed = Vec::new();
    let mut run = || -> Result<(), (JournalError, Option<Batch>)> {
        let mut writer = open(files, durable).map_err(|error| (error, None))?;
        for number in 0..9_u8 {
            let batch: Batch =
                (0..3).map(|record| (number, vec![record; 1000 + 700 * usize::from(number % 3)])).collect();
            for (kind, octets) in &batch {
                writer.append(*kind, octets).map_err(|error| (error, None))?;
            }
            let end = writer.commit().map_err(|error| (error, Some(batch.clone())))?;
            committed.push(batch);
            if number == 4 {
                writer.release(end).map_err(|error| (error, None))?;
            }
        }
        writer.close().map_err(|error| (error, None))
    };
    match run() {
        Ok(()) => (committed, None),
        Err((_, unsure)) => (committed, unsure),
    }
}

#[test]
fn a_cut_after_each_step_loses_nothing_committed() {
    let whole = ForgetfulFiles::default();
    script(&whole, &Durable::default());
    let steps = whole.operations();
    assert!(steps > 40, "{steps}");
    for stop in 0..=steps {
        for seed in 0..30 {
            let _seed = Seed(stop * 1000 + seed);
            let files = ForgetfulFiles::default();
            files.stop_after(stop);
            let (committed, unsure) = script(&files, &Durable::default());
            files.cut(seed);
            let durable = Durable::default();
            let writer = open(&files, &durable).unwrap();
            let found = read_from(&files, &durable, writer.first()).unwrap();
            let entries: Batch = found.into_iter().map(|(_, kind, octets)| (kind, octets)).collect();
            let mut possible: Vec<Batch> =
                (0..=committed.len().min(5)).map(|gone| committed[gone..].concat()).collect();
            if let Some(unsure) = unsure {
                possible
                    .extend(possible.clone().into_iter().map(|batches| [batches, unsure.clone()].concat()));
            }
            assert!(possible.contains(&entries), "stop {stop} seed {seed}");
            if committed.len() < 5 {
                assert!(entries.len() >= committed.len() * 3, "stop {stop} seed {seed}: lost");
            }
        }
    }
}
