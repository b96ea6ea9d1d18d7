//! The end device that the vectors speak of: its state, its profile, its verdicts.

use serde_json::Value;

use super::folder::{self, Fields, octets};
use super::signature::verifying_key;
use crate::command::{Class, Classes};
use crate::control::{Items, Outcome, Up};
use crate::frame::FrameType;
use crate::ids::{Dev, Epoch, Gid, Scope, Sid, System};
use crate::receiver::{
    Answered, Classifier, DeviceAssociation, DownKeys, Floor, HeldKey, Membership, Received, Receiver,
    SignerKey, Signers,
};
use crate::secret::{Key128, Prk};
use crate::signature::SigningKey;
use crate::window::{View, Window};

/// `profile` of a file.
struct Profile<'p>(&'p Value);

impl Profile<'_> {
    fn listed(&self, list: &str, key: &str) -> Class {
        self.0[list][key].as_u64().map_or(Class::Keys, |class| Class::from_octet(class as u8).unwrap())
    }

    /// A table or procedure by its number: the manufacturer bit is kept, what is above it dropped.
    fn numbered(&self, list: &str, number: u16) -> Class {
        self.listed(list, &(number & 0x0fff).to_string())
    }

    fn service(&self, service: &[u8]) -> Option<Class> {
        let (code, parameters) = service.split_first()?;
        let table = || parameters.first_chunk().map(|id| u16::from_be_bytes(*id));
        match code {
            0x30..=0x39 | 0x3f => Some(self.numbered("read", table()?)),
            0x40..=0x49 | 0x4f => {
                let table = table()?;
                if table & 0x07ff != 7 || table & 0x0800 != 0 {
                    return Some(self.numbered("write", table));
                }
                Some(self.procedure(*code, table, &parameters[2..]).unwrap_or(Class::Keys))
            }
            0x50..=0x5f if *code != 0x53 => None,
            _ => Some(self.listed("service", &format!("{code:02x}"))),
        }
    }

    /// The procedure of a whole, correct, immediate write of table 7.
    fn procedure(&self, code: u8, table: u16, data: &[u8]) -> Option<Class> {
        let (count, rest) = data.split_first_chunk()?;
        let (data, [checksum]) = rest.split_at_checked(u16::from_be_bytes(*count).into())? else {
            return None;
        };
        let sum = data.iter().fold(*checksum, |sum, octet| sum.wrapping_add(*octet));
        let number = data.first_chunk().map(|id| u16::from_le_bytes(*id))?;
        (code == 0x40 && table == 7 && sum == 0).then(|| self.numbered("procedure", number))
    }
}

impl Classifier for Profile<'_> {
    fn class(&self, body: &[u8]) -> Option<Class> {
        let (control, mut rest) = body.split_first()?;
        if control & 0x9c != 0x80 {
            return None;
        }
        let mut highest = None;
        while let Some((first, after)) = rest.split_first() {
            let (len, after) = match first {
                0 => return highest.filter(|_| after.iter().all(|octet| *octet == 0)),
                len @ 1..=0x7f => (u16::from(*len), after),
                0x81 => after.split_first().map(|(len, after)| (u16::from(*len), after))?,
                0x82 => after.split_first_chunk().map(|(len, after)| (u16::from_be_bytes(*len), after))?,
                _ => return None,
            };
            let service;
            (service, rest) = after.split_at_checked(len.into())?;
            highest = highest.max(Some(self.service(service)?));
        }
        highest
    }
}

fn epoch(value: &Value) -> Epoch {
    Epoch(value.as_u64().unwrap() as u16)
}

fn classes(value: &Value) -> Classes {
    Classes(value.list("classes").iter().map(|class| 1 << class.as_u64().unwrap()).sum())
}

fn gid(value: &Value) -> Gid {
    Gid(u32::from_be_bytes(value.array("gid")))
}

fn window(value: &Value) -> Window {
    let highest = value.number("highest");
    let bits = value.list("seen").iter().map(|seq| 1 << (highest - seq.as_u64().unwrap())).sum();
    Window::from_durable(View { highest: highest as u32, bits }).unwrap()
}

