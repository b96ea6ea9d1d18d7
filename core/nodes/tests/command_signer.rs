//! The signer: each refusal of security layer §10 that signing can meet, its durable steps and every cut
//! between them; and the audit log.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "command_signer/audit.rs"]
mod audit;
mod common;
#[path = "command_signer/house.rs"]
mod house;

use std::sync::atomic::Ordering;

use commands::front::CommandId;
use commands::group::Membership;
use commands::intent::Intent;
use common::wait_for;
use house::{
    CLASSIC, Ended, Fault, House, NOW, READ, SWITCH, SYSTEM, approval, dev, intent, policy, read,
    write_policy,
};
use seal::command::{Addressee, Class, Classes, KeyItem};
use seal::control::Item;
use seal::ids::{Gid, System};

const GID: Gid = Gid(0x8000_0001);

fn refused(code: &str) -> Ended {
    Ended::Refused(code.to_owned())
}

/// To the group of the first device.
fn group_order(id: u8) -> Intent {
    let membership = [dev(1)].into_iter().collect::<Membership>().version();
    Intent { membership, ..intent(id, Addressee::Group(GID), Class::Load, &SWITCH) }
}

fn join(house: &mut House, id: u8, number: u8) {
    let mut body = Vec::new();
    KeyItem::Join { gid: GID, classes: Classes(0b1111) }.write(&mut body);
    let Ended::Signed { ctr } =
        house.ask(&intent(id, Addressee::Device(dev(number)), Class::Keys, &body), vec![])
    else {
        panic!("refused")
    };
    house.answer(dev(number), 1, ctr, 0);
}

#[test]
fn a_command_is_signed_when_its_counter_and_its_audit_entry_are_durable() {
    let mut house = House::open();
    let order = read(1, 1);
    let number = house.send(&[(order.clone(), vec![]), (read(2, 2), vec![])]);
    let (reserved, batch) = wait_for("the counters", || house.take_records());
    assert_eq!((batch.len(), house.audit.waiting(), house.keys.signed.load(Ordering::SeqCst)), (2, 0, 0));
    house.commit(reserved, &batch);
    wait_for("the entries", || (house.audit.waiting() > 0).then_some(()));
    assert_eq!((house.records.waiting(), house.keys.signed.load(Ordering::SeqCst)), (0, 0));
    assert!(house.serve_audit(true));
    let (signed, batch) = wait_for("the signed commands", || house.take_records());
    assert_eq!((batch.len(), house.intents.settled()), (2, 0), "not yet durable");
    house.commit(signed, &batch);
    wait_for("the end", || (house.intents.settled() == number).then_some(()));
    assert_eq!(house.ended.len(), 2);
    let entry = &house.entries[1];
    assert_eq!((entry.code.as_str(), entry.actor.as_str(), entry.time_ms), ("command", "alice", NOW * 1000));
    assert_eq!((&entry.message[..], &entry.digest[..]), (&[1; 16][..], &order.digest()[..]));
    assert!(house.reasons().is_empty());
}

#[test]
fn every_refusal_ends_with_its_code_in_journal_audit_and_events() {
    let mut house = House::open();
    join(&mut house, 1, 1);
    let one = Addressee::Device(dev(2));
    let hidden = [&READ[..], &SWITCH[1..]].concat();
    let others = Intent { membership: 1, ..intent(18, Addressee::Group(GID), Class::Read, &READ) };
    let asks: [(Intent, Vec<_>, &str); 9] = [
        (others, vec![], "SEC-CMD-POLICY"),
        (Intent { requester: "zoe".to_owned(), ..read(10, 1) }, vec![], "SEC-CMD-POLICY"),
        (Intent { system: System([9; 8]), ..read(11, 1) }, vec![], "SEC-CMD-POLICY"),
        (read(12, 100), vec![], "SEC-CMD-POLICY"),
        (group_order(13), vec![approval(&group_order(13), "ada", 1)], "SEC-CMD-APPROVAL"),
        (group_order(14), vec![approval(&group_order(14), "ada", 1); 2], "SEC-CMD-APPROVAL"),
        (intent(15, one, Class::Write, &hidden), vec![], "SEC-CMD-CLASS"),
        (intent(16, Addressee::Device(CLASSIC), Class::Load, &SWITCH), vec![], "SEC-LEGACY"),
        // The id of the JOIN once more.
        (read(1, 3), vec![], "SEC-SEQ"),
    ];
    for (intent, approvals, code) in asks {
        let before = house.entries.len();
        assert_eq!(house.ask(&intent, approvals), refused(code), "{intent:?}");
        assert_eq!(
            house.entries[before..].iter().map(|entry| entry.code.as_str()).collect::<Vec<_>>(),
            [code]
        );
    }
    assert_eq!(house.keys.signed.load(Ordering::SeqCst), 1, "the JOIN alone was signed");
    let order = group_order(17);
    let approvals = vec![approval(&order, "ada", 1), approval(&order, "bob", 2)];
    assert_eq!(house.ask(&order, approvals), Ended::Signed { ctr: 1 });
    assert_eq!(house.entries.last().unwrap().actor, "alice; approved by ada, bob");
    let reasons = house.reasons();
    for code in ["SEC-CMD-POLICY", "SEC-CMD-APPROVAL", "SEC-CMD-CLASS", "SEC-LEGACY", "SEC-SEQ"] {
        assert!(reasons.contains(&code), "{code}: {reasons:?}");
    }
}

