//! The desk as a node: nothing is answered before it is durable, nothing is lost by a cut, every command ends
//! and is counted.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;
#[path = "command_desk/due.rs"]
mod due;
#[path = "command_desk/house.rs"]
mod house;
#[path = "command_desk/root.rs"]
mod root;

use std::sync::atomic::Ordering;
use std::time::Duration;

use commands::approval::ApprovalError;
use commands::desk::Heard;
use commands::front::{CampaignState, CommandState, Filter, OrderKind, Outcome, Page, Refusal, Submission};
use common::wait_for;
use house::{House, Told, approval, dev, read};
use seal::command::{Addressee, Classes};
use seal::ids::{Dev, Epoch, Gid};

/// Every command that was taken has ended or is pending.
fn account(house: &House) {
    wait_for("the sum of all commands", || {
        let taken = house.sum("metergraph_commands_taken_total");
        let ended = house.sum("metergraph_commands_ended_total");
        (taken == ended + house.sum("metergraph_commands_pending")).then_some(())
    });
}

fn alone(number: u8) -> Addressee {
    Addressee::Device(dev(number))
}

#[test]
fn a_command_is_answered_when_it_is_durable_and_ends_with_its_devices_answer() {
    let house = House::open(2);
    house.faults.journal_waits.store(true, Ordering::SeqCst);
    let front = house.front();
    let asking = std::thread::spawn(move || front.submit(read("one", alone(0))));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!asking.is_finished() && house.asked() == 0, "not durable: neither answered nor to be signed");
    house.faults.journal_waits.store(false, Ordering::SeqCst);
    let accepted = asking.join().unwrap().unwrap();
    assert!(!accepted.repeated);
    let signed = house.sent(dev(0));
    let front = house.front();
    wait_for("the state", || {
        let view = front.command(accepted.id, Page::NONE).unwrap();
        (view.state == CommandState::Sent && view.sent > 0).then_some(())
    });
    // Another device's answer, and that to another command, end nothing.
    house.answer(dev(1), &signed, 1, 0);
    house.answer(dev(0), &signed, 2, 0);
    wait_for("a repeat", || (house.told().len() > 1).then_some(()));
    assert!(house.told().iter().all(|told| *told == Told::Send(dev(0), signed.clone())), "the same octets");
    house.answer(dev(0), &signed, 1, 0);
    let view = house.end(accepted.id);
    assert_eq!(view.outcome, Some(Outcome::Done { result: 0, response: vec![] }));
    assert_eq!((view.order, view.class, view.digest), ("read-tables", 0, accepted.digest));
    wait_for("the record of its end", || {
        house.heard().iter().any(|heard| matches!(heard, Heard::Closed { .. })).then_some(())
    });
    account(&house);
    assert_eq!(house.sum("metergraph_commands_ended_total"), 1);
}

#[test]
fn a_request_id_is_one_command_however_often_it_comes() {
    let mut house = House::open(1);
    house.faults.journal_waits.store(true, Ordering::SeqCst);
    let front = house.front();
    let asking = std::thread::spawn(move || front.submit(read("one", alone(0))));
    std::thread::sleep(Duration::from_millis(100));
    // It is on its way: whoever asks again is told to come again.
    let front = house.front();
    assert_eq!(front.submit(read("one", alone(0))), Err(Refusal::TimedOut));
    let other = Submission { ttl_min: 61, ..read("one", alone(0)) };
    assert_eq!(front.submit(other.clone()), Err(Refusal::RequestId("one".to_owned())));
    house.faults.journal_waits.store(false, Ordering::SeqCst);
    let first = asking.join().unwrap().unwrap();
    for _ in 0..2 {
        let again = house.front().submit(read("one", alone(0))).unwrap();
        assert_eq!((again.id, again.digest, again.repeated), (first.id, first.digest, true));
        assert_eq!(house.front().submit(other.clone()), Err(Refusal::RequestId("one".to_owned())));
        house.cut();
        wait_for("the desk", || house.front().groups().ok());
    }
    let all = Page { skip: 0, count: 9 };
    assert_eq!(house.front().commands(Filter::default(), all).unwrap().len(), 1);
}

