//! Any text as a device profile, and a profile that was taken over any table data.
#![no_main]

use c1222::device_profile::Stamp;
use c1222::tables::TableId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (profile, faults) = graph::device_profile::parse(text);
    assert!(profile.is_some() || !faults.is_empty());
    let _ = graph::render::text("fuzz.toml", text, &faults, false);
    let Some(profile) = profile else { return };
    for number in [23, 52, 64] {
        let mut stamp = Stamp::received(1);
        let _ = profile.readings(TableId::standard(number), text.as_bytes(), &mut stamp, |_| ());
    }
});
