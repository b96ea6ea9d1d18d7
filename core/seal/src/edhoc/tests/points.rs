use crate::edhoc::{PrivateKey, PublicKey};
use crate::vectors::folder::{self, Fields, octets};

/// A number of any length as 32 octets, when it fits.
fn number(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.trim_start_matches('0');
    (digits.len() <= 64).then(|| octets(&format!("{digits:0>64}")).try_into().unwrap())
}

/// A point as SEC 1 encodes it. We never take a compressed one, but its x.
fn point(hex: &str) -> Option<PublicKey> {
    match (hex.len(), hex.get(..2)?) {
        (130, "04") => PublicKey::from_xy(&number(&hex[2..66])?, &number(&hex[66..])?),
        (66, "02" | "03") => PublicKey::from_x(&number(&hex[2..])?),
        _ => None,
    }
}

#[test]
fn vector_wycheproof_ecdh_points() {
    for group in folder::cases("wycheproof/ecdh_secp256r1_ecpoint_test.json", "testGroups") {
        for case in group.list("tests") {
            let shared = point(case.str("public")).map(|public| {
                let private = number(case.str("private")).unwrap();
                *PrivateKey::from_octets(&private).unwrap().shared(&public).expose()
            });
            let expected = (case.str("result") != "invalid").then(|| case.array("shared"));
            assert_eq!(shared, expected, "{case}");
        }
    }
}

#[test]
fn vector_nist_public_keys() {
    let text = folder::text("nist-ecdsa/PKV-P256.rsp").unwrap_or_default();
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(" = ")).collect();
    let (cases, _) = lines.as_chunks::<3>();
    println!("{} cases in PKV-P256.rsp", cases.len());
    for [(_, x), (_, y), (_, result)] in cases {
        let key = number(x).zip(number(y)).and_then(|(x, y)| PublicKey::from_xy(&x, &y));
        assert_eq!(key.is_some(), result.starts_with('P'), "{x} {y}: {result}");
        if let Some(key) = key {
            assert_eq!((Some(key.x()), Some(key.y())), (number(x), number(y)));
            assert_eq!(key.uncompressed()[..], octets(&format!("04{x:0>64}{y:0>64}")));
        }
    }
}

#[test]
fn a_private_key_is_a_number_below_the_order() {
    let order = octets("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let mut below: [u8; 32] = order.clone().try_into().unwrap();
    below[31] -= 1;
    assert!(PrivateKey::from_octets(&below).is_some());
    assert!(PrivateKey::from_octets(&order.try_into().unwrap()).is_none());
    assert!(PrivateKey::from_octets(&[0; 32]).is_none());
    assert!(PrivateKey::from_octets(&[0xff; 32]).is_none());
}
