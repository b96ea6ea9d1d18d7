//! Cuts a head-end at each of its durable steps, once in each way.
//!
//! A step is told by what it is: what the story is at, what is done to which kind of file, and, where the journal
//! grows, which kind of record is in what is written or made durable. Whenever a step comes by that has not been
//! cut in every way yet, the head-end is stopped there; who drives it then ends it and starts it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use journal::files::{Doing, ForgetfulFiles, Operation};
use nodes::record;

/// How a head-end ends at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Before it, killed: the page cache stays.
    Killed,
    /// Before it, by the power: what was not synced is certain to nobody.
    PowerCut,
    /// Right after a sync, before anybody hears of it; killed.
    AfterSync,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Killed, Self::PowerCut, Self::AfterSync];
}

/// A kind of durable step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// What the story is at; steps of files that no stage asks for belong to none.
    pub stage: &'static str,
    pub doing: Doing,
    /// The kind of record that the journal grows by, else the kind of file.
    pub what: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<13} {:<10} {}", self.stage, format!("{:?}", self.doing), self.what)
    }
}

/// Cuts at each step; clones share what was cut.
#[derive(Clone)]
pub struct Cutter {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    stage: &'static str,
    starting: bool,
    armed: bool,
    /// Records written to a file since it was synced last.
    pending: HashMap<PathBuf, BTreeSet<u8>>,
    /// How often each was cut, in each way.
    steps: BTreeMap<Step, [u32; 3]>,
    stopped: Option<Way>,
    cuts: u64,
    first: usize,
    /// Nothing more goes out.
    gag: Box<dyn Fn() + Send>,
}

impl Cutter {
    /// Watches these files. `gag` is called at each stop, so that nobody hears of what a head-end does that has
    /// ended. The seed says which way comes first.
    pub fn of(files: &ForgetfulFiles, state: &Path, seed: u64, gag: impl Fn() + Send + 'static) -> Self {
        let shared = Shared {
            stage: "",
            starting: false,
            armed: false,
            pending: HashMap::new(),
            steps: BTreeMap::new(),
            stopped: None,
            cuts: 0,
            first: usize::try_from(seed % 3).unwrap(),
            gag: Box::new(gag),
        };
        let cutter = Self { shared: Arc::new(Mutex::new(shared)) };
        let (watching, state) = (cutter.clone(), state.to_owned());
        files.watch(move |operation| watching.shared().goes_on(operation, &state));
        cutter
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// What is done from here on belongs to a stage.
    pub fn begin(&self, stage: &'static str, armed: bool) {
        let mut shared = self.shared();
        (shared.stage, shared.armed) = (stage, armed);
    }

    /// The head-end is starting, or has started.
    pub fn set_starting(&self, starting: bool) {
        self.shared().starting = starting;
    }

    /// How it was stopped, if it was.
    pub fn stopped(&self) -> Option<Way> {
        self.shared().stopped
    }

    /// It has been cut: the next step is another life's.
    pub fn cut_done(&self) {
        let mut shared = self.shared();
        shared.stopped = None;
        shared.pending.clear();
    }

    pub fn cuts(&self) -> u64 {
        self.shared().cuts
    }

    /// All steps that came by, and how often each was cut in each way.
    pub fn steps(&self) -> BTreeMap<Step, [u32; 3]> {
        self.shared().steps.clone()
    }
}

impl Shared {
    fn goes_on(&mut self, operation: &Operation<'_>, state: &Path) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        let written = records(operation.octets);
        if operation.doing == Doing::Write {
            self.pending.entry(operation.path.to_owned()).or_default().extend(&written);
        }
        let kinds = match operation.doing {
            Doing::Write => written,
            Doing::Sync => self.pending.remove(operation.path).unwrap_or_default(),
            _ => BTreeSet::new(),
        };
        let steps = self.named(operation, &kinds, state);
        let has = |way: Way| way != Way::AfterSync || operation.doing == Doing::Sync;
        let turned = (0..3).map(|turn| Way::ALL[(turn + self.first) % 3]).filter(|way| has(*way));
        for step in &steps {
            self.steps.entry(step.clone()).or_default();
        }
        let uncut = |way: &Way| steps.iter().any(|step| self.steps[step][*way as usize] == 0);
        let Some(way) = turned.into_iter().find(uncut).filter(|_| self.armed) else { return true };
        for step in steps {
            self.steps.get_mut(&step).unwrap()[way as usize] += 1;
        }
        self.stopped = Some(way);
        self.cuts += 1;
        (self.gag)();
        way == Way::AfterSync
    }

    /// The steps that an operation is: one for each kind of record.
    fn named(&self, operation: &Operation<'_>, kinds: &BTreeSet<u8>, state: &Path) -> Vec<Step> {
        let doing = operation.doing;
        if self.starting {
            return vec![Step { stage: "start", doing, what: kind_of_file(operation.path, state) }];
        }
        if kinds.is_empty() {
            return vec![Step { stage: "-", doing, what: kind_of_file(operation.path, state) }];
        }
        let step = |kind: &u8| Step { stage: self.stage, doing, what: name(*kind) };
        kinds.iter().map(step).collect()
    }
}

/// A file by its kind: its path without numbers.
fn kind_of_file(path: &Path, state: &Path) -> String {
    let path = path.strip_prefix(state).unwrap_or(path).display().to_string();
    let mut kind = String::new();
    for word in path.split_inclusive(|letter: char| !letter.is_alphanumeric()) {
        let bare = word.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        let numbered = bare.contains(|letter: char| letter.is_ascii_digit());
        kind.push_str(if numbered { "#" } else { bare });
        kind.push_str(&word[bare.len()..]);
    }
    kind
}

/// The kinds of record in a block of the journal, read as its own documentation has it; none in what is no block.
fn records(octets: &[u8]) -> BTreeSet<u8> {
    const HEAD: usize = 28;
    let mut kinds = BTreeSet::new();
    let Some((head, payload)) =
        octets.split_at_checked(HEAD).filter(|(head, _)| head.starts_with(b"mgj1\x01"))
    else {
        return kinds;
    };
    let length = u32::from_be_bytes(head[16..20].try_into().unwrap());
    let mut rest = &payload[..usize::try_from(length).unwrap()];
    while let [kind, a, b, c, after @ ..] = rest {
        kinds.insert(*kind);
        rest = &after[usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap()..];
    }
    kinds
}

/// A record's kind by name.
fn name(kind: u8) -> String {
    let name = match kind {
        record::REPORT => "REPORT",
        record::RESERVATION => "RESERVATION",
        record::ASSOCIATION => "ASSOCIATION",
        record::PROMOTED => "PROMOTED",
        record::ISSUED => "ISSUED",
        record::PROVED => "PROVED",
        record::RETIRED => "RETIRED",
        record::REVOKED => "REVOKED",
        record::GROUP_KEY => "GROUP_KEY",
        record::INTENT => "INTENT",
        record::SIGNED => "SIGNED",
        record::REFUSED => "REFUSED",
        record::CLOSED => "CLOSED",
        record::APPROVAL => "APPROVAL",
        record::GROUP => "GROUP",
        record::CAMPAIGN => "CAMPAIGN",
        record::AUDIT => "AUDIT",
        record::CTR => "CTR",
        record::DUE => "DUE",
        other => return other.to_string(),
    };
    name.to_owned()
}
