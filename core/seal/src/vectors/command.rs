use serde_json::Value;

use super::folder::{self, Fields, octets};
use super::receiver;
use super::signature::verifying_key;
use crate::command::{
    self, Addressee, Class, Classes, Command, KeyItem, Point, Receipt, SetTime, SignedCommand,
};
use crate::control::{Item, Items, Up};
use crate::frame::{Bound, Head};
use crate::group::GroupKeys;
use crate::ids::{Dev, Epoch, Gid, Sid, System};
use crate::profile1::Channel;
use crate::secret::Key128;

fn addressee(case: &Value) -> Addressee {
    if case["gid"].is_string() {
        Addressee::Group(Gid(u32::from_be_bytes(case.array("gid"))))
    } else {
        Addressee::Device(Dev(case.array("dev")))
    }
}

fn epoch(case: &Value, key: &str) -> Epoch {
    Epoch(case.number(key).try_into().unwrap())
}

#[test]
fn vector_downstream_commands() {
    for case in folder::cases("profile/downstream.json", "cases") {
        let (system, to, epoch) = (System(case.array("system")), addressee(&case), epoch(&case, "epoch"));
        let (common_iv, mut key) = (case.array("common_iv"), Key128::from_octets(case.array("key")));
        if let Addressee::Group(gid) = to {
            let gms = Key128::from_octets(case.array("group_master_secret"));
            let keys = GroupKeys::derive(&gms, gid, epoch);
            assert_eq!((keys.key.expose(), keys.common_iv), (key.expose(), common_iv), "{case}");
            key = keys.key;
        }
        let channel =
            Channel { key: &key, common_iv: &common_iv, bound: Bound { system, scope: to.scope(), epoch } };
        let frame = case.octets("frame");
        let (head, body) = Head::split(&frame).unwrap();
        assert_eq!(
            (head.frame_type, head.nonce(&common_iv)),
            (to.frame_type(), case.array("nonce")),
            "{case}"
        );
        let mut opened = body.to_vec();
        let plaintext = channel.open(&head, &mut opened).unwrap();
        let read = SignedCommand::read(plaintext).unwrap();
        assert_eq!(*read.signature, case.array("signature_low_s_rfc6979"), "{case}");
        assert_eq!(read.signed, [case.octets("signed_header"), case.octets("command")].concat(), "{case}");
        assert_eq!(read.command.octets().unwrap(), read.signed, "{case}");
        assert_eq!(command::sig_structure(system, to, read.signed), case.octets("sig_structure"), "{case}");
        let key = verifying_key(&case, "signer_x", "signer_y");
        assert!(read.verifies(&key, system, to), "{case}");
        let mut sealed = Vec::new();
        assert!(channel.seal(&head, plaintext, &mut sealed) && sealed == body, "{case}");
    }
}

/// Opens the frame of each case of a list of Annex A, checks the fields of its command and its
/// signature, and gives `check` the body.
fn each(list: &str, check: impl Fn(&Value, &[u8])) {
    let contexts = &folder::json("profile/annex-a.json")["contexts"];
    for case in &folder::cases("profile/annex-a.json", list) {
        let context = &contexts[case.number("context") as usize];
        let to = addressee(if case["gid"].is_string() { case } else { context });
        let system = System(context.array("system"));
        let association = receiver::keys(context, "k_up");
        let frame = case.octets("frame");
        let (head, body) = Head::split(&frame).unwrap();
        assert_eq!((head.frame_type, u64::from(head.seq)), (to.frame_type(), case.number("seq")), "{case}");
        let mut body = body.to_vec();
        let plaintext = if let Addressee::Group(gid) = to {
            let gms = Key128::from_octets(case.array("group_master_secret"));
            GroupKeys::derive(&gms, gid, epoch(case, "group_epoch")).channel(system).open(&head, &mut body)
        } else {
            let bound = Bound { system, scope: to.scope(), epoch: epoch(context, "epoch") };
            assert_eq!(head.sid(), Sid(u32::from_be_bytes(context.array("sid"))), "{case}");
            Channel { key: &association.dn, common_iv: &association.common_iv, bound }.open(&head, &mut body)
        };
        let read = SignedCommand::read(plaintext.unwrap()).unwrap();
        let number = |key: &str| case.number(key);
        let body = case.octets("body");
        let expected = Command {
            skid: number("skid") as u8,
            class: number("cls") as u8,
            ctr: number("ctr") as u32,
            nbf: number("nbf") as u32,
            ttl: number("ttl") as u16,
            body: &body,
        };
        assert_eq!(read.command, expected, "{case}");
        assert_eq!(u64::from(to.kind()), number("kind"), "{case}");
        let signer = context.list("signers").iter().find(|signer| signer["skid"] == case["skid"]).unwrap();
        assert!(read.verifies(&verifying_key(signer, "x", "y"), system, to), "{case}");
        check(case, &body);
    }
}

