//! What has to hold of a head-end's whole story, whatever happened to it: the fleet's ledger, and the journal.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use journal::files::Files;
use journal::{Settings, Writer};
use nodes::journal::Log;
use nodes::record;
use seal::ids::{Dev, Epoch, Sid};

use super::lab::Lab;

/// Lines of the fleet's ledger, and how many pairs of key and nonce they have. Both directions are in it: what the
/// fleet sealed, and all that came and opened. A repeat is the same line again.
pub fn ledger(lab: &Lab) -> (usize, usize) {
    let text = std::fs::read_to_string(lab.file("ledger")).unwrap();
    let reuses = reuses(&text);
    assert!(reuses.is_empty(), "two frames under one nonce: {reuses:?}");
    (
        text.lines().count(),
        text.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect::<HashSet<_>>().len(),
    )
}

/// Pairs of key and nonce that have two frames.
pub fn reuses(text: &str) -> BTreeSet<String> {
    let mut frames = HashMap::new();
    let mut reuses = BTreeSet::new();
    for line in text.lines() {
        let (use_of_key, frame) = line.rsplit_once(' ').unwrap();
        if frames.insert(use_of_key, frame).is_some_and(|before| before != frame) {
            reuses.insert(use_of_key.to_owned());
        }
    }
    reuses
}

/// What the journal of a head-end that has ended says.
#[derive(Default)]
pub struct Story {
    /// Devices with an association.
    pub devices: HashSet<Dev>,
    /// Commands that were signed.
    pub signed: usize,
    /// Reports and control frames that were taken in.
    pub reports: usize,
}

/// Reads it, and asserts what no journal may hold: an association, a frame, or a command counter twice.
pub fn judge(files: Arc<dyn Files>, lab: &Lab) -> Story {
    let log = Log::new(files, lab.state().join("journal"));
    let writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable()).unwrap();
    let mut reader = log.reader(log.first().unwrap());
    let mut story = Story::default();
    let mut given: HashMap<Sid, Vec<u8>> = HashMap::new();
    let mut frames: HashSet<(Sid, Epoch, u32)> = HashSet::new();
    let mut intents: HashMap<_, Vec<u8>> = HashMap::new();
    // By the octets that name a counter: skid, kind, scope, ctr.
    let mut counters: HashMap<(u8, String, u32), Vec<u8>> = HashMap::new();
    let mut reserved = HashMap::new();
    while let Some(found) = reader.next().unwrap() {
        match found.kind {
            record::ASSOCIATION => {
                let association = record::Association::read(found.octets).unwrap();
                let other = given.insert(association.sid, association.sealed.to_vec());
                assert!(other.is_none_or(|other| other == association.sealed), "{} twice", association.sid);
                story.devices.insert(association.dev);
            }
            record::REPORT => {
                let (report, _) = record::Report::read(found.octets).unwrap();
                assert!(
                    frames.insert((report.sid, report.epoch, report.seq)),
                    "{} twice",
                    report.message_id()
                );
                story.reports += 1;
            }
            record::CTR => {
                let record::Ctr(ctr) = record::Ctr::read(found.octets).unwrap();
                reserved.insert(ctr.id, ctr);
            }
            record::SIGNED => {
                let signed = record::Signed::read(found.octets).unwrap();
                let ctr = reserved[&signed.id];
                let scope = match ctr.addressee {
                    seal::command::Addressee::Device(dev) => dev.to_string(),
                    seal::command::Addressee::Group(gid) => gid.to_string(),
                };
                let other = counters.insert((ctr.skid, scope.clone(), ctr.ctr), signed.octets.to_vec());
                assert!(other.is_none_or(|other| other == signed.octets), "ctr {} of {scope} twice", ctr.ctr);
                let other = intents.insert(signed.id, signed.octets.to_vec());
                assert!(other.is_none_or(|other| other == signed.octets), "an intent was signed twice");
                story.signed += 1;
            }
            _ => {}
        }
    }
    drop(writer);
    story
}

/// Every frame that came has one end.
pub fn account(status: &runtime::Status) {
    let sum = |name: &str| status.sum(name, None);
    let outside = ["framing", "oversize", "frame-timeout", "segmented-too-many", "closed-mid-frame"];
    let outside =
        outside.iter().map(|reason| status.sum("metergraph_frames_refused_total", Some(("reason", reason))));
    let taken = sum("metergraph_registration_messages_total");
    assert_eq!(
        sum("metergraph_frames_received_total"),
        sum("metergraph_frames_journaled_total")
            + sum("metergraph_frames_duplicate_total")
            + sum("metergraph_frames_refused_total")
            + sum("metergraph_frames_dropped_total")
            + taken
            - outside.sum::<i64>(),
        "{status:?}"
    );
}
