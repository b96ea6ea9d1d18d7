//! Any octets as a profile-1 frame under a known key: nothing opens that was not sealed, nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::association::Association;
use seal::control::{Down, Items, Up};
use seal::frame::Head;
use seal::ids::{Dev, Epoch, Sid, System};
use seal::schedule;
use seal::secret::Prk;

fuzz_target!(|octets: &[u8]| {
    let _ = Items::<Up<'_>>::read(octets).map(Iterator::count);
    let _ = Items::<Down<'_>>::read(octets).map(Iterator::count);
    let Ok((head, body)) = Head::split(octets) else { return };
    assert_eq!(head.octets(), octets[..9]);
    let keys = schedule::derive(&Prk::from_octets([7; 32]), Sid(head.id));
    let mut association = Association::new(Sid(head.id), Dev([1; 8]), Epoch(u16::from(head.epoch_low)), keys);
    let Ok(channel) = association.admit(&head, System([2; 8])) else { return };
    let mut body = body.to_vec();
    let opened = channel.open(&head, &mut body).is_some();
    assert!(!opened, "a frame that nobody sealed has opened");
    assert!(association.accept(&head, opened).is_err());
});