pub fn device(state: &Value) -> Receiver {
    let sid = Sid(u32::from_be_bytes(state.array("sid")));
    let prk = Prk::from_octets(state.array("prk_out"));
    let mut association = DeviceAssociation::new(sid, epoch(&state["epoch"]), prk);
    for held in state.list("downstream") {
        association.hold(DownKeys {
            epoch: epoch(&held["epoch"]),
            key: Key128::from_octets(held.array("k_dn")),
            common_iv: held.array("common_iv"),
            window: window(&held["window"]),
        });
    }
    let mut signers = Signers::default();
    for signer in state.list("signers") {
        let skid = signer.number("skid") as u8;
        let (key, not_before) = (verifying_key(signer, "x", "y"), signer.number("not_before") as u32);
        assert!(signers.add(SignerKey { skid, key, classes: classes(signer), not_before }));
        if signer["revoked"] == true {
            signers.revoke(skid);
        }
    }
    let mut device =
        Receiver::new(System(state.array("system")), Dev(state.array("dev")), association, signers);
    for floor in state.list("ctr") {
        let (skid, scope) = (floor.number("skid") as u8, Scope(floor.array("scope")));
        let mut results = state.list("results").iter();
        let answered = results
            .find(|result| result["skid"] == floor["skid"] && result["scope"] == floor["scope"])
            .map(|result| Answered { digest: result.array("digest"), result: result.octets("result") });
        device.floors.push(Floor { skid, scope, last: floor.number("last") as u32, answered });
    }
    device.class3_nbf = state.number("class3_nbf") as u32;
    device.campaign = state.number("campaign") as u32;
    device.time_nonce = state["time_nonce"].is_string().then(|| state.array("time_nonce"));
    for group in state.list("groups") {
        let gid = gid(group);
        let held = group.list("epochs").iter().map(|held| {
            let gms = Key128::from_octets(held.array("gms"));
            HeldKey::new(gid, epoch(&held["epoch"]), gms, held.number("activate_at") as u32)
        });
        let current = Some(epoch(&group["current"]));
        let restored = Membership { gid, classes: classes(group), current, held: held.collect() };
        assert!(device.groups.restore(restored));
    }
    device
}

/// Takes one frame: the verdict, and what is sent back. Whatever is ordered is done.
pub fn take(
    device: &mut Receiver,
    frame: &[u8],
    now: Option<u64>,
    profile: &Value,
) -> (&'static str, Vec<u8>) {
    let mut frame = frame.to_vec();
    match device.receive(&mut frame, now, &Profile(profile)) {
        Ok(Received::Control { skipped: 0, .. }) => ("accept", Vec::new()),
        Ok(Received::Control { .. }) => ("ignored", Vec::new()),
        Ok(Received::Order(order)) => {
            let key = SigningKey::from_octets(&[3; 32]).unwrap();
            let Ok(answer) = device.finish(&order, 0, &[], 1, &key);
            ("accept", answer)
        }
        Ok(Received::Keys { answer, .. } | Received::Time { answer, .. }) => ("accept", answer),
        Ok(Received::Repeat { answer }) => ("repeat", answer),
        Err(refused) => (refused.refusal.code(), refused.answer.unwrap_or_default()),
    }
}

/// The RESULT at the end of what is sent back.
fn outcome(answer: &[u8]) -> Option<Outcome<'_>> {
    let item = Items::read(answer).ok().and_then(|items| items.last());
    item.map(|item| if let Up::Result(outcome) = item { outcome } else { panic!("{item:?}") })
}

/// What a refusal must not change.
fn floors(device: &Receiver) -> (Vec<Floor>, u32, u32, Option<[u8; 8]>, Epoch) {
    let Receiver { floors, class3_nbf, campaign, time_nonce, association, .. } = device;
    (floors.clone(), *class3_nbf, *campaign, *time_nonce, association.epoch())
}

