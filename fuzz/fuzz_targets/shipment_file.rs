//! Any octets as a shipment file: rows or named faults, and never a key in what is said of it.
#![no_main]

use keystore::shipment::Shipment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    match Shipment::read(octets) {
        Ok(shipment) => {
            for row in shipment.rows() {
                let _ = shipment.profile(row);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
