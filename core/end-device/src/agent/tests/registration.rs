//! Registration with losses, hints, repeats, a new association beside the old one, and when it comes anew.

use seal::command::Class;
use seal::frame::FrameType;
use seal::ids::Epoch;

use super::super::*;
use super::head_end::Pair;
use super::support::{self, DEV, SKID, at};

const DAY: u64 = 86_400;

/// The type octets of the EDHOC messages that were sent.
fn messages(out: &[Output]) -> Vec<u8> {
    let types = support::sent(out).into_iter().filter_map(|apdu| {
        let apdu = c1222::Apdu::decode(&apdu, c1222::Leniency::Strict).unwrap();
        let first = c1222::carriage::read(&apdu).unwrap().unwrap().head[0];
        (first >= 0x18).then_some(first)
    });
    types.collect()
}

#[test]
fn a_lost_message_is_repeated_as_it_was_and_answered_alike() {
    let mut pair = Pair::new();
    pair.agent.register(at(0));
    pair.agent.poll(at(0), &mut pair.out);
    let first = support::sent(&pair.out);
    pair.out.clear();
    // message_1 is lost, then message_2, then message_3, then message_4.
    pair.agent.poll(at(9), &mut pair.out);
    assert!(pair.out.is_empty());
    pair.agent.poll(at(10), &mut pair.out);
    let again = support::sent(&pair.out).remove(0);
    assert_ne!(again, first[0], "another A8");
    pair.head_end.handle(&again);
    pair.out.clear();
    pair.agent.poll(at(20), &mut pair.out);
    let message_1 = support::sent(&pair.out).remove(0);
    let message_2 = pair.head_end.handle(&message_1).remove(0);
    pair.out.clear();
    pair.agent.handle(1, &message_2, at(20), &mut pair.out);
    assert_eq!(messages(&pair.out), [0x1a]);
    pair.out.clear();
    pair.agent.handle(1, &message_2, at(21), &mut pair.out);
    let message_3 = support::sent(&pair.out).remove(0);
    assert_eq!(messages(&pair.out), [0x1a], "message_2 again: message_3 again");
    pair.head_end.handle(&message_3);
    pair.out.clear();
    pair.now = 31;
    pair.settle();
    assert_eq!(pair.agent.association().map(|(_, epoch)| epoch), Some(Epoch(0)));
    assert_eq!(pair.head_end.devices.len(), 1);
    assert!(pair.agent.counts().refused.is_empty());
}

#[test]
fn runs_are_one_to_five_minutes_apart_then_twice_then_four_times_that() {
    let mut pair = Pair::new();
    pair.agent.register(at(0));
    let (mut starts, mut now) = (Vec::new(), 0);
    while starts.len() < 7 {
        pair.out.clear();
        let wake = pair.agent.poll(at(now), &mut pair.out);
        let sent = support::sent(&pair.out);
        if let Some(apdu) = sent.first() {
            let apdu = c1222::Apdu::decode(apdu, c1222::Leniency::Strict).unwrap();
            let key = c1222::carriage::read(&apdu).unwrap().unwrap().body[4..36].to_vec();
            if starts.last().is_none_or(|(_, last)| *last != key) {
                starts.push((now, key));
            }
        }
        now = wake.div_ceil(NS_PER_S);
    }
    for (at, factor) in [1, 2, 4, 4, 4, 4].into_iter().enumerate() {
        let pause = starts[at + 1].0 - starts[at].0 - 60;
        assert!((60 * factor..=300 * factor + 1).contains(&pause), "{pause} s after run {at}");
    }
}

#[test]
fn a_wait_is_a_hint_and_an_error_ends_no_run() {
    let mut pair = Pair::new();
    pair.head_end.wait = Some(600);
    pair.agent.register(at(0));
    pair.settle();
    // Nothing is repeated, and the next run does not begin before the hint says.
    let mut now = 1;
    while now < 600 {
        pair.out.clear();
        pair.agent.poll(at(now), &mut pair.out);
        assert!(messages(&pair.out).is_empty(), "{now}");
        now += 1;
    }
    pair.head_end.wait = None;
    pair.now = 700;
    pair.settle();
    assert!(pair.agent.association().is_some());

    // Errors that say nothing: the run goes on.
    let mut pair = Pair::new();
    pair.agent.register(at(0));
    pair.agent.poll(at(0), &mut pair.out);
    let message_1 = support::sent(&pair.out).remove(0);
    let message_2 = pair.head_end.handle(&message_1).remove(0);
    for error in [&[0x1c, 0x01, 0x60][..], &[0x1c, 0x02, 0x02]] {
        let mut apdu = Vec::new();
        let envelope = c1222::Envelope::new(c1222::InvocationId::new(1));
        c1222::carriage::write(&mut apdu, &envelope, error).unwrap();
        pair.agent.handle(1, &apdu, at(1), &mut pair.out);
    }
    pair.out.clear();
    pair.agent.handle(1, &message_2, at(2), &mut pair.out);
    assert_eq!(messages(&pair.out), [0x1a]);
}

