//! The end device's role: message_2 and message_4, good ones with the fuzzer's octets over them. Only the
//! good ones are taken.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use seal::edhoc::{AwaitMessage2, AwaitMessage4, Message1, Opened};

#[path = "common/parties.rs"]
mod parties;

use parties::{Parties, disturbed};

struct Good {
    parties: Parties,
    waiting: AwaitMessage2,
    message_2: Vec<u8>,
    last: AwaitMessage4,
    message_4: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let parties = Parties::default();
    let (waiting, message_1) = parties.begin();
    let mut run = parties.answer(&Message1::read(&message_1).unwrap());
    let message_2 = run.message_2().to_vec();
    let Ok((last, message_3)) = parties.message_2(&waiting, &message_2) else { panic!("a good message_2") };
    let opened = run.message_3(&message_3, |dev| parties.known(dev));
    assert!(matches!(opened, Ok(Opened::New(_))));
    let message_4 = run.settle(true).unwrap().to_vec();
    Good { parties, waiting, message_2, last, message_4 }
});

fuzz_target!(|octets: &[u8]| {
    let good = &*GOOD;
    let message_2 = disturbed(&good.message_2, octets);
    assert_eq!(good.parties.message_2(&good.waiting, &message_2).is_ok(), message_2 == good.message_2);
    let message_4 = disturbed(&good.message_4, octets);
    assert_eq!(good.last.message_4(&message_4).is_ok(), message_4 == good.message_4);
    let _ = good.last.message_4(octets);
});
