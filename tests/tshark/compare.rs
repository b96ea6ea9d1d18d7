//! Compares what tshark and we say of the APDUs of a capture.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use c1222::{Apdu, Leniency, carriage};
use serde_json::Value;

use crate::differences::{DIFFERENCES, Kind, Mismatch};
use crate::dissector::{self, Dissected};
use crate::ours::{Ours, hex};
use crate::said::{Group, Said};
use crate::support::metergraph;

const FAILED: &str = "Expert Info (Error/Security): C12.22 EPSEM failed authentication";
const NOT_DECRYPTED: &str = "Expert Info (Warning/Undecoded): C12.22 EPSEM could not be decrypted";

/// What a comparison has found: nothing that is not known.
#[derive(Default)]
pub struct Comparison {
    /// The known differences that were met, by why they are.
    pub met: BTreeSet<&'static str>,
    /// Security modes, and codes of services, requests and responses, which both have read in them.
    pub services: BTreeSet<(u64, u8)>,
    /// APDUs without security, secured by EAX' and by profile 1.
    pub clear: usize,
    pub classic: usize,
    pub profile1: usize,
    complaints: Vec<String>,
}

/// Compares all APDUs of a capture, which must be `count`.
///
/// Nothing may be malformed; every MAC must be right; every service, name and parameter must be the same,
/// but for the known differences.
pub fn compare(capture: &Path, keys: &[(u8, String)], count: usize) -> Comparison {
    let dissected = dissector::tshark(capture, keys);
    let seen = inspect(capture, keys);
    assert_eq!((dissected.len(), seen.len()), (count, count), "APDUs that tshark and we find");
    let mut comparison = Comparison::default();
    let mut ours = Ours::default();
    for (seen, dissected) in seen.iter().zip(&dissected) {
        comparison.apdu(seen, dissected, &mut ours);
    }
    let complaints = &comparison.complaints;
    let shown = complaints.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(complaints.is_empty(), "{} differences to {}:\n{shown}", complaints.len(), dissector::version());
    comparison
}

/// What `metergraph inspect` says, but for APDUs that it puts together itself.
fn inspect(capture: &Path, keys: &[(u8, String)]) -> Vec<Value> {
    let mut arguments = vec!["inspect".to_owned(), "--json".into(), capture.display().to_string()];
    arguments.extend(keys.iter().flat_map(|(id, key)| ["--key".into(), format!("{id}:{key}")]));
    let text = String::from_utf8(metergraph(&arguments).stdout).unwrap();
    let all = text.lines().map(|line| serde_json::from_str(line).unwrap());
    all.filter(|seen: &Value| seen["reassembled"] != true).collect()
}

impl Comparison {
    fn apdu(&mut self, seen: &Value, dissected: &Dissected, ours: &mut Ours) {
        assert_eq!(seen["error"], Value::Null, "{seen}");
        let octets = hex(&seen["apdu"]);
        let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
        let theirs = Said::by_tshark(dissected);
        if self.is_known(|kind| matches!(kind, Kind::Cut(is) if is(&apdu, seen))) {
            let services = seen["services"].as_array().map(Vec::len);
            if dissected.faults.is_empty() && services.is_none_or(|count| count == theirs.services.len()) {
                self.complain(seen, "tshark takes it apart after all");
            }
            return;
        }

        let mode = seen["security_mode"].as_u64().unwrap();
        let profile1 = carriage::read(&apdu).unwrap().is_some();
        match (mode, profile1) {
            (0, _) => self.clear += 1,
            (_, false) => self.classic += 1,
            (_, true) => self.profile1 += 1,
        }
        let unopened = |kind: &Kind| matches!(kind, Kind::Unopened(is) if is(&apdu));
        let opens = mode == 0 || !(profile1 || self.is_known(unopened));
        if mode > 0 && !profile1 {
            assert_eq!(seen["mac_valid"], true, "{seen}");
        }
        let notes: &[&str] = match (opens, mode) {
            (true, _) => &[],
            (false, 1) => &[FAILED],
            (false, _) => &[NOT_DECRYPTED],
        };
        if dissected.faults != notes {
            self.complain(seen, format!("tshark notes {:?}, not {notes:?}", dissected.faults));
        }

        let ours = ours.say(seen, &apdu, opens);
        self.group(seen, &ours.envelope, &theirs.envelope);
        self.group(seen, &ours.seal, &theirs.seal);
        if ours.services.len() != theirs.services.len() {
            let (ours, theirs) = (ours.services.len(), theirs.services.len());
            self.complain(seen, format!("{ours} services, {theirs} by tshark"));
        }
        for (ours, theirs) in ours.services.iter().zip(&theirs.services) {
            self.group(seen, ours, theirs);
        }
        if opens {
            let services = seen["services"].as_array().into_iter().flatten();
            self.services.extend(services.map(|service| (mode, hex(service)[0])));
        }
    }

    /// Both say the same fields in the same order, or it is known why not.
    fn group(&mut self, seen: &Value, ours: &Group, theirs: &Group) {
        if ours == theirs {
            return;
        }
        let fields: BTreeSet<&str> = ours.iter().chain(theirs).map(|(field, _)| field.as_str()).collect();
        let mut is_order = true;
        for field in fields {
            let of = |group: &'_ Group| -> Vec<String> {
                let all = group.iter().filter(|(name, _)| name == field);
                all.map(|(_, value)| value.clone()).collect()
            };
            let (ours, theirs) = (of(ours), of(theirs));
            for place in 0..ours.len().max(theirs.len()) {
                let (ours, theirs) =
                    (ours.get(place).map(String::as_str), theirs.get(place).map(String::as_str));
                if ours == theirs {
                    continue;
                }
                is_order = false;
                let mismatch = Mismatch { field, ours, theirs };
                if !self.is_known(|kind| matches!(kind, Kind::Field(is) if is(&mismatch))) {
                    self.complain(seen, format!("{mismatch:?}"));
                }
            }
        }
        if is_order {
            self.complain(seen, format!("another order: {ours:?}, {theirs:?} by tshark"));
        }
    }

    /// Whether a difference is known; it is then met.
    fn is_known(&mut self, is: impl Fn(&Kind) -> bool) -> bool {
        let known = DIFFERENCES.iter().find(|difference| is(&difference.kind));
        self.met.extend(known.map(|difference| difference.why));
        known.is_some()
    }

    fn complain(&mut self, seen: &Value, what: impl Display) {
        let apdu = seen["apdu"].as_str().unwrap_or_default();
        self.complaints.push(format!("{what}\n    in {}", apdu.get(..400).unwrap_or(apdu)));
    }
}
