//! Any octets as a stream of APDUs into the reassembler: its limits hold.
#![no_main]

use c1222::reassembler::{Limits, Reassembler, Reassembly};
use c1222::{Apdu, Leniency, apdu};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let limits = Limits { octets_per_message: 2048, messages: 8, octets: 4096, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    let mut rest = octets;
    let mut now = 0;
    while let Ok(Some(len)) = apdu::measure(rest, 2048) {
        let Some((one, tail)) = rest.split_at_checked(len) else { break };
        rest = tail;
        now += 1_000_000_000;
        if let Ok(apdu) = Apdu::decode(one, Leniency::Draft)
            && let Reassembly::Complete(whole) = reassembler.push(now % 3, &apdu, now)
        {
            assert!(whole.len() <= 2048);
        }
        let _ = reassembler.expire(now);
        assert!(reassembler.messages() <= 8 && reassembler.octets() <= 4096);
    }
});
