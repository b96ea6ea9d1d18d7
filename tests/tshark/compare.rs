//! Compares what tshark and we say of the APDUs of a capture.

use std::collections::BTreeSet;
use std::path::Path;

use c1222::{Apdu, Leniency, carriage};
use serde_json::Value;

use crate::differences::{DIFFERENCES, Difference, Kind, Mismatch, is_secured};
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
        let octets = hex(&seen["apdu"]);
        let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
        assert_eq!(seen["error"], Value::Null, "{seen}");
        let frame = carriage::read(&apdu).unwrap().is_some();
        let plaintext = seen["epsem_plaintext"].as_str().map(|_| hex(&seen["epsem_plaintext"]));

        let theirs = Said::by_tshark(dissected);
        let cut = self.known(|kind| match kind {
            Kind::Cut(is) => is(&apdu, plaintext.as_deref().unwrap_or_default()),
            _ => false,
        });
        if cut {
            let services = seen["services"].as_array().map(Vec::len);
            if dissected.faults.is_empty() && services.is_none_or(|count| count == theirs.services.len()) {
                self.complain(seen, "tshark takes it apart after all".into());
            }
            return;
        }
        let secured = is_secured(&apdu);
        let unopened = secured
            && (frame
                || self.known(|kind| match kind {
                    Kind::Unopened(is) => is(&apdu),
                    _ => false,
                }));
        match (secured, frame) {
            (false, _) => self.clear += 1,
            (true, false) => self.classic += 1,
            (true, true) => self.profile1 += 1,
        }
        if secured && !frame {
            assert_eq!(seen["mac_valid"], true, "{seen}");
        }
        let expected: &[&str] = match (unopened, seen["security_mode"].as_u64()) {
            (false, _) => &[],
            (true, Some(1)) => &[FAILED],
            (true, _) => &[NOT_DECRYPTED],
        };
        if dissected.faults != expected {
            self.complain(seen, format!("tshark notes {:?}, not {expected:?}", dissected.faults));
        }
        let ours = ours.say(seen, &apdu, !unopened);
        self.group(seen, &ours.envelope, &theirs.envelope);
        self.group(seen, &ours.seal, &theirs.seal);
        if ours.services.len() != theirs.services.len() {
            let (ours, theirs) = (ours.services.len(), theirs.services.len());
            return self.complain(seen, format!("{ours} services, {theirs} by tshark"));
        }
        for (ours, theirs) in ours.services.iter().zip(&theirs.services) {
            self.group(seen, ours, theirs);
        }
    }

    /// Both say the same fields in the same order, or it is known why not.
    fn group(&mut self, seen: &Value, ours: &Group, theirs: &Group) {
        if ours == theirs {
            return;
        }
        let of = |group: &Group, field: &str| -> Vec<String> {
            group.iter().filter(|(name, _)| name == field).map(|(_, value)| value.clone()).collect()
        };
        let fields: BTreeSet<&str> = ours.iter().chain(theirs).map(|(field, _)| field.as_str()).collect();
        for field in fields {
            let (ours, theirs) = (of(ours, field), of(theirs, field));
            for place in 0..ours.len().max(theirs.len()) {
                let (ours, theirs) = (ours.get(place), theirs.get(place));
                let mismatch =
                    Mismatch { field, ours: ours.map(String::as_str), theirs: theirs.map(String::as_str) };
                let known = || {
                    DIFFERENCES.iter().find(|difference| match difference.kind {
                        Kind::Field(is) => is(&mismatch),
                        _ => false,
                    })
                };
                if ours == theirs {
                    continue;
                }
                match known() {
                    Some(Difference { why, .. }) => drop(self.met.insert(why)),
                    None => self.complain(seen, format!("{mismatch:?}")),
                }
            }
        }
    }

    /// Whether a difference is known; it is then met.
    fn known(&mut self, is: impl Fn(&Kind) -> bool) -> bool {
        let known = DIFFERENCES.iter().find(|difference| is(&difference.kind));
        self.met.extend(known.map(|difference| difference.why));
        known.is_some()
    }

    fn complain(&mut self, seen: &Value, what: String) {
        let apdu = seen["apdu"].as_str().unwrap_or_default();
        self.complaints.push(format!("{what}\n    in {}", apdu.get(..400).unwrap_or(apdu)));
    }
}
