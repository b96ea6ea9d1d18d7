//! The transcript and the chain of keys with identifiers and credentials of any form.

use serde_json::Value;

use crate::edhoc::cbor::write_bytes;
use crate::edhoc::credential::HeadEndKid;
use crate::edhoc::transcript::{self, Chain, Hash, Mac, MacContext};
use crate::edhoc::{PrivateKey, PublicKey, Refusal};
use crate::secret::SharedSecret;
use crate::vectors::folder::{self, Fields};

/// What a run begins with.
struct Inputs {
    message_1: Vec<u8>,
    x: PrivateKey,
    y: PrivateKey,
    i: PrivateKey,
    r: PrivateKey,
    c_r: Vec<u8>,
    kid_i: Vec<u8>,
    kid_r: Vec<u8>,
    cred_i: Vec<u8>,
    cred_r: Vec<u8>,
    ead: [Vec<u8>; 3],
}

/// All that follows from it.
struct Outputs {
    th: [Hash; 3],
    prk: [Chain; 3],
    mac: [Mac; 2],
    /// Plaintexts 2 and 3.
    plaintext: [Vec<u8>; 2],
    /// Messages 2, 3 and 4.
    message: [Vec<u8>; 3],
}

fn bytes(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(&mut out, &[octets]);
    out
}

/// An identifier in a plaintext: itself where it is a CBOR integer, else a byte string.
fn compact(id: &[u8]) -> Vec<u8> {
    match id {
        [octet] if HeadEndKid::new(*octet).is_some() => id.to_vec(),
        _ => bytes(id),
    }
}

fn run(inputs: &Inputs) -> Outputs {
    let Inputs { x, y, i, r, .. } = inputs;
    let [ead_2, ead_3, ead_4] = &inputs.ead;
    let c_r = compact(&inputs.c_r);
    let id = |kid: &[u8]| [&[0xa1, 0x04][..], &bytes(kid)].concat();
    let (id_r, id_i) = (id(&inputs.kid_r), id(&inputs.kid_i));
    let (g_y, g_xy) = (y.public_key().x(), x.shared(&y.public_key()));

    let th_2 = transcript::th_2(&g_y, &transcript::hash(&[&inputs.message_1]));
    let prk_2e = Chain::begin(&th_2, &g_xy);
    let prk_3e2m = prk_2e.with_responder(&th_2, &x.shared(&r.public_key()));
    let context_2 = MacContext { c_r: &c_r, id: &id_r, th: &th_2, credential: &inputs.cred_r, ead: ead_2 };
    let mac_2 = prk_3e2m.mac_2(&context_2);
    let plaintext_2 = [&c_r[..], &compact(&inputs.kid_r), &bytes(&mac_2), ead_2].concat();
    let th_3 = transcript::th_next(&th_2, &plaintext_2, &inputs.cred_r);
    let mut text = plaintext_2.clone();
    prk_2e.mask_2(&th_2, &mut text);
    let message_2 = bytes(&[&g_y[..], &text].concat());

    let prk_4e3m = prk_3e2m.with_initiator(&th_3, &i.shared(&y.public_key()));
    let context_3 = MacContext { c_r: &[], id: &id_i, th: &th_3, credential: &inputs.cred_i, ead: ead_3 };
    let mac_3 = prk_4e3m.mac_3(&context_3);
    let plaintext_3 = [&compact(&inputs.kid_i)[..], &bytes(&mac_3), ead_3].concat();
    let th_4 = transcript::th_next(&th_3, &plaintext_3, &inputs.cred_i);
    let mut text = plaintext_3.clone();
    let tag = prk_3e2m.seal_3(&th_3, &mut text);
    let message_3 = bytes(&[&text[..], &tag].concat());
    assert_eq!(prk_3e2m.open_3(&th_3, &mut text, &tag), Ok(()));
    assert_eq!(text, plaintext_3);

    let mut text = ead_4.clone();
    let tag = prk_4e3m.seal_4(&th_4, &mut text);
    let message_4 = bytes(&[&text[..], &tag].concat());
    assert_eq!(prk_4e3m.open_4(&th_4, &mut text, &tag), Ok(()));
    assert_eq!(prk_4e3m.open_4(&th_3, &mut text, &tag), Err(Refusal::Mac));

    Outputs {
        th: [th_2, th_3, th_4],
        prk: [prk_2e, prk_3e2m, prk_4e3m],
        mac: [mac_2, mac_3],
        plaintext: [plaintext_2, plaintext_3],
        message: [message_2, message_3, message_4],
    }
}

fn key(case: &Value, name: &str) -> PrivateKey {
    PrivateKey::from_octets(&case.array(name)).unwrap()
}

