//! The vectors, through a whole device: its state from a stored record, frames in APDUs, frames back.

use c1222::{Apdu, Envelope, InvocationId, Leniency, carriage};
use seal::command::{Classes, Receipt};
use seal::control::{Items, Outcome as ResultItem, Up};
use seal::edhoc::{HeadEndCredential, PrivateKey};
use seal::frame::{FrameType, Head};
use seal::ids::{Dev, Epoch, Gid, Scope, Sid, System};
use seal::receiver::{
    Answered, DeviceAssociation, DownKeys, Floor, HeldKey, Membership, Receiver, SignerKey, Signers,
};
use seal::secret::{Key128, Prk};
use seal::signature::{VerifyingKey, sha256};
use seal::window::{View, Window};
use serde_json::Value;

use super::super::memory::{self, Memory, Stored};
use super::super::*;
use super::classifier::Profile;
use super::folder::{self, Fields, octets};
use super::support::{self, Stub, sent, title};
use crate::mix::mix;

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

fn signer(value: &Value) -> SignerKey {
    SignerKey {
        skid: value.number("skid") as u8,
        key: VerifyingKey::from_xy(&value.array("x"), &value.array("y")).unwrap(),
        classes: classes(value),
        not_before: value["not_before"].as_u64().unwrap_or(0) as u32,
    }
}

/// The receiver of a `state`; what a context lacks is empty.
fn receiver(state: &Value) -> Receiver {
    let list = |key: &str| state[key].as_array().cloned().unwrap_or_default();
    let sid = Sid(u32::from_be_bytes(state.array("sid")));
    let prk = Prk::from_octets(state.array("prk_out"));
    let mut association = DeviceAssociation::new(sid, epoch(&state["epoch"]), prk);
    for held in list("downstream") {
        association.hold(DownKeys {
            epoch: epoch(&held["epoch"]),
            key: Key128::from_octets(held.array("k_dn")),
            common_iv: held.array("common_iv"),
            window: window(&held["window"]),
        });
    }
    let mut signers = Signers::default();
    for value in list("signers") {
        assert!(signers.add(signer(&value)));
        if value["revoked"] == true {
            signers.revoke(value.number("skid") as u8);
        }
    }
    let (system, dev) = (System(state.array("system")), Dev(state.array("dev")));
    let mut device = Receiver::new(system, dev, association, signers);
    for floor in list("ctr") {
        let (skid, scope) = (floor.number("skid") as u8, Scope(floor.array("scope")));
        let answered = list("results")
            .iter()
            .find(|result| result["skid"] == floor["skid"] && result["scope"] == floor["scope"])
            .map(|result| Answered { digest: result.array("digest"), result: result.octets("result") });
        device.floors.push(Floor { skid, scope, last: floor.number("last") as u32, answered });
    }
    device.class3_nbf = state["class3_nbf"].as_u64().unwrap_or(0) as u32;
    device.campaign = state["campaign"].as_u64().unwrap_or(0) as u32;
    device.time_nonce = state["time_nonce"].is_string().then(|| state.array("time_nonce"));
    for group in list("groups") {
        let gid = gid(&group);
        let held = group.list("epochs").iter().map(|held| {
            let gms = Key128::from_octets(held.array("gms"));
            HeldKey::new(gid, epoch(&held["epoch"]), gms, held.number("activate_at") as u32)
        });
        let current = group["current"].as_u64().map(|epoch| Epoch(epoch as u16));
        let restored = Membership { gid, classes: classes(&group), current, held: held.collect() };
        assert!(device.groups.restore(restored));
    }
    device
}

/// A device that comes up with this state, as it was stored.
fn device(state: &Value, profile: &Value, ctr_now: Option<u64>) -> (Agent, Moment) {
    let receiver = receiver(state);
    let (system, dev) = (receiver.system, receiver.dev);
    let identity = Identity::new(Provisioned { system, dev, ..support::provisioned() }).unwrap();
    let now = Moment { unix_s: ctr_now.unwrap_or(1), steady_ns: NS_PER_S };
    let memory = Memory {
        receiver: Some(receiver),
        next: None,
        credential: identity.credential,
        title: identity.title.clone(),
        clock: Clock { trusted: ctr_now.is_some(), offset_s: 0 },
        heard_s: now.unix_s,
        registered_s: now.unix_s,
    };
    let stored = Stored { reservation: None, number: 0, controls: Vec::new(), application: Vec::new() };
    let record = memory::write(&memory, &stored);
    let sealed = memory::seal(&record, &identity.storage, dev, &mut *support::entropy(1)).unwrap();
    let mut storage = MemoryStorage::default();
    storage.save(&sealed).unwrap();
    let application = Box::new(Stub::new(Profile(profile.clone())));
    let settings = Settings { paced: true, ..Settings::default() };
    let agent =
        Agent::open(identity, settings, application, Box::new(storage), support::entropy(2), now).unwrap();
    (agent, now)
}

