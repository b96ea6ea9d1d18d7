//! Messages of the C12.22 vectors, answered by a device with their key.

use std::path::PathBuf;

use c1222::canonified::KeyIv;
use c1222::{ApTitleBuf, Apdu, Leniency, ResponseCode};
use seal::ids::Dev;
use seal::secret::Key128;
use serde_json::Value;

use super::super::testing::{Answer, Client, at, residential};
use super::super::{Classic, EndDevice, Setup, Verdict};
use crate::meter::Meter;

use ResponseCode::{Iar, Ok as OK};

fn messages() -> Vec<Value> {
    let given = std::env::var_os("METERGRAPH_VECTORS");
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = repository.join(given.as_deref().unwrap_or("tests/vectors".as_ref()));
    assert!(folder.is_dir(), "no folder {}", folder.display());
    let path = folder.join("c1222/messages.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(error) => {
            println!("absent: {} ({error})", path.display());
            assert!(given.is_some(), "{} must be there", path.display());
            Vec::new()
        }
    }
}

fn octets(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A device that is called by the message, with its key where it has one; any time is fresh.
fn device_for(message: &Value, apdu: &Apdu<'_>) -> (EndDevice, Client) {
    let called: ApTitleBuf = apdu.envelope.called.unwrap().into();
    let key_id = message["canonified_cleartext"].as_str().map(|header| octets(header)[header.len() / 2 - 5]);
    let classic = || {
        let key: [u8; 16] = octets(message["key"].as_str()?).try_into().unwrap();
        Some(Classic::new([(key_id?, &Key128::from_octets(key))], 0))
    };
    let meter = Meter::new(1, Dev([1; 8]));
    let setup = Setup { classic: classic(), ..Setup::new(residential(), called, "1".into(), meter) };
    let mut client = Client::clear();
    if let Some(keys) = classic() {
        client.keys = keys;
    }
    (EndDevice::new(setup, at(0)), client)
}

/// The answer to the first message with this id, from a device of its own.
fn answer_to(id: &str) -> Option<Answer> {
    let messages = messages();
    let Some(message) = messages.iter().find(|message| message["id"] == id) else {
        println!("absent: {id}");
        return None;
    };
    let request = octets(message["apdu"].as_str().unwrap());
    let apdu = Apdu::decode(&request, Leniency::Draft).unwrap();
    let (mut device, mut client) = device_for(message, &apdu);
    let answer = client.send(&mut device, &request, at(1));
    if let Some(mode) = answer.mode {
        assert_eq!(mode.number(), message["security_mode"], "{id}");
    }
    Some(answer)
}

#[test]
fn vector_std8_request_is_answered_under_its_key() {
    let Some(answer) = answer_to("std8-req") else { return };
    // `send` opened the answer with the key, so its MAC is right, and checked that it answers the request.
    assert_eq!((answer.verdict, answer.codes()), (Verdict::Served, vec![OK, OK]));
    // ST1 from octet 16 on: the serial number.
    assert_eq!(answer.data(1), *b"1               ");
    let apdu = Apdu::decode(&answer.apdu, Leniency::Strict).unwrap();
    assert_eq!(apdu.envelope.answer_to.unwrap().octets(), [3]);
    // The request's IV is one of 2008; the answer has its own.
    assert_eq!(answer.iv, Some((at(1).unix_s as u32).to_be_bytes()));
}

#[test]
fn vector_every_secured_request_is_answered() {
    for (id, codes) in [
        ("elster-v6-req", vec![OK, OK, Iar]),
        ("elster-m1-sessionless-0-req", vec![OK, OK]),
        ("elster-m1-sessionless-1-req", vec![OK, OK, OK, OK]),
        ("elster-m2-session-0-req", vec![OK, OK, OK]),
    ] {
        let Some(answer) = answer_to(id) else { continue };
        assert_eq!((answer.verdict, answer.codes()), (Verdict::Served, codes), "{id}");
    }
    if let Some(answer) = answer_to("elster-m1-sessionless-1-req") {
        // The profile's activation of firmware has this number, and takes other parameters.
        assert_eq!(answer.data(3), [0x03, 0x08, 0x00, 0x02]);
    }
}

#[test]
fn vector_an_elster_session_goes_on_with_the_key_and_iv_of_its_logon() {
    let messages = messages();
    let of = |id: &str| messages.iter().find(|message| message["id"] == id);
    let (Some(first), Some(second)) = (of("elster-m2-session-0-req"), of("elster-m2-session-1-req")) else {
        println!("absent: the session");
        return;
    };
    let request = octets(first["apdu"].as_str().unwrap());
    let (mut device, mut client) = device_for(first, &Apdu::decode(&request, Leniency::Strict).unwrap());
    assert_eq!(client.send(&mut device, &request, at(1)).responses[0], [0, 0, 60]);
    let key_iv = octets(second["key_id_and_iv_from_session"].as_str().unwrap());
    client.session = Some(KeyIv { key_id: key_iv[0], iv: key_iv[1..].try_into().unwrap() });
    let request = octets(second["apdu"].as_str().unwrap());
    let answer = client.send(&mut device, &request, at(2));
    assert_eq!(answer.codes(), [OK; 4]);
    assert_eq!(answer.iv, None);
    // Its last service was Logoff.
    assert!(device.state.sessions.of(&client.title).is_none());
}

#[test]
fn vector_requests_in_clear_are_answered() {
    use ResponseCode::Sns;
    for (id, codes) in [
        ("icsnpp-ident-req", vec![OK]),
        ("icsnpp-logon-req", vec![OK]),
        ("icsnpp-rw-req", vec![OK]),
        ("icsnpp-reg-req", vec![Sns]),
        ("itron-ident-req", vec![OK]),
        ("itron-read-0-3-5-req", vec![OK, OK, OK]),
        ("itron-logon-sns-req", vec![OK]),
        ("itron-rstl-req", vec![Iar]),
        ("itron-edclass-req", vec![OK]),
    ] {
        let Some(answer) = answer_to(id) else { continue };
        assert_eq!((answer.verdict, answer.codes()), (Verdict::Served, codes), "{id}");
    }
}

#[test]
fn vector_no_response_and_no_foreign_message_is_carried_out() {
    for message in messages() {
        let request = octets(message["apdu"].as_str().unwrap());
        let mut device = EndDevice::new(super::super::testing::setup(), at(0));
        let mut out = Vec::new();
        let verdict = device.receive(1, &request, at(1), &mut out);
        let Ok(apdu) = Apdu::decode(&request, Leniency::Draft) else { continue };
        let called = apdu.envelope.called.is_none_or(|called| called.same_node(&device.title()));
        if apdu.envelope.is_response() {
            assert!(matches!(verdict, Verdict::Refused(_)) && out.is_empty(), "{}", message["id"]);
        } else if !called {
            assert!(matches!(verdict, Verdict::Refused(_)), "{}", message["id"]);
        }
    }
}
