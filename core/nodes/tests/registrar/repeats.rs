//! Messages of a registration that come again, as a program that shares no code with this one makes them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use metergraph_nodes::order::Order;
use seal::edhoc::{DeviceCredential, HeadEndCredential};
use seal::ids::{Dev, Sid};
use serde_json::Value;

use super::ERROR;
use super::common::vectors::{hex, json, octets};
use super::common::wait_for;
use super::desk::Desk;
use super::office::{Office, SECOND, carry};

fn sid(value: &Value) -> Sid {
    Sid(u32::from_be_bytes(octets(value)))
}

fn list(case: &Value, key: &str) -> Vec<Value> {
    case[key].as_array().unwrap().clone()
}

/// The head-end of a case.
fn office(case: &Value) -> Office {
    let mut desk = Desk::new(octets(&case["sk_r"]));
    desk.ephemerals = Mutex::new(list(case, "y").iter().map(octets).collect());
    desk.sids = Mutex::new(list(case, "c_r").iter().map(sid).collect());
    for known in list(case, "known") {
        let device = DeviceCredential::read(&hex(known["cred"].as_str().unwrap())).unwrap();
        desk.devices.lock().unwrap().insert(device.kid, (device.key, known["revoked"] == true));
    }
    let head_end = HeadEndCredential::read(&hex(case["cred_r"].as_str().unwrap())).unwrap();
    // Its clock stands still between the steps, so it has to have answers enough.
    let settings = [("kid", i64::from(head_end.kid.octet())), ("per_second", 100_000)];
    Office::open_with(desk, &settings)
}

/// Says that an association is used, and waits until the registrar has heard it: then the message_3 that made
/// it continues nothing.
fn used(office: &Office, sid: Sid, dev: Dev, message_3: &[u8]) {
    office.prove(sid, dev, None);
    wait_for("the proof", || (office.ask(1, message_3) == ERROR).then_some(()));
    office.settle();
}

#[test]
fn vector_repeated_registrations() {
    let Some(file) = json("extended/registration-repeats.json") else { return };
    for case in list(&file, "headend") {
        let office = office(&case);
        // Who registered, and by which message_3, and the associations in their order.
        let mut proofs: HashMap<Sid, (Dev, Vec<u8>)> = HashMap::new();
        let (mut registered, mut at) = (Vec::new(), 0);
        for step in list(&case, "steps") {
            let place = format!("{}: {step}", case["title"]);
            let now = step["at"].as_u64().unwrap();
            office.desk.pass((now - at) * SECOND);
            at = now;
            if let Some(used_now) = step["used"].as_str().map(|_| sid(&step["used"])) {
                let (dev, message_3) = &proofs[&used_now];
                used(&office, used_now, *dev, message_3);
                continue;
            }
            let (verdict, frame) = (step["verdict"].as_str().unwrap(), hex(step["frame"].as_str().unwrap()));
            let link = u32::try_from(step["link"].as_u64().unwrap()).unwrap();
            let alarms = |office: &Office| office.sum("metergraph_alarms_total", None);
            let (refused, all_refused, alarmed) = (
                office.refused(verdict),
                office.sum("metergraph_frames_refused_total", None),
                alarms(&office),
            );
            office.send(link, &carry(7, &frame));
            if step["registers"].is_string() {
                let dev = Dev(octets(&step["registers"]));
                let sid = office.register(dev);
                proofs.insert(sid, (dev, frame.clone()));
                registered.push(sid);
            }
            if let Some(reply) = step["reply"].as_str() {
                let (to, answer_to, sent) = office.next();
                assert_eq!((to, answer_to, sent), (link, 7, hex(reply)), "{place}");
            }
            office.settle();
            assert!(office.poll().is_none(), "{place}");
            let by = u64::from(verdict.starts_with("SEC-"));
            assert_eq!(office.refused(verdict), refused + by, "{place}");
            assert_eq!(office.sum("metergraph_frames_refused_total", None), all_refused + by, "{place}");
            assert_eq!(alarms(&office), alarmed + u64::from(step["alarm"].is_string()), "{place}");
            if let Some(alarm) = step["alarm"].as_str() {
                assert_eq!(office.sum("metergraph_alarms_total", Some(("reason", alarm))), 1, "{place}");
                // The association before it was never used.
                let (shard, number, batch) = office.order();
                let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
                assert_eq!(order, Some(Order::Retire { sid: registered[0] }), "{place}");
                office.orders[shard].settle(number);
            }
            assert_eq!(u64::from(office.desk.asked.load(Ordering::SeqCst)), step["hsm"], "{place}");
        }
        assert!(office.orders.iter().all(|edge| edge.take().is_none()), "{}", case["title"]);
    }
}
