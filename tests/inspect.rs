//! `metergraph inspect` against the vectors: every field, from hex lines and from a capture.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use serde_json::Value;
use support::{metergraph, vectors};

/// Every key of the vectors, as `--key ID:HEX`; one id may have several.
fn key_arguments(messages: &[Value]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for message in messages {
        let Some(key) = message["key"].as_str() else { continue };
        // The key id stands behind the header in the canonified cleartext, before the IV.
        let canonified = message["canonified_cleartext"].as_str().unwrap();
        let id = u8::from_str_radix(&canonified[canonified.len() - 10..canonified.len() - 8], 16).unwrap();
        let key = format!("{id}:{key}");
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter().flat_map(|key| ["--key".to_owned(), key]).collect()
}

fn inspect(file: &str, messages: &[Value]) -> Vec<Value> {
    let path = vectors().join("c1222").join(file);
    let mut arguments = vec!["inspect".to_owned(), path.display().to_string(), "--json".into()];
    arguments.extend(key_arguments(messages));
    let output = metergraph(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages() -> Option<Vec<Value>> {
    support::json("c1222/messages.json").map(|value| value.as_array().unwrap().clone())
}

/// Faults that the vectors carry on purpose, or that only a draft-era reader accepts.
fn known_fault(id: &str) -> Option<&'static str> {
    match id {
        "icsnpp-rw-rsp" => Some("table-checksum"),
        "icsnpp-reg-req" | "icsnpp-reg-rsp" => Some("reserved-bits"),
        "itron-register-rsp" => Some("bad-length"),
        _ => None,
    }
}

fn compare(seen: &[Value], messages: &[Value]) {
    assert_eq!(seen.len(), messages.len());
    for (seen, message) in seen.iter().zip(messages) {
        let id = message["id"].as_str().unwrap();
        for field in ["apdu", "elements", "epsem_control", "security_mode", "epsem_plaintext", "services"] {
            assert_eq!(seen[field], message[field], "{id}: {field}");
        }
        let secured = message["security_mode"].as_u64().unwrap() > 0;
        let mac_valid = if secured { Value::Bool(true) } else { Value::Null };
        assert_eq!(seen["mac_valid"], mac_valid, "{id}");
        if support::own_vectors() {
            assert_eq!(seen["error"].as_str(), known_fault(id), "{id}");
        }
        let role = message["role"].as_str();
        assert_eq!(seen["role"].as_str(), role, "{id}");
    }
}

#[test]
fn vector_messages_from_hex() {
    let Some(messages) = messages() else { return };
    if support::has("c1222/messages.hex") {
        compare(&inspect("messages.hex", &messages), &messages);
    }
}

#[test]
fn vector_messages_from_a_capture() {
    let Some(messages) = messages() else { return };
    if support::has("c1222/messages_udp.pcap") {
        compare(&inspect("messages_udp.pcap", &messages), &messages);
    }
}

#[test]
fn vector_segments_are_joined() {
    let Some(segments) = support::json("c1222/segments.json") else { return };
    for case in segments.as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("segments.hex");
        let lines: Vec<&str> =
            case["segments"].as_array().unwrap().iter().map(|segment| segment.as_str().unwrap()).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let output = metergraph(&["inspect".into(), file.display().to_string(), "--json".into()]);
        let text = String::from_utf8(output.stdout).unwrap();
        let seen: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(seen.len(), lines.len() + 1);
        let joined = seen.iter().find(|seen| seen["reassembled"] == true).unwrap();
        assert_eq!(joined["apdu"], case["reassembled"]);
        assert!(joined["services"].as_array().is_some_and(|services| !services.is_empty()));
    }
}

#[test]
fn vector_forgeries_with_a_short_header_are_named() {
    let Some(eax) = support::json("c1222/eax_prime.json") else { return };
    let cases = eax["must_reject"].as_array().unwrap();
    assert!(!cases.is_empty() || !support::own_vectors());
    // An APDU whose canonified cleartext is one block: A8, BE up to the control octet, key id and IV only.
    let apdu = "6015a803020101be0e280c810a880000000000000000 00".replace(' ', "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("short.hex");
    std::fs::write(&file, format!("short {apdu}\n")).unwrap();
    let key = "0:00000000000000000000000000000000";
    let output = metergraph(&[
        "inspect".into(),
        file.display().to_string(),
        "--json".into(),
        "--key".into(),
        key.into(),
    ]);
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ne!(seen["mac_valid"], Value::Bool(true));
    assert!(seen["error"].is_string(), "{seen}");
}