#[test]
fn vector_device_refusals() {
    let file = folder::json("profile/device-refusals.json");
    for case in folder::cases("profile/device-refusals.json", "cases") {
        let state = &file["states"][case.number("state") as usize];
        let mut device = device(state);
        let (before, frame, now) = (floors(&device), case.octets("frame"), state["now"].as_u64());
        let (verdict, answer) = take(&mut device, &frame, now, &file["profile"]);
        assert_eq!(verdict, case.str("verdict"), "{case}");
        let outcome = outcome(&answer);
        assert_eq!(outcome.is_none(), case["result"].is_null(), "{case}");
        if let Some(outcome) = outcome {
            for (key, value) in [
                ("skid", outcome.skid.into()),
                ("kind", outcome.kind.into()),
                ("ctr", outcome.ctr),
                ("result", outcome.result.into()),
            ] {
                assert_eq!(case["result"].number(key), u64::from(value), "{key}: {case}");
            }
        }
        if case["items"].is_array() {
            assert_eq!(answer, octets(case.list("items")[0].as_str().unwrap()), "{case}");
        }
        if case["proof"].is_string() {
            assert_eq!(answer[..11], case.octets("proof"), "{case}");
        }
        if verdict == "accept" {
            // The same frame is refused from now on; sealed anew its RESULT would be repeated.
            assert_ne!(floors(&device), before, "{case}");
            let (verdict, again) = take(&mut device, &frame, now, &file["profile"]);
            let group = frame[0] == FrameType::GroupCommand.octet();
            assert_eq!(verdict, if group { "repeat" } else { "SEC-DN-REPLAY" }, "{case}");
            assert!(!group || again == answer, "{case}");
        } else {
            assert_eq!(floors(&device), before, "{case}");
        }
    }
}

#[test]
fn vector_epochs_at_the_device() {
    let file = folder::json("profile/epochs.json");
    for case in folder::cases("profile/epochs.json", "device") {
        let mut device = device(&case["state"]);
        let now = case["state"]["now"].as_u64();
        for step in case.list("steps") {
            let (verdict, answer) = take(&mut device, &step.octets("frame"), now, &file["profile"]);
            assert_eq!(verdict, step.str("verdict"), "{step}");
            assert_eq!(device.association.epoch(), epoch(&step["epoch"]), "{step}");
            assert_eq!(u64::from(device.campaign), step.number("campaign"), "{step}");
            let held: Vec<Epoch> = device.association.held().iter().map(|held| held.epoch).collect();
            let expected: Vec<Epoch> = step.list("downstream_epochs").iter().map(epoch).collect();
            assert_eq!(held, expected, "{step}");
            assert_eq!(answer.is_empty(), step.list("sends").is_empty(), "{step}");
            for sent in step.list("sends") {
                assert_eq!(answer, sent.octets("plaintext"), "{step}");
                let channel = device.association.up_channel(device.system, device.dev);
                let sid = device.association.sid().0;
                let head = channel.head(FrameType::UpControl, sid, sent.number("seq") as u32);
                let mut frame = head.octets().to_vec();
                assert!(channel.seal(&head, &answer, &mut frame));
                assert_eq!(frame, sent.octets("frame"), "{step}");
            }
        }
    }
}

#[test]
fn vector_group_membership() {
    let file = folder::json("profile/groups.json");
    for case in folder::cases("profile/groups.json", "membership") {
        let mut device = device(&case["state"]);
        let mut now = case["state"].number("now");
        for step in case.list("steps") {
            if step.str("op") == "time" {
                now = step.number("now");
                device.tick(now);
            } else {
                let (verdict, _) = take(&mut device, &step.octets("frame"), Some(now), &file["profile"]);
                assert_eq!(verdict, step.str("verdict"), "{step}");
            }
            let groups = device.groups.all();
            assert_eq!(groups.len(), step.list("groups").len(), "{step}");
            for (group, expected) in groups.iter().zip(step.list("groups")) {
                assert_eq!((group.gid, group.classes), (gid(expected), classes(expected)), "{step}");
                assert_eq!(group.current.map(|epoch| epoch.0.into()), expected["current"].as_u64(), "{step}");
                assert_eq!(group.held.len(), expected.list("epochs").len(), "{step}");
                for (held, expected) in group.held.iter().zip(expected.list("epochs")) {
                    assert_eq!(held.epoch(), epoch(&expected["epoch"]), "{step}");
                    assert_eq!(*held.gms.expose(), expected.array("gms"), "{step}");
                    assert_eq!(u64::from(held.activate_at), expected.number("activate_at"), "{step}");
                }
            }
        }
    }
}
