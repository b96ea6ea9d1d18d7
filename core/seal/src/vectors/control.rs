use serde_json::Value;

use super::folder::{self, Fields, octets};
use super::receiver;
use crate::control::{Ack, Down, GroupKey, Item, Items, Outcome, Up};
use crate::frame::{Bound, FrameType, Head};
use crate::ids::{Dev, Epoch, Gid, System};
use crate::profile1::Channel;

/// Opens and seals the frame of each case of `list`, and gives `check` its plaintext.
fn each(list: &str, frame_type: FrameType, check: impl Fn(&Value, &[u8])) {
    let contexts = &folder::json("profile/annex-a.json")["contexts"];
    for case in &folder::cases("profile/annex-a.json", list) {
        let context = &contexts[case.number("context") as usize];
        let keys = receiver::keys(context, "k_up");
        let epoch = Epoch(context.number("epoch").try_into().unwrap());
        let bound =
            Bound { system: System(context.array("system")), scope: Dev(context.array("dev")).into(), epoch };
        let key = if frame_type.is_upstream() { &keys.up } else { &keys.dn };
        let channel = Channel { key, common_iv: &keys.common_iv, bound };
        let frame = case.octets("frame");
        let (head, body) = Head::split(&frame).unwrap();
        let seq = case.number("seq").try_into().unwrap();
        assert_eq!(head, channel.head(frame_type, u32::from_be_bytes(context.array("sid")), seq), "{case}");
        let mut sealed = Vec::new();
        assert!(channel.seal(&head, &case.octets("plaintext"), &mut sealed));
        assert_eq!(sealed, body, "{case}");
        let opened = channel.open(&head, &mut sealed).unwrap();
        assert_eq!(opened, case.octets("plaintext"), "{case}");
        check(case, opened);
    }
}

fn written<'a, I: Item<'a>>(items: &[I]) -> Vec<u8> {
    let mut octets = Vec::new();
    items.iter().for_each(|item| item.write(&mut octets));
    octets
}

/// As the file names an item that was read.
fn down_name(item: &Down<'_>) -> &'static str {
    match item {
        Down::GroupKey(_) => "GROUP_KEY",
        Down::Ack(_) => "ACK",
        Down::Wait { .. } => "WAIT",
        Down::Response { .. } => "RESPONSE",
    }
}

fn up_name(item: &Up<'_>) -> &'static str {
    match item {
        Up::Result(_) => "RESULT",
        Up::Proof { .. } => "PROOF",
        Up::Event { .. } => "EVENT",
        Up::TimeRequest { .. } => "TIME_REQUEST",
    }
}

#[test]
fn vector_annex_a_type_4() {
    each("type4", FrameType::DownControl, |case, plaintext| {
        let items: Vec<Down<'_>> = Items::read(plaintext).unwrap().collect();
        assert_eq!(items.iter().map(down_name).collect::<Vec<_>>().join(", "), case.str("item"), "{case}");
        assert_eq!(written(&items), plaintext, "{case}");
        let [item] = items[..] else { return };
        let response = case["response"].as_str().map(octets).unwrap_or_default();
        let number = |key| u32::try_from(case.number(key)).unwrap();
        let epoch = || Epoch(case.number("epoch").try_into().unwrap());
        let gms = if case["gms"].is_string() { case.array("gms") } else { [0; 16] };
        let expected = match case.str("item") {
            "GROUP_KEY" => Down::GroupKey(GroupKey {
                gid: Gid(u32::from_be_bytes(case.array("gid"))),
                epoch: epoch(),
                gms: &gms,
                activate_at: number("activate_at"),
            }),
            "ACK" => {
                Down::Ack(Ack { epoch: epoch(), highest: number("highest"), bitmap: case.number("bitmap") })
            }
            "WAIT" => Down::Wait { seconds: case.number("seconds").try_into().unwrap() },
            _ => Down::Response { invocation_id: number("invocation"), response: &response },
        };
        assert_eq!(item, expected, "{case}");
    });
}

#[test]
fn vector_annex_a_type_5() {
    each("type5", FrameType::UpControl, |case, plaintext| {
        let items: Vec<Up<'_>> = Items::read(plaintext).unwrap().collect();
        assert_eq!(items.iter().map(up_name).collect::<Vec<_>>().join(", "), case.str("item"), "{case}");
        assert_eq!(written(&items), plaintext, "{case}");
        let [item] = items[..] else { return };
        let optional = |key: &str| case[key].as_str().map(octets).unwrap_or_default();
        let eight = |key: &str| if case[key].is_string() { case.array(key) } else { [0; 8] };
        let octet = |key| u8::try_from(case.number(key)).unwrap();
        let (data, rest, challenge, nonce) =
            (optional("data"), optional("rest"), eight("challenge"), eight("nonce"));
        let expected = match case.str("item") {
            "RESULT" => Up::Result(Outcome {
                skid: octet("skid"),
                kind: octet("kind"),
                ctr: case.number("ctr").try_into().unwrap(),
                result: octet("result"),
                rest: &rest,
            }),
            "PROOF" => {
                Up::Proof { epoch: Epoch(case.number("epoch").try_into().unwrap()), challenge: &challenge }
            }
            "EVENT" => Up::Event {
                number: case.number("number").try_into().unwrap(),
                time: case.number("time").try_into().unwrap(),
                data: &data,
            },
            _ => Up::TimeRequest { nonce: &nonce },
        };
        assert_eq!(item, expected, "{case}");
        if let (Up::Result(outcome), true) = (item, case["executed_at"].is_u64()) {
            let executed = outcome.executed().unwrap();
            assert_eq!(u64::from(executed.executed_at), case.number("executed_at"), "{case}");
            assert_eq!(executed.response, case.octets("response"), "{case}");
        }
    });
}