#[test]
fn a_journal_that_cannot_be_written_takes_no_command() {
    let house = House::open(1);
    house.faults.journal_fails.store(true, Ordering::SeqCst);
    assert_eq!(house.front().submit(read("one", alone(0))), Err(Refusal::Store));
    assert_eq!(house.front().create_group("all".into(), Classes(1)), Err(Refusal::Store));
    house.faults.journal_fails.store(false, Ordering::SeqCst);
    let accepted = house.front().submit(read("one", alone(0))).unwrap();
    assert!(!accepted.repeated, "what failed was not taken");
    house.sent(dev(0));
    assert_eq!(house.heard().len(), 1);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let house = House::open(1);
    let front = house.front();
    let nobody = Dev([9; 8]);
    let gid = Gid(0x8000_0001);
    for (wrong, refusal) in [
        (read("x", Addressee::Device(nobody)), Refusal::NoDevice(nobody)),
        (read("x", Addressee::Group(gid)), Refusal::NoGroup(gid)),
        (read("", alone(0)), Refusal::Invalid("a request id has 1 to 64 octets")),
        (
            Submission { roles: commands::front::Roles::READER, ..read("x", alone(0)) },
            Refusal::Role("operator"),
        ),
        (Submission { order: OrderKind::SignerRevoke { skid: 0 }, ..read("x", alone(0)) }, Refusal::RootOnly),
    ] {
        assert_eq!(front.submit(wrong), Err(refusal));
    }
    assert_eq!(front.device(nobody), Err(Refusal::NoDevice(nobody)));
    assert_eq!(front.revoke(nobody, "alice".into()), Err(Refusal::NoDevice(nobody)));
    assert!(house.heard().is_empty());
}

