//! The state of a restored backup, as far as this crate knows it: counters, candidates, the first command, and
//! the frames at the gate, which the test keeps.

use serde_json::Value;

use super::device::{device, take};
use super::folder::{self, Fields};
use super::receiver::{self, Receiver};
use super::signature::verifying_key;
use crate::association::CANDIDATES_MAX;
use crate::command::{Addressee, KeyItem, SignedCommand};
use crate::control::{Items, Up};
use crate::counter::{Counter, STOP_AT};
use crate::frame::{Bound, FrameType, Head};
use crate::group::GroupKeys;
use crate::ids::{Dev, Epoch, Gid, Scope, Sid, System};
use crate::profile1::Channel;
use crate::schedule;
use crate::secret::{Key128, Prk};

const FILE: &str = "extended/restore.json";

fn epoch(value: &Value) -> Epoch {
    Epoch(value.as_u64().unwrap().try_into().unwrap())
}

fn cases() -> Vec<Value> {
    folder::cases(FILE, "cases")
}

/// The first counter that is taken when all below this floor may have been used.
fn first_after(floor: u64) -> Option<u32> {
    let mut counter = Counter::resume(floor.try_into().unwrap());
    counter.wanted(64).into_iter().for_each(|floor| counter.reserved(floor));
    counter.take()
}

#[test]
fn vector_restored_counters() {
    for case in cases() {
        let title = case.str("title");
        let days = case.number("days");
        assert_eq!(case.number("skip"), 65_536 * (days + 1), "{title}");
        let skipped = |floor: u64| (floor + case.number("skip")).min(STOP_AT.into());
        let after = case.number("floor_after");
        assert_eq!(after, skipped(case.number("floor")), "{title}");
        let exhausted = after == u64::from(STOP_AT);
        assert_eq!(case["exhausted"], exhausted, "{title}");
        assert_eq!(first_after(after).map(u64::from), (!exhausted).then_some(after), "{title}");
        if let Some(command) = case["command"].as_object() {
            assert_eq!(command["seq"], after, "{title}");
        }
        for group in case.list("groups") {
            let next = group.number("last") + days + 2;
            assert_eq!(group["next"].as_u64(), u16::try_from(next).ok().map(u64::from), "{title}");
            for held in group.list("epochs") {
                let after = held.number("floor_after");
                assert_eq!(after, skipped(held.number("floor")), "{title}");
                let first = (after < STOP_AT.into()).then_some(after);
                assert_eq!(first_after(after).map(u64::from), first, "{title}");
            }
        }
        for counter in case.list("counters") {
            let last = (counter.number("last") + case.number("skip")).min(u32::MAX.into());
            assert_eq!(counter.number("last_after"), last, "{title}");
            assert_eq!(counter["next"].as_u64(), (last < u32::MAX.into()).then_some(last + 1), "{title}");
        }
    }
}

#[test]
fn vector_restored_candidates() {
    for case in cases() {
        let sid = Sid(u32::from_be_bytes(case.array("sid")));
        let mut receiver = Receiver::new(&case, "k_up");
        let mut prk = Prk::from_octets(case.array("prk_out"));
        for expected in case.list("candidates") {
            let next = epoch(&expected["epoch"]);
            prk = schedule::advance(&prk, next);
            assert_eq!(*prk.expose(), expected.array("prk_out"), "{case}");
            let keys = schedule::derive(&prk, sid);
            assert_eq!(*keys.up.expose(), expected.array("k_up"), "{case}");
            assert_eq!(*keys.dn.expose(), expected.array("k_dn"), "{case}");
            assert_eq!(keys.common_iv, expected.array("common_iv"), "{case}");
            assert_eq!(receiver.association.issue(|_| keys), Some(next), "{case}");
        }
        assert!(receiver.association.issue(|_| panic!("no more")).is_none(), "{case}");
        let left = usize::from(u16::MAX) - case.number("epoch") as usize;
        assert_eq!(case.list("candidates").len(), left.min(CANDIDATES_MAX), "{case}");
    }
}

/// A command of a case, signed and sealed.
fn check_command(case: &Value, command: &Value, addressee: Addressee, channel: &Channel<'_>) {
    let (head, body) = (command.octets("frame"), command.octets("signed"));
    let (head, sealed) = Head::split(&head).unwrap();
    let (frame_type, name) = match addressee {
        Addressee::Device(_) => (FrameType::Command, u32::from_be_bytes(case.array("sid"))),
        Addressee::Group(gid) => (FrameType::GroupCommand, gid.0),
    };
    let seq = command.number("seq").try_into().unwrap();
    assert_eq!(head, channel.head(frame_type, name, seq), "{command}");
    assert_eq!(channel.bound.epoch, epoch(&command["epoch"]), "{command}");
    let mut ours = Vec::new();
    assert!(channel.seal(&head, &body, &mut ours));
    assert_eq!(ours, sealed, "{command}");
    let signed = SignedCommand::read(&body).unwrap();
    let signer = &case["signer"];
    let system = System(case.array("system"));
    assert!(signed.verifies(&verifying_key(signer, "x", "y"), system, addressee), "{command}");
    for (field, value) in [
        ("skid", signed.command.skid.into()),
        ("cls", signed.command.class.into()),
        ("ctr", signed.command.ctr),
        ("nbf", signed.command.nbf),
        ("ttl", signed.command.ttl.into()),
    ] {
        assert_eq!(command.number(field), u64::from(value), "{field}: {command}");
    }
    let items: Vec<KeyItem<'_>> = Items::read(signed.command.body).unwrap().collect();
    let [KeyItem::Advance { campaign, delta, challenge }] = items[..] else { panic!("{items:?}") };
    assert_eq!(u64::from(campaign), command.number("campaign"), "{command}");
    assert_eq!((u64::from(delta), *challenge), (1, command.array("challenge")), "{command}");
}

