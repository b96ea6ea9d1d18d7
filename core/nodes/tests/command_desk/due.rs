//! Associations that should leave their epoch, and states that were restored: what the desk orders by itself.

use commands::desk::{Taken, Why};
use commands::front::CommandId;
use commands::intent::Intent;
use metergraph_nodes::record::{self, DeskEntry, Restored};
use node::Value;
use node::event::unix_ns;
use seal::command::{Class, KeyItem, SignedCommand};
use seal::control::{Item, Items};
use seal::ids::System;

use super::*;

const DUE: &str = "metergraph_epochs_due";

fn due(house: &House, number: u8, epoch: u16, why: Why) {
    let dev = dev(number);
    house.record(&record::Due { sid: house.sid(dev), dev, epoch: Epoch(epoch), why });
}

/// The advances that were taken, with their times.
fn advances(house: &House) -> Vec<(u64, Taken)> {
    let taken = |entry: DeskEntry| match entry.heard {
        Heard::Taken(taken) if taken.word == "advance-epoch" => Some((entry.at, *taken)),
        _ => None,
    };
    house.entries().into_iter().filter_map(taken).collect()
}

/// Campaign, steps and challenge of an advance.
fn told(signed: &[u8]) -> (u32, u8, [u8; 8]) {
    let command = SignedCommand::read(signed).unwrap().command;
    assert_eq!((command.class, command.ttl), (4, 60));
    let items: Vec<KeyItem<'_>> = Items::read(command.body).unwrap().collect();
    let [KeyItem::Advance { campaign, delta, challenge }] = items[..] else { panic!("{items:?}") };
    (campaign, delta, *challenge)
}

fn now() -> u64 {
    unix_ns() / 1_000_000_000
}

/// A command that goes through, so that all that stands before it in the log was heard.
fn heard(house: &House, name: &str) {
    let accepted = wait_for("the desk", || house.front().submit(read(name, alone(9))).ok());
    wait_for("the end of a command", || {
        let told = house.told().into_iter().rev().find_map(|told| match told {
            Told::Send(to, signed) if to == dev(9) && signed.get(1) == Some(&0) => Some(signed),
            _ => None,
        });
        house.answer(dev(9), &told?, 1, 0);
        house.front().command(accepted.id, Page::NONE).ok()?.outcome.map(drop)
    });
}

#[test]
fn repeated_records_bring_one_advance_and_a_start_brings_no_other() {
    let mut house = House::open(10);
    let since = now();
    for _ in 0..3 {
        due(&house, 0, 4, Why::Counters);
    }
    let signed = house.sent(dev(0));
    let (campaign, delta, challenge) = told(&signed);
    assert!(u64::from(campaign) >= since && delta == 1 && challenge != [0; 8], "{campaign}");
    assert_eq!((house.sum_of(DUE, "counters"), house.sum_of(DUE, "failures")), (1, 0));
    for round in 0..3 {
        due(&house, 0, 4, Why::Counters);
        if round == 1 {
            house.restart()
        } else {
            house.cut()
        }
        heard(&house, &format!("round {round}"));
    }
    assert_eq!(advances(&house).len(), 1);
    assert_eq!(house.sent(dev(0)), signed, "the same octets again");
    // It ratchets, and says so under its next epoch.
    let SignedCommand { command, .. } = SignedCommand::read(&signed).unwrap();
    let proof = [&[2, 0, 5][..], &challenge].concat();
    let result = [&[1, command.skid, 1][..], &command.ctr.to_be_bytes(), &[0]].concat();
    house.report_in(Epoch(5), dev(0), &[proof, result].concat());
    wait_for("the end", || (house.sum(DUE) == 0).then_some(()));
    due(&house, 0, 4, Why::Counters);
    heard(&house, "after the epoch");
    assert_eq!(advances(&house).len(), 1);
    // Of another epoch it is another one, on the same day.
    due(&house, 0, 5, Why::Counters);
    wait_for("the next advance", || (advances(&house).len() == 2).then_some(()));
    let taken = &advances(&house)[1].1;
    let next = Items::<KeyItem<'_>>::read(&taken.body).unwrap().next();
    assert!(matches!(next, Some(KeyItem::Advance { campaign: next, challenge: other, .. })
        if next > campaign && *other != challenge));
    account(&house);
}

