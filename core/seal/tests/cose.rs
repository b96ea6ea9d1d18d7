//! Frames and commands, re-inflated to COSE messages, through a general COSE library that we did not write
//! (pycose, installed by `scripts/prepare`).

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seal::command::{self, Addressee, Receipt, SignedCommand};
use seal::frame::{Bound, FrameType};
use seal::ids::{Dev, Epoch, Gid, Scope, Sid, System};
use seal::profile1::Channel;
use seal::schedule;
use seal::secret::{Key128, Prk};
use seal::signature::SigningKey;
use serde_json::{Value, json};

use metergraph_seal as seal;

/// Frames and commands of each kind.
const CASES: usize = 40;

/// What a case is made of.
#[derive(Clone, Debug)]
struct Made {
    prk: [u8; 32],
    system: [u8; 8],
    dev: [u8; 8],
    sid: u32,
    epoch: u16,
    seq: u32,
    body: Vec<u8>,
    signing: [u8; 32],
    flipped: usize,
}

fn made() -> impl Strategy<Value = Made> {
    let ids = (any::<[u8; 8]>(), any::<[u8; 8]>(), 0..1_u32 << 31, any::<u16>(), 0..1_u32 << 24);
    let rest = (any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 1..400), 1..=255_u8, any::<usize>());
    (ids, rest).prop_map(|((system, dev, sid, epoch, seq), (prk, body, signing, flipped))| Made {
        prk,
        system,
        dev,
        sid,
        epoch,
        seq,
        body,
        signing: [signing; 32],
        flipped,
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A sealed frame with what a COSE library needs to open it.
fn frame(made: &Made, channel: &Channel<'_>, frame_type: FrameType, id: u32, plaintext: &[u8]) -> Value {
    let Bound { system, scope, epoch } = channel.bound;
    let head = channel.head(frame_type, id, made.seq);
    let mut frame = head.octets().to_vec();
    assert!(channel.seal(&head, plaintext, &mut frame));
    json!({
        "frame": hex(&frame), "nonce": hex(&head.nonce(channel.common_iv)), "key": hex(channel.key.expose()),
        "scope": hex(&scope.0), "epoch": hex(&epoch.0.to_be_bytes()), "system": hex(&system.0),
    })
}

/// The same frame with one bit of it flipped.
fn flipped(frame: &Value, at: usize) -> Value {
    let mut text: Vec<u8> = frame["frame"].as_str().unwrap().into();
    let at = at % text.len();
    text[at] = if text[at] == b'0' { b'1' } else { b'0' };
    let mut flipped = frame.clone();
    flipped["frame"] = String::from_utf8(text).unwrap().into();
    flipped
}

fn signed(key: &SigningKey, external_aad: &[&[u8]], payload: &[u8], signature: &[u8; 64]) -> Value {
    let [_, point @ ..] = key.verifying_key().uncompressed();
    json!({
        "external_aad": hex(&external_aad.concat()), "payload": hex(payload), "signature": hex(signature),
        "x": hex(&point[..32]), "y": hex(&point[32..]),
    })
}

#[test]
fn a_general_cose_library_opens_our_frames_and_verifies_our_signatures() {
    let mut runner = TestRunner::deterministic();
    let (mut frames, mut opened) = (Vec::new(), Vec::new());
    let (mut commands, mut verified) = (Vec::new(), Vec::new());
    for _ in 0..CASES {
        let made = made().new_tree(&mut runner).unwrap().current();
        let (system, dev, epoch) = (System(made.system), Dev(made.dev), Epoch(made.epoch));
        let keys = schedule::derive(&Prk::from_octets(made.prk), Sid(made.sid));
        let bound = Bound { system, scope: dev.into(), epoch };
        let up = Channel { key: &keys.up, common_iv: &keys.common_iv, bound };
        let down = Channel { key: &keys.dn, common_iv: &keys.common_iv, bound };
        let gid = Gid(made.sid | 1 << 31);
        let gms = Key128::from_octets(*made.prk.first_chunk().unwrap());
        let group = seal::group::GroupKeys::derive(&gms, gid, epoch);

        let signer = SigningKey::from_octets(&made.signing).unwrap();
        let (to_device, to_group) = (Addressee::Device(dev), Addressee::Group(gid));
        for (addressee, channel, frame_type, id) in [
            (to_device, down, FrameType::Command, made.sid),
            (to_group, group.channel(system), FrameType::GroupCommand, gid.0),
        ] {
            let header = command::Command {
                skid: 1,
                class: 3,
                ctr: made.seq,
                nbf: 1_800_000_000,
                ttl: 60,
                body: &made.body,
            };
            let Ok(octets) = command::sign(header.octets().unwrap(), system, addressee, &signer);
            let read = SignedCommand::read(&octets).unwrap();
            let Scope(scope) = addressee.scope();
            let aad: [&[u8]; 4] = [&[1], &system.0, &[addressee.kind()], &scope];
            commands.push(signed(&signer, &aad, read.signed, read.signature));
            verified.push(true);
            // To another addressee it says nothing.
            commands.push(signed(&signer, &[&[1], &system.0, &[9], &scope], read.signed, read.signature));
            verified.push(false);
            frames.push(frame(&made, &channel, frame_type, id, &octets));
            opened.push(json!(hex(&octets)));
        }
        let receipt = Receipt { system, dev, digest: made.prk, result: 0, executed_at: made.seq };
        let Ok(signature) = receipt.sign(&signer);
        let payload = [&receipt.digest[..], &[receipt.result], &receipt.executed_at.to_be_bytes()].concat();
        commands.push(signed(&signer, &[&[2], &system.0, &dev.0], &payload, &signature));
        verified.push(true);

        for (channel, frame_type) in
            [(&up, FrameType::Report), (&up, FrameType::UpControl), (&down, FrameType::DownControl)]
        {
            let good = frame(&made, channel, frame_type, made.sid, &made.body);
            frames.push(flipped(&good, made.flipped));
            frames.push(good);
            opened.extend([Value::Null, json!(hex(&made.body))]);
        }
    }
    let found = ask(&json!({"frames": frames, "commands": commands}));
    assert_eq!(found["opened"], json!(opened));
    assert_eq!(found["verified"], json!(verified));
}

/// Has the COSE library look at it.
fn ask(given: &Value) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/python/bin/python");
    let mut child = Command::new(&python)
        .arg(root.join("core/seal/tests/cose/verify.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make prepare`", python.display()));
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "verify.py: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