#[test]
fn a_wait_shorter_than_the_run_only_postpones_the_repeat() {
    let error = |pair: &mut Pair, text: &[u8], now: u64| {
        let mut apdu = Vec::new();
        let envelope = c1222::Envelope::new(c1222::InvocationId::new(1));
        c1222::carriage::write(
            &mut apdu,
            &envelope,
            &[&[0x1c, 0x01, 0x60 + text.len() as u8], text].concat(),
        )
        .unwrap();
        pair.agent.handle(1, &apdu, at(now), &mut pair.out);
    };
    let quiet = |pair: &mut Pair, seconds: std::ops::Range<u64>| {
        for now in seconds {
            pair.out.clear();
            let wake = pair.agent.poll(at(now), &mut pair.out);
            assert!(messages(&pair.out).is_empty(), "{now}");
            assert!(wake > at(now).steady_ns, "{now}");
        }
        pair.out.clear();
    };
    let frame = |apdu: &[u8]| {
        let apdu = c1222::Apdu::decode(apdu, c1222::Leniency::Strict).unwrap();
        c1222::carriage::read(&apdu).unwrap().map(|carried| [carried.head, carried.body].concat()).unwrap()
    };
    let mut pair = Pair::new();
    pair.agent.register(at(0));
    pair.agent.poll(at(0), &mut pair.out);
    let first = support::sent(&pair.out).remove(0);
    error(&mut pair, b"wait 25", 1);
    quiet(&mut pair, 2..26);
    pair.agent.poll(at(26), &mut pair.out);
    let message_1 = support::sent(&pair.out).remove(0);
    assert_eq!(frame(&message_1), frame(&first), "the same run, as it was");
    let message_2 = pair.head_end.handle(&message_1).remove(0);
    pair.out.clear();
    pair.agent.handle(1, &message_2, at(27), &mut pair.out);
    let first = support::sent(&pair.out).remove(0);
    // Shorter than the pace of the repeats: it hastens none.
    error(&mut pair, b"wait 1", 28);
    quiet(&mut pair, 29..37);
    error(&mut pair, b"wait 15", 36);
    quiet(&mut pair, 37..51);
    pair.agent.poll(at(51), &mut pair.out);
    let message_3 = support::sent(&pair.out).remove(0);
    assert_eq!(frame(&message_3), frame(&first), "message_3, too");
    pair.out.clear();
    let message_4 = pair.head_end.handle(&message_3).remove(0);
    pair.agent.handle(1, &message_4, at(52), &mut pair.out);
    assert!(pair.agent.association().is_some() && pair.agent.counts().refused.is_empty());
}

#[test]
fn messages_that_nobody_asked_for_are_counted() {
    let mut pair = Pair::new();
    for frame in [&[0x19, 1, 2][..], &[0x1b, 1, 2], &[0x1c, 0x01, 0x60]] {
        let mut apdu = Vec::new();
        let envelope = c1222::Envelope::new(c1222::InvocationId::new(1));
        c1222::carriage::write(&mut apdu, &envelope, frame).unwrap();
        pair.agent.handle(1, &apdu, at(1), &mut pair.out);
    }
    assert_eq!(support::refused(&pair.out), ["SEC-REG-FORMAT"; 3]);
    assert!(support::sent(&pair.out).is_empty());
}

#[test]
fn an_unknown_or_revoked_device_is_refused_and_tries_later() {
    for revoked in [false, true] {
        let mut pair = Pair::new();
        if revoked {
            pair.head_end.revoked.insert(DEV);
        } else {
            pair.head_end.known.clear();
        }
        pair.agent.register(at(0));
        pair.settle();
        assert!(pair.agent.association().is_none());
        let code = if revoked { "SEC-REG-REVOKED" } else { "SEC-REG-UNKNOWN" };
        assert!(pair.head_end.refused.contains_key(code), "{:?}", pair.head_end.refused);
    }
}