/// An advance of the desk's earlier life, done.
fn ordered_before(house: &mut House, number: u8, at: u64) {
    // What the desk of now orders meanwhile is cut off.
    house.faults.journal_waits.store(true, Ordering::SeqCst);
    due(house, number, 0, Why::Failures);
    let mut body = Vec::new();
    KeyItem::Advance { campaign: 9, delta: 1, challenge: &[9; 8] }.write(&mut body);
    let intent = Intent {
        id: CommandId([9; 16]),
        system: System([0x5a; 8]),
        skid: 1,
        class: Class::Keys,
        addressee: alone(number),
        membership: 0,
        body: body.clone(),
        nbf: at as u32,
        ttl: 60,
        requester: "campaign due".to_owned(),
    };
    let taken = Taken {
        id: intent.id,
        request_id: "due".to_owned(),
        content: [9; 32],
        word: "advance-epoch",
        members: 0,
        addressee: intent.addressee,
        class: intent.class,
        nbf: intent.nbf,
        ttl_min: intent.ttl,
        requester: intent.requester.clone(),
        digest: intent.digest(),
        body,
        intent: intent.octets(),
        signed: None,
    };
    house.told_before(&DeskEntry { at, heard: Heard::Taken(Box::new(taken)) });
    let outcome = Outcome::Done { result: 0, response: vec![] };
    let closed = Heard::Closed { id: intent.id, outcome, receipt: None, filed: true };
    house.told_before(&DeskEntry { at: at + 5, heard: closed });
    house.cut();
    house.faults.journal_waits.store(false, Ordering::SeqCst);
}

#[test]
fn failures_bring_one_advance_a_day() {
    for (ago, more) in [(86_400 + 5, 1), (80_000, 0)] {
        let mut house = House::open(10);
        ordered_before(&mut house, 1, now() - ago);
        due(&house, 1, 1, Why::Failures);
        // It would come before this one.
        due(&house, 2, 0, Why::Failures);
        let to =
            |number| advances(&house).iter().filter(|(_, taken)| taken.addressee == alone(number)).count();
        wait_for("the other's advance", || (to(2) == 1).then_some(()));
        assert_eq!(to(1), 1 + more, "{ago} s ago");
        assert_eq!(house.sum_of(DUE, "failures"), 2, "it waits");
    }
}

#[test]
fn advances_come_at_their_rate_and_no_more_wait_than_there_is_room_for() {
    let settings = vec![("due_max", Value::Integer(8)), ("due_per_s", Value::Float(2.0))];
    let house = House::open_with(12, settings);
    // What was heard in a start is not told of again.
    wait_for("the desk", || house.front().groups().ok());
    for number in 0..12 {
        due(&house, number, 0, Why::Failures);
    }
    wait_for("all that there is room for", || (advances(&house).len() == 8).then_some(()));
    let at: Vec<u64> = advances(&house).iter().map(|(at, _)| *at).collect();
    // Two at each look, and the looks are seconds apart: seven seconds lie between the first and the last of
    // eight, less what is lost between a look and the record of it.
    assert!(at[7] - at[0] >= 2, "{at:?}");
    assert!(at.windows(5).all(|five| five[4] > five[0]), "no burst: {at:?}");
    wait_for("those without room", || {
        (house.sum("metergraph_epochs_due_dropped_total") == 4 && house.sum(DUE) == 8).then_some(())
    });
}

#[test]
fn a_restored_state_is_moved_on_by_one_campaign_of_its_own() {
    let mut house = House::open(3);
    let since = now();
    let restored = Restored { incarnation: 7, days: 3, at: since };
    house.record(&restored);
    let first = told(&house.sent(dev(0)));
    assert!(u64::from(first.0) >= since && first.2 != [0; 8]);
    assert_eq!([told(&house.sent(dev(1))), told(&house.sent(dev(2)))], [first; 2], "one campaign for all");
    let refused = Err(Refusal::Restored(dev(0)));
    assert_eq!(house.front().submit(read("one", alone(0))), refused);
    house.record(&restored);
    house.cut();
    assert_eq!(
        wait_for("the desk", || house.front().submit(read("one", alone(0))).err()),
        Refusal::Restored(dev(0))
    );
    house.report_in(Epoch(2), dev(0), &[]);
    wait_for("its first frame", || house.front().submit(read("one", alone(0))).ok());
    let view = house.front().campaign(first.0, Page::NONE).unwrap();
    assert_eq!((view.total, view.proved, view.pending), (3, 1, 2));
    assert_eq!(advances(&house).len(), 3);
    assert!(
        !house
            .heard()
            .iter()
            .any(|heard| matches!(heard, Heard::Campaign(change) if change.campaign() != first.0))
    );
}