/// The APDU that carries a frame down, where its head allows one.
fn carried(frame: &[u8]) -> Vec<u8> {
    let (host, node) = (title(".1"), title(".75.1.2"));
    let envelope = Envelope {
        called: Some(node.as_title()),
        calling: Some(host.as_title()),
        ..Envelope::new(InvocationId::new(7))
    };
    let mut apdu = Vec::new();
    if frame.len() < 9 {
        return frame.to_vec();
    }
    if carriage::write(&mut apdu, &envelope, frame).is_err() {
        // What no carriage takes is sent under the octets of one that does.
        let mut other = frame.to_vec();
        other[0] = 0x12;
        carriage::write(&mut apdu, &envelope, &other).unwrap();
        let head = apdu.windows(9).position(|octets| *octets == other[..9]).unwrap();
        apdu[head] = frame[0];
    }
    apdu
}

/// The frame that an APDU carries.
fn frame(apdu: &[u8]) -> Vec<u8> {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    let carried = carriage::read(&apdu).unwrap().unwrap();
    [carried.head, carried.body].concat()
}

/// Takes a frame: what it was called, the frames sent, and what the last of them says.
fn take(agent: &mut Agent, octets: &[u8], now: Moment) -> (&'static str, Vec<Vec<u8>>, Vec<u8>) {
    let mut out = Vec::new();
    let before = agent.counts().clone();
    agent.handle(1, &carried(octets), now, &mut out);
    let frames: Vec<Vec<u8>> = sent(&out).iter().map(|apdu| frame(apdu)).collect();
    let association = &agent.receiver().unwrap().association;
    let (system, dev) = (agent.identity().system, agent.identity().dev);
    let plaintext = frames.last().map_or(Vec::new(), |frame| {
        let (head, body) = Head::split(frame).unwrap();
        let mut body = body.to_vec();
        association.up_channel(system, dev).open(&head, &mut body).unwrap().to_vec()
    });
    let after = agent.counts();
    let verdict = match support::refused(&out)[..] {
        [code] => code,
        [] if after.repeated_results > before.repeated_results => "repeat",
        [] if after.skipped_items > before.skipped_items => "ignored",
        [] => "accept",
        _ => panic!("{out:?}"),
    };
    (verdict, frames, plaintext)
}

fn outcome(answer: &[u8]) -> Option<ResultItem<'_>> {
    let item = Items::<Up<'_>>::read(answer).ok()?.last()?;
    if let Up::Result(outcome) = item { Some(outcome) } else { panic!("{item:?}") }
}

#[test]
fn vector_device_refusals() {
    let file = folder::json("profile/device-refusals.json");
    for case in folder::cases("profile/device-refusals.json", "cases") {
        let state = &file["states"][case.number("state") as usize];
        let (mut agent, now) = device(state, &file["profile"], state["now"].as_u64());
        let (verdict, frames, answer) = take(&mut agent, &case.octets("frame"), now);
        assert_eq!(verdict, case.str("verdict"), "{case}");
        let outcome = outcome(&answer);
        assert_eq!(outcome.is_none(), case["result"].is_null(), "{case}");
        assert!(frames.len() <= 1, "{case}");
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
        // The same frame once more: refused, or of a group repeated.
        if verdict == "accept" {
            let group = case.octets("frame")[0] == FrameType::GroupCommand.octet();
            let (again, frames, repeated) = take(&mut agent, &case.octets("frame"), now);
            assert_eq!(again, if group { "repeat" } else { "SEC-DN-REPLAY" }, "{case}");
            assert_eq!((frames.len(), repeated == answer), (usize::from(group), group), "{case}");
        }
    }
}

