use super::folder::{self, Fields};
use crate::derivation::Expander;
use crate::ids::{Epoch, Sid};
use crate::schedule::{self, edhoc_kdf};
use crate::secret::Prk;

#[test]
fn vector_key_schedule() {
    for case in folder::cases("profile/key-schedule.json", "cases") {
        let epoch: u16 = case.number("epoch").try_into().unwrap();
        let first = Prk::from_octets(case.array("prk_out_0"));
        let prk = (1..=epoch).fold(first, |prk, epoch| schedule::advance(&prk, Epoch(epoch)));
        assert_eq!(*prk.expose(), case.array("prk_out"), "{case}");
        let keys = schedule::derive(&prk, Sid(u32::from_be_bytes(case.array("sid"))));
        assert_eq!(*keys.up.expose(), case.array("k_up"), "{case}");
        assert_eq!(*keys.dn.expose(), case.array("k_dn"), "{case}");
        assert_eq!(keys.common_iv, case.array("common_iv"), "{case}");
    }
}

#[test]
fn vector_edhoc_exporter() {
    let case = folder::json("edhoc/rfc9529-chapter-3.json");
    if case.is_null() {
        return;
    }
    for (prk_out, names) in [
        ("PRK_out", ["PRK_exporter", "OSCORE_Master_Secret", "OSCORE_Master_Salt"]),
        (
            "keyUpdate_PRK_out",
            ["keyUpdate_PRK_exporter", "keyUpdate_OSCORE_Master_Secret", "keyUpdate_OSCORE_Master_Salt"],
        ),
    ] {
        let [exporter_name, secret, salt] = names;
        let exporter: [u8; 32] = edhoc_kdf(&Expander::from_prk(&case.array(prk_out)), 10, &[]);
        assert_eq!(exporter, case.array(exporter_name));
        let exporter = Expander::from_prk(&exporter);
        assert_eq!(edhoc_kdf::<16>(&exporter, 0, &[]), case.array(secret));
        assert_eq!(edhoc_kdf::<8>(&exporter, 1, &[]), case.array(salt));
    }
    let updated =
        edhoc_kdf::<32>(&Expander::from_prk(&case.array("PRK_out")), 11, &case.octets("keyUpdate_context"));
    assert_eq!(updated, case.array("keyUpdate_PRK_out"));
}

#[test]
fn vector_edhoc_key_update() {
    for case in folder::cases("edhoc/method3-suite2.json", "cases") {
        if case["prk_out"].is_string() && case["prk_out_after_update_0001"].is_string() {
            let updated = schedule::advance(&Prk::from_octets(case.array("prk_out")), Epoch(1));
            assert_eq!(*updated.expose(), case.array("prk_out_after_update_0001"));
        }
    }
}
