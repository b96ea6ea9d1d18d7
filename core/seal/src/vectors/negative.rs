use super::folder::{self, Fields};
use super::receiver::Receiver;

#[test]
fn vector_refused_upstream_frames() {
    let cases = folder::cases("profile/negative.json", "cases");
    let upstream = |verdict: &str| verdict.starts_with("SEC-UP-") || verdict == "SEC-FORMAT";
    for case in cases.iter().filter(|case| upstream(case.str("verdict")) && case["receiver"].is_null()) {
        let mut receiver = Receiver::new(case, "key");
        if case["second"].is_string() {
            assert_eq!(receiver.receive(&case.octets("frame")).0, "accept", "{case}");
            assert_eq!(receiver.receive(&case.octets("second")).0, case.str("verdict"), "{case}");
        } else {
            assert_eq!(receiver.receive(&case.octets("frame")).0, case.str("verdict"), "{case}");
            assert!(receiver.association.live(receiver.association.epoch()).is_none(), "{case}");
        }
    }
}