#[test]
fn vector_restored_commands() {
    for case in cases() {
        let system = System(case.array("system"));
        let [to_device, to_group] = case.list("counters") else { panic!("{case}") };
        if case["command"].is_object() {
            let keys = receiver::keys(&case, "k_up");
            let dev = Dev(case.array("dev"));
            let bound = Bound { system, scope: dev.into(), epoch: epoch(&case["epoch"]) };
            let channel = Channel { key: &keys.dn, common_iv: &keys.common_iv, bound };
            check_command(&case, &case["command"], Addressee::Device(dev), &channel);
            assert_eq!(case["command"]["ctr"], to_device["next"], "{case}");
        } else {
            assert!(case["exhausted"] == true || to_device["next"].is_null(), "{case}");
        }
        let group = &case.list("groups")[0];
        let gid = Gid(u32::from_be_bytes(group.array("gid")));
        for held in group.list("epochs") {
            let gms = Key128::from_octets(held.array("gms"));
            let keys = GroupKeys::derive(&gms, gid, epoch(&held["epoch"]));
            let channel = keys.channel(system);
            assert_eq!(*channel.key.expose(), held.array("k_g"), "{case}");
            assert_eq!(*channel.common_iv, held.array("iv_g"), "{case}");
            assert_eq!(channel.bound.scope, Scope(to_group.array("scope")), "{case}");
            if case["group_command"]["epoch"] == held["epoch"] {
                check_command(&case, &case["group_command"], Addressee::Group(gid), &channel);
                assert_eq!(case["group_command"]["seq"], held["floor_after"], "{case}");
                assert_eq!(case["group_command"]["ctr"], to_group["next"], "{case}");
            }
        }
    }
}

#[test]
fn vector_restored_state_and_its_devices() {
    for case in cases() {
        for expected in case.list("devices") {
            let mut device = device(&expected["state"]);
            let now = expected["state"]["now"].as_u64();
            for taken in expected.list("takes") {
                let command = &case[taken.str("command")];
                let (verdict, answer) = take(&mut device, &command.octets("frame"), now, &Value::Null);
                assert_eq!(verdict, taken.str("verdict"), "{taken}");
                let Some(sent) = taken["sends"].as_object().map(|_| &taken["sends"]) else {
                    assert!(answer.is_empty(), "{taken}");
                    continue;
                };
                assert_eq!(answer, sent.octets("plaintext"), "{taken}");
                assert_eq!(device.association.epoch(), epoch(&sent["epoch"]), "{taken}");
                let channel = device.association.up_channel(device.system, device.dev);
                let sid = device.association.sid().0;
                let head = channel.head(FrameType::UpControl, sid, sent.number("seq") as u32);
                let mut frame = head.octets().to_vec();
                assert!(channel.seal(&head, &answer, &mut frame));
                assert_eq!(frame, sent.octets("frame"), "{taken}");
            }
        }
    }
}

/// Whether a frame of a candidate proves the challenge of the command after the restore, and that the device
/// ratcheted for it.
fn proves(plaintext: &[u8], frame_type: FrameType, of: Epoch, challenge: [u8; 8]) -> bool {
    let Ok(items) = Items::<Up<'_>>::read(plaintext) else { return false };
    let items: Vec<Up<'_>> = items.collect();
    frame_type == FrameType::UpControl
        && items.contains(&Up::Proof { epoch: of, challenge: &challenge })
        && items.iter().any(|item| matches!(item, Up::Result(outcome) if outcome.result == 0))
}

#[test]
fn vector_restored_gate() {
    for case in cases() {
        for device in case.list("devices") {
            let mut receiver = Receiver::new(&case, "k_up");
            for keys in case.list("candidates") {
                assert!(receiver.association.issue(|_| receiver::keys(keys, "k_up")).is_some());
            }
            let mut gated = true;
            for step in device.list("steps") {
                let place = format!("{}, {}: {step}", case.str("title"), device.str("title"));
                let (frame, sealed_under) = (step.octets("frame"), epoch(&step["sealed_under"]));
                let (verdict, plaintext) = receiver.receive(&frame);
                let opened = verdict == "accept";
                if opened {
                    assert_eq!(plaintext, step.octets("plaintext"), "{place}");
                }
                let (head, _) = Head::split(&frame).unwrap();
                let opens = gated
                    && opened
                    && receiver.association.is_candidate(sealed_under)
                    && proves(&plaintext, head.frame_type, sealed_under, case["command"].array("challenge"));
                assert_eq!(step["opens"], opens, "{place}");
                let shut = gated && opened && !opens;
                assert_eq!(if shut { "gated" } else { verdict }, step.str("verdict"), "{place}");
                receiver.settle(!shut);
                if opens {
                    gated = false;
                    receiver.association.forget_retiring();
                    let seq = step.number("seq");
                    let view = receiver.association.durable(sealed_under).unwrap();
                    assert_eq!((u64::from(view.highest), view.bits), (seq, 1), "{place}");
                } else if gated {
                    assert!(receiver.association.live(sealed_under).is_none(), "{place}");
                }
            }
            let after = &device["after"];
            assert_eq!(after["gated"], gated, "{device}");
            assert_eq!(receiver.association.epoch(), epoch(&after["active"]), "{device}");
            let others: Vec<Epoch> = receiver.association.other_epochs().collect();
            let expected: Vec<Epoch> =
                after.list("candidates").iter().chain(after.list("retiring")).map(epoch).collect();
            assert_eq!(others, expected, "{device}");
        }
    }
}