#[test]
fn the_old_association_stays_until_the_first_downstream_frame_under_the_new() {
    let mut pair = Pair::registered();
    let old = pair.agent.association().unwrap().0;
    // The answers to the new association's first frames are lost.
    pair.agent.register(at(1));
    pair.agent.poll(at(1), &mut pair.out);
    for _ in 0..2 {
        let sent = support::sent(&std::mem::take(&mut pair.out));
        let answers: Vec<_> = sent.iter().flat_map(|apdu| pair.head_end.handle(apdu)).collect();
        answers.iter().for_each(|apdu| pair.agent.handle(1, apdu, at(1), &mut pair.out));
    }
    let new = pair.agent.association().unwrap().0;
    assert!(new != old && pair.agent.is_renewing());
    assert_eq!(pair.agent.receiver().unwrap().association.sid(), old);
    // A command under the old one is taken, also after a restart; its RESULT goes under the new one.
    pair.restart();
    assert!(pair.agent.is_renewing());
    let (ctr, apdu, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3]);
    pair.agent.handle(1, &apdu, at(2), &mut pair.out);
    assert_eq!(pair.done.lock().unwrap().len(), 1);
    // A forged frame under the new one changes nothing.
    let mut forged = pair.head_end.links.keys().next_back().map(|_| apdu.clone()).unwrap();
    let place = forged.windows(4).position(|octets| octets == old.0.to_be_bytes()).unwrap();
    forged[place..place + 4].copy_from_slice(&new.0.to_be_bytes());
    let mut out = Vec::new();
    pair.agent.handle(1, &forged, at(2), &mut out);
    assert_eq!(support::refused(&out), ["SEC-DN-AUTH"]);
    assert!(pair.agent.is_renewing());
    pair.now = 3;
    pair.settle();
    assert!(!pair.agent.is_renewing());
    assert_eq!(pair.agent.receiver().unwrap().association.sid(), new);
    assert_eq!((pair.head_end.sid(DEV), pair.head_end.results(DEV, 1, ctr)), (new, vec![0]));
    // What it knew of commands it still knows.
    let (_, signed) =
        (ctr, pair.head_end.sign(SKID, seal::command::Addressee::Device(DEV), Class::Read, &[0]).1);
    let apdu = pair.head_end.down(old, FrameType::Command, &signed).unwrap();
    assert_eq!(support::refused(&pair.give(&apdu)), ["SEC-DN-EPOCH"], "the old one is gone");
    let apdu = pair.head_end.down(new, FrameType::Command, &signed).unwrap();
    assert!(support::refused(&pair.give(&apdu)).is_empty());
}

#[test]
fn it_registers_anew_after_seven_silent_days_and_a_year() {
    for (silent, days) in [(true, 7), (false, 365)] {
        let mut pair = Pair::registered();
        let old = pair.agent.association().unwrap().0;
        for day in 1..days {
            if silent {
                // It is acknowledged nothing.
                pair.agent.report(at(day * DAY), &mut pair.out);
                pair.out.clear();
            } else {
                pair.now = day * DAY;
                pair.agent.report(at(pair.now), &mut pair.out);
                pair.settle();
            }
        }
        assert_eq!(pair.agent.association().unwrap().0, old);
        pair.out.clear();
        // Due by now, within a day.
        let mut now = days * DAY + 1;
        let mut begun = None;
        while begun.is_none() && now < (days + 2) * DAY {
            pair.out.clear();
            pair.agent.poll(at(now), &mut pair.out);
            begun = (!messages(&pair.out).is_empty()).then_some(now);
            now += 60;
        }
        let begun = begun.unwrap();
        assert!((days * DAY..=(days + 1) * DAY + 100).contains(&begun), "{begun}");
        pair.out.clear();
        pair.now = begun + 30;
        pair.settle();
        assert_ne!(pair.agent.association().unwrap().0, old);
    }
}

#[test]
fn at_the_end_of_its_counters_it_registers_anew() {
    let mut pair = Pair::registered();
    let old = pair.agent.association().unwrap().0;
    let key = pair.agent.key().unwrap();
    pair.agent.up.resume(Some((key, seal::counter::STOP_AT - 1)), 0);
    for _ in 0..3 {
        pair.agent.report(at(1), &mut pair.out);
    }
    pair.now = 2;
    pair.settle();
    assert_ne!(pair.agent.association().unwrap().0, old);
    pair.pass(200);
    assert_eq!(pair.agent.waiting(), 0);
}
