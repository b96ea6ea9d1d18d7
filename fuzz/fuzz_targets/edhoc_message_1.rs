//! Any octets as message_1, as an error message and as a credential: read or refused by name, and whatever is
//! read is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::edhoc::{
    DeviceCredential, ErrorMessage, HeadEndCredential, MESSAGE_1_LEN, Message1, PublicKey,
};

#[path = "common/parties.rs"]
mod parties;

fuzz_target!(|octets: &[u8]| {
    let _ = ErrorMessage::read(octets);
    if let Ok(credential) = DeviceCredential::read(octets) {
        assert_eq!(credential.octets(), octets);
    }
    if let Ok(credential) = HeadEndCredential::read(octets) {
        assert_eq!(credential.octets(), octets);
    }
    let Ok(message_1) = Message1::read(octets) else { return };
    assert!(octets.len() >= MESSAGE_1_LEN && PublicKey::from_x(&message_1.g_x()).is_some());
    let run = parties::Parties::default().answer(&message_1);
    assert!(run.began_with(octets) && !run.began_with(b""));
});