#[test]
fn vector_annex_a_class_4() {
    each("class4", |case, body| {
        let items: Vec<KeyItem<'_>> = Items::read(body).unwrap().collect();
        let mut written = Vec::new();
        items.iter().for_each(|item| item.write(&mut written));
        assert_eq!(written, body, "{case}");
        let ([item], Some(name)) = (&items[..], case["item"].as_str()) else { return };
        let fixed = |key: &str| if case[key].is_string() { case.array(key) } else { [0; 32] };
        let (x, y) = (fixed("item_x"), fixed("item_y"));
        let point = Point { x: &x, y: &y };
        let challenge = case["item_challenge"].as_str().map(octets).unwrap_or_default();
        let gid = || Gid(u32::from_be_bytes(case.array("item_gid")));
        let classes = || Classes(case.number("item_classes") as u8);
        let expected = match name {
            "ADVANCE" => KeyItem::Advance {
                campaign: case.number("item_campaign") as u32,
                delta: case.number("item_delta") as u8,
                challenge: challenge[..].try_into().unwrap(),
            },
            "JOIN" => KeyItem::Join { gid: gid(), classes: classes() },
            "LEAVE" => KeyItem::Leave { gid: gid() },
            "SIGNER_ADD" => KeyItem::SignerAdd {
                skid: case.number("item_skid") as u8,
                point,
                classes: classes(),
                not_before: case.number("item_not_before") as u32,
            },
            "SIGNER_REVOKE" => KeyItem::SignerRevoke { skid: case.number("item_skid") as u8 },
            "CREDENTIAL_NEXT" => {
                assert!(point.public_key().is_some(), "{case}");
                KeyItem::CredentialNext { kid: case.array::<1>("item_kid")[0], point }
            }
            other => panic!("{other}: {case}"),
        };
        assert_eq!(*item, expected, "{case}");
    });
}

#[test]
fn vector_annex_a_class_5() {
    each("class5", |case, body| {
        let time = SetTime { nonce: case.array("nonce"), time_ms: case.number("time_ms") };
        assert_eq!(SetTime::read(body), Some(time), "{case}");
        assert_eq!(time.octets(), body, "{case}");
    });
}

#[test]
fn vector_annex_a_padding() {
    each("padding", |case, body| {
        let mut padded = case.octets("epsem");
        Class::from_octet(case.number("cls") as u8).unwrap().pad(&mut padded);
        assert_eq!(padded, body, "{case}");
    });
}

#[test]
fn vector_annex_a_signed_results() {
    let contexts = &folder::json("profile/annex-a.json")["contexts"];
    let mut signed = 0;
    for case in &folder::cases("profile/annex-a.json", "type5") {
        if !case["executed_at"].is_u64() {
            continue;
        }
        let context = &contexts[case.number("context") as usize];
        let plaintext = case.octets("plaintext");
        let Some(Up::Result(outcome)) = Items::read(&plaintext).unwrap().last() else { panic!("{case}") };
        let executed = outcome.executed().unwrap();
        let command = case.octets("signed_command");
        assert_eq!(Command::read(&command).unwrap().ctr, outcome.ctr, "{case}");
        let digest = crate::signature::sha256(&command);
        assert_eq!(digest, case.array("digest"), "{case}");
        let receipt = Receipt {
            system: System(context.array("system")),
            dev: Dev(context.array("dev")),
            digest,
            result: outcome.result,
            executed_at: executed.executed_at,
        };
        assert_eq!(receipt.sig_structure(), case.octets("sig_structure"), "{case}");
        let key = verifying_key(context, "device_signing_x", "device_signing_y");
        assert!(receipt.verifies(&key, executed.signature), "{case}");
        signed += 1;
    }
    assert!(signed > 0 || contexts.is_null());
}

#[test]
fn vector_refused_commands() {
    let cases = folder::cases("profile/negative.json", "cases");
    for case in cases.iter().filter(|case| case["receiver"] == "end device") {
        let (system, to) = (System(case.array("system")), addressee(case));
        let (key, common_iv) = (Key128::from_octets(case.array("key")), case.array("common_iv"));
        let bound = Bound { system, scope: to.scope(), epoch: epoch(case, "epoch") };
        let frame = case.octets("frame");
        let (head, body) = Head::split(&frame).unwrap();
        let mut body = body.to_vec();
        let opened = Channel { key: &key, common_iv: &common_iv, bound }.open(&head, &mut body);
        let read = SignedCommand::read(opened.unwrap()).unwrap();
        let verifies = read.verifies(&verifying_key(case, "signer_x", "signer_y"), system, to);
        assert_eq!(verifies, case.str("verdict").starts_with("accept"), "{case}");
    }
}
