use serde_json::Value;

use super::folder::{self, Fields, octets};
use crate::signature::{VerifyingKey, sha256};

/// The key that a case names by the coordinates in these fields.
pub fn verifying_key(case: &Value, x: &str, y: &str) -> VerifyingKey {
    VerifyingKey::from_xy(&case.array(x), &case.array(y)).unwrap()
}

#[test]
fn vector_wycheproof_ecdsa() {
    for group in folder::cases("wycheproof/ecdsa_secp256r1_sha256_p1363_test.json", "testGroups") {
        let [4, xy @ ..] = &octets(group["publicKey"].str("uncompressed"))[..] else { panic!("{group}") };
        let (x, y) = xy.split_first_chunk().unwrap();
        let key = VerifyingKey::from_xy(x, y.try_into().unwrap()).unwrap();
        for test in group.list("tests") {
            let digest = sha256(&test.octets("msg"));
            let verifies =
                test.octets("sig").try_into().is_ok_and(|signature| key.verifies(&digest, &signature));
            assert_eq!(verifies, test.str("result") == "valid", "{test}");
        }
    }
}

/// The fields of one case of a response file, in order; left-padded as `N` octets.
fn field<const N: usize>(block: &str, name: &str) -> [u8; N] {
    let text = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).expect(name);
    let width = 2 * N;
    octets(&format!("{text:0>width$}")).try_into().unwrap()
}

#[test]
fn vector_nist_ecdsa_sig_ver() {
    let text = folder::text("nist-ecdsa/SigVer-P256-SHA256.rsp").unwrap_or_default().replace('\r', "");
    let mut cases = 0;
    for block in text.split("\n\n").filter(|block| block.contains("Msg = ")) {
        let key = VerifyingKey::from_xy(&field(block, "Qx"), &field(block, "Qy"));
        let signature = [field::<32>(block, "R"), field(block, "S")].concat().try_into().unwrap();
        let message = block.lines().find_map(|line| line.strip_prefix("Msg = ")).map(octets).unwrap();
        let verifies = key.is_some_and(|key| key.verifies(&sha256(&message), &signature));
        assert_eq!(verifies, block.contains("Result = P"), "{block}");
        cases += 1;
    }
    assert!(cases > 0 || text.is_empty());
}