#[test]
fn signing_closes_without_policy_clock_fence_token_audit_log_or_journal_and_opens_again() {
    let mut house = House::bare();
    assert_eq!(house.ask(&read(1, 1), vec![]), refused("SEC-CMD-POLICY"));
    write_policy(house.state.path(), &policy(1), &[("root", 9)]);
    house.policy_in_force(1);
    wait_for("the policy to be in force", || {
        house.serve_audit(true);
        (house.ask(&read(2, 1), vec![]) == Ended::Signed { ctr: 1 }).then_some(())
    });
    house.answer(dev(1), 1, 1, 0);

    house.keys.now.store(NOW - 60, Ordering::SeqCst);
    assert_eq!(house.ask(&read(3, 2), vec![]), refused("SEC-SEQ"));
    house.keys.now.store(NOW, Ordering::SeqCst);

    house.keys.fenced.store(true, Ordering::SeqCst);
    assert_eq!(house.ask(&read(4, 2), vec![]), refused("SEC-FENCE"));
    house.keys.fenced.store(false, Ordering::SeqCst);

    house.keys.unplugged.store(true, Ordering::SeqCst);
    assert_eq!(house.ask(&read(5, 2), vec![]), refused("SEC-HSM"));
    house.keys.unplugged.store(false, Ordering::SeqCst);

    let number = house.send(&[(read(6, 2), vec![])]);
    house.serve(number, Fault::Audit);
    assert_eq!(house.ended.last(), Some(&(CommandId([6; 16]), refused("SEC-AUDIT"))));

    let number = house.send(&[(read(7, 2), vec![])]);
    house.serve(number, Fault::Journal);
    assert_eq!(house.intents.next_failure(), Some(number), "who asked is told");

    // The intent that failed comes again, and its counter is a later one.
    let Ended::Signed { ctr } = house.ask(&read(7, 2), vec![]) else { panic!("closed") };
    assert!(ctr > 3, "{ctr}");
    let reasons = house.reasons();
    for code in ["SEC-CMD-POLICY", "SEC-SEQ", "SEC-FENCE", "SEC-HSM", "SEC-AUDIT", "SEC-STORE"] {
        assert!(reasons.contains(&code), "{code}: {reasons:?}");
    }
    house.check_ledger();
}

#[test]
fn no_counter_comes_twice_wherever_it_is_cut() {
    let mut house = House::open();
    join(&mut house, 1, 1);
    let mut id = 10;
    for step in 0..5 {
        for _ in 0..3 {
            id += 3;
            let order = group_order(id);
            let approvals = vec![approval(&order, "ada", 1), approval(&order, "bob", 2)];
            let requests = [(read(id + 1, id), vec![]), (order, approvals), (read(id + 2, 2), vec![])];
            let number = house.send(&requests);
            let (reserved, batch) = wait_for("the counters", || house.take_records());
            assert!(batch.len() >= 2);
            // Nothing durable; the counters; the entries; the signed commands; all is heard of.
            if step > 0 {
                house.commit(reserved, &batch);
            }
            if step > 1 {
                wait_for("the entries", || house.serve_audit(true).then_some(()));
                let (signed, batch) = wait_for("the signed commands", || house.take_records());
                if step > 2 {
                    house.commit(signed, &batch);
                }
            }
            if step > 3 {
                wait_for("the end", || (house.intents.settled() == number).then_some(()));
                house.restart();
            } else {
                house.cut();
            }
            // All come again; what has signed durably does not sign again.
            let before = house.ended.len();
            let number = house.send(&requests);
            house.serve(number, Fault::None);
            for (_, ended) in &house.ended[before..] {
                let signed = matches!(ended, Ended::Signed { .. });
                assert_eq!(signed, step < 3, "{step}: {ended:?}");
            }
            // The device answers its last, whatever it was.
            for ctr in 1..40 {
                house.answer(dev(2), 1, ctr, 0);
            }
        }
    }
    // A command that was signed and lost before it was durable was never sent.
    let ledger = house.ledger.lock().unwrap().clone();
    let mut seen = std::collections::HashSet::new();
    for (addressee, ctr, _) in ledger {
        let device = match addressee {
            Addressee::Device(dev) => Some(dev),
            Addressee::Group(_) => None,
        };
        assert!(seen.insert((device, ctr)), "{addressee:?} {ctr} was signed twice");
    }
}

#[test]
fn a_policy_is_followed_by_a_higher_one_alone_and_outlives_a_restart() {
    let mut house = House::open();
    write_policy(house.state.path(), &policy(2), &[("ada", 1), ("bob", 2)]);
    house.policy_in_force(2);
    let entry = house.entries.last().unwrap();
    assert_eq!((entry.code.as_str(), entry.result.as_str()), ("policy", "version 2 comes into force"));
    for (version, by) in
        [(1, &[("root", 9)][..]), (2, &[("root", 9)]), (3, &[("ada", 1)]), (3, &[("ada", 1), ("eve", 1)])]
    {
        house.reasons();
        // Another text of that version.
        write_policy(house.state.path(), &(policy(version) + "# \n"), by);
        wait_for("the refusal", || house.reasons().contains(&"SEC-CMD-POLICY").then_some(()));
    }
    let kept = || std::fs::read_to_string(house.state.path().join("signer-1/policy.toml")).unwrap();
    assert!(kept().contains("version = 2"));
    std::fs::remove_file(house.state.path().join("policy.toml")).unwrap();
    house.cut();
    assert_eq!(house.ask(&read(1, 1), vec![]), Ended::Signed { ctr: 1 });
    assert_eq!(intent(1, Addressee::Device(dev(1)), Class::Read, &READ).system, SYSTEM);
}
