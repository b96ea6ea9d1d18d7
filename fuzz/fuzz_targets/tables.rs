//! Any octets as the data of standard tables, in both byte orders: read or refused, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((order, data)) = octets.split_first() else { return };
    c1222::tables::read_all(data, order & 1 == 1);
});