#[test]
fn nothing_is_lost_wherever_the_desk_is_cut() {
    let mut house = House::open(4);
    let mut ids = Vec::new();
    for round in 0..6_u32 {
        house.faults.signer_sleeps.store(round % 3 == 0, Ordering::SeqCst);
        for number in 0..4 {
            let submission = read(&format!("{round}-{number}"), alone(number));
            ids.push(house.front().submit(submission).unwrap().id);
        }
        // One that has no time left.
        let late = Submission { nbf: Some(1000), ..read(&format!("{round}-late"), alone(0)) };
        ids.push(house.front().submit(late).unwrap().id);
        if round % 2 == 0 {
            house.cut()
        } else {
            house.restart()
        }
        wait_for("the desk", || house.front().groups().ok());
    }
    house.faults.signer_sleeps.store(false, Ordering::SeqCst);
    let mut answered = 0;
    wait_for("the end of all", || {
        // Devices answer whatever comes to them.
        let told = house.told();
        for told in told.get(answered..).unwrap_or_default() {
            let Told::Send(to, signed) = told else { panic!("{told:?}") };
            house.answer(*to, signed, 1, 0);
        }
        answered = told.len();
        let open = Filter { pending: true, ..Filter::default() };
        let open = house.front().commands(open, Page { skip: 0, count: 100 }).unwrap();
        open.is_empty().then_some(())
    });
    let (mut done, mut expired) = (0, 0);
    for id in &ids {
        match house.end(*id).outcome.unwrap() {
            Outcome::Done { result: 0, .. } => done += 1,
            Outcome::Expired => expired += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((done, expired), (24, 6));
    // Each is closed in the journal, and a desk that starts there knows of no other end.
    wait_for("all records", || {
        let closed =
            |id| house.heard().iter().any(|heard| matches!(heard, Heard::Closed { id: of, .. } if of == id));
        ids.iter().all(closed).then_some(())
    });
    let before: Vec<_> = ids.iter().map(|id| house.end(*id).outcome).collect();
    house.cut();
    let after: Vec<_> = ids.iter().map(|id| house.end(*id).outcome).collect();
    assert_eq!(before, after);
}

#[test]
fn a_group_is_joined_by_answers_keyed_and_told_at_once_with_two_approvals() {
    let mut house = House::open(3);
    let group = house.front().create_group("all".into(), Classes(0x3f)).unwrap();
    let gid = group.gid;
    let joins = house.front().join(gid, vec![dev(0), dev(1)], "alice".into()).unwrap();
    for (number, accepted) in joins.iter().enumerate() {
        let to = dev(number as u8);
        house.answer(to, &house.sent(to), 1, 0);
        house.end(accepted.id);
    }
    let members = house.front().group(gid, Page { skip: 0, count: 9 }).unwrap();
    assert_eq!((members.members, members.version, members.page), (2, 2, vec![dev(0), dev(1)]));
    wait_for("the key to go to all members", || {
        let told = house.told();
        [0, 1].iter().all(|number| told.contains(&Told::Deliver(dev(*number), gid, Epoch(0)))).then_some(())
    });
    assert!(!house.told().iter().any(|told| matches!(told, Told::Deliver(to, ..) if *to == dev(2))));
    let off = Submission { order: OrderKind::Disconnect, ..read("off", Addressee::Group(gid)) };
    let accepted = house.front().submit(off).unwrap();
    let asked = house.asked();
    for (approver, number) in [("ada", 1), ("ada", 1), ("bob", 2)] {
        let signature = approval(&accepted.digest, number);
        house.front().approve(accepted.id, approver.into(), signature).unwrap();
    }
    let signed = wait_for("the broadcast", || {
        house.told().into_iter().find_map(|told| match told {
            Told::Broadcast(to, signed) if to == gid => Some(signed),
            _ => None,
        })
    });
    assert!(house.asked() > asked);
    // No device of the house has a signing key in a manifest, and an answer without a signature proves nothing.
    house.answer(dev(0), &signed, 2, 0);
    house.answer(dev(1), &signed, 2, 19);
    let view = house.end(accepted.id);
    let counts = view.counts.unwrap();
    assert_eq!((counts.members, counts.unknown, counts.refused, counts.missing), (2, 1, 1, 0));
    // After a removal a later epoch comes, by an order at once.
    let left = house.front().leave(gid, vec![dev(1)], "alice".into()).unwrap();
    let leave = wait_for("the LEAVE", || {
        let told = house.told();
        told.iter().rev().find_map(|told| match told {
            Told::Send(to, signed) if *to == dev(1) && signed.get(12) == Some(&3) => Some(signed.clone()),
            _ => None,
        })
    });
    house.answer(dev(1), &leave, 1, 0);
    house.end(left[0].id);
    house.front().rekey(gid).unwrap();
    wait_for("the next epoch", || house.told().contains(&Told::Deliver(dev(0), gid, Epoch(1))).then_some(()));
    assert!(!house.told().contains(&Told::Deliver(dev(1), gid, Epoch(1))), "who left has no key any more");
    house.cut();
    let view = wait_for("the desk", || house.front().group(gid, Page { skip: 0, count: 9 }).ok());
    assert_eq!((view.members, view.version, view.epoch), (1, 3, Some(Epoch(1))));
}

fn group_of_one(house: &House) -> Gid {
    let gid = house.front().create_group("all".into(), Classes(0x3f)).unwrap().gid;
    let join = house.front().join(gid, vec![dev(0)], "alice".into()).unwrap();
    house.answer(dev(0), &house.sent(dev(0)), 1, 0);
    house.end(join[0].id);
    gid
}

fn off(gid: Gid, request_id: &str, requester: &str) -> Submission {
    let order = OrderKind::Disconnect;
    Submission { order, requester: requester.to_owned(), ..read(request_id, Addressee::Group(gid)) }
}

#[test]
fn an_approval_that_counts_for_nothing_is_refused_at_once_and_ends_nothing() {
    let house = House::open(2);
    let gid = group_of_one(&house);
    let accepted = house.front().submit(off(gid, "off", "ada")).unwrap();
    let other = house.front().submit(off(gid, "other", "alice")).unwrap();
    let approve = |approver: &str, signature| house.front().approve(accepted.id, approver.into(), signature);
    let good = approval(&accepted.digest, 2);
    for (approver, signature, error) in [
        ("eve", approval(&accepted.digest, 3), ApprovalError::Unknown),
        ("alice", good, ApprovalError::Unknown),
        ("ada", approval(&accepted.digest, 1), ApprovalError::Requester),
        ("bob", approval(&accepted.digest, 1), ApprovalError::Signature),
        ("bob", approval(&other.digest, 2), ApprovalError::Signature),
        ("bob", [7; 64], ApprovalError::Signature),
    ] {
        let refusal = Refusal::Approval(error);
        assert_eq!(refusal.code(), "SEC-CMD-APPROVAL");
        assert_eq!(approve(approver, signature), Err(refusal), "{approver}");
    }
    let state = |id| house.front().command(id, Page::NONE).unwrap().state;
    assert_eq!(state(accepted.id), CommandState::AwaitingApproval);
    assert!(!house.heard().iter().any(|heard| matches!(heard, Heard::Approved { .. })), "nothing is written");
    assert_eq!(approve("bob", good), Ok(()));
    assert_eq!(state(accepted.id), CommandState::AwaitingApproval, "one of two");
    // Without a policy nobody knows who approves.
    let house = House::without_policy(1, vec![]);
    let accepted = house.front().submit(off(group_of_one(&house), "off", "alice")).unwrap();
    let approved = house.front().approve(accepted.id, "ada".into(), approval(&accepted.digest, 1));
    assert_eq!(approved, Err(Refusal::NoPolicy));
}

#[test]
fn a_campaign_pauses_and_goes_on_after_a_cut() {
    let mut house = House::open(3);
    let view = house.front().start_epoch_campaign(1, 2, None).unwrap();
    let campaign = view.campaign;
    assert_eq!((view.total, view.pending), (3, 3));
    assert_eq!(house.front().start_epoch_campaign(1, 2, None), Err(Refusal::CampaignRuns(campaign)));
    wait_for("a wave of two", || {
        let told: std::collections::HashSet<Dev> = house
            .told()
            .iter()
            .filter_map(|told| match told {
                Told::Send(to, _) => Some(*to),
                _ => None,
            })
            .collect();
        (told.len() == 2).then_some(())
    });
    assert_eq!(house.front().pause_campaign(campaign).unwrap().state, CampaignState::Paused);
    house.cut();
    let view = wait_for("the desk", || house.front().campaign(campaign, Page::NONE).ok());
    assert_eq!((view.state, view.pending), (CampaignState::Paused, 3));
    assert_eq!(house.front().resume_campaign(campaign).unwrap().state, CampaignState::CatchUp);
    let taken = |heard: &Heard| matches!(heard, Heard::Taken(_));
    assert_eq!(
        house.heard().iter().filter(|heard| taken(heard)).count(),
        2,
        "no further wave while one is open"
    );
}

#[test]
fn a_revoked_device_leaves_its_groups() {
    let house = House::open(2);
    let gid = house.front().create_group("all".into(), Classes(1)).unwrap().gid;
    let join = house.front().join(gid, vec![dev(0)], "alice".into()).unwrap();
    house.answer(dev(0), &house.sent(dev(0)), 1, 0);
    house.end(join[0].id);
    let front = house.front();
    front.revoke(dev(0), "alice".into()).unwrap();
    assert!(house.told().contains(&Told::Revoke(dev(0))));
    wait_for("the group without it", || (front.group(gid, Page::NONE).unwrap().members == 0).then_some(()));
}

#[test]
fn a_time_request_is_answered_with_its_nonce_once() {
    let house = House::open(1);
    let item = [&[4][..], &[6; 8]].concat();
    house.report(dev(0), &item);
    house.report(dev(0), &item);
    let signed = house.sent(dev(0));
    assert_eq!((signed[1], &signed[12..20]), (5, &[6; 8][..]));
    std::thread::sleep(Duration::from_millis(100));
    let taken = house.heard().iter().filter(|heard| matches!(heard, Heard::Taken(_))).count();
    assert_eq!(taken, 1);
}
