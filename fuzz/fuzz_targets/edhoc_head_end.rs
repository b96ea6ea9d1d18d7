//! The head-end's role: message_3, a good one with the fuzzer's octets over it. Only the good one is taken,
//! and a run counts what it refuses.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use seal::edhoc::{FAILURES_MAX, Message1, Opened};

#[path = "common/parties.rs"]
mod parties;

use parties::{Parties, disturbed};

static MESSAGES: LazyLock<(Parties, Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let parties = Parties::default();
    let (waiting, message_1) = parties.begin();
    let run = parties.answer(&Message1::read(&message_1).unwrap());
    let Ok((_, message_3)) = parties.message_2(&waiting, run.message_2()) else { panic!("a good message_2") };
    (parties, message_1, message_3)
});

fuzz_target!(|octets: &[u8]| {
    let (parties, message_1, good) = &*MESSAGES;
    let mut run = parties.answer(&Message1::read(message_1).unwrap());
    let message_3 = disturbed(good, octets);
    let mut take = |message_3: &[u8]| run.message_3(message_3, |dev| parties.known(dev));
    if message_3 == *good {
        assert!(matches!(take(&message_3), Ok(Opened::New(_))));
        assert!(matches!(take(&message_3), Ok(Opened::Writing)));
        return;
    }
    for failures in 0..FAILURES_MAX + 2 {
        // Opening costs a product of points; one that is not opened any more costs nothing.
        let (message_3, answered) = if failures == 0 { (&message_3[..], true) } else { (&[][..], failures < FAILURES_MAX) };
        assert!(take(message_3).is_err_and(|refused| refused.reply.is_some() == answered));
    }
    assert!(take(good).is_err(), "after so many failures none is opened");
});
