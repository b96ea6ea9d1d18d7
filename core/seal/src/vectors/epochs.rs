use serde_json::Value;

use super::folder::{self, Fields};
use super::receiver::{self, Receiver};
use crate::ids::{Epoch, Sid};
use crate::schedule;
use crate::secret::Prk;

fn epoch(value: &Value) -> Epoch {
    Epoch(value.as_u64().unwrap().try_into().unwrap())
}

/// The epochs that the association should hold after a step, the active one first.
fn held(after: &Value) -> Vec<Epoch> {
    let others = after.list("candidates").iter().chain(after.list("retiring"));
    std::iter::once(&after["active"]).chain(others).map(epoch).collect()
}

#[test]
fn vector_epochs_at_the_head_end() {
    for case in folder::cases("profile/epochs.json", "headend") {
        let mut receiver = Receiver::new(&case, "k_up");
        let keys = case.list("keys");
        for step in case.list("steps") {
            let place = format!("{}: {step}", case.str("title"));
            match step.str("op") {
                "frame" => {
                    let (verdict, _) = receiver.receive(&step.octets("frame"));
                    assert_eq!(verdict, step.str("verdict"), "{place}");
                    receiver.settle(step.str("write") == "ok");
                }
                "issue" => {
                    let delta = step.number("delta") as usize;
                    let issued = receiver.association.candidates_left() >= delta;
                    assert_eq!(if issued { "issued" } else { "refused" }, step.str("verdict"), "{place}");
                    for _ in 0..if issued { delta } else { 0 } {
                        let of = |wanted| keys.iter().find(|keys| epoch(&keys["epoch"]) == wanted).unwrap();
                        let next = receiver.association.issue(|next| receiver::keys(of(next), "k_up"));
                        assert!(next.is_some(), "{place}");
                    }
                }
                "time" => {
                    receiver.now = step.number("now");
                    receiver.association.expire(receiver.now);
                }
                other => panic!("{other}: {place}"),
            }
            let held = held(&step["after"]);
            assert_eq!(receiver.association.epoch(), held[0], "{place}");
            for epoch in keys.iter().map(|keys| epoch(&keys["epoch"])) {
                assert_eq!(receiver.association.holds(epoch), held.contains(&epoch), "{epoch}: {place}");
            }
        }
    }
}

#[test]
fn vector_epochs_ratchet() {
    for case in folder::cases("profile/epochs.json", "headend") {
        let sid = Sid(u32::from_be_bytes(case.array("sid")));
        for pair in case.list("keys").windows(2) {
            let next = epoch(&pair[1]["epoch"]);
            if epoch(&pair[0]["epoch"]).next() != Some(next) {
                continue;
            }
            let prk = schedule::advance(&Prk::from_octets(pair[0].array("prk_out")), next);
            assert_eq!(*prk.expose(), pair[1].array("prk_out"), "{case}");
            let derived = schedule::derive(&prk, sid);
            assert_eq!(*derived.up.expose(), pair[1].array("k_up"), "{case}");
            assert_eq!(*derived.dn.expose(), pair[1].array("k_dn"), "{case}");
            assert_eq!(derived.common_iv, pair[1].array("common_iv"), "{case}");
        }
    }
}