#[test]
fn vector_rfc9529_chapter_3() {
    let case = folder::json("edhoc/rfc9529-chapter-3.json");
    if case.is_null() {
        return;
    }
    let inputs = Inputs {
        message_1: case.octets("message_1"),
        x: key(&case, "X"),
        y: key(&case, "Y"),
        i: key(&case, "SK_I"),
        r: key(&case, "SK_R"),
        c_r: case.octets("OSCORE_C_R"),
        kid_i: case.octets("ID_CRED_I_raw_cborised"),
        kid_r: case.octets("ID_CRED_R_raw_cborised"),
        cred_i: case.octets("CRED_I_cborised"),
        cred_r: case.octets("CRED_R_cborised"),
        ead: Default::default(),
    };
    for (key, public) in [(&inputs.x, "G_X"), (&inputs.y, "G_Y"), (&inputs.i, "PK_I"), (&inputs.r, "PK_R")] {
        assert_eq!(key.public_key().x(), case.array(public), "{public}");
    }
    let secret = |own: &PrivateKey, peer| own.shared(&PublicKey::from_x(&case.array(peer)).unwrap());
    let is = |shared: SharedSecret, name: &str| assert_eq!(*shared.expose(), case.array(name), "{name}");
    is(secret(&inputs.x, "G_Y"), "G_XY");
    is(secret(&inputs.y, "G_X"), "G_XY");
    is(secret(&inputs.r, "G_X"), "G_RX");
    is(secret(&inputs.y, "PK_I"), "G_IY");
    assert_eq!(transcript::hash(&[&inputs.message_1]), case.array("H_message_1"));

    let outputs = run(&inputs);
    for (th, name) in outputs.th.iter().zip(["TH_2", "TH_3", "TH_4"]) {
        assert_eq!(*th, case.array(name), "{name}");
    }
    for (prk, name) in outputs.prk.iter().zip(["PRK_2e", "PRK_3e2m", "PRK_4e3m"]) {
        assert_eq!(*prk.0, case.array(name), "{name}");
    }
    for (mac, name) in outputs.mac.iter().zip(["MAC_2", "MAC_3"]) {
        assert_eq!(*mac, case.array(name), "{name}");
    }
    for (plaintext, name) in outputs.plaintext.iter().zip(["PLAINTEXT_2", "PLAINTEXT_3"]) {
        assert_eq!(*plaintext, case.octets(name), "{name}");
    }
    for (message, name) in outputs.message.iter().zip(["message_2", "message_3", "message_4"]) {
        assert_eq!(*message, case.octets(name), "{name}");
    }
    let [prk_2e, prk_3e2m, prk_4e3m] = &outputs.prk;
    let [th_2, th_3, th_4] = &outputs.th;
    assert_eq!(*prk_2e.derive(1, th_2), case.array::<32>("SALT_3e2m"));
    assert_eq!(*prk_3e2m.derive(5, th_3), case.array::<32>("SALT_4e3m"));
    assert_eq!(*prk_3e2m.derive(3, th_3), case.array::<16>("K_3"));
    assert_eq!(*prk_3e2m.derive(4, th_3), case.array::<13>("IV_3"));
    assert_eq!(*prk_4e3m.derive(8, th_4), case.array::<16>("K_4"));
    assert_eq!(*prk_4e3m.derive(9, th_4), case.array::<13>("IV_4"));
    assert_eq!(transcript::enc_structure(th_3), case.octets("A_3"));
    assert_eq!(transcript::enc_structure(th_4), case.octets("A_4"));
    assert_eq!(*prk_4e3m.out(th_4).expose(), case.array("PRK_out"));
}

#[test]
fn vector_method_3_suite_2() {
    for case in folder::cases("edhoc/method3-suite2.json", "cases") {
        let inputs = Inputs {
            message_1: case.octets("message_1"),
            x: key(&case, "x"),
            y: key(&case, "y"),
            i: key(&case, "sk_i"),
            r: key(&case, "sk_r"),
            c_r: case.octets("c_r"),
            kid_i: case.octets("kid_i"),
            kid_r: case.octets("kid_r"),
            cred_i: case.octets("cred_i"),
            cred_r: case.octets("cred_r"),
            ead: ["ead_2", "ead_3", "ead_4"].map(|name| case.octets(name)),
        };
        let outputs = run(&inputs);
        for (th, name) in outputs.th.iter().zip(["th_2", "th_3", "th_4"]) {
            assert_eq!(*th, case.array(name), "{name} of {case}");
        }
        for (prk, name) in outputs.prk.iter().zip(["prk_2e", "prk_3e2m", "prk_4e3m"]) {
            assert_eq!(*prk.0, case.array(name), "{name} of {case}");
        }
        for (message, name) in outputs.message.iter().zip(["message_2", "message_3", "message_4"]) {
            assert_eq!(*message, case.octets(name), "{name} of {case}");
        }
        let [_, _, prk_4e3m] = &outputs.prk;
        assert_eq!(*prk_4e3m.out(&outputs.th[2]).expose(), case.array("prk_out"), "{case}");
    }
}