#[test]
fn vector_downstream_frames_are_judged_by_a_device_of_that_association() {
    for case in folder::cases("profile/downstream.json", "cases") {
        let group = case.str("type") == "downstream-group";
        let command = [case.octets("signed_header"), case.octets("command")].concat();
        let nbf = u32::from_be_bytes(command[6..10].try_into().unwrap());
        if command[1] > 3 {
            println!("class {} is in annex-a.json", command[1]);
            continue;
        }
        let dev = if group { [7; 8] } else { case.array("dev") };
        let association = DeviceAssociation::new(Sid(1), epoch(&case["epoch"]), Prk::from_octets([1; 32]));
        let mut signers = Signers::default();
        let key = VerifyingKey::from_xy(&case.array("signer_x"), &case.array("signer_y")).unwrap();
        signers.add(SignerKey { skid: command[0], key, classes: Classes(0x3f), not_before: 0 });
        let mut receiver = Receiver::new(System(case.array("system")), Dev(dev), association, signers);
        if group {
            let (gid, gms) = (gid(&case), Key128::from_octets(case.array("group_master_secret")));
            let held = vec![HeldKey::new(gid, epoch(&case["epoch"]), gms, 0)];
            let current = Some(epoch(&case["epoch"]));
            receiver.groups.restore(Membership { gid, classes: Classes(0x3f), current, held });
        } else {
            // Only the traffic keys of these are known: they are held as an epoch of an association of
            // that name.
            let sid = Sid(u32::from_be_bytes(case.array("sid")));
            let Some(later) = epoch(&case["epoch"]).next() else { continue };
            receiver.association = DeviceAssociation::new(sid, later, Prk::from_octets([1; 32]));
            receiver.association.hold(DownKeys {
                epoch: epoch(&case["epoch"]),
                key: Key128::from_octets(case.array("key")),
                common_iv: case.array("common_iv"),
                window: Window::default(),
            });
        }
        let (mut agent, now) = of_receiver(receiver, Stub::new(Everything), u64::from(nbf));
        let (verdict, frames, answer) = take(&mut agent, &case.octets("frame"), now);
        assert_eq!((verdict, frames.len()), ("accept", 1), "{case}");
        let outcome = outcome(&answer).unwrap();
        let ctr = u32::from_be_bytes(command[2..6].try_into().unwrap());
        let kind = if group { 2 } else { 1 };
        assert_eq!((outcome.skid, outcome.kind, outcome.ctr, outcome.result), (command[0], kind, ctr, 0));
        if command[1] == 3 {
            let executed = outcome.executed().unwrap();
            let receipt = Receipt {
                system: agent.identity().system,
                dev: agent.identity().dev,
                digest: sha256(&command),
                result: 0,
                executed_at: executed.executed_at,
            };
            assert!(receipt.verifies(&agent.identity().verifying_key(), executed.signature), "{case}");
        }
    }
}

/// Whatever a body says, it is a read: the bodies of these vectors are no EPSEMs.
struct Everything;

impl seal::receiver::Classifier for Everything {
    fn class(&self, _: &[u8]) -> Option<seal::command::Class> {
        Some(seal::command::Class::Read)
    }
}

fn of_receiver(receiver: Receiver, application: Stub, unix_s: u64) -> (Agent, Moment) {
    let (system, dev) = (receiver.system, receiver.dev);
    let identity = Identity::new(Provisioned { system, dev, ..support::provisioned() }).unwrap();
    let now = Moment { unix_s, steady_ns: NS_PER_S };
    let settings = Settings { paced: true, ..Settings::default() };
    let storage = Box::new(MemoryStorage::default());
    let mut agent =
        Agent::open(identity, settings, Box::new(application), storage, support::entropy(2), now).unwrap();
    agent.memory.receiver = Some(receiver);
    (agent, now)
}

#[test]
fn vector_epochs_at_the_device() {
    let file = folder::json("profile/epochs.json");
    for case in folder::cases("profile/epochs.json", "device") {
        let (mut agent, now) = device(&case["state"], &file["profile"], case["state"]["now"].as_u64());
        for step in case.list("steps") {
            let (verdict, frames, _) = take(&mut agent, &step.octets("frame"), now);
            // The acknowledgements of these frames are of nothing that this device sent.
            let verdict = if verdict == "ignored" { "accept" } else { verdict };
            assert_eq!(verdict, step.str("verdict"), "{step}");
            let receiver = agent.receiver().unwrap();
            assert_eq!(receiver.association.epoch(), epoch(&step["epoch"]), "{step}");
            assert_eq!(u64::from(receiver.campaign), step.number("campaign"), "{step}");
            let held: Vec<Epoch> = receiver.association.held().iter().map(|held| held.epoch).collect();
            let expected: Vec<Epoch> = step.list("downstream_epochs").iter().map(epoch).collect();
            assert_eq!(held, expected, "{step}");
            // PROOF, then RESULT, in one frame under the new epoch, from its first counter on.
            let expected: Vec<Vec<u8>> = step.list("sends").iter().map(|sent| sent.octets("frame")).collect();
            assert_eq!(frames, expected, "{step}");
        }
    }
}

