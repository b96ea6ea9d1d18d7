//! Any octets as an APDU: every reader of it agrees, and none panics.
#![no_main]

use c1222::canonified::{self, KeyIv};
use c1222::{Apdu, Leniency, ap_title, apdu, carriage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let _ = apdu::measure(octets, 4096);
    for leniency in [Leniency::Strict, Leniency::Draft] {
        let decoded = Apdu::decode(octets, leniency);
        let located = carriage::locate(octets, leniency);
        let Ok(apdu) = decoded else {
            assert!(located.is_err());
            continue;
        };
        if let Ok(located) = located {
            assert_eq!(located.calling, apdu.envelope.calling);
        }
        let mut header = Vec::new();
        let session = Some(KeyIv { key_id: 0, iv: [0; 4] });
        let _ = canonified::canonify(&apdu, session, &ap_title::ROOT, &mut header);
        if let Ok(Some(places)) = canonified::sealed_places(&apdu) {
            assert!(octets.get(places.payload).is_some() && octets.get(places.mac).is_some());
        }
    }
});