#[test]
fn vector_group_membership() {
    let file = folder::json("profile/groups.json");
    for case in folder::cases("profile/groups.json", "membership") {
        let mut unix_s = case["state"].number("now");
        let (mut agent, mut now) = device(&case["state"], &file["profile"], Some(unix_s));
        for step in case.list("steps") {
            if step.str("op") == "time" {
                unix_s = step.number("now");
                now = Moment { unix_s, ..now };
                agent.poll(now, &mut Vec::new());
            } else {
                let (verdict, ..) = take(&mut agent, &step.octets("frame"), now);
                assert_eq!(verdict, step.str("verdict"), "{step}");
            }
            let groups = agent.receiver().unwrap().groups.all();
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

/// A device in the context of an Annex A case, with the nonce of the time request that is answered there.
fn in_context(case: &Value, file: &Value, unix_s: u64) -> (Agent, Moment) {
    let context = &file["contexts"][case.number("context") as usize];
    let mut receiver = receiver(context);
    receiver.campaign = case["item_campaign"].as_u64().map_or(0, |campaign| campaign as u32 - 1);
    receiver.time_nonce =
        case["nonce"].is_string().then(|| case.array("nonce")).filter(|nonce| *nonce != [0; 8]);
    if case["group_master_secret"].is_string() {
        let (gid, current) = (gid(case), epoch(&case["group_epoch"]));
        let gms = Key128::from_octets(case.array("group_master_secret"));
        let held = vec![HeldKey::new(gid, current, gms, 0)];
        receiver.groups.restore(Membership { gid, classes: Classes(0x3f), current: Some(current), held });
    }
    of_receiver(receiver, Stub::new(Profile(file["profile"].clone())), unix_s)
}

#[test]
fn vector_annex_a_commands_are_executed() {
    let file = folder::json("profile/annex-a.json");
    for key in ["class4", "class5", "padding"] {
        for case in folder::cases("profile/annex-a.json", key) {
            let (mut agent, now) = in_context(&case, &file, case.number("nbf"));
            let (verdict, frames, answer) = take(&mut agent, &case.octets("frame"), now);
            assert_eq!((verdict, frames.len()), ("accept", 1), "{case}");
            let outcome = outcome(&answer).unwrap();
            assert_eq!((u64::from(outcome.ctr), outcome.result), (case.number("ctr"), 0), "{case}");
            if key == "class5" {
                assert_eq!(agent.memory.clock.now(now), Some(case.number("time_ms") / 1000), "{case}");
            }
        }
    }
}

#[test]
fn vector_annex_a_type_4_is_taken() {
    let file = folder::json("profile/annex-a.json");
    for case in folder::cases("profile/annex-a.json", "type4") {
        let (mut agent, now) = in_context(&case, &file, 1);
        let (verdict, frames, _) = take(&mut agent, &case.octets("frame"), now);
        // Keys of groups that it is not in, acknowledgements and answers of nothing: skipped, not refused.
        let skipped = case.str("item") != "WAIT";
        assert_eq!((verdict, frames.len()), (if skipped { "ignored" } else { "accept" }, 0), "{case}");
        if case.str("item") == "WAIT" {
            let seconds = case["seconds"].as_u64().unwrap().min(600);
            assert!(
                !agent.up.may_report(now.steady_ns + (seconds * NS_PER_S).saturating_sub(1)) || seconds == 0
            );
        }
    }
}

#[test]
fn vector_annex_a_type_5_is_sealed_alike() {
    let file = folder::json("profile/annex-a.json");
    for case in folder::cases("profile/annex-a.json", "type5") {
        let (mut agent, now) = in_context(&case, &file, 1);
        let seq = case.number("seq") as u32;
        let key = agent.key().unwrap();
        agent.up.resume(Some((key, seq)), 0);
        agent.up.push(Content::Control { answer_to: None, event: false }, &case.octets("plaintext"));
        let mut out = Vec::new();
        agent.pump(now, &mut out);
        let frames: Vec<Vec<u8>> = sent(&out).iter().map(|apdu| frame(apdu)).collect();
        assert_eq!(frames, [case.octets("frame")], "{case}");
    }
}

/// Entropy that gives a run's ephemeral key, and else numbers from a seed.
fn with_ephemeral(x: [u8; 32]) -> Box<dyn Entropy> {
    let mut state = 1_u64;
    Box::new(move |octets: &mut [u8]| match <&mut [u8; 32]>::try_from(&mut *octets) {
        Ok(octets) => *octets = x,
        Err(_) => octets.iter_mut().for_each(|octet| {
            state = mix(state, 2);
            *octet = state as u8;
        }),
    })
}

fn registering(
    x: [u8; 32],
    sk_i: [u8; 32],
    dev: Dev,
    credential: HeadEndCredential,
) -> (Agent, Moment, Vec<u8>) {
    let made =
        Provisioned { dev, credential, agreement: zeroize::Zeroizing::new(sk_i), ..support::provisioned() };
    let identity = Identity::new(made).unwrap();
    let now = support::at(10);
    let settings = Settings { paced: true, ..Settings::default() };
    let (stub, storage) = (Stub::new(Everything), Box::new(MemoryStorage::default()));
    let mut agent = Agent::open(identity, settings, Box::new(stub), storage, with_ephemeral(x), now).unwrap();
    agent.register(now);
    let mut out = Vec::new();
    agent.poll(now, &mut out);
    let message_1 = frame(&sent(&out)[0]);
    (agent, now, message_1)
}

#[test]
fn vector_registration_of_a_device() {
    for case in folder::cases("profile/registration.json", "cases") {
        let credential = HeadEndCredential::read(&case.octets("cred_r")).unwrap();
        let dev = Dev(case.array("kid_i"));
        let frames = case.list("frames");
        let (mut agent, now, message_1) = registering(case.array("x"), case.array("sk_i"), dev, credential);
        let expected: Vec<Vec<u8>> = frames.iter().map(|frame| octets(frame.as_str().unwrap())).collect();
        assert_eq!(message_1, expected[0], "{case}");
        assert_eq!(agent.identity().credential().octets(), case.octets("cred_i"));
        let mut out = Vec::new();
        agent.handle(1, &carried(&expected[1]), now, &mut out);
        assert_eq!(frame(&sent(&out)[0]), expected[2], "{case}");
        out.clear();
        agent.handle(1, &carried(&expected[3]), now, &mut out);
        let sid = Sid(u32::from_be_bytes(case.array("c_r")));
        assert_eq!(out, [Output::Registered { sid }], "{case}");
        let association = &agent.receiver().unwrap().association;
        assert_eq!((association.sid(), *association.prk().expose()), (sid, case.array("prk_out")));
    }
}

#[test]
fn vector_registration_refusals_at_the_device() {
    for case in folder::cases("profile/registration-refusals.json", "device") {
        let known = case.list("credentials").first().map(|known| known.octets("cred"));
        let known = known.map(|known| HeadEndCredential::read(&known).unwrap());
        let other = || support::head_end_credential(0x17, &PrivateKey::from_octets(&[9; 32]).unwrap());
        let dev = Dev(case.array("kid_i"));
        let (mut agent, now, message_1) =
            registering(case.array("x"), case.array("sk_i"), dev, known.unwrap_or_else(other));
        assert_eq!(message_1[1..], case.octets("message_1"), "{case}");
        for step in case.list("steps") {
            let mut out = Vec::new();
            agent.handle(1, &carried(&step.octets("frame")), now, &mut out);
            let verdict = support::refused(&out).first().copied().unwrap_or("accept");
            assert_eq!(verdict, step.str("verdict"), "{case}");
            let reply = sent(&out).first().map(|apdu| frame(apdu));
            let expected = step["reply"].as_str().map(octets);
            assert_eq!(reply, expected, "{case}");
        }
        let registered = case.list("steps").len() > 1 && agent.association().is_some();
        let good = case.list("steps").iter().filter(|step| step.str("verdict") == "accept").count();
        assert_eq!(registered, good == 2, "{case}");
    }
}
